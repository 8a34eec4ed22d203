"""The networks of a run: built as planned, loaded with their weights, wrapped as a frozen
teacher."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from understudy.config.given import PRETRAINED
from understudy.config.schema import DataConfig, ModelConfig
from understudy.data.dataset import SealedSplit
from understudy.data.own_size import has_own_pixels, image_of, own_copy_with_test
from understudy.data.prepare import TrainingData
from understudy.evaluation.metrics import predict
from understudy.events import SILENT, Observer
from understudy.methods import build_method, method_class
from understudy.methods.base import MethodConfig
from understudy.models import build_model, deployed
from understudy.models.base import Classifier
from understudy.models.checkpoints import read_checkpoint
from understudy.models.class_matching import match_classes
from understudy.models.ensemble import Ensemble
from understudy.models.fitting import fit
from understudy.models.libraries import build_foreign
from understudy.models.misfits import head_only
from understudy.models.onnx_network import OnnxNetwork
from understudy.models.selected import SelectedClasses
from understudy.runs.folder import RunFolder
from understudy.runs.plan import Arm, ArmRun, RunPlan
from understudy.teachers.acceptance import least_teacher_accuracy, require_accuracy
from understudy.teachers.frozen import FrozenTeacher, freeze, renormalisation
from understudy.teachers.output_checks import check_outputs
from understudy.training.device import resolve_precision
from understudy.training.setup import make_context
from understudy.training.weights import load_weights

_CPU = torch.device("cpu")


def build(
    model: ModelConfig,
    data: TrainingData,
    stages: tuple[str, ...] = (),
    inputs: DataConfig | None = None,
    num_classes: int | None = None,
) -> Classifier:
    """The configured network for this data's images, randomly initialised.

    Args:
        model: the network.
        data: of the run.
        stages: module paths of its stages.
        inputs: its images, if they are not those of ``data``.
        num_classes: number of its logits; by default one for each class of ``data``.
    """
    image = data.image if inputs is None else image_of(data, inputs)
    count = num_classes or data.num_classes
    return build_model(model.name, count, image, stages=stages, options=model.options)


def build_arm(arm: Arm, data: TrainingData) -> Classifier:
    """The network of an arm, randomly initialised, its logits those of the classes of the images.

    Raises:
        UnderstudyError: if it cannot be built, or its outputs cannot be matched with the classes.
    """
    network = build(arm.model, data, arm.stages, arm.inputs, len(arm.classes) or None)
    if not arm.classes:
        return network
    match = match_classes(arm.classes, data.class_names)
    return network if match.is_identity else SelectedClasses(network, match.index)


def arm_data(data: TrainingData, test: SealedSplit, arm: Arm) -> tuple[TrainingData, SealedSplit]:
    """A run's data as the network of an arm sees them: its own normalisation, perhaps its own size.

    Raises:
        UnderstudyError: if the copy shows other parts of the images.
    """
    if not has_own_pixels(data, arm.inputs):
        return replace(data, config=arm.inputs), test
    return own_copy_with_test(data, arm.inputs)


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
    return freeze(
        network,
        data,
        teacher.inputs,
        device,
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
    network = build_arm(arm, data)
    if keeps_adapter(arm.method):
        teacher = load_teacher(plan, run, folder, data, _CPU)
        context = make_context(network, data, arm.train, teacher, _CPU)
        network = build_method(arm.method, network, context).deployed()
    load_weights(folder.require_weights(run.name), deployed(network))
    return network.eval()


def build_ensemble(plan: RunPlan, arm: Arm, folder: RunFolder, data: TrainingData) -> Ensemble:
    """The ensemble of an arm's trained members, on the CPU in eval mode."""
    given = arm.inputs
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
    observer: Observer = SILENT,
) -> None:
    """Load the weights that an arm is given, and check them on validation before anything uses
    them.

    Args:
        network: gets the weights, and is moved to ``device``.
        arm: whose ``path`` is loaded.
        data: of the run, as the network sees them.
        device: where the network is evaluated.
        precision: of that evaluation.
        min_accuracy: in [0, 1], below which the weights are refused; ``None``:
            :func:`~understudy.teachers.acceptance.least_teacher_accuracy`.
        observer: gets a line about outputs that are hardly meant.

    Raises:
        UnderstudyError: if the file does not fit, the outputs cannot be logits of a trained network
            (:func:`~understudy.teachers.output_checks.check_outputs`), or the accuracy is too low.
    """
    load_given(network, arm)
    network.to(device)
    logits = predict(network, data.val, arm.inputs, device, precision=precision)
    hardly_meant = check_outputs(f"the teacher {arm.path}", logits)
    if hardly_meant:
        observer.message(f"the teacher {arm.path}: {hardly_meant}")
    require_accuracy(
        f"the teacher {arm.model.name if arm.path == PRETRAINED else arm.path}",
        float((logits.argmax(1) == data.val.labels).double().mean()),
        least_teacher_accuracy(data.val.labels, logits) if min_accuracy is None else min_accuracy,
        "check teacher.model, teacher.image_size, teacher.mean and teacher.std, or set "
        "teacher.min_accuracy",
    )


def load_given(network: Classifier, arm: Arm, head: str = "") -> str:
    """Fill a network with the weights that an arm is given, in place; nothing to do for those that
    its name comes with.

    Args:
        network: of the arm.
        arm: whose ``path`` is loaded.
        head: path of a layer that gets other weights later: it may differ.

    Returns:
        What was unwrapped, in one line; empty for a plain state dict.

    Raises:
        UnderstudyError: if the file does not fit; of another class count, with what to do.
    """
    if arm.path is None or arm.path == PRETRAINED:
        return ""
    return load_weights(
        Path(arm.path),
        deployed(network),
        "; name the file's classes by teacher.classes, or train another last layer by "
        "teacher.head=linear-probe",
        except_for=head,
    )


def outputs_in_file(
    path: Path, model: ModelConfig, images: TrainingData, inputs: DataConfig
) -> int | None:
    """How many outputs the network of a weights file has; ``None`` if the file differs in more.

    Args:
        path: of the weights.
        model: the network.
        images: of the run.
        inputs: as the network sees them.
    """
    network = deployed(build(model, images, inputs=inputs))
    if isinstance(network, OnnxNetwork):
        return network.num_classes
    found = fit(read_checkpoint(path), network)
    return images.num_classes if found.is_complete else head_only(found.misfit) or None


def own_network(
    model: ModelConfig, images: TrainingData, inputs: DataConfig
) -> tuple[int | None, nn.Module | None]:
    """A network of another library with as many outputs as it has by itself, and their number.

    Args:
        model: the network; one of this package has no number of its own.
        images: of the run.
        inputs: as the network sees them.
    """
    if ":" not in model.name and "." not in model.name:
        return None, None
    image = image_of(images, inputs)
    network = build_foreign(
        model.name,
        None,
        in_channels=image.channels,
        image_size=image.size,
        options=model.options,
    )
    count = getattr(network, "num_classes", None)
    return count, network


def keeps_adapter(method: MethodConfig) -> bool:
    """Whether what is deployed is more than the student, so that it is built again with its method
    and teacher."""
    return "+" not in method.name and method_class(method.name).keeps_adapter


def _description(arm: Arm) -> str:
    """What identifies a teacher's outputs in a cache, next to its weights."""
    stages = f" stages {arm.stages}" if arm.stages else ""  # other maps may have the same shapes
    return f"{arm.model} mean {arm.inputs.mean} std {arm.inputs.std}{stages}"
