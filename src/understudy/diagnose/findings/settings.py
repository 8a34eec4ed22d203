"""Settings to try, as overrides of ``understudy run``, computed from those of the run."""

from understudy.diagnose.evidence import Evidence


def setting(option: str, value: float) -> str:
    """An override of an option of the distilled arm's method."""
    return f"method.{option}={value:g}"


def cooler(evidence: Evidence) -> str:
    """Half the temperature, but at least 1."""
    return setting("temperature", max(1, evidence.recorded.temperature / 2))


def closing_schedule(evidence: Evidence) -> tuple[str, ...]:
    """A schedule that ends near zero, unless the run already has it."""
    return () if evidence.config.train.schedule == "cosine" else ("train.schedule=cosine",)


def more_epochs(evidence: Evidence) -> str:
    """Twice the student's epochs."""
    return f"train.epochs={2 * evidence.config.train.epochs}"


def longer_teacher(evidence: Evidence) -> str:
    """Twice the teacher's epochs."""
    return f"teacher.train.epochs={2 * evidence.teacher.train.epochs}"
