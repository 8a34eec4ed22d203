"""Whether to compile a training step, decided by timing it both ways."""

import copy
import time

import torch

from understudy.data.loader import Batch, TrainBatches
from understudy.data.views import Views
from understudy.methods.base import Method
from understudy.models.base import Outputs
from understudy.teachers.base import Teacher

_TIMED = 10


def compile_step(method: Method) -> None:
    """Compile a method's forward pass in place; its names and weights stay the same.

    On CUDA it is recorded as graphs (``reduce-overhead``): the kernels of small students end
    before the next one can be launched.
    """
    cuda = next(method.parameters()).is_cuda
    method.compile(mode="reduce-overhead" if cuda else "default", dynamic=False)


def compiling_pays(
    method: Method,
    batches: TrainBatches,
    epoch: int,
    views: Views,
    teacher: Teacher | None,
    epochs_left: int,
) -> bool:
    """Whether compiling saves more time over the rest of a training than it costs.

    Args:
        method: not changed.
        batches, epoch, views: where the first batch of the coming epoch is taken from.
        teacher: of the training, prepared for the epoch.
        epochs_left: epochs still to train.
    """
    batch = next(iter(batches.epoch(epoch, views)))
    outputs = None if teacher is None else teacher.outputs(batch)
    return worth_compiling(method, batch, outputs, epochs_left * len(batches))


def worth_compiling(method: Method, batch: Batch, outputs: Outputs | None, steps: int) -> bool:
    """Time forward and backward on copies, eager and compiled.

    The random generators are restored. The result depends on a clock, so it is saved in the
    checkpoint: a resumed training does not measure again.

    Args:
        method: not changed.
        batch, outputs: one batch and the teacher's outputs for it.
        steps: of the rest of the training.

    Returns:
        whether ``steps`` compiled steps save more than compiling costs.
    """
    device = batch.images.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        eager, compiled = copy.deepcopy(method).train(), copy.deepcopy(method).train()
        compile_step(compiled)
        eager_start = _seconds(eager, batch, outputs, 1)
        cold = _seconds(compiled, batch, outputs, 2) - eager_start
        eager_times, compiled_times = [], []
        for _ in range(_TIMED):
            eager_times.append(_seconds(eager, batch, outputs, 1))
            compiled_times.append(_seconds(compiled, batch, outputs, 1))
    saved = sorted(eager_times)[_TIMED // 2] - sorted(compiled_times)[_TIMED // 2]
    return saved * steps > cold


def _seconds(method: Method, batch: Batch, outputs: Outputs | None, steps: int) -> float:
    start = time.perf_counter()
    for _ in range(steps):
        losses, _ = method(batch, outputs)
        torch.stack(list(losses.values())).sum().backward()
    if batch.images.is_cuda:
        torch.cuda.synchronize(batch.images.device)
    return time.perf_counter() - start
