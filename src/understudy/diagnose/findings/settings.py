"""Settings to try, as overrides of ``understudy run``, worked out from the run's own."""

from understudy.diagnose.evidence import Evidence


def setting(option: str, value: float) -> str:
    """An option of the method, set."""
    return f"method.{option}={value:g}"


def cooler(evidence: Evidence) -> str:
    """Half the temperature, and no less than 1."""
    return setting("temperature", max(1, evidence.recorded.temperature / 2))


def onecycle(evidence: Evidence) -> tuple[str, ...]:
    """A schedule that closes, where the run had another one."""
    return () if evidence.config.train.schedule == "cosine" else ("train.schedule=cosine",)


def longer_teacher(evidence: Evidence) -> str:
    """Twice the teacher's epochs."""
    return f"teacher.train.epochs={2 * evidence.config.teacher_train.epochs}"
