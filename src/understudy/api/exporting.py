"""The export of a :class:`~understudy.api.student.Student` from Python."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.api.inputs import training_data
from understudy.config.schema import TrainConfig
from understudy.data.dataset import Dataset
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
from understudy.export.source import parameters_of, weights_digest
from understudy.methods import method_config
from understudy.models import deployed
from understudy.models.normalisation import Normalisation
from understudy.version import __version__

if TYPE_CHECKING:
    from understudy.api.student import Student


def export_student(
    student: "Student",
    to: str | Sequence[str],
    out: Path,
    data: TrainingData | Dataset,
    *,
    max_drop: float,
    accept_unproven: bool,
) -> ExportResults:
    """See :meth:`understudy.Student.export`."""
    formats = formats_of(to if isinstance(to, str) else ",".join(to))
    prepared = training_data(data)
    if prepared.class_names != student.class_names or prepared.image != student.image:
        raise UnderstudyError(
            f"{prepared.name} has {prepared.num_classes} classes and images of {prepared.image}, "
            f"the student {student.num_classes} and {student.image}: give the data that it was "
            "trained on"
        )
    deployable = _deployable(student, prepared)

    def tuned(observer: Observer) -> Deployable:
        graph = tune(
            student.network, prepared, None, method_config({"name": "ce"}), TrainConfig(),
            observer=observer,
        )
        return Deployable(**{**vars(deployable), "network": GraphModule(graph).eval()})

    request = ExportRequest(
        name=deployable.origin.model,
        deployable=deployable,
        examples=Examples(train=prepared.train, val=prepared.val),
        tune=tuned,
    )
    limits = Limits(max_drop=max_drop / 100, accept_unproven=accept_unproven)
    return export_network(request, formats, out, limits=limits)


def _deployable(student: "Student", data: TrainingData) -> Deployable:
    architecture = student.network.architecture
    network = deployed(student.network)
    name = type(network).__name__ if architecture is None else architecture.name
    return Deployable(
        network=student.network,
        classes=student.class_names,
        preprocessing=student.preprocessing,
        normalisation=Normalisation(student.mean, student.std),
        origin=Origin(
            model=name,
            parameters=parameters_of(student.network),
            data=data.name,
            data_fingerprint=data.fingerprint,
            weights_sha256=weights_digest(network),
            understudy=__version__,
        ),
    )
