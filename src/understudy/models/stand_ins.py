"""What a checkpoint holds next to its tensors, read without running any of its code.

A training checkpoint has its arguments, counters and metrics next to the weights, as objects of
classes that a weights-only reader refuses. torch's own restricted unpickler (``weights_only``)
stays the reader; each class or function that it does not know is replaced by one of this file, so
that nothing which the file names is imported or called.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

_NUMBERS = frozenset(f"{kind}{size}" for kind in "iuf" for size in (1, 2, 4, 8)) | {"b1"}
"""Types of numpy arrays that become tensors, by the names in which numpy writes them."""
_ARRAY = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
_SCALAR = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")


class Unknown:
    """Stands for any class or function: what it gives is a mapping without a behaviour.

    A mapping, because many such classes are kinds of ``dict``, whose items then are read.
    """

    def __new__(cls, *args: Any, **options: Any) -> "Unknown":
        """An empty ``OrderedDict``: the unpickler fills in nothing else."""
        made: Any = OrderedDict()
        return made


class Dtype:
    """Stands for ``numpy.dtype``: a type's name and its byte order."""

    def __init__(self, name: str, *flags: Any) -> None:
        self.name, self.order = str(name), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])


class Array:
    """Stands for a ``numpy.ndarray``: its bytes and how they are to be read."""

    def __init__(self, *arguments: Any) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def tensor(self) -> torch.Tensor | None:
        """The array as a tensor; ``None`` if it holds other things than numbers, or is damaged."""
        try:
            _, shape, dtype, by_columns, content = self.state
            if dtype.name not in _NUMBERS or not isinstance(content, bytes):
                return None
            order = dtype.order if dtype.order in "<>" else "="
            flat = np.frombuffer(content, np.dtype(dtype.name).newbyteorder(order))
            shaped = flat.reshape(shape, order="F" if by_columns else "C")
            return torch.from_numpy(shaped.astype(shaped.dtype.newbyteorder("="), order="C"))
        except (ValueError, TypeError, AttributeError):
            return None


def stand_ins(names: list[str]) -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """For :class:`torch.serialization.safe_globals`: a stand-in for each name.

    Args:
        names: ``module.name`` of what a file refers to and torch does not know.
    """
    return [(_stand_in(name), name) for name in names]


def is_module(found: Any) -> bool:
    """Whether something that was read was a whole ``torch.nn.Module``."""
    return isinstance(found, OrderedDict) and "_modules" in vars(found)


def _stand_in(name: str) -> Any:
    if name == "numpy.dtype":
        return Dtype
    if name in _ARRAY:
        return Array
    return _nothing if name in _SCALAR else Unknown


def _nothing(*arguments: Any) -> None:
    """Stands for a scalar of numpy, such as the best accuracy: it is not needed."""
