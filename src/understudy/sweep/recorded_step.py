"""A training step as one CUDA graph."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class RecordedStep:
    """A step of small kernels costs, beyond them, their launching; recorded once, it is launched as a whole.

    Written against torch's documentation and not yet run on a GPU.

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
        self.inputs = [None if x is None else x.clone() for x in inputs]
        before = [value.detach().clone() for value in changed]
        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for _ in range(3):  # lazy initialisation, which must not be recorded
                step(self.inputs)
        torch.cuda.current_stream(device).wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            step(self.inputs)
        with torch.no_grad():
            for value, old in zip(changed, before, strict=True):
                value.copy_(old)

    def replay(self, inputs: Sequence[Tensor | None]) -> None:
        """The step, on these inputs."""
        for mine, new in zip(self.inputs, inputs, strict=True):
            if mine is not None and new is not None:
                mine.copy_(new)
        self.graph.replay()
