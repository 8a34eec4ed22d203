"""Classes of image files by anything that runs a network: batch by batch, in bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from understudy.cores import available_cores
from understudy.data.preprocess import Preprocessing
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer, Progress
from understudy.export.inputs import ImageFile
from understudy.export.runtime import Runtime

BATCH = 64
"""Images that are decoded and classified together."""


@dataclass(frozen=True)
class Guess:
    """A class and its probability in [0, 1]."""

    name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What a network makes of one image.

    Attributes:
        path: of the image.
        top: the most probable classes, the first first.
        teacher: the teacher's class, if it was run as well.
    """

    path: str
    top: tuple[Guess, ...]
    teacher: Guess | None = None


def classify(
    images: Sequence[ImageFile],
    runtime: Runtime,
    *,
    top: int,
    teacher: Runtime | None = None,
    failed: Callable[[UnderstudyError], None],
    observer: Observer = SILENT,
) -> Iterator[Prediction]:
    """The class of each image, in order.

    Args:
        images: any number; at most :data:`BATCH` are in memory at once.
        runtime: what classifies; its card has the preprocessing.
        top: how many classes to give for an image.
        teacher: of the same classes; an image is read once more if its rule is another one.
        failed: is called for each image that cannot be read; there is no prediction for it.
        observer: gets progress after each batch.
    """
    pool = ThreadPoolExecutor(len(available_cores()))
    try:
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH]
            read = pool.map(_reader(runtime.card.preprocessing), batch)
            named: list[tuple[ImageFile, np.ndarray]] = []
            for image, result in zip(batch, read, strict=True):
                if isinstance(result, UnderstudyError):
                    failed(result)
                else:
                    named.append((image, result))
            yield from _classified(named, runtime, top, teacher)
            observer.progress(Progress("measure", start + len(batch), len(images)))
    finally:
        pool.shutdown(cancel_futures=True)


def _reader(rule: Preprocessing) -> Callable[[ImageFile], np.ndarray | UnderstudyError]:
    """Reads an image; an error is returned, so that those after it are read as well."""

    def read(image: ImageFile) -> np.ndarray | UnderstudyError:
        try:
            return rule.read(image.data, image.name)
        except UnderstudyError as error:
            return error

    return read


def _classified(
    named: Sequence[tuple[ImageFile, np.ndarray]],
    runtime: Runtime,
    top: int,
    teacher: Runtime | None,
) -> Iterator[Prediction]:
    """Predictions for images that were read, uint8 ``[H, W, C]``."""
    if not named:
        return
    pixels = [image for _, image in named]
    found, others = runtime(_stacked(pixels)), None
    if teacher is not None:
        rule = teacher.card.preprocessing
        if rule != runtime.card.preprocessing:
            pixels = [rule.read(image.data, image.name) for image, _ in named]
        others = teacher(_stacked(pixels))
    for row, (image, _) in enumerate(named):
        best = None
        if teacher is not None and others is not None:
            best = _ranked(others[row], teacher.card.classes, 1)[0]
        yield Prediction(image.name, _ranked(found[row], runtime.card.classes, top), best)


def _stacked(pixels: Sequence[np.ndarray]) -> np.ndarray:
    """uint8 ``[N, C, H, W]``."""
    return np.ascontiguousarray(np.stack(pixels).transpose(0, 3, 1, 2))


def _ranked(probabilities: np.ndarray, classes: Sequence[str], top: int) -> tuple[Guess, ...]:
    """The most probable classes; of equal ones the first in the list of classes is first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    # Seven digits are all that fp32 has.
    return tuple(Guess(classes[k], float(f"{probabilities[k]:.7g}")) for k in order)
