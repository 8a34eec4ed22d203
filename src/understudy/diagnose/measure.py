"""What a run's kept weights say about its training and validation images. The test split stays shut."""

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from understudy.config.schedules import value_at
from understudy.config.schema import DataConfig, RunConfig
from understudy.data.dataset import Split
from understudy.data.loader import Batch, TrainBatches
from understudy.data.prepare import TrainingData
from understudy.diagnose.evidence import Fit, Gradients, Measured, Targets
from understudy.diagnose.record import ROLES, is_dropout
from understudy.errors import UnderstudyError
from understudy.evaluation.metrics import accuracy, predict
from understudy.methods import build_method, method_class, method_config, needs_of
from understudy.models.base import Classifier
from understudy.runs.folder import weights_path
from understudy.runs.networks import load_teacher, trained_network
from understudy.runs.plan import ArmSpec, method_of, shown_to, spec_of
from understudy.teachers.frozen import FrozenTeacher
from understudy.training.setup import make_context

SAMPLE = 5000
"""Training images looked at: the standard error of an accuracy is then below 0.71 points, small beside every threshold on one."""
TARGET_IMAGES = 2048
"""Training views the teacher is asked about."""
GRADIENT_BATCHES = 8
"""Batches behind each seed's gradients: their shares settle to a few percent."""
NORMALISATIONS = {
    "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "0.5 / 0.5": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "0 / 1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""What a teacher from elsewhere was usually trained with."""


def has_weights(run: Path, config: RunConfig) -> bool:
    """Whether the run's networks are there; a run whose ``models`` folder is gone has none.

    Raises:
        UnderstudyError: if some are there and some are not.
    """
    if not any((run / "models").glob("*.safetensors")):
        return False
    needed = [
        weights_path(run, spec.name) for seed in config.seeds for spec in _specs(config, seed)
    ]
    missing = sorted({str(path) for path in needed if not path.is_file()})
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UnderstudyError(
            f"{missing[0]}{more} is missing: run again with --resume, or move {run / 'models'} away to diagnose without weights"
        )
    return True


def measure(run: Path, config: RunConfig, data: TrainingData, device: torch.device) -> Measured:
    """The evidence that needs weights: means over the run's seeds.

    Args:
        run: the run directory, with all weights.
        config: of the run; ``config.data`` as ``data`` was prepared.
        data: its training and validation images.
        device: where networks run.
    """
    rng = torch.Generator().manual_seed(0)
    sample = data.train.take(torch.randperm(len(data.train), generator=rng)[:SAMPLE].sort().values)
    targets: list[Targets] = []
    gradients: list[Gradients | None] = []
    fits: dict[str, list[Fit]] = {role: [] for role in ROLES}
    for seed in config.seeds:
        teacher_spec, baseline_spec, distilled_spec = _specs(config, seed)
        teacher = load_teacher(config, distilled_spec, run, data, device)
        if config.teacher.per_seed or seed == config.seeds[0]:
            targets.append(_targets(config, teacher, data, seed, device))
            fits["teacher"].append(
                _fit(
                    teacher.model,
                    sample,
                    data.val,
                    shown_to(config, teacher_spec.arm),
                    seed,
                    device,
                )
            )
        students = {
            spec.arm: trained_network(config, spec, run, data).to(device)
            for spec in (baseline_spec, distilled_spec)
        }
        for arm, student in students.items():
            fits[arm].append(_fit(student, sample, data.val, shown_to(config, arm), seed, device))
        gradients.append(_gradients(config, students["distilled"], teacher, data, seed, device))
    own = _pixels(sample, config.data)
    return Measured(
        num_train=len(sample),
        targets=Targets(**_mean([asdict(t) for t in targets])),
        fits={role: Fit(**_mean([asdict(f) for f in found])) for role, found in fits.items()},
        gradients=_mean_gradients([g for g in gradients if g is not None]),
        input_mean=tuple(own.mean(1).tolist()),
        input_std=tuple(own.std(1).tolist()),
        normalisations=_normalisations(
            config, teacher, data, device
        ),  # of a given teacher, the same for every seed
    )


def _specs(config: RunConfig, seed: int) -> list[ArmSpec]:
    """Teacher, plain and distilled student of a seed."""
    return [spec_of(config, arm, seed) for arm in ROLES]


# -- networks on images as they are ---------------------------------------------------------------------------------------


def _fit(
    network: nn.Module, train: Split, val: Split, view: DataConfig, seed: int, device: torch.device
) -> Fit:
    on_train, on_val = predict(network, train, view, device), predict(network, val, view, device)
    with_dropout = _predict_with_dropout(network, train, view, seed, device)
    return Fit(
        train_accuracy=accuracy(on_train, train.labels),
        val_accuracy=accuracy(on_val, val.labels),
        train_confidence=_confidence(on_train),
        val_confidence=_confidence(on_val),
        dropout_accuracy=accuracy(on_train if with_dropout is None else with_dropout, train.labels),
    )


def _predict_with_dropout(
    network: nn.Module, split: Split, view: DataConfig, seed: int, device: torch.device
) -> Tensor | None:
    """Logits with the dropout layers switched on and all else (batch norm) in eval mode; None without such layers."""
    layers = [module for module in network.modules() if is_dropout(module)]
    if not layers:
        return None
    for layer in layers:
        layer.train()
    with _own_random_numbers(seed, device):
        logits = predict(_AsItIs(network), split, view, device)
    for layer in layers:
        layer.eval()
    return logits


class _AsItIs(nn.Module):
    """A network whose modes are set by hand: ``train`` and ``eval`` of this shell do not reach it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = [network]

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network[0](images)
        return logits


def _confidence(logits: Tensor) -> float:
    return float(logits.softmax(1).max(1).values.double().mean())


def _pixels(sample: Split, view: DataConfig) -> Tensor:
    """``[C, P]``: the normalised pixels of up to 1,000 images."""
    block = (
        sample.gather(torch.arange(min(len(sample), 1000))).reshape(-1, len(view.mean)).T.float()
        / 255
    )
    return (block - torch.tensor(view.mean)[:, None]) / torch.tensor(view.std)[:, None]


def _normalisations(
    config: RunConfig, teacher: FrozenTeacher, data: TrainingData, device: torch.device
) -> dict[str, float]:
    """Accuracy of a given teacher on up to 1,000 validation images under other normalisations than the configured one."""
    if config.teacher.path is None:
        return {}
    view = shown_to(config, "teacher")
    part = data.val.take(torch.arange(min(len(data.val), 1000)))
    views = {"as configured": view}
    for name, (mean, std) in NORMALISATIONS.items():
        if len(mean) == data.image.channels and (mean, std) != (tuple(view.mean), tuple(view.std)):
            views[name] = DataConfig(mean=mean, std=std)
    return {
        name: accuracy(predict(teacher.model, part, each, device), part.labels)
        for name, each in views.items()
    }


# -- what the student is told -----------------------------------------------------------------------------------------------


def _targets(
    config: RunConfig, teacher: FrozenTeacher, data: TrainingData, seed: int, device: torch.device
) -> Targets:
    batches = _batches(config, data, seed, device)
    number = math.ceil(TARGET_IMAGES / min(config.train.batch_size, len(data.train)))
    logits, shares = [], []
    for batch in _last_epoch(config, batches, number):
        logits.append(teacher.outputs(batch).logits.cpu())
        shares.append(label_shares(batch, data.num_classes).cpu())
    options = method_config(method_of(config, "distilled"))
    temperature = value_at(options.temperature, config.train.epochs_run - 1, config.train.epochs)
    return describe_targets(torch.cat(logits), torch.cat(shares), temperature)


def label_shares(batch: Batch, num_classes: int) -> Tensor:
    """float64 ``[B, K]``: the share of each class in a batch's labels; of an image that is not mixed all is its own class's."""
    own = nn.functional.one_hot(batch.labels, num_classes).double()
    if batch.partner_labels is None or batch.lam is None:
        return own
    return torch.lerp(
        nn.functional.one_hot(batch.partner_labels, num_classes).double(),
        own,
        batch.lam.double()[:, None],
    )


def describe_targets(logits: Tensor, shares: Tensor, temperature: float) -> Targets:
    """What teacher logits ``[N, K]`` for images with these :func:`label_shares` ``[N, K]`` tell a student at a temperature."""
    logits = logits.double()
    num_classes = logits.shape[1]
    soft, plain = (logits / temperature).softmax(1), logits.softmax(1)
    entropy = float(_entropy(soft).mean())
    others = soft.sort(1, descending=True).values[:, 1:]
    off_top = others.sum(1)
    # Normalised among themselves; a row whose other classes have underflowed to 0 carries nothing.
    among = others / off_top.clamp_min(1e-300)[:, None]
    ranking = off_top * (math.log(max(num_classes - 1, 1)) - _entropy(among))
    return Targets(
        num_images=len(logits),
        # A mixed image has two right classes, one more than the other.
        accuracy=float(
            (shares.gather(1, logits.argmax(1, keepdim=True))[:, 0] / shares.max(1).values).mean()
        ),
        confidence=float(plain.max(1).values.mean()),
        entropy=entropy,
        entropy_share=entropy / math.log(num_classes),
        off_top=float(off_top.mean()),
        ranking=float(ranking.mean()),
        profile=tuple(soft.sort(1, descending=True).values.mean(0).tolist()),
        profile_at_1=tuple(plain.sort(1, descending=True).values.mean(0).tolist()),
    )


def _entropy(probabilities: Tensor) -> Tensor:
    return -torch.special.xlogy(probabilities, probabilities).sum(1)


# -- what pulls at the student ----------------------------------------------------------------------------------------------


def _gradients(
    config: RunConfig,
    student: Classifier,
    teacher: FrozenTeacher,
    data: TrainingData,
    seed: int,
    device: torch.device,
) -> Gradients | None:
    """Norms and angle of the terms' gradients on a copy of the student; None where its method cannot be built around it."""
    options = method_config(method_of(config, "distilled"))
    if "+" not in options.name and method_class(options.name).keeps_adapter:
        return None
    student = copy.deepcopy(student)  # training mode moves its batch-norm statistics
    listens = teacher if needs_of(options) != "nothing" else None
    method = build_method(
        options, student, make_context(student, data, config.train, listens, device)
    ).to(device)
    method.train()
    method.epoch = config.train.epochs_run - 1
    kept = {id(p) for p in student.parameters()}
    # Regressors and the like are not kept with the student: their terms would be those of untrained ones.
    own_parts = any(id(p) not in kept for p in method.parameters())
    parameters = [p for p in student.parameters() if p.requires_grad]
    norms: dict[str, float] = {}
    cosines, number = [], 0
    with _own_random_numbers(seed, device):
        for batch in _last_epoch(config, _batches(config, data, seed, device), GRADIENT_BATCHES):
            losses, _ = method(batch, None if listens is None else listens.outputs(batch))
            terms = {
                name: loss for name, loss in losses.items() if name in ("ce", "kd") or not own_parts
            }
            pulls = {name: _flat_gradient(loss, parameters) for name, loss in terms.items()}
            for name, pull in pulls.items():
                norms[name] = norms.get(name, 0.0) + float(pull.norm())
            others = [pull for name, pull in pulls.items() if name != "ce"]
            if "ce" in pulls and others:
                cosines.append(
                    float(torch.cosine_similarity(pulls["ce"], torch.stack(others).sum(0), dim=0))
                )
            number += 1
    return Gradients(
        norms={name: total / number for name, total in norms.items()},
        shares=_shares(norms),
        cosine=math.fsum(cosines) / len(cosines) if cosines else None,
        num_batches=number,
        left_out=f"the terms of {options.name} that pass through parts not kept with the student"
        if own_parts
        else "",
    )


def _flat_gradient(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(p) if g is None else g).flatten()
            for p, g in zip(parameters, found, strict=True)
        ]
    )


def _shares(norms: Mapping[str, float]) -> dict[str, float]:
    total = math.fsum(norms.values())
    return {name: norm / total if total else 0.0 for name, norm in norms.items()}


def _mean_gradients(found: Sequence[Gradients]) -> Gradients | None:
    if not found:
        return None
    norms = _mean([g.norms for g in found])
    cosines = [g.cosine for g in found if g.cosine is not None]
    return Gradients(
        norms=norms,
        shares=_shares(norms),
        cosine=math.fsum(cosines) / len(cosines) if cosines else None,
        num_batches=sum(g.num_batches for g in found),
        left_out=found[0].left_out,
    )


# -- shared -------------------------------------------------------------------------------------------------------------------


def _batches(
    config: RunConfig, data: TrainingData, seed: int, device: torch.device
) -> TrainBatches:
    return TrainBatches(
        data.train,
        data.config,
        config.train.batch_size,
        seed,
        device,
        drop_last=config.train.drop_last,
    )


def _last_epoch(config: RunConfig, batches: TrainBatches, number: int) -> Iterator[Batch]:
    """The first few batches of the last epoch that was trained, in the order and the views that the training saw."""
    epoch = config.train.epochs_run - 1
    return islice(batches.epoch(epoch, batches.policy.epoch(epoch)), number)


def _mean(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Entry by entry; counts are equal and stay whole, tuples are averaged place by place."""

    def mean(values: list[Any]) -> Any:
        if isinstance(values[0], tuple):
            return tuple(math.fsum(column) / len(column) for column in zip(*values, strict=True))
        return values[0] if isinstance(values[0], int) else math.fsum(values) / len(values)

    return {key: mean([each[key] for each in found]) for key in found[0]}


@contextlib.contextmanager
def _own_random_numbers(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout draws from this seed; afterwards torch's generators stand where they stood."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
