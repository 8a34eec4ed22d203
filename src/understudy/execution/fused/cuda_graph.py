"""A training step as one CUDA graph."""

import functools
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

_WARM_UPS = 3
"""Steps before the recording, in which libraries choose kernels and allocate workspaces."""


class _Replayed(Protocol):
    def replay(self) -> None: ...


class RecordedStep:
    """A step recorded once and launched as a whole: small kernels take less time than their launch.

    A replay runs the same kernels on the same addresses. The step must not read a value on the
    host nor copy one from it, and all that it reads in addition to its inputs must stay in the same
    place in memory. tests/execution/fused/test_stack.py shows that of the stacked step on a device
    without values, and by a recording of its operations on the CPU.

    Not yet run on a GPU.

    Args:
        step: what to record; reads its inputs and changes tensors in place.
        inputs: of any step, each copied: they give the shapes of every later one.
        changed: every tensor that a step changes; restored after the recording.
        device: a CUDA device.
    """

    def __init__(
        self,
        step: Callable[[Sequence[Tensor | None]], None],
        inputs: Sequence[Tensor | None],
        changed: Sequence[Tensor],
        device: torch.device,
    ) -> None:
        # Clones have the memory order of the original.
        self.inputs = [None if x is None else x.clone() for x in inputs]
        before = [value.detach().clone() for value in changed]
        self.graph = _recorded(lambda: step(self.inputs), device)
        with torch.no_grad():
            for value, old in zip(changed, before, strict=True):
                value.copy_(old)

    def replay(self, inputs: Sequence[Tensor | None]) -> None:
        """Run the step on these inputs, of the recorded shapes."""
        for recorded, new in zip(self.inputs, inputs, strict=True):
            assert (recorded is None) == (new is None), (
                "a recorded step has the inputs it was recorded with"
            )
            if recorded is not None and new is not None:
                recorded.copy_(new)
        self.graph.replay()


def _recorded(work: Callable[[], None], device: torch.device) -> _Replayed:
    """Run the work a few times, then record it, which does not run it."""
    side_stream = _stream(device)
    with torch.cuda.device(device):
        side_stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side_stream):
            for _ in range(_WARM_UPS):
                work()
        torch.cuda.current_stream(device).wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        # On the stream of the warm-up, which has its library handles and workspaces. Other threads
        # may use CUDA during the recording, such as the one that pins the next batch's memory.
        with torch.cuda.graph(graph, stream=side_stream, capture_error_mode="thread_local"):
            work()
    return graph


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """One stream for all recordings: libraries allocate a workspace for every stream they see."""
    return torch.cuda.Stream(device)
