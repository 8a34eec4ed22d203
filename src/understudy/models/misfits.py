"""Where the tensors of a file and of a network differ, and why that may be."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from understudy.data.names import counted, shown

Shape = tuple[int, ...]

_SHOWN = 3
"""Differences in a message."""
_POSITIONS = ("pos_embed", "position_embedding", "pos_embedding", "relative_position_bias_table")
"""Parts of the names of tensors whose shape follows from the size of the images."""


@dataclass(frozen=True)
class Misfit:
    """The differences; false if there are none.

    Attributes:
        missing: names in the network without a tensor in the file.
        unexpected: names in the file without a tensor in the network.
        shapes: name -> the two shapes (file, network), where they differ.
        wanted: name -> tensor, of the network.
        passed: names in the file that belong to no network.
        counters: how many of batch norm's counters the file lacks, which is no difference.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    shapes: Mapping[str, tuple[Shape, Shape]] = field(default_factory=dict)
    wanted: Mapping[str, Tensor] = field(default_factory=dict)
    passed: tuple[str, ...] = ()
    counters: int = 0

    def __bool__(self) -> bool:
        return self.size > 0

    @property
    def size(self) -> int:
        """Number of differences."""
        return len(self.missing) + len(self.unexpected) + len(self.shapes)

    def without(self, layer: str) -> "Misfit":
        """The differences outside of one layer, given its path; empty for none."""
        if not layer:
            return self
        return replace(
            self,
            missing=tuple(name for name in self.missing if not _is_in(name, layer)),
            unexpected=tuple(name for name in self.unexpected if not _is_in(name, layer)),
            shapes={name: pair for name, pair in self.shapes.items() if not _is_in(name, layer)},
        )

    def first(self) -> str:
        """The first three, each kind before a second of the same, and how many more."""
        kinds = [
            [
                f"{shown(name)} is {list(theirs)} in the file, {list(ours)} here"
                for name, (theirs, ours) in list(self.shapes.items())[:_SHOWN]
            ],
            [f"{shown(name)} is missing in the file" for name in self.missing[:_SHOWN]],
            [f"{shown(name)} is unexpected" for name in self.unexpected[:_SHOWN]],
        ]
        by_turns = [kind[turn] for turn in range(_SHOWN) for kind in kinds if turn < len(kind)]
        more = self.size - len(by_turns[:_SHOWN])
        return ", ".join(by_turns[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def guess(misfit: Misfit) -> str:
    """Why the file may be of another network, in a few words."""
    classes = head_only(misfit)
    if classes == 0:
        return "weights without a last layer"
    if classes is not None:
        (theirs, ours), *_ = misfit.shapes.values()
        return f"another class count: {theirs[0]} in the file, {ours[0]} here"
    if len(misfit.shapes) < misfit.size:
        return _other_names(misfit)
    if all(any(part in name for part in _POSITIONS) for name in misfit.shapes):
        return "another image size"
    if len(misfit.shapes) == 1:
        ((theirs, ours),) = misfit.shapes.values()
        if len(theirs) == len(ours) == 4 and _same_but(theirs, ours, 1):
            return f"images of another number of channels: {theirs[1]} in the file, {ours[1]} here"
    ratios = {ratio for theirs, ours in misfit.shapes.values() for ratio in _ratios(theirs, ours)}
    if len(ratios) == 1 and None not in ratios:
        (factor,) = ratios
        return f"another width: {factor:.3g} times as wide in the file"
    return "another architecture"


def head_only(misfit: Misfit) -> int | None:
    """The file's class count if only the last layer differs, in its number of classes.

    A network may have several last layers (an auxiliary one, one for distillation).

    Returns:
        0 if the file has no last layer at all; ``None`` if more differs, or nothing.
    """
    if misfit.missing and not misfit.unexpected and not misfit.shapes:
        at_the_end = set(misfit.missing) == set(list(misfit.wanted)[-len(misfit.missing) :])
        return 0 if at_the_end and _is_last_layer(misfit.missing, misfit.wanted) else None
    if misfit.missing or misfit.unexpected or not misfit.shapes:
        return None
    pairs = list(misfit.shapes.values())
    counts = {(theirs[0], ours[0]) for theirs, ours in pairs if theirs and ours}
    only_first = all(_same_but(theirs, ours, 0) for theirs, ours in pairs)
    if len(counts) != 1 or not only_first:
        return None
    return counts.pop()[0] if _is_last_layer(tuple(misfit.shapes), misfit.wanted) else None


def _is_last_layer(names: tuple[str, ...], wanted: Mapping[str, Tensor]) -> bool:
    """Whether these are the weights and biases of linear layers (or 1x1 convolutions) alone.

    A hidden layer of another width never differs by itself: its norm or the next layer does, too.
    """
    layers = {name.rpartition(".")[0] for name in names}
    complete = {
        name
        for name in wanted
        if name.rpartition(".")[0] in layers and name.rpartition(".")[2] in ("weight", "bias")
    }
    if complete != set(names):
        return False
    weights = [wanted[name] for name in names if name.endswith("weight")]
    return len(weights) == len(layers) and all(_is_matrix(weight) for weight in weights)


def _is_matrix(weight: Tensor) -> bool:
    return weight.ndim == 2 or (weight.ndim == 4 and weight.shape[2:] == (1, 1))


def _same_but(theirs: Shape, ours: Shape, axis: int) -> bool:
    """Whether two shapes differ in one axis alone."""
    if len(theirs) != len(ours) or len(ours) <= axis:
        return False
    return [i for i, (a, b) in enumerate(zip(theirs, ours, strict=True)) if a != b] == [axis]


def _ratios(theirs: Shape, ours: Shape) -> list[float | None]:
    """File over network in every axis that differs; ``None`` for another number of axes."""
    if len(theirs) != len(ours) or 0 in ours:
        return [None]
    return [round(a / b, 6) for a, b in zip(theirs, ours, strict=True) if a != b]


def _other_names(misfit: Misfit) -> str:
    shared = len(misfit.wanted) - len(misfit.missing)
    if shared and not misfit.shapes and shared >= len(misfit.wanted) / 2:
        fewer, more = (
            counted(len(misfit.missing), "tensor"),
            counted(len(misfit.unexpected), "tensor"),
        )
        return f"another depth or version of the network: {fewer} too few, {more} too many"
    return "another architecture"


def _is_in(name: str, layer: str) -> bool:
    return name.startswith(f"{layer}.")
