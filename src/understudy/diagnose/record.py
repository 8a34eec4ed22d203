"""What a finished run wrote down about itself, as evidence. Reads results.json, history.csv and config.yaml; needs no weights."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from understudy.config.schedules import value_at
from understudy.config.schema import RunConfig
from understudy.diagnose.evidence import Curve, Recorded, Standing
from understudy.errors import UnderstudyError
from understudy.evaluation.statistics import paired_gain, summarise
from understudy.events import EpochResult
from understudy.methods import method_config
from understudy.runs.plan import method_of
from understudy.runs.results import ArmSummary, DataFacts, RunResults, epochs_of, read_history

ROLES = ("teacher", "baseline", "distilled")


def read_recorded(run: Path, config: RunConfig, results: RunResults) -> Recorded:
    """The evidence of a run's files.

    Args:
        run: its directory.
        config: of the run.
        results: of its ``results.json``.

    Raises:
        UnderstudyError: if an arm is missing, or plain and distilled students do not share their seeds.
    """
    arms = {}
    for role in ROLES:
        name = results.arm_of_role(role)
        if name is None:
            raise UnderstudyError(
                f"{run} has no {role} arm: a diagnosis compares teacher, baseline and distilled"
            )
        arms[role] = results.arms[name]
    by_seed = {
        role: {r.seed: r.test.accuracy for r in arms[role].runs}
        for role in ("baseline", "distilled")
    }
    if by_seed["baseline"].keys() != by_seed["distilled"].keys():
        raise UnderstudyError(
            f"{run}: baseline and distilled were trained on different seeds: run again with --resume"
        )
    seeds = sorted(by_seed["baseline"])
    gain = paired_gain(
        [by_seed["distilled"][s] for s in seeds], [by_seed["baseline"][s] for s in seeds]
    )
    data = results.data
    options = method_config(method_of(config, "distilled"))
    dropout, dropout_options = _dropout(config, data)
    history = read_history(run)
    curves = {role: _curve(epochs_of(history, role)) for role in ROLES if epochs_of(history, role)}
    return Recorded(
        gain=gain,
        num_val=data.num_val,
        num_test=data.num_test,
        num_classes=len(data.class_names),
        # Where they move over the epochs: as the student ended.
        temperature=value_at(options.temperature, config.train.epochs_run - 1, config.train.epochs),
        alpha=value_at(options.alpha, config.train.epochs_run - 1, config.train.epochs),
        arms={role: _standing(arm) for role, arm in arms.items()},
        curves=curves,
        dropout=dropout,
        dropout_options=dropout_options,
    )


def _standing(arm: ArmSummary) -> Standing:
    def mean(split: str, key: str) -> float | None:
        found = summarise([getattr(getattr(run, split), key, None) for run in arm.runs])
        return None if found is None else found.mean

    val, test = mean("val", "accuracy"), mean("test", "accuracy")
    if val is None or test is None:
        raise UnderstudyError(
            "results.json holds no validation accuracy: run again with --resume to write it anew"
        )
    parameters = None if arm.size is None else arm.size.parameters
    return Standing(val, test, mean("val", "agreement"), mean("val", "teacher_kl"), parameters)


def _curve(rows: Sequence[EpochResult]) -> Curve:
    """Means over seeds of the history rows of one arm."""
    epochs = sorted({row.epoch for row in rows})
    at = {epoch: [row for row in rows if row.epoch == epoch] for epoch in epochs}

    def means(column: str) -> tuple[float, ...]:
        return tuple(math.fsum(getattr(row, column) for row in at[e]) / len(at[e]) for e in epochs)

    window = epochs[-max(3, math.ceil(len(epochs) / 3)) :]
    slope, error = (
        _slope([(e, [row.val_accuracy for row in at[e]]) for e in window])
        if len(epochs) >= 3
        else (None, None)
    )
    last = at[epochs[-1]]
    names = [
        name for name in dict.fromkeys(n for row in last for n in row.losses) if name != "loss"
    ]
    terms = {name: [row.losses[name] for row in last if name in row.losses] for name in names}
    return Curve(
        lr=means("lr"),
        train_accuracy=means("train_accuracy"),
        val_accuracy=means("val_accuracy"),
        slope=slope,
        slope_error=error,
        terms={name: math.fsum(values) / len(values) for name, values in terms.items() if values},
    )


def _slope(points: Sequence[tuple[int, list[float]]]) -> tuple[float, float]:
    """Least-squares slope of the values over the epochs and its standard error; each seed has a level of its own."""
    num_seeds = min(len(values) for _, values in points)
    middle = math.fsum(e for e, _ in points) / len(points)
    spread = num_seeds * math.fsum((e - middle) ** 2 for e, _ in points)
    level = [math.fsum(values[s] for _, values in points) / len(points) for s in range(num_seeds)]
    slope = (
        math.fsum(
            (e - middle) * (values[s] - level[s]) for e, values in points for s in range(num_seeds)
        )
        / spread
    )
    rest = [
        (values[s] - level[s] - slope * (e - middle)) ** 2
        for e, values in points
        for s in range(num_seeds)
    ]
    freedom = max(len(rest) - num_seeds - 1, 1)
    return slope, math.sqrt(math.fsum(rest) / freedom / spread)


def _dropout(config: RunConfig, data: DataFacts) -> tuple[dict[str, float], tuple[str, ...]]:
    """The student's active dropout layers, and the constructor options that may set them: from the network itself."""
    import torch

    from understudy.models import MODELS, build_model, describe_model

    channels, height, _ = data.image_shape
    model = config.student.model
    with torch.random.fork_rng(
        devices=[]
    ):  # building draws weights: whoever calls us keeps their random numbers
        network = build_model(
            model.name,
            len(data.class_names),
            in_channels=channels,
            image_size=height,
            stages=config.student.stages,
            options=model.options,
        )
    active = {name: float(m.p) for name, m in network.named_modules() if is_dropout(m) and m.p > 0}
    known = {
        **(describe_model(model.name)["options"] if model.name in MODELS else {}),
        **model.options,
    }
    return active, tuple(
        name for name, value in known.items() if "drop" in name and model.options.get(name, value)
    )


def is_dropout(module: Any) -> bool:
    """Whether a module is one of torch's dropout layers."""
    from torch import nn

    return isinstance(module, nn.modules.dropout._DropoutNd)
