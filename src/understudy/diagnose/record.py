"""What a finished run recorded, as evidence: results.json, history.csv, config.yaml; no weights."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.config.schedules import value_at
from understudy.config.schema import RunConfig
from understudy.diagnose.evidence import ArmStats, Curve, RunRecord
from understudy.errors import UnderstudyError
from understudy.evaluation.correctness import gain_between
from understudy.evaluation.gain import PairedGain
from understudy.evaluation.statistics import summarise
from understudy.events import EpochResult
from understudy.runs.history import epochs_of, read_history
from understudy.runs.plan import RunPlan
from understudy.runs.results import ArmSummary, DataFacts, RunResults

if TYPE_CHECKING:
    from torch import nn

ROLES = ("teacher", "baseline", "distilled")
"""The arms that a diagnosis compares."""


def read_record(run: Path, plan: RunPlan, results: RunResults) -> RunRecord:
    """The evidence in a run's files.

    Args:
        run: the run's folder.
        plan: of the run.
        results: of its ``results.json``.

    Raises:
        UnderstudyError: if an arm is missing, baseline and distilled student do not have the same
            seeds, or an accuracy is missing.
    """
    arms = {role: _arm_of_role(run, results, role) for role in ROLES}
    config, options = plan.config, plan.arm("distilled").method
    last = config.train.epochs_run - 1
    dropout, dropout_options = _dropout(config, results.data)
    history = read_history(run)
    epochs = {role: epochs_of(history, role) for role in ROLES}
    return RunRecord(
        gain=_gain(run, arms["baseline"], arms["distilled"]),
        num_val=results.data.num_val,
        num_test=results.data.num_test,
        num_classes=len(results.data.class_names),
        # Both may follow a schedule: the values of the last epoch.
        temperature=value_at(options.temperature, last, config.train.epochs),
        alpha=value_at(options.alpha, last, config.train.epochs),
        arms={role: _stats(arm) for role, arm in arms.items()},
        curves={role: training_curve(rows) for role, rows in epochs.items() if rows},
        dropout=dropout,
        dropout_options=dropout_options,
    )


def _arm_of_role(run: Path, results: RunResults, role: str) -> ArmSummary:
    name = results.arm_of_role(role)
    if name is None:
        raise UnderstudyError(
            f"{run} has no {role} arm: a diagnosis compares teacher, baseline and distilled"
        )
    return results.arms[name]


def _gain(run: Path, baseline: ArmSummary, distilled: ArmSummary) -> PairedGain:
    """Gain in test accuracy of the distilled student over the baseline."""
    reference = {result.seed: result.test for result in baseline.runs}
    values = {result.seed: result.test for result in distilled.runs}
    if reference.keys() != values.keys():
        raise UnderstudyError(
            f"{run}: baseline and distilled were trained on different seeds: "
            "run again with --resume"
        )
    seeds = sorted(reference)
    return gain_between([values[seed] for seed in seeds], [reference[seed] for seed in seeds])


def _stats(arm: ArmSummary) -> ArmStats:
    val = [run.val for run in arm.runs]
    val_accuracy = _mean([None if metrics is None else metrics.accuracy for metrics in val])
    test_accuracy = _mean([run.test.accuracy for run in arm.runs])
    if val_accuracy is None or test_accuracy is None:
        raise UnderstudyError(
            "results.json has no validation accuracy: run again with --resume to write it again"
        )
    return ArmStats(
        val_accuracy=val_accuracy,
        test_accuracy=test_accuracy,
        agreement=_mean([None if metrics is None else metrics.agreement for metrics in val]),
        teacher_kl=_mean([None if metrics is None else metrics.teacher_kl for metrics in val]),
        parameters=None if arm.size is None else arm.size.parameters,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """``None`` if one of the values is missing."""
    found = summarise(values)
    return None if found is None else found.mean


# -- training curves -----------------------------------------------------------------------------


def training_curve(rows: Sequence[EpochResult]) -> Curve:
    """Means over seeds, epoch by epoch, of one arm's history."""
    epochs = sorted({row.epoch for row in rows})
    by_epoch = [[row for row in rows if row.epoch == epoch] for epoch in epochs]
    slope, error = None, None
    if len(epochs) >= 3:
        window = max(3, math.ceil(len(epochs) / 3))
        values = [[row.val_accuracy for row in found] for found in by_epoch[-window:]]
        slope, error = _slope(epochs[-window:], values)
    return Curve(
        lr=tuple(_average([row.lr for row in found]) for found in by_epoch),
        train_accuracy=tuple(_average([row.train_accuracy for row in found]) for found in by_epoch),
        val_accuracy=tuple(_average([row.val_accuracy for row in found]) for found in by_epoch),
        slope=slope,
        slope_error=error,
        terms=_mean_terms(by_epoch[-1]),
    )


def _average(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _mean_terms(rows: Sequence[EpochResult]) -> dict[str, float]:
    """Mean of each loss term over the seeds that have it; without their sum, ``loss``."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.losses.items():
            if name != "loss":
                found.setdefault(name, []).append(value)
    return {name: _average(values) for name, values in found.items()}


def _slope(epochs: Sequence[int], values: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Least-squares slope over the epochs and its standard error; each seed has its own level.

    Args:
        epochs: x values.
        values: for each epoch, one value for each seed.
    """
    num_seeds = min(len(found) for found in values)
    middle = math.fsum(epochs) / len(epochs)
    offsets = [epoch - middle for epoch in epochs]
    spread = num_seeds * math.fsum(offset**2 for offset in offsets)
    products: list[float] = []
    residuals: list[float] = []
    levels = [math.fsum(found[s] for found in values) / len(values) for s in range(num_seeds)]
    for offset, found in zip(offsets, values, strict=True):
        products += [offset * (found[s] - levels[s]) for s in range(num_seeds)]
    slope = math.fsum(products) / spread
    for offset, found in zip(offsets, values, strict=True):
        residuals += [(found[s] - levels[s] - slope * offset) ** 2 for s in range(num_seeds)]
    degrees_of_freedom = max(len(residuals) - num_seeds - 1, 1)
    return slope, math.sqrt(math.fsum(residuals) / degrees_of_freedom / spread)


# -- dropout -------------------------------------------------------------------------------------


def _dropout(config: RunConfig, data: DataFacts) -> tuple[dict[str, float], tuple[str, ...]]:
    """The student's active dropout layers, and the options of its constructor that may set them."""
    import torch

    from understudy.models import MODELS, build_model, describe_model

    channels, height, _ = data.image_shape
    model = config.student.model
    # Building a network draws its weights; the caller's random numbers stay the same.
    with torch.random.fork_rng(devices=[]):
        network = build_model(
            model.name,
            len(data.class_names),
            in_channels=channels,
            image_size=height,
            stages=config.student.stages,
            options=model.options,
        )
    active = {}
    for name, module in network.named_modules():
        if is_dropout(module) and module.p > 0:
            active[name] = float(module.p)
    defaults = describe_model(model.name)["options"] if model.name in MODELS else {}
    options = {**defaults, **model.options}
    return active, tuple(name for name, value in options.items() if "drop" in name and value)


def is_dropout(module: "nn.Module") -> bool:
    """Whether a module is one of torch's dropout layers."""
    from torch import nn

    return isinstance(module, nn.modules.dropout._DropoutNd)
