"""The networks that are proposed: one student, and teachers from the strongest to the fastest."""

from understudy.config.budget import Budget, is_budget
from understudy.config.schema import ModelConfig
from understudy.data.spec import ImageSpec
from understudy.evaluation.students import choose_student
from understudy.events import SILENT, Observer
from understudy.models import describe_model
from understudy.models.sizing import for_size

STUDENT = "auto:110k"
"""About 100,000 parameters. Of the networks below this limit that are equally good, as far as the
table can tell, it is the one with the fewest operations, which is `tiny_res`."""


def refuse_unknown(name: str) -> None:
    """Raises UnderstudyError for a name that is none of ours and none of another library's, and for
    a malformed budget."""
    if is_budget(name):
        Budget.of(name)
    elif ":" not in name:
        describe_model(name)


def student(
    name: str | None, image: ImageSpec, num_classes: int, observer: Observer = SILENT
) -> ModelConfig:
    """The student of a name or budget (:data:`STUDENT` by default) for these images and classes.

    Raises:
        UnderstudyError: for an unknown name, or a budget that nothing fits.
    """
    name = STUDENT if name is None else name
    if is_budget(name):
        return choose_student(name, image, num_classes, observer)
    return for_size(name, {}, image)


def teachers(name: str | None, image: ImageSpec) -> tuple[ModelConfig, ...]:
    """The teacher of a name; without one, candidates from the strongest to the fastest.

    Raises:
        UnderstudyError: for an unknown name.
    """
    if name is not None:
        return (for_size(name, {}, image),)
    return tuple(
        for_size("fast_teacher", {"widths": list(widths), "residual": True}, image)
        for widths in ((128, 256, 512), (64, 128, 256), (48, 96, 192), (32, 64, 128), (24, 48, 96))
    )
