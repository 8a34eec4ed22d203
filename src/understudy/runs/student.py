"""The student of a run that names a budget, chosen once, before the plan."""

from dataclasses import replace
from pathlib import Path

from understudy.config.budget import Budget, is_budget
from understudy.config.schema import RunConfig, StudentConfig
from understudy.data.dataset import LabelledImages
from understudy.errors import UnderstudyError
from understudy.evaluation.students import choose_student, is_within
from understudy.events import SILENT, Observer
from understudy.runs.folder import RunFolder, load_run
from understudy.training.device import ranks


def with_student(
    config: RunConfig, images: LabelledImages, begun: Path | None, observer: Observer = SILENT
) -> RunConfig:
    """The configuration with a network in place of a budget such as ``auto:100k``.

    Args:
        config: of the run.
        images: whose shape and classes the student gets.
        begun: folder of a run that goes on, if there is one: it keeps its student if that is within
            the budget, since a time or another table could choose another one.
        observer: gets a line: what was chosen, and why.

    Raises:
        UnderstudyError: if nothing fits, or several ranks would each measure a time.
    """
    name = config.student.model.name
    if not is_budget(name):
        return config
    budget = Budget.of(name)
    if begun is not None and RunFolder(begun).config.is_file():
        student = load_run(begun).student
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
