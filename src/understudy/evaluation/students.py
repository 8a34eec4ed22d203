"""Which student is the best known one under a budget, for images of any shape and any classes.

Parameters and multiply-accumulates are counted for these images and classes; times are measured
here. Only the accuracy is looked up, in the table of :mod:`understudy.models.students`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from understudy.config.budget import Budget, is_budget
from understudy.config.networks import ModelConfig
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.evaluation.latency import count_macs, model_size
from understudy.evaluation.stopwatch import Job, Timed, time_students
from understudy.events import SILENT, Observer
from understudy.models.registry import MODELS, build_model
from understudy.models.sizing import for_size
from understudy.models.students import StudentTable, known_students


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A student of the table, for given images and classes.

    Attributes:
        model: the network.
        accuracy: mean validation accuracy in the table, in [0, 1].
        place: from 1, of that accuracy among all students of the table.
        parameters: trained elements.
        macs: multiply-accumulates of one image.
        milliseconds: of one image, where it was measured.
    """

    model: ModelConfig
    accuracy: float
    place: int
    parameters: int
    macs: int
    milliseconds: float | None = None

    def fits(self, budget: Budget) -> bool:
        """Whether it has no more parameters and multiply-accumulates than the budget allows."""
        return _fits(self.parameters, self.macs, budget)

    @property
    def name(self) -> str:
        """The network with its widths: ``tiny_res 16-32-48-54``."""
        widths = self.model.options.get("widths", ())
        return " ".join(filter(None, [self.model.name, "-".join(map(str, widths))]))


def candidates(image: ImageSpec, num_classes: int, table: StudentTable) -> list[Candidate]:
    """Every student of the table, for these images and classes, the most accurate first."""
    by_accuracy = sorted(table.trained, key=lambda student: -student.mean)
    found = []
    for place, student in enumerate(by_accuracy, start=1):
        model = for_size(student.name, student.options, image)
        parameters, macs = exact_costs(model, image, num_classes)
        found.append(
            Candidate(
                model=model,
                accuracy=student.mean,
                place=place,
                parameters=parameters,
                macs=macs,
            )
        )
    return found


def preferred(found: Sequence[Candidate], standard_error: float) -> list[Candidate]:
    """Candidates in the order in which they are preferred.

    First the most accurate one, or of those that are less accurate by no more than a standard error
    the one with the fewest multiply-accumulates; then in the same way of the others.
    """
    left, ordered = list(found), []
    while left:
        best = max(each.accuracy for each in left)
        equal = [each for each in left if each.accuracy >= best - standard_error]
        ordered.append(min(equal, key=lambda each: each.macs))
        left.remove(ordered[-1])
    return ordered


def exact_costs(model: ModelConfig, image: ImageSpec, num_classes: int) -> tuple[int, int]:
    """Parameters and multiply-accumulates, on torch's meta device: nothing is computed."""
    import torch

    with torch.device("meta"):
        network = build_model(model.name, num_classes, image, options=model.options)
    return model_size(network).parameters, count_macs(network, image.shape)


def within(budget: Budget, image: ImageSpec, num_classes: int) -> list[Candidate]:
    """The students under a budget, in the order in which they are preferred.

    With a limit of time those that were measured to find the first of them.

    Raises:
        UnderstudyError: if nothing fits, naming the smallest there is; for a runtime that is
            missing on this machine.
    """
    table = known_students()
    known = candidates(image, num_classes, table)
    fitting = [each for each in known if each.fits(budget)]
    fitting = preferred(fitting, table.standard_error)
    if not fitting:
        raise UnderstudyError(_nothing(known, budget, f"{image} images of {num_classes} classes"))
    if budget.milliseconds is None:
        return fitting
    job = Job(
        models=tuple(each.model for each in fitting),
        macs=tuple(each.macs for each in fitting),
        image=image.shape,
        num_classes=num_classes,
        runtime=budget.runtime,
        limit=budget.milliseconds,
    )
    return _fast_enough(fitting, job, time_students(job))


def is_within(budget: Budget, model: ModelConfig, image: ImageSpec, num_classes: int) -> bool:
    """Whether a network of ours has no more parameters and multiply-accumulates than a budget
    allows."""
    if model.name not in MODELS:
        return False
    parameters, macs = exact_costs(model, image, num_classes)
    return _fits(parameters, macs, budget)


def _fast_enough(fitting: Sequence[Candidate], job: Job, timed: Timed) -> list[Candidate]:
    """The chosen student, then the others that were measured and are fast enough."""
    found = timed.milliseconds
    measured = [
        replace(each, milliseconds=found[str(number)])
        for number, each in enumerate(fitting)
        if str(number) in found
    ]
    if timed.chosen is None:
        smallest = min(measured, key=lambda each: each.macs)
        raise UnderstudyError(
            f"no known student takes at most {job.limit:g} ms on {job.runtime} here: the smallest, "
            f"{smallest.name}, takes {smallest.milliseconds:.2g} ms"
        )
    chosen = fitting[timed.chosen].model
    fast = [each for each in measured if (each.milliseconds or 0) <= job.limit]
    return sorted(fast, key=lambda each: each.model != chosen)


def choose_student(
    name: str, image: ImageSpec, num_classes: int, observer: Observer = SILENT
) -> ModelConfig:
    """The network for a budget such as ``auto:100k``.

    Args:
        name: the budget.
        image: shape of the images.
        num_classes: number of logits.
        observer: gets a line: what was chosen, and why.

    Raises:
        UnderstudyError: for a malformed budget, or one that nothing fits.
    """
    budget = Budget.of(name)
    fitting = within(budget, image, num_classes)
    observer.message(f"student {name}: {_reason(fitting, image)}")
    return fitting[0].model


def named_student(
    name: str, image: ImageSpec, num_classes: int, observer: Observer = SILENT
) -> ModelConfig:
    """The network of a name, or of a budget: see :func:`choose_student`."""
    if is_budget(name):
        return choose_student(name, image, num_classes, observer)
    return ModelConfig(name)


def _fits(parameters: int, macs: int, budget: Budget) -> bool:
    few = budget.parameters is None or parameters <= budget.parameters
    return few and (budget.macs is None or macs <= budget.macs)


def _nothing(known: Sequence[Candidate], budget: Budget, images: str) -> str:
    """One line that names the smallest student, by the limit that is too low."""
    few = [each for each in known if each.fits(replace(budget, macs=None))]
    if few:
        smallest = min(few, key=lambda each: each.macs)
        return (
            f"no known student has at most {budget} for {images}: the one with the fewest "
            f"multiply-accumulates has {smallest.macs:,} ({smallest.name})"
        )
    smallest = min(known, key=lambda each: each.parameters)
    return (
        f"no known student has at most {budget} for {images}: the smallest has "
        f"{smallest.parameters:,} parameters ({smallest.name})"
    )


def _reason(fitting: Sequence[Candidate], image: ImageSpec) -> str:
    table, first = known_students(), fitting[0]
    time = "" if first.milliseconds is None else f", {first.milliseconds:.2g} ms here"
    best = max(fitting, key=lambda each: each.accuracy)
    others = "" if len(fitting) == 1 else f", the best of {len(fitting)} within the budget"
    if time:
        others = ""  # only a few were measured
    if best is not first:
        others = f", as good as {best.name} ({best.accuracy:.1%}) within the noise, and cheaper"
    return (
        f"{first.name} for {image}, {first.parameters:,} parameters, "
        f"{first.macs / 1e6:.2f}M multiply-accumulates{time}; place {first.place} of "
        f"{len(table.trained)} in the table ({first.accuracy:.1%} on {table.data} validation after "
        f"a short training){others}"
    )
