"""Measurements on a run's saved weights with its training and validation images.

The test split stays sealed.
"""

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from understudy.config.schedules import value_at
from understudy.config.schema import DataConfig, RunConfig
from understudy.data.dataset import Split
from understudy.data.loader import Batch, TrainBatches
from understudy.data.own_size import own_copy
from understudy.data.prepare import TrainingData
from understudy.diagnose.evidence import FitStats, Gradients, Measured, SoftTargets
from understudy.diagnose.record import ROLES, is_dropout
from understudy.diagnose.soft_targets import describe_targets, label_shares
from understudy.errors import UnderstudyError
from understudy.evaluation.metrics import accuracy, predict
from understudy.methods import build_method
from understudy.methods.base import Method
from understudy.models.base import Classifier
from understudy.models.modes import evaluating
from understudy.runs.folder import RunFolder
from understudy.runs.networks import keeps_adapter, load_teacher, trained_network
from understudy.runs.plan import ArmRun, RunPlan
from understudy.teachers.frozen import FrozenTeacher
from understudy.training.setup import class_sampler, make_context

SAMPLE = 5000
"""Training images in the sample: the standard error of an accuracy is then below 0.71 points, small
compared with every threshold on one."""
TARGET_IMAGES = 2048
"""Augmented training images whose soft targets are measured."""
GRADIENT_BATCHES = 8
"""Batches for each seed's gradients: their shares settle to a few percent."""
NORMALISATION_IMAGES = 1000
"""Images for the pixel statistics, and for a given teacher with other normalisations."""
NORMALISATIONS = {
    "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "0.5 / 0.5": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "0 / 1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Mean and standard deviation with which teachers from elsewhere are usually trained."""

Stats = TypeVar("Stats", SoftTargets, FitStats)


def has_weights(folder: RunFolder, plan: RunPlan) -> bool:
    """Whether the run's networks are there; not if the folder ``models`` has no weights at all.

    Raises:
        UnderstudyError: if some are there and some are missing.
    """
    if not folder.all_weights():
        return False
    missing: set[str] = set()
    for seed in plan.config.seeds:
        paths = [folder.weights(run.name) for run in _arm_runs(plan, seed)]
        missing |= {str(path) for path in paths if not path.is_file()}
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UnderstudyError(
            f"{min(missing)}{more} is missing: run again with --resume, "
            f"or move {folder.models} away to diagnose without weights"
        )
    return True


def measure(folder: RunFolder, plan: RunPlan, data: TrainingData, device: torch.device) -> Measured:
    """The evidence that needs weights, as means over the run's seeds.

    Args:
        folder: of the run, with all weights.
        plan: of the run; ``plan.config.data`` as ``data`` was prepared.
        data: training and validation images of the run.
        device: where the networks run.
    """
    config = plan.config
    rng = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(data.train), generator=rng)[:SAMPLE].sort().values
    sample = data.train.take(rows)
    taught = own_copy(data, plan.arm("distilled").inputs)  # born again, it sees as its teacher does
    targets: list[SoftTargets] = []
    gradients: list[Gradients | None] = []
    fits: dict[str, list[FitStats]] = {role: [] for role in ROLES}
    for seed in config.seeds:
        _, baseline_run, distilled_run = _arm_runs(plan, seed)
        teacher = load_teacher(plan, distilled_run, folder, taught, device)
        networks: dict[str, nn.Module] = {}
        if config.teacher.per_seed or seed == config.seeds[0]:
            targets.append(measure_targets(plan, teacher, taught, seed, device))
            networks["teacher"] = teacher.model
        networks["baseline"] = trained_network(plan, baseline_run, folder, data).to(device)
        student = trained_network(plan, distilled_run, folder, data).to(device)
        networks["distilled"] = student
        for role, network in networks.items():
            view = plan.arm(role).inputs
            seen = own_copy(data, view)
            images = sample if seen is data else seen.train.take(rows)
            fits[role].append(measure_fit(network, images, seen.val, view, seed, device))
        gradients.append(measure_gradients(plan, student, teacher, taught, seed, device))
    pixels = normalised_pixels(sample, config.data)
    return Measured(
        num_train=len(sample),
        targets=_mean_stats(targets),
        fits={role: _mean_stats(found) for role, found in fits.items()},
        gradients=_mean_gradients([found for found in gradients if found is not None]),
        input_mean=tuple(pixels.mean(1).tolist()),
        input_std=tuple(pixels.std(1).tolist()),
        # A given teacher is the same for every seed.
        normalisations=_normalisations(plan, teacher, data, device),
    )


def _arm_runs(plan: RunPlan, seed: int) -> list[ArmRun]:
    """Teacher, baseline and distilled student of a seed."""
    return [plan.arm_run(role, seed) for role in ROLES]


# -- networks on unaugmented images --------------------------------------------------------------


def measure_fit(
    network: nn.Module, train: Split, val: Split, view: DataConfig, seed: int, device: torch.device
) -> FitStats:
    """Accuracy and confidence of a network on two splits, and accuracy with dropout on the first.

    Args:
        network: images to logits.
        train: a sample of the training images.
        val: the validation images.
        view: normalisation of the images.
        seed: of the dropout noise.
        device: where the network is.
    """
    on_train, on_val = predict(network, train, view, device), predict(network, val, view, device)
    train_accuracy = accuracy(on_train, train.labels)
    dropout_accuracy = train_accuracy
    if any(is_dropout(module) for module in network.modules()):
        with_dropout = _predict_with_dropout(network, train, view, seed, device)
        dropout_accuracy = accuracy(with_dropout, train.labels)
    return FitStats(
        train_accuracy=train_accuracy,
        val_accuracy=accuracy(on_val, val.labels),
        train_confidence=_confidence(on_train),
        val_confidence=_confidence(on_val),
        dropout_accuracy=dropout_accuracy,
    )


def _predict_with_dropout(
    network: nn.Module, split: Split, view: DataConfig, seed: int, device: torch.device
) -> Tensor:
    """Logits with dropout layers in train mode and everything else (batch norm) in eval mode."""
    with evaluating(network), _fixed_random_numbers(seed, device):
        for module in network.modules():
            if is_dropout(module):
                module.train()
        return predict(_FixedModes(network), split, view, device)


class _FixedModes(nn.Module):
    """A network whose modules keep their modes: ``train`` and ``eval`` do not reach them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = [network]  # a list hides it from torch

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network[0](images)
        return logits


def _confidence(logits: Tensor) -> float:
    return float(logits.softmax(1).max(1).values.double().mean())


def normalised_pixels(sample: Split, view: DataConfig) -> Tensor:
    """fp32 ``[C, P]``: the normalised pixels of up to 1,000 images."""
    images = sample.gather(torch.arange(min(len(sample), NORMALISATION_IMAGES)))
    pixels = images.reshape(-1, len(view.mean)).T.float() / 255
    return (pixels - torch.tensor(view.mean)[:, None]) / torch.tensor(view.std)[:, None]


def _normalisations(
    plan: RunPlan, teacher: FrozenTeacher, data: TrainingData, device: torch.device
) -> dict[str, float]:
    """Validation accuracy of a given teacher with its own and other normalisations, by name."""
    if not plan.arm("teacher").is_given:
        return {}
    own = plan.arm("teacher").inputs
    data = own_copy(data, own)
    part = data.val.take(torch.arange(min(len(data.val), NORMALISATION_IMAGES)))
    views = {"as configured": own}
    for name, (mean, std) in NORMALISATIONS.items():
        if len(mean) == data.image_shape[0] and (mean, std) != (tuple(own.mean), tuple(own.std)):
            views[name] = DataConfig(mean=mean, std=std)
    found = {}
    for name, view in views.items():
        found[name] = accuracy(predict(teacher.model, part, view, device), part.labels)
    return found


# -- soft targets --------------------------------------------------------------------------------


def measure_targets(
    plan: RunPlan, teacher: FrozenTeacher, data: TrainingData, seed: int, device: torch.device
) -> SoftTargets:
    """The teacher's soft targets on the first views of the last epoch that was trained."""
    config, method = plan.config, plan.arm("distilled").method
    batches = train_batches(config, data, seed, device)
    number = math.ceil(TARGET_IMAGES / min(config.train.batch_size, len(data.train)))
    logits, shares = [], []
    for batch in last_epoch(config, batches, number, teacher):
        logits.append(teacher.outputs(batch).logits.cpu())
        shares.append(label_shares(batch, data.num_classes).cpu())
    temperature = value_at(method.temperature, config.train.epochs_run - 1, config.train.epochs)
    return describe_targets(torch.cat(logits), torch.cat(shares), temperature)


# -- gradients -----------------------------------------------------------------------------------


def measure_gradients(
    plan: RunPlan,
    student: Classifier,
    teacher: FrozenTeacher,
    data: TrainingData,
    seed: int,
    device: torch.device,
) -> Gradients | None:
    """Norms of the loss terms' gradients, and their angle, on a copy of the student.

    Returns:
        ``None`` if the method cannot be rebuilt around a student without its adapter.
    """
    config, arm = plan.config, plan.arm("distilled")
    if keeps_adapter(arm.method):
        return None
    student = copy.deepcopy(student)  # train mode changes the statistics of batch norm
    needed = teacher if arm.uses_teacher else None
    context = make_context(student, data, config.train, needed, device)
    method = build_method(arm.method, student, context).to(device)
    method.train()
    method.epoch = config.train.epochs_run - 1
    parameters = [p for p in student.parameters() if p.requires_grad]
    partial = _has_untrained_parts(method, student)
    norms: dict[str, float] = {}
    cosines, number = [], 0
    with _fixed_random_numbers(seed, device):
        batches = train_batches(config, data, seed, device)
        for batch in last_epoch(config, batches, GRADIENT_BATCHES, needed):
            losses, _ = method(batch, None if needed is None else needed.outputs(batch))
            names = [name for name in losses if name in ("ce", "kd") or not partial]
            found = {name: flat_gradient(losses[name], parameters) for name in names}
            for name, gradient in found.items():
                norms[name] = norms.get(name, 0.0) + float(gradient.norm())
            others = [gradient for name, gradient in found.items() if name != "ce"]
            if "ce" in found and others:
                total = torch.stack(others).sum(0)
                cosines.append(float(torch.cosine_similarity(found["ce"], total, dim=0)))
            number += 1
    left_out = f"the terms of {arm.method.name} that use parts that are not saved with the student"
    return Gradients(
        norms={name: total / number for name, total in norms.items()},
        shares=_shares(norms),
        cosine=math.fsum(cosines) / len(cosines) if cosines else None,
        num_batches=number,
        left_out=left_out if partial else "",
    )


def _has_untrained_parts(method: Method, student: Classifier) -> bool:
    """Whether a method has parameters of its own, such as regressors: they are not saved."""
    saved = {id(p) for p in student.parameters()}
    return any(id(p) not in saved for p in method.parameters())


def flat_gradient(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Gradient of a scalar on all parameters as one vector; zero for a parameter not in use."""
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    parts = []
    for parameter, gradient in zip(parameters, found, strict=True):
        parts.append((torch.zeros_like(parameter) if gradient is None else gradient).flatten())
    return torch.cat(parts)


def _shares(norms: Mapping[str, float]) -> dict[str, float]:
    total = math.fsum(norms.values())
    return {name: norm / total if total else 0.0 for name, norm in norms.items()}


def _mean_gradients(found: Sequence[Gradients]) -> Gradients | None:
    if not found:
        return None
    norms = {name: _mean([each.norms[name] for each in found]) for name in found[0].norms}
    cosines = [each.cosine for each in found if each.cosine is not None]
    return Gradients(
        norms=norms,
        shares=_shares(norms),
        cosine=_mean(cosines) if cosines else None,
        num_batches=sum(each.num_batches for each in found),
        left_out=found[0].left_out,
    )


# -- shared --------------------------------------------------------------------------------------


def train_batches(
    config: RunConfig, data: TrainingData, seed: int, device: torch.device
) -> TrainBatches:
    """The batches of a student's training with this seed."""
    size, drop_last = config.train.batch_size, config.train.drop_last
    batches = TrainBatches(
        data.train, data.config, size, seed, device, drop_last=drop_last, grid=data.grid
    )
    batches.sampler = class_sampler(config.train, data)
    return batches


def last_epoch(
    config: RunConfig, batches: TrainBatches, number: int, teacher: FrozenTeacher | None = None
) -> Iterator[Batch]:
    """The first batches of the last epoch that was trained, in the training's order and views; the
    teacher is made ready for them."""
    epoch = config.train.epochs_run - 1
    views = batches.policy.epoch(epoch)
    if teacher is not None:
        teacher.prepare(epoch, views)
    return islice(batches.epoch(epoch, views), number)


def _mean_stats(found: Sequence[Stats]) -> Stats:
    """Field by field; counts are the same in all of them, tuples are averaged place by place."""
    means: dict[str, Any] = {}
    for field in fields(found[0]):
        values = [getattr(each, field.name) for each in found]
        if isinstance(values[0], tuple):
            means[field.name] = tuple(_mean(column) for column in zip(*values, strict=True))
        elif isinstance(values[0], float):
            means[field.name] = _mean(values)
    return replace(found[0], **means)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


@contextlib.contextmanager
def _fixed_random_numbers(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout uses this seed in the block; afterwards torch's generators are as before it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
