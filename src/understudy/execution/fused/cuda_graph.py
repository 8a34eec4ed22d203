"""A training step as one CUDA graph."""

import functools
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

_WARM_UPS = 3
"""Steps before the recording: libraries choose kernels and take their workspaces, which must not be recorded."""


class _Replayed(Protocol):
    def replay(self) -> None: ...


class RecordedStep:
    """A step of small kernels costs, beyond them, their launching; recorded once, it is launched as a whole.

    What is replayed are kernels on fixed addresses: the step may not ask for a value, nor copy one from the host, and what it
    reads beside its inputs must keep its place in memory as long as the recording lives. tests/sweep/test_stacked.py proves
    that of the stacked step on a device that has no values, and by a tape of its operations on the CPU.

    Not yet run on a GPU.

    Args:
        step: what to record; reads its inputs and changes tensors in place.
        inputs: of a first step, each copied: the shapes of every later one. They are not stepped on.
        changed: every tensor that a step changes; as they were afterwards.
        device: a CUDA device.
    """

    def __init__(
        self,
        step: Callable[[Sequence[Tensor | None]], None],
        inputs: Sequence[Tensor | None],
        changed: Sequence[Tensor],
        device: torch.device,
    ) -> None:
        self.inputs = [
            None if x is None else x.clone() for x in inputs
        ]  # in the memory order of the original
        before = [value.detach().clone() for value in changed]
        self.graph = _recorded(lambda: step(self.inputs), device)
        with torch.no_grad():
            for value, old in zip(changed, before, strict=True):
                value.copy_(old)

    def replay(self, inputs: Sequence[Tensor | None]) -> None:
        """The step, on these inputs."""
        for mine, new in zip(self.inputs, inputs, strict=True):
            assert (mine is None) == (new is None), (
                "a recorded step has the inputs it was recorded with"
            )
            if mine is not None and new is not None:
                mine.copy_(new)
        self.graph.replay()


def _recorded(work: Callable[[], None], device: torch.device) -> _Replayed:
    """Do the work a few times, and record it without doing it."""
    aside = _stream(device)
    with torch.cuda.device(device):
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                work()
        torch.cuda.current_stream(device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # On the stream of the warm-up, whose library handles and workspaces are there. Other threads, such as the one that
        # pins the next batch's memory, go on meanwhile: what they ask of CUDA is no mistake of this recording.
        with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
            work()
    return graph


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """One for all recordings: libraries keep a workspace for every stream that they have met."""
    return torch.cuda.Stream(device)
