"""Whether to compile a training step, decided by timing it both ways."""

import copy
import time

import torch

from understudy.data.loader import Batch
from understudy.methods.base import Method
from understudy.models.base import Outputs

_TIMED = 10


def compile_step(method: Method) -> None:
    """Compile a method's forward pass in place; its names and weights stay as they are.

    On CUDA as recorded graphs (``reduce-overhead``), which is what small students lack there: their kernels end before
    the next can be launched.
    """
    cuda = next(method.parameters()).is_cuda
    method.compile(mode="reduce-overhead" if cuda else "default", dynamic=False)


def worth_compiling(method: Method, batch: Batch, answer: Outputs | None, steps: int) -> bool:
    """Time forward and backward on copies, eager and compiled: is what ``steps`` would save more than compiling costs?

    The generators are left as they were. The answer depends on a clock, so a run that resumes keeps the one it began with.

    Args:
        method: not changed.
        batch, answer: one batch and the teacher's outputs for it.
        steps: of the whole run.
    """
    device = batch.images.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        eager, compiled = copy.deepcopy(method).train(), copy.deepcopy(method).train()
        compile_step(compiled)
        eager_start = _seconds(eager, batch, answer, 1)
        cold = _seconds(compiled, batch, answer, 2) - eager_start
        rounds = [
            (_seconds(eager, batch, answer, 1), _seconds(compiled, batch, answer, 1))
            for _ in range(_TIMED)
        ]
    saved = sorted(a for a, _ in rounds)[_TIMED // 2] - sorted(b for _, b in rounds)[_TIMED // 2]
    return saved * steps > cold


def _seconds(method: Method, batch: Batch, answer: Outputs | None, steps: int) -> float:
    began = time.perf_counter()
    for _ in range(steps):
        losses, _ = method(batch, answer)
        torch.stack(list(losses.values())).sum().backward()
    if batch.images.is_cuda:
        torch.cuda.synchronize(batch.images.device)
    return time.perf_counter() - began
