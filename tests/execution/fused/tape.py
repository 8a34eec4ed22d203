"""A recording of a step on the CPU by the rules of a CUDA graph: operations, but no Python."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tape(TorchDispatchMode):
    """Records every operation; tensors keep their place, so that a replay reads their new values.

    A number that Python read outside the step is recorded as a constant, as in a CUDA graph.
    """

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        # A returned view, or a tensor changed in place, is up to date by itself.
        fresh = not any(result.alias_info for result in func._schema.returns)
        self.noted.append((func, args, kwargs or {}, tree_leaves(out) if fresh else []))
        return out

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, kept in self.noted:
            new = func(*args, **kwargs)
            for mine, value in zip(kept, tree_leaves(new), strict=False):
                if isinstance(mine, Tensor):
                    mine.copy_(value)


def recorded(work: Callable[[], None], device: torch.device) -> Tape:
    """In place of recording a CUDA graph: run the work a few times, then once on a tape."""
    for _ in range(3):
        work()
    tape = Tape()
    with tape:
        work()
    return tape
