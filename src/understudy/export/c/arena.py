"""Where each intermediate result lies in one static block of memory."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Buffer:
    """A piece of memory for some time.

    Attributes:
        name: unique.
        size: bytes, above 0.
        first, last: the steps at which it is written first and read last, both included.
    """

    name: str
    size: int
    first: int
    last: int

    def meets(self, other: "Buffer") -> bool:
        """Whether both are in use at some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Arena:
    """Attributes:
    size: bytes.
    offsets: of each buffer, in bytes.
    """

    size: int
    offsets: dict[str, int]


def plan(buffers: Sequence[Buffer]) -> Arena:
    """Place the largest first, each into the smallest gap that fits between those in use with it.

    Two buffers share bytes only if no step uses both.
    """
    placed: list[tuple[int, Buffer]] = []
    for buffer in sorted(buffers, key=lambda one: (-one.size, one.first, one.name)):
        others = sorted((start, other.size) for start, other in placed if buffer.meets(other))
        placed.append((_gap(buffer.size, others), buffer))
    size = max((start + buffer.size for start, buffer in placed), default=0)
    return Arena(size, {buffer.name: start for start, buffer in placed})


def _gap(size: int, taken: Sequence[tuple[int, int]]) -> int:
    """The start of the smallest gap between pieces (start, size) that fits, or the end of all."""
    end, best = 0, None
    for start, length in taken:
        room = start - end
        if room >= size and (best is None or room < best[0]):
            best = room, end
        end = max(end, start + length)
    return end if best is None else best[1]
