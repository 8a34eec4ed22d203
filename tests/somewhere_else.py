"""A device that is not the CPU, on machines that have none: torch's meta device, whose tensors have
a shape and no values.

Code that branches on the device takes the way that it takes on a GPU, every operation runs through
the dispatcher, and who
wants a value gets an error. :class:`OnlyThere` refuses the rest of what may not happen between two
steps on a GPU, or in one
that is recorded as a CUDA graph: a tensor of another device, and one made from Python's numbers.
    (torch's fake tensors can claim
to be on CUDA itself, but have no gradients there without a GPU.)
"""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

THERE = torch.device("meta")
_FROM_PYTHON = (
    "aten::lift_fresh",
    "aten::lift",
)  # not scalar_tensor: on a GPU it is filled by a kernel
_MAKERS = (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy, Tensor.new_tensor)
_VALUES = (
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::equal",
    "aten::is_nonzero",
    "aten::masked_select",
    "aten::bincount",
)
"""Operations that wait for a value from the device, or for a shape that depends on one."""
T = TypeVar("T")


class HostTouched(AssertionError):
    """An operation that is not the device's alone."""


class OnlyThere(TorchDispatchMode):
    """Every tensor that an operation reads or makes is on the device; none comes from Python, none
    is asked for its values.

    Attributes:
        operations: how many there were: a test that saw none proves nothing.
    """

    operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.operations += 1
        name = func.name().partition(".")[0]
        if name in _VALUES:
            raise HostTouched(f"{func} waits for the device")
        if name in _FROM_PYTHON:
            raise HostTouched(f"{func} brings numbers to the device")
        out = func(*args, **kwargs)
        away = [
            x.device
            for x in tree_leaves((args, kwargs, out))
            if isinstance(x, Tensor) and x.device.type != THERE.type
        ]
        if away:
            raise HostTouched(f"{func} touches a tensor on {away[0]}")
        return out


class _NoNumbers(TorchFunctionMode):
    """Refuses tensors made from Python's numbers: on a GPU, a copy from the host."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        listed = func is Tensor.__getitem__ and any(
            isinstance(x, list) for x in tree_leaves(args[1:], is_leaf=_is_list)
        )
        if func in _MAKERS or listed:
            raise HostTouched(f"{func} brings numbers to the device")
        return func(*args, **(kwargs or {}))


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


@contextlib.contextmanager
def only_there() -> Iterator[OnlyThere]:
    """Watch what runs inside. Autocast, which changes types and no device, knows nothing of this
    one and is left out."""
    with pytest.MonkeyPatch.context() as patch, _NoNumbers(), OnlyThere() as watched:
        patch.setattr(torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext())
        yield watched


def there(value: T) -> T:
    """A tensor, a copy of a module, or the tensors in a (named) tuple, on the device."""
    moved: Any = value
    if isinstance(value, nn.Module):
        moved = copy.deepcopy(value).to(THERE)
    elif isinstance(value, Tensor):
        moved = value.to(THERE)
    elif isinstance(value, tuple):
        parts = [there(x) for x in value]
        moved = type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return moved  # type: ignore[no-any-return]
