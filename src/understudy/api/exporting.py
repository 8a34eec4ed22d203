"""The export of a :class:`~understudy.api.student.Student` from Python."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from understudy.api.inputs import training_data
from understudy.config.schema import TrainConfig
from understudy.data.dataset import Dataset
from understudy.data.in_memory import DataOptions
from understudy.data.prepare import TrainingData
from understudy.errors import UnderstudyError
from understudy.evaluation.deployment import ExportResults
from understudy.events import Observer
from understudy.export.card import Origin
from understudy.export.deployable import Deployable, Examples
from understudy.export.driver import ExportRequest, export_network
from understudy.export.formats import formats_of
from understudy.export.gate import Limits
from understudy.export.module import GraphModule
from understudy.export.qat import tune
from understudy.export.source import parameters_of
from understudy.methods import method_config
from understudy.models import deployed
from understudy.models.base import Classifier
from understudy.version import __version__


def export_deployable(
    deployable: Deployable,
    to: str | Sequence[str],
    out: Path,
    data: Any,
    limits: Limits,
) -> ExportResults:
    """See :meth:`understudy.Student.export`.

    Args:
        deployable: the student; where it comes from is filled in here.
        to, out, data: as given.
        limits: of the gate.
    """
    formats = formats_of(to if isinstance(to, str) else ",".join(to))
    image = deployable.preprocessing.image
    options = DataOptions()
    if not isinstance(data, TrainingData | Dataset):
        resize = deployable.preprocessing.resize
        options = DataOptions(image.size, resize, class_names=_names(data, deployable.classes))
    prepared = training_data(data, options, image.channels)
    if prepared.class_names != deployable.classes or prepared.image != image:
        raise UnderstudyError(
            f"{prepared.name} has {prepared.num_classes} classes and images of {prepared.image}, "
            f"the student {len(deployable.classes)} and {image}: give the data that it was trained "
            "on"
        )
    subject = replace(deployable, origin=_origin(deployable.network, prepared))

    def tuned(observer: Observer) -> Deployable:
        graph = tune(
            subject.network,
            prepared,
            None,
            method_config({"name": "ce"}),
            TrainConfig(),
            observer=observer,
        )
        return replace(subject, network=GraphModule(graph).eval())

    request = ExportRequest(
        name=subject.origin.model,
        deployable=subject,
        examples=Examples(train=prepared.train, val=prepared.val),
        tune=tuned,
    )
    return export_network(request, formats, out, limits=limits)


def _names(data: Any, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The student's classes, for data that is no folder and may not name them."""
    return () if isinstance(data, str | Path) else classes


def _origin(network: nn.Module, data: TrainingData) -> Origin:
    architecture = getattr(network, "architecture", None)
    bare = deployed(network) if isinstance(network, Classifier) else network
    return Origin(
        model=type(bare).__name__ if architecture is None else architecture.name,
        parameters=parameters_of(network),
        data=data.name,
        data_fingerprint=data.fingerprint,
        weights_sha256=_digest(bare),
        understudy=__version__,
    )


def _digest(network: nn.Module) -> str:
    """Of the weights, so that a second export knows the files of the first."""
    from safetensors.torch import save

    tensors = {name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    return hashlib.sha256(save(tensors)).hexdigest()
