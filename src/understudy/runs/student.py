"""The student of a run that names a budget, chosen once, before the plan."""

from dataclasses import replace

from understudy.config.budget import Budget, is_budget
from understudy.config.schema import RunConfig, StudentConfig
from understudy.data.dataset import LabelledImages
from understudy.errors import UnderstudyError
from understudy.evaluation.students import choose_student, is_within
from understudy.events import SILENT, Observer
from understudy.training.device import ranks


def with_student(
    config: RunConfig,
    images: LabelledImages,
    earlier: RunConfig | None,
    observer: Observer = SILENT,
) -> RunConfig:
    """The configuration with a network in place of a budget such as ``auto:100k``.

    Args:
        config: of the run.
        images: whose shape and classes the student gets.
        earlier: of the run that goes on, if there is one: it keeps its student if that is within
            the budget, since a time or another table could choose another one.
        observer: gets a line: what was chosen, and why.

    Raises:
        UnderstudyError: if nothing fits, or several ranks would each measure a time.
    """
    name = config.student.model.name
    if not is_budget(name):
        return config
    budget = Budget.of(name)
    if earlier is not None:
        student = earlier.student
        if is_within(budget, student.model, images.image, images.num_classes):
            observer.message(f"student {name}: {student.model.name}, with which the run was begun")
            return replace(config, student=student)
    if ranks().is_distributed and budget.milliseconds is not None:
        raise UnderstudyError(
            f"student {name}: every rank would measure a time of its own: choose one by "
            f"`understudy models --budget {name.partition(':')[2]}`, and name it"
        )
    model = choose_student(name, images.image, images.num_classes, observer)
    return replace(config, student=StudentConfig(model))
