"""Which images a network classifies correctly, as compact text in a result: a bit for each image.

``10:9kA=`` are ten images: their number, then base64 of the bits in the order of the split, the
first image in the highest bit. 10,000 images take 1,674 characters.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING

from understudy.errors import UnderstudyError
from understudy.evaluation.gain import PairedGain, gain_of_differences, gain_over_seeds
from understudy.evaluation.results import Metrics

if TYPE_CHECKING:
    import numpy as np


def pack(correct: "np.ndarray") -> str:
    """The text for bool ``[N]``."""
    import numpy as np

    bits = np.packbits(np.asarray(correct, dtype=bool)).tobytes()
    return f"{len(correct)}:{base64.b64encode(bits).decode()}"


def unpack(text: str) -> "np.ndarray":
    """Bool ``[N]``; the reverse of :func:`pack`.

    Raises:
        UnderstudyError: if the text is no such list, or was cut.
    """
    import numpy as np

    count, _, rest = text.partition(":")
    try:
        bits = np.frombuffer(base64.b64decode(rest, validate=True), dtype=np.uint8)
        number = int(count)
    except (binascii.Error, ValueError):
        raise UnderstudyError(_damaged(text)) from None
    flags = np.unpackbits(bits).astype(bool)
    if number < 0 or len(bits) != -(-number // 8) or flags[number:].any():
        raise UnderstudyError(_damaged(text))
    return flags[:number]


def _damaged(text: str) -> str:
    shown = text if len(text) <= 24 else f"{text[:24]}..."
    return (
        f"{shown!r} is no list of correctly classified images: a result file was changed; run "
        "again with --resume to write it again"
    )


def gain_between(student: Sequence[Metrics], baseline: Sequence[Metrics]) -> PairedGain:
    """The gain in accuracy of one arm over another on a split, seeds in the same order.

    Over seeds and images where both hold which images were right; over seeds alone otherwise, as
    for results of earlier versions.

    Raises:
        UnderstudyError: if a list of images is damaged.
        ValueError: if the two do not have the same number of seeds.
    """
    found = differences(student, baseline)
    if found is not None:
        return gain_of_differences(found)
    return gain_over_seeds(
        [metrics.accuracy for metrics in student], [metrics.accuracy for metrics in baseline]
    )


def differences(student: Sequence[Metrics], baseline: Sequence[Metrics]) -> "np.ndarray | None":
    """int8 ``[seeds, N]``: 1 where only the student is right, -1 where only the baseline is.

    ``None`` if one of them does not hold which images were right, or their numbers differ.

    Raises:
        UnderstudyError: if a list of images is damaged.
    """
    import numpy as np

    mine, theirs = stacked(student), stacked(baseline)
    if mine is None or theirs is None or mine.shape != theirs.shape:
        return None
    return mine.astype(np.int8) - theirs.astype(np.int8)


def stacked(measured: Sequence[Metrics]) -> "np.ndarray | None":
    """Which images were right on each seed: bool ``[seeds, N]``.

    ``None`` if one of them does not hold it, or their numbers differ.

    Raises:
        UnderstudyError: if a list of images is damaged.
    """
    import numpy as np

    rows = [unpack(metrics.correct) for metrics in measured if metrics.correct is not None]
    if len(rows) < len(measured) or len({len(row) for row in rows}) != 1:
        return None
    return np.stack(rows)
