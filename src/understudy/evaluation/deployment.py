"""What an exported file is worth: how it compares with the network it comes from, image by image.

Plain records and plain statistics. Importing this loads no torch: a report needs none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from understudy.evaluation.environment import Machine
from understudy.evaluation.proportions import Z95, Proportion

MOST_LISTED = 50
"""Disagreements that a result lists, those with the largest margins."""

Verdict = Literal["accepted", "refused", "unproven"]


@dataclass(frozen=True, kw_only=True)
class PairedChange:
    """Change of accuracy from one network to another on the same images.

    The interval is the adjusted Wald interval for paired proportions (Bonett and Price 2012). It
    adds one image to each kind of disagreement, so it has a width even where nothing changed: 300
    images without a single change leave [-0.9, 0.9] points.

    Attributes:
        lost: images that only the first one classifies correctly.
        won: images that only the second one classifies correctly.
        count: number of images.
        mean: change of accuracy, (won - lost) / count, in [-1, 1].
        low, high: ends of the 95 % interval.
    """

    lost: int
    won: int
    count: int
    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, before: np.ndarray, after: np.ndarray) -> "PairedChange":
        """From what is classified correctly.

        Args:
            before, after: bool ``[N]``, N above 0.
        """
        count = len(before)
        lost, won = int((before & ~after).sum()), int((after & ~before).sum())
        share_lost, share_won = (lost + 1) / (count + 2), (won + 1) / (count + 2)
        difference = share_won - share_lost
        half = Z95 * math.sqrt((share_lost + share_won - difference**2) / (count + 2))
        return cls(
            lost=lost,
            won=won,
            count=count,
            mean=(won - lost) / count,
            low=max(-1.0, difference - half),
            high=min(1.0, difference + half),
        )


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """An image to which a file gives another class than the network in fp32.

    Attributes:
        row: position in the split.
        label, expected, found: class names: the true one, the network's, the file's.
        margin: probability of the network's class minus its second, in [0, 1].
    """

    row: int
    label: str
    expected: str
    found: str
    margin: float


@dataclass(frozen=True, kw_only=True)
class Parity:
    """A file next to the network in fp32, on the same images.

    Attributes:
        count: number of images.
        largest_difference, mean_difference: of the probabilities, over images and classes.
        agreement: share of the images with the same class.
        disagreements: those with the largest margins, at most :data:`MOST_LISTED`.
        num_disagreements: how many there are.
        largest_margin: of all disagreements; 0 without one.
        before, after: accuracy of the network and of the file.
        change: from the network to the file.
    """

    count: int
    largest_difference: float
    mean_difference: float
    agreement: Proportion
    disagreements: tuple[Disagreement, ...]
    num_disagreements: int
    largest_margin: float
    before: Proportion
    after: Proportion
    change: PairedChange


def compare(
    expected: np.ndarray, found: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> Parity:
    """Compare two networks on the same images.

    Args:
        expected: probabilities of the network in fp32, ``[N, K]``, N above 0.
        found: probabilities of the file, ``[N, K]``.
        labels: int ``[N]``.
        classes: K names.
    """
    difference = np.abs(expected.astype(np.float64) - found)
    ordered = np.sort(expected.astype(np.float64), axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    wanted, given = expected.argmax(1), found.argmax(1)
    rows = np.flatnonzero(wanted != given)
    rows = rows[np.argsort(-margins[rows], kind="stable")]
    count = len(labels)
    before, after = wanted == labels, given == labels
    return Parity(
        count=count,
        largest_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        agreement=Proportion.of(count - len(rows), count),
        disagreements=tuple(
            Disagreement(
                row=int(row),
                label=classes[labels[row]],
                expected=classes[wanted[row]],
                found=classes[given[row]],
                margin=float(margins[row]),
            )
            for row in rows[:MOST_LISTED]
        ),
        num_disagreements=len(rows),
        largest_margin=float(margins[rows[0]]) if len(rows) else 0.0,
        before=Proportion.of(int(before.sum()), count),
        after=Proportion.of(int(after.sum()), count),
        change=PairedChange.of(before, after),
    )


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt at a file.

    Attributes:
        step: what was tried.
        verdict: of the gate.
        change: of accuracy.
        agreement: share of the images with the same class.
    """

    step: str
    verdict: Verdict
    change: PairedChange
    agreement: float


@dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """One format of an export, as in ``export.json``.

    Attributes:
        format: its name.
        file: name of the file or folder in the export's folder; ``REJECTED-...`` if not accepted.
        dtype: ``fp32`` or ``int8``.
        bytes: size on disk; of a folder, of all its files.
        sha256: of the file; empty for a folder.
        seconds: time to write and measure it.
        verdict: of the gate.
        reason: one sentence about the verdict.
        parity: what was measured; ``None`` if no runtime for it is on this machine.
        attempts: all attempts in order.
    """

    format: str
    file: str
    dtype: str
    bytes: int
    sha256: str
    seconds: float
    verdict: Verdict
    reason: str
    parity: Parity | None = None
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ExportResults:
    """What an export wrote, as in ``export.json``.

    Attributes:
        schema: version of the layout.
        network: name of the training, such as ``distilled-seed0``.
        weights_sha256: hex digest of its weights file.
        split: the images of the gate; always ``val``.
        bound: fp32 files give the same class where the margin is above it.
        max_drop: accuracy that an int8 file may lose, in [0, 1].
        files: one entry per format.
        environment: the machine, and the versions of the runtimes.
        command: as typed.
    """

    schema: int = 1
    network: str
    weights_sha256: str = ""
    split: str = "val"
    bound: float
    max_drop: float
    files: tuple[ExportedFile, ...]
    environment: Machine | None = None
    command: str = ""
