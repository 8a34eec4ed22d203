"""The networks of a run: built as planned, loaded with their weights, wrapped as a frozen
teacher."""

from pathlib import Path

import torch

from understudy.config.schema import ModelConfig
from understudy.data.prepare import TrainingData
from understudy.evaluation.metrics import predict
from understudy.methods import build_method, method_class
from understudy.methods.base import MethodConfig
from understudy.models import build_model, deployed
from understudy.models.base import Classifier
from understudy.models.ensemble import Ensemble
from understudy.runs.folder import RunFolder
from understudy.runs.plan import Arm, ArmRun, RunPlan
from understudy.teachers.acceptance import least_teacher_accuracy, require_accuracy
from understudy.teachers.frozen import FrozenTeacher, renormalisation
from understudy.training.device import resolve_precision
from understudy.training.setup import make_context
from understudy.training.weights import load_weights

_CPU = torch.device("cpu")


def build(model: ModelConfig, data: TrainingData, stages: tuple[str, ...] = ()) -> Classifier:
    """The configured network for this data's classes and images, randomly initialised."""
    return build_model(
        model.name, data.num_classes, data.image, stages=stages, options=model.options
    )


def load_teacher(
    plan: RunPlan,
    run: ArmRun,
    folder: RunFolder,
    data: TrainingData,
    device: torch.device,
    teachers: RunFolder | None = None,
) -> FrozenTeacher:
    """The trained network that teaches an arm, frozen, with its own normalisation.

    Args:
        plan: of the run.
        run: the training that needs the teacher.
        folder: where that training's files are, and those of the generations before it.
        data: of the run.
        device: where the teacher runs.
        teachers: where teacher, members and assistants are; ``folder`` by default.

    Raises:
        UnderstudyError: if no arm teaches it, or the teacher's weights are missing or of another
        network.
    """
    teacher_run = plan.teacher_run(run)
    teacher = teacher_run.arm
    home = teachers if teachers is not None and teacher.is_shared else folder
    network = trained_network(plan, teacher_run, home, data).to(device)
    if teacher.train.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    parts = [plan.arm(member) for member in teacher.members] or [teacher]
    given, own = plan.config.data, teacher.inputs
    return FrozenTeacher(
        network,
        renormalise=renormalisation(given.mean, given.std, own.mean, own.std, device),
        precision=resolve_precision(teacher.train.precision, device),
        description=" + ".join(map(_description, parts)),
    )


def trained_network(
    plan: RunPlan, run: ArmRun, folder: RunFolder, data: TrainingData
) -> Classifier:
    """The network of a finished training, with its final weights, on the CPU in eval mode.

    Raises:
        UnderstudyError: if the weights are missing or of another network.
    """
    arm = run.arm
    if arm.members:
        return build_ensemble(plan, arm, folder, data).eval()
    network = build(arm.model, data, arm.stages)
    if keeps_adapter(arm.method):
        teacher = load_teacher(plan, run, folder, data, _CPU)
        context = make_context(network, data, arm.train, teacher, _CPU)
        network = build_method(arm.method, network, context).deployed()
    load_weights(folder.require_weights(run.name), deployed(network))
    return network.eval()


def build_ensemble(plan: RunPlan, arm: Arm, folder: RunFolder, data: TrainingData) -> Ensemble:
    """The ensemble of an arm's trained members, on the CPU in eval mode."""
    given = plan.config.data
    networks, changes = [], []
    for name in arm.members:
        member = plan.arm_run(name, 0)  # each member has a seed of its own
        own = member.arm.inputs
        networks.append(trained_network(plan, member, folder, data))
        changes.append(renormalisation(given.mean, given.std, own.mean, own.std, _CPU))
    return Ensemble(networks, arm.weights, changes)


def load_pretrained_teacher(
    network: Classifier,
    arm: Arm,
    data: TrainingData,
    device: torch.device,
    precision: str,
    min_accuracy: float | None,
) -> None:
    """Load the weights that an arm is given, and check them on validation before anything uses
    them.

    Args:
        network: gets the weights, and is moved to ``device``.
        arm: whose ``path`` is loaded.
        data: of the run.
        device: where the network is evaluated.
        precision: of that evaluation.
        min_accuracy: in [0, 1], below which the weights are refused; ``None``:
            :func:`~understudy.teachers.acceptance.least_teacher_accuracy`.

    Raises:
        UnderstudyError: if the file does not fit, or the accuracy is too low.
    """
    assert arm.path is not None
    load_given(network, arm)
    network.to(device)
    logits = predict(network, data.val, arm.inputs, device, precision=precision)
    require_accuracy(
        f"the teacher {arm.path}",
        float((logits.argmax(1) == data.val.labels).double().mean()),
        least_teacher_accuracy(data.val.labels) if min_accuracy is None else min_accuracy,
        "check teacher.model, teacher.mean and teacher.std, or set teacher.min_accuracy",
    )


def load_given(network: Classifier, arm: Arm) -> str:
    """Fill a network with the weights that an arm is given.

    Returns:
        What was unwrapped, in one line; empty for a plain state dict.

    Raises:
        UnderstudyError: if the file does not fit; of another class count, with what to do.
    """
    assert arm.path is not None
    return load_weights(
        Path(arm.path),
        deployed(network),
        "; name the file's classes by teacher.classes, or train another last layer by "
        "teacher.head=linear-probe",
    )


def keeps_adapter(method: MethodConfig) -> bool:
    """Whether what is deployed is more than the student, so that it is built again with its method
    and teacher."""
    return "+" not in method.name and method_class(method.name).keeps_adapter


def _description(arm: Arm) -> str:
    """What identifies a teacher's outputs in a cache, next to its weights."""
    return f"{arm.model} mean {arm.inputs.mean} std {arm.inputs.std}"
