"""Learning curves as a figure, for notebooks and files; without pyplot and its state."""

import io
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from understudy.errors import UnderstudyError
from understudy.events import EpochResult
from understudy.report.drawing import INK, styled
from understudy.teachers.acceptance import TeacherCheck

_TRAIN, _VAL = "#8a8f98", "#0969da"


class Curves(Figure):
    """A figure that a notebook shows by itself, whatever backend matplotlib has there."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png", facecolor="white")
        return content.getvalue()


def draw_curves(history: Sequence[EpochResult], teachers: Sequence[TeacherCheck] = ()) -> Figure:
    """Losses on the left, accuracies on the right, over the epochs; each teacher is a dashed line.

    Raises:
        UnderstudyError: without epochs.
    """
    if not history:
        raise UnderstudyError("there are no epochs to plot: this student was not trained here")
    epochs = [result.epoch + 1 for result in history]
    with styled():
        figure = Curves(figsize=(8, 3), layout="constrained", dpi=110)
        losses, accuracies = figure.subplots(1, 2)
        marker = "o" if len(epochs) == 1 else ""
        for name in history[-1].losses:
            values = [result.losses.get(name, float("nan")) for result in history]
            width, alpha = (1.8, 1.0) if name == "loss" else (1.0, 0.6)
            losses.plot(epochs, values, marker=marker, linewidth=width, alpha=alpha, label=name)
        own = {"validation": (_VAL, [100 * result.val_accuracy for result in history])}
        own["training, as augmented"] = (_TRAIN, [100 * r.train_accuracy for r in history])
        for name, (colour, values) in own.items():
            accuracies.plot(epochs, values, color=colour, marker=marker, label=name)
        for check in teachers:
            label = f"teacher {check.name}"
            accuracies.axhline(100 * check.accuracy, color=INK, ls="--", lw=1, label=label)
        for axes, title in ((losses, "loss, training"), (accuracies, "accuracy, %")):
            axes.set_title(title)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(axis="y")
            axes.legend()
    return figure
