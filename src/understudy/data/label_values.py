"""Labels in memory, as users have them: whole numbers, names, or one-hot rows; one list of classes
for all splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from understudy.data.class_names import match_classes
from understudy.data.listing import SplitName
from understudy.data.names import listed
from understudy.errors import UnderstudyError

_HOW = "give whole numbers from 0 on, names of classes, or one-hot rows"


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of several splits.

    Attributes:
        of: split -> int64 ``[N]``, in ``[0, K)``.
        class_names: one per class.
        are_named: whether the data names its classes; otherwise they are named by their numbers.
    """

    of: Mapping[SplitName, np.ndarray]
    class_names: tuple[str, ...]
    are_named: bool


def read_labels(
    held: Mapping[SplitName, Any], names: Sequence[str] | None, where: str, num_classes: int = 0
) -> Labels:
    """Labels of all splits as numbers of one list of classes.

    Args:
        held: split -> labels ``[N]``, ``[N, 1]`` or one-hot ``[N, K]``: an array, a tensor or a
            sequence.
        names: of the classes, index = label; ``None`` if they are not known.
        where: the data's name in messages.
        num_classes: how many there are if nothing names them; by default as many as are seen.

    Raises:
        UnderstudyError: for floats, missing and negative labels, names that are not known, one-hot
            rows of another width, or a class without a training image.
    """
    values = {split: _values(found, f"the labels of {split}") for split, found in held.items()}
    kinds = {_is_text(found) for found in values.values()}
    if len(kinds) > 1:
        raise UnderstudyError(f"{where} has names as labels in one split and numbers in another")
    if kinds == {True}:
        return _named(values, names, where)
    widths = {split: found.shape[1] for split, found in values.items() if found.ndim == 2}
    known = len(names) if names is not None else num_classes
    for split, width in widths.items():
        expected = known or next(iter(widths.values()))
        if width != expected:
            raise UnderstudyError(
                f"the labels of {split} are one-hot rows of {width}, but there are {expected} "
                "classes"
            )
    of = {split: _numbers(found, split) for split, found in values.items()}
    if names is not None:
        return Labels(of, tuple(map(str, names)), are_named=True)
    seen = max(int(found.max()) for found in of.values()) + 1
    known = known or max([seen, *widths.values()])
    if "train" in of and not widths:
        _refuse_gaps(of["train"], known)
    return Labels(of, tuple(map(str, range(known))), are_named=False)


def matched(
    labels: np.ndarray, own: Sequence[str], wanted: Sequence[str], where: str
) -> np.ndarray:
    """Labels of one list of classes as those of another, matched by name: int64 ``[N]``.

    Where either list is of numbers alone, nothing is known of the classes but their order.

    Args:
        labels: int64 ``[N]``, positions in ``own``.
        own: names of the data's classes.
        wanted: names of the network's classes.
        where: the data's name in messages.

    Raises:
        UnderstudyError: naming the classes of the labels that the network does not know.
    """
    if tuple(own) == tuple(wanted):
        return labels
    if _are_numbers(own) or _are_numbers(wanted):
        if int(labels.max()) >= len(wanted):
            raise UnderstudyError(
                f"{where} has the label {int(labels.max())}, but the network knows "
                f"{len(wanted)} classes, 0 to {len(wanted) - 1}"
            )
        return labels
    place = {name: number for number, name in enumerate(wanted)}
    present = [own[number] for number in np.unique(labels)]
    strangers = [name for name in present if name not in place]
    if strangers:
        raise UnderstudyError(
            f"{where} has classes that the network does not know: {listed(strangers)}; it knows "
            f"{listed(wanted)}: classes are matched by name"
        )
    new = np.array([place.get(name, -1) for name in own], np.int64)
    return new[labels]


def _named(
    values: Mapping[SplitName, np.ndarray], names: Sequence[str] | None, where: str
) -> Labels:
    present = {split: sorted(set(found.tolist())) for split, found in values.items()}
    if names is None:
        first = "train" if "train" in present else next(iter(present))
        names, _ = match_classes({"train": present[first], **present}, where)
    strangers = sorted({name for found in present.values() for name in found} - set(names))
    if strangers:
        raise UnderstudyError(
            f"{where} has labels that are none of its classes: {listed(strangers)}; there are "
            f"{listed(list(names))}"
        )
    place = {name: number for number, name in enumerate(names)}
    of = {
        split: np.array([place[name] for name in found.tolist()], np.int64)
        for split, found in values.items()
    }
    return Labels(of, tuple(names), are_named=True)


def _values(held: Any, where: str) -> np.ndarray:
    """``[N]`` whole numbers or text, or ``[N, K]``."""
    if hasattr(held, "detach"):
        held = held.detach().cpu().numpy()
    elif not isinstance(held, np.ndarray):
        held = [one.item() if _is_number_like(one) else one for one in held]
        held = [np.asarray(one) if hasattr(one, "detach") else one for one in held]
    missing = [row for row, one in enumerate(held) if one is None]
    if missing:
        raise UnderstudyError(f"{where} are missing (None) in {len(missing):,} rows: {missing[0]}")
    try:
        array = np.asarray(held)
    except ValueError as error:  # rows of several lengths
        raise UnderstudyError(f"{where} are rows of several lengths: {_HOW}") from error
    if array.dtype == object:
        array = array.astype(str) if all(isinstance(one, str) for one in array.flat) else array
    if array.dtype.kind == "S":
        array = np.char.decode(array)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, 2):
        raise UnderstudyError(f"{where} have shape {list(array.shape)}: {_HOW}")
    if array.ndim == 2:
        return _one_hot(array, where)
    if array.dtype.kind == "f":
        raise UnderstudyError(
            f"{where} are floats ({array.dtype}): {_HOW}; y.astype(int) if they number classes"
        )
    if array.dtype.kind not in "biuU":
        raise UnderstudyError(f"{where} are of {array.dtype}: {_HOW}")
    return array


def _is_number_like(value: Any) -> bool:
    """A number of numpy or a tensor of no dimension, which becomes a number of Python."""
    return hasattr(value, "item") and getattr(value, "ndim", None) == 0


def _one_hot(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise UnderstudyError(f"{where} are rows of {array.dtype}: {_HOW}")
    is_binary = np.isin(array, (0, 1)).all()
    if not is_binary or not (array.sum(1) == 1).all():
        raise UnderstudyError(
            f"{where} are rows of {array.shape[1]} numbers that are not one-hot (a single 1): "
            "soft labels, and several labels for an image, are not supported"
        )
    return array


def _numbers(array: np.ndarray, split: SplitName) -> np.ndarray:
    numbers = array.argmax(1) if array.ndim == 2 else array
    numbers = np.ascontiguousarray(numbers, np.int64)
    if len(numbers) and numbers.min() < 0:
        raise UnderstudyError(
            f"label {numbers.min()} in {split} is negative: classes are numbered from 0 on; leave "
            "images without a label out"
        )
    return numbers


def _refuse_gaps(labels: np.ndarray, num_classes: int) -> None:
    missing = np.setdiff1d(np.arange(num_classes), labels)
    if len(missing):
        raise UnderstudyError(
            f"no training image has the label {missing[0]}, though labels go up to "
            f"{num_classes - 1}: number classes from 0 on, or give class_names"
        )


def _is_text(array: np.ndarray) -> bool:
    return array.dtype.kind == "U"


def _are_numbers(names: Sequence[str]) -> bool:
    return all(name.isdecimal() for name in names)
