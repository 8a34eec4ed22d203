"""A recording of a step on the CPU with the rules of a CUDA graph: the same operations, on the same memory, but no Python."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tape(TorchDispatchMode):
    """Notes every operation that runs inside it; each tensor keeps its place, so that a replay meets what changed meanwhile.

    A number that Python took from outside the step is in the tape as it was, as it would be in a graph.
    """

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        # What an operation returns of its arguments (a view, the tensor it changed) is up to date by itself.
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
    """In place of what makes a CUDA graph: the work is done a few times, then noted (which does it once more)."""
    for _ in range(3):
        work()
    tape = Tape()
    with tape:
        work()
    return tape
