"""Whether a teacher is better than the student without one, before any student learns from it.

A student takes over the mistakes of its teacher along with its knowledge. In
results/founding-causes nothing moved the gain as much as the teacher's accuracy; one that is no
better than the plain student has nothing to add. Both are measured on the validation images, so
what counts is the difference image by image, and how far chance moves it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from understudy.evaluation.correctness import stacked
from understudy.evaluation.results import Metrics
from understudy.runs.arms import ArmRun


@dataclass(frozen=True)
class TeacherAdvantage:
    """How much better a teacher is on validation than the students that are trained without it.

    Attributes:
        teacher: its accuracy, in [0, 1]; the mean over several teachers.
        plain: mean accuracy of the plain students, in [0, 1].
        seeds: how many plain students.
        error: standard error of the difference, over images and seeds, in [0, 1].
    """

    teacher: float
    plain: float
    seeds: int
    error: float

    @property
    def is_worse(self) -> bool:
        """Whether it is below the plain students by more than a standard error.

        With a few dozen validation images the best teacher may lie a little below by chance: a
        run does not stop for that.
        """
        return self.teacher - self.plain < -self.error

    @property
    def is_within_error(self) -> bool:
        """Whether the difference is no larger than its standard error."""
        return abs(self.teacher - self.plain) <= self.error

    def __str__(self) -> str:
        seeds = "" if self.seeds == 1 else f", the mean of {self.seeds} seeds"
        return (
            f"the teacher has {100 * self.teacher:.1f} % on validation, the student without it "
            f"{100 * self.plain:.1f} %{seeds} (difference {100 * (self.teacher - self.plain):+.1f} "
            f"± {100 * self.error:.1f} points)"
        )

    @property
    def refusal(self) -> str:
        """Why a run stops here, and what to do."""
        return (
            f"{self}: it would teach its mistakes. Take a better one (teacher.path, "
            "teacher.model), train it for longer (teacher.train.epochs), adapt it to these images "
            "(teacher.head=finetune), or check what it is fed (teacher.mean, teacher.std, "
            "teacher.classes); --resume --go-on lets it teach all the same"
        )

    @property
    def line(self) -> str:
        """One line for people."""
        if self.is_worse:
            return f"{self}: it will teach its mistakes"
        return f"{self}: it may have nothing to teach" if self.is_within_error else str(self)


def measured_line(run: ArmRun, val: Metrics) -> str:
    """A teacher's accuracy on validation, for people; named by its seed if there are several."""
    name = run.name if run.arm.seed is None else run.arm.name
    balanced = val.balanced_accuracy
    also = "" if balanced is None else f" (balanced accuracy {100 * balanced:.1f} %)"
    return f"{name}: {100 * val.accuracy:.1f} % on validation{also}"


def teacher_advantage(teachers: Sequence[Metrics], plain: Sequence[Metrics]) -> TeacherAdvantage:
    """Compare teachers with plain students on the same validation images.

    The standard error has two parts: of the mean over images of the difference (each image's share
    of right teachers less its share of right students), and of the mean over the students' seeds.

    Args:
        teachers: one, or one for each seed.
        plain: one for each seed.
    """
    ours, theirs = stacked(teachers), stacked(plain)
    of_teacher = float(np.mean([metrics.accuracy for metrics in teachers]))
    accuracies = np.array([metrics.accuracy for metrics in plain])
    if ours is None or theirs is None or ours.shape[1] != theirs.shape[1]:
        over_images = 0.0  # results of an earlier version do not record which images were right
    else:
        differences = ours.mean(0) - theirs.mean(0)
        over_images = float(differences.var()) / len(differences)
    seeds = len(accuracies)
    over_seeds = float(accuracies.var(ddof=1)) / seeds if seeds > 1 else 0.0
    error = math.sqrt(over_images + over_seeds)
    return TeacherAdvantage(of_teacher, float(accuracies.mean()), seeds, error)
