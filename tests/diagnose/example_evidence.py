"""Evidence of a made-up run in which everything is in order, to change one number at a time."""

from dataclasses import replace
from typing import Any

from understudy.config.parse import parse
from understudy.config.schema import RunConfig
from understudy.diagnose.evidence import (
    ArmStats,
    Curve,
    Evidence,
    FitStats,
    Gradients,
    Measured,
    RunRecord,
    SoftTargets,
)
from understudy.evaluation.gain import gain_over_seeds

CURVE = Curve(
    (0.5, 1.0, 0.5, 0.0),
    (0.5, 0.7, 0.8, 0.85),
    (0.5, 0.6, 0.7, 0.75),
    0.0,
    0.001,
    {"ce": 0.3, "kd": 0.6},
)
FITS = {
    "teacher": FitStats(0.93, 0.90, 0.93, 0.90, 0.93),
    "baseline": FitStats(0.84, 0.75, 0.83, 0.76, 0.84),
    "distilled": FitStats(0.84, 0.78, 0.83, 0.78, 0.84),
}
TARGETS = SoftTargets(
    2048, 0.95, 0.9, 1.7, 0.74, 0.5, 0.1, (0.5, 0.2, *[0.0375] * 8), (0.9, 0.05, *[0.00625] * 8)
)
GRADIENTS = Gradients({"ce": 1.0, "kd": 3.0}, {"ce": 0.25, "kd": 0.75}, 0.6, 24)
GAINS = ([0.781, 0.780, 0.779], [0.751, 0.749, 0.750])


def config(**changes: Any) -> RunConfig:
    return parse(RunConfig, {"train": {"epochs": 4}, "method": {"name": "kd"}} | changes)


def recorded(**changes: Any) -> RunRecord:
    whole = RunRecord(
        gain=gain_over_seeds(*GAINS),
        num_val=5000,
        num_test=10_000,
        num_classes=10,
        temperature=4.0,
        alpha=0.7,
        arms={
            "teacher": ArmStats(0.90, 0.90, None, None, 4_000_000),
            "baseline": ArmStats(0.75, 0.75, 0.78, 0.40, 100_000),
            "distilled": ArmStats(0.78, 0.78, 0.82, 0.25, 100_000),
        },
        curves={"teacher": CURVE, "baseline": CURVE, "distilled": CURVE},
        dropout={},
        dropout_options=(),
    )
    return replace(whole, **changes)


def measured(**changes: Any) -> Measured:
    whole = Measured(5000, TARGETS, FITS, GRADIENTS, (0.0, 0.1, -0.1), (1.0, 0.9, 1.1), {})
    return replace(whole, **changes)


def healthy(
    config_: RunConfig | None = None,
    recorded_: RunRecord | None = None,
    measured_: Measured | None = None,
) -> Evidence:
    """All in order; any part can be given."""
    return Evidence(config_ or config(), recorded_ or recorded(), measured_ or measured())


def without_weights(
    config_: RunConfig | None = None, recorded_: RunRecord | None = None
) -> Evidence:
    return Evidence(config_ or config(), recorded_ or recorded(), None)


def fits(**changes: dict[str, float]) -> dict[str, FitStats]:
    """The healthy fits with some numbers of some networks changed."""
    return {role: replace(fit, **changes.get(role, {})) for role, fit in FITS.items()}


def arms(**changes: dict[str, float]) -> dict[str, ArmStats]:
    """The healthy arms with some numbers of some of them changed."""
    return {role: replace(arm, **changes.get(role, {})) for role, arm in recorded().arms.items()}


def targets_of(**changes: Any) -> Evidence:
    """All in order but the soft targets."""
    return healthy(measured_=measured(targets=replace(TARGETS, **changes)))


def gradients_of(**changes: Any) -> Evidence:
    """All in order but the gradients."""
    return healthy(measured_=measured(gradients=replace(GRADIENTS, **changes)))


def fits_of(**changes: dict[str, float]) -> Evidence:
    """All in order but the fits."""
    return healthy(measured_=measured(fits=fits(**changes)))
