"""The networks of a run: built from the plan, loaded with their weights, put behind a frozen teacher."""

from pathlib import Path

import torch

from understudy.config.schema import ModelConfig, RunConfig
from understudy.data.prepare import TrainingData
from understudy.errors import UnderstudyError
from understudy.evaluation.metrics import predict
from understudy.methods import build_method, method_class, method_config
from understudy.models import build_model, deployed
from understudy.models.base import Classifier
from understudy.models.ensemble import Ensemble
from understudy.runs.folder import kept_weights
from understudy.runs.plan import ArmSpec, Link, chain_of, link_of, shown_to, spec_of
from understudy.teachers.frozen import FrozenTeacher, renormalisation
from understudy.training.device import resolve_precision
from understudy.training.setup import make_context
from understudy.training.weights import load_weights


def build(model: ModelConfig, data: TrainingData, stages: tuple[str, ...] = ()) -> Classifier:
    """The configured network for this data's classes and images."""
    return build_model(
        model.name, data.num_classes, data.image, stages=stages, options=model.options
    )


def load_teacher(
    config: RunConfig,
    spec: ArmSpec,
    run: Path,
    data: TrainingData,
    device: torch.device,
    teachers: Path | None = None,
) -> FrozenTeacher:
    """The trained network that an arm listens to, frozen, with its own normalisation where it has one.

    Args:
        config, spec: the run and the arm that listens.
        run: directory of the arm; ``teachers`` that of teacher, members and assistants, where it is another.
        data: of the run.
        device: where it shall run.
    """
    links = chain_of(config)
    name = links[spec.arm].teacher or "teacher"
    link = links[name]
    network = trained_network(
        config, spec_of(config, name, _seed_in(link, spec)), _home(link, run, teachers), data
    ).to(device)
    if link.train.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    own = shown_to(config, name)
    parts = [links[member] for member in link.members] or [link]
    return FrozenTeacher(
        network,
        renormalise=renormalisation(config.data.mean, config.data.std, own.mean, own.std, device),
        precision=resolve_precision(link.train.precision, device),
        description=" + ".join(
            f"{part.model} mean {shown_to(config, part.arm).mean} std {shown_to(config, part.arm).std}"
            for part in parts
        ),
    )


def _seed_in(link: Link, spec: ArmSpec) -> int:
    """The seed of the run to which the teacher of an arm belongs: an arm of its own seed, unless all seeds share it."""
    return spec.seed if spec.teacher_seed is None or not link.teaches_all else spec.teacher_seed


def _home(link: Link, run: Path, teachers: Path | None) -> Path:
    return teachers if teachers is not None and link.teaches_all else run


def put_together(config: RunConfig, link: Link, run: Path, data: TrainingData) -> Ensemble:
    """The ensemble of a link's trained members, on the CPU in eval mode."""
    networks, changes = [], []
    for name in link.members:
        member = spec_of(config, name, 0)
        own = shown_to(config, name)
        networks.append(trained_network(config, member, run, data))
        changes.append(
            renormalisation(
                config.data.mean, config.data.std, own.mean, own.std, torch.device("cpu")
            )
        )
    return Ensemble(networks, link.weights, changes)


def trained_network(config: RunConfig, spec: ArmSpec, run: Path, data: TrainingData) -> Classifier:
    """The network that an arm of a run left behind, with its weights, on the CPU in eval mode.

    Raises:
        UnderstudyError: if the weights are missing or of another network.
    """
    device = torch.device("cpu")
    link = link_of(config, spec.arm)
    if link.members:
        return put_together(config, link, run, data).eval()
    network = build(link.model, data, link.stages)
    options = method_config(link.method)
    if "+" not in options.name and method_class(options.name).keeps_adapter:
        teacher = load_teacher(config, spec, run, data, device)
        network = build_method(
            options, network, make_context(network, data, link.train, teacher, device)
        ).deployed()
    load_weights(kept_weights(run, spec.name), deployed(network))
    return network.eval()


def reuse_teacher(
    network: Classifier,
    config: RunConfig,
    link: Link,
    data: TrainingData,
    device: torch.device,
    precision: str,
) -> None:
    """Load a given teacher's weights and measure them on validation before anything leans on them.

    Raises:
        UnderstudyError: if the file does not fit, or the teacher knows too little.
    """
    assert link.path is not None
    load_weights(Path(link.path), deployed(network))
    network.to(device)
    logits = predict(network, data.val, shown_to(config, link.arm), device, precision=precision)
    reached = float((logits.argmax(1) == data.val.labels).double().mean())
    least = (
        2 / data.num_classes if config.teacher.min_accuracy is None else config.teacher.min_accuracy
    )
    if reached < least:
        raise UnderstudyError(
            f"the teacher {link.path} has {100 * reached:.1f} % on validation, below {100 * least:.1f} %: "
            "check teacher.model, teacher.mean and teacher.std, or set teacher.min_accuracy"
        )
