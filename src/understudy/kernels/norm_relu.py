"""Batch norm, max-pool and ReLU as one operation with few passes over the map.

PyTorch on a CPU reads or writes the map some fifteen times for these three, forward and backward,
and stores eight bytes of index for each pooled element. The same function takes four passes:

1. mean and variance of the map;
2. norm, pool and ReLU in one: only the largest element of each window is normalised. The norm is
   monotone in each channel, so the window's largest element (or smallest, if the scale is negative)
   is the same before and after it;
3. backward, the two sums that batch norm needs (Ioffe & Szegedy 2015, section 3): the gradient is
   zero except at the pooled elements, so they run over a quarter of the map;
4. the gradient with respect to the map, written once.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

_MOST_THREADS = 2
"""These loops run on one thread; with more than two, PyTorch's threads are faster."""
_FEWEST_ELEMENTS = 1 << 17
"""With fewer, a call costs more than it saves, and loading Numba never pays."""


def norm_relu(bn: Any, x: Tensor, *, pool: bool = False, add: Tensor | None = None) -> Tensor:
    """``relu(max_pool2d(bn(x), 2))``, or ``relu(bn(x) + add)``.

    In training on a CPU with channels-last maps this is one operation, equal to PyTorch's within
    rounding; otherwise it is PyTorch's. The choice depends on shapes, device and number of threads,
    never on a clock.

    Args:
        bn: an ``nn.BatchNorm2d``, or a module with the same tensors and numbers whose
            ``is_batch_norm`` is true; its tensors may have any shape of C elements. Its running
            statistics are updated as it would update them itself.
        x: ``[B, C, H, W]``, fp32 or bf16.
        pool: halve height and width by the maximum of each 2 x 2 window.
        add: of the result's shape, such as a residual branch; not together with ``pool``.

    Returns:
        ``[B, C, H, W]``, pooled ``[B, C, H // 2, W // 2]``, of ``x``'s dtype.

    Raises:
        ValueError: for ``pool`` together with ``add``.
    """
    if pool and add is not None:
        raise ValueError("norm_relu can pool or add, not both")
    if _fits(bn, x) and (
        pool or add is None or (_is_map(add) and add.shape == x.shape and add.dtype == x.dtype)
    ):
        bn.num_batches_tracked.add_(1)
        out: Tensor = _NormReLU.apply(x, bn.weight.flatten(), bn.bias.flatten(), add, bn, pool)
        return out
    return by_pytorch(bn, x, pool=pool, add=add)


def by_pytorch(bn: Any, x: Tensor, *, pool: bool = False, add: Tensor | None = None) -> Tensor:
    """:func:`norm_relu` as PyTorch's own operations, one after the other."""
    normed: Tensor = bn(x)
    if pool:
        normed = F.max_pool2d(normed, 2)
    return F.relu(normed if add is None else normed + add)


def _fits(bn: Any, x: Tensor) -> bool:
    # The mode comes first: outside of training, torch.export must not see a test of the batch size.
    if not (bn.training and torch.is_grad_enabled()):
        return False
    if x.device.type != "cpu" or x.numel() < _FEWEST_ELEMENTS:
        return False
    if not (type(bn) is nn.BatchNorm2d or getattr(bn, "is_batch_norm", False)):
        return False
    if (
        bn.weight is None
        or bn.running_mean is None
        or bn.momentum is None
        or bn.weight.dtype != torch.float32
    ):
        return False
    if (
        torch.get_num_threads() > _MOST_THREADS
        or torch.compiler.is_compiling()
        or _is_transformed(x)
    ):
        return False
    # One value per channel has no variance: PyTorch raises the error.
    return x.dtype in (torch.float32, torch.bfloat16) and _is_map(x) and x.numel() > x.shape[1]


def _is_map(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


def _is_transformed(x: Tensor) -> bool:
    """Whether ``torch.func`` transforms the tensor, which then has no values; private to torch."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(x))


def _nhwc(x: Tensor) -> NDArray[Any]:
    """``[N, H, W, C]`` over the memory of a channels-last map; bf16 as its bits."""
    x = x.detach()
    array: NDArray[Any] = (
        (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).permute(0, 2, 3, 1).numpy()
    )
    return array


class _NormReLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, add: Tensor | None, bn: Any, pool: bool
    ) -> Tensor:
        from understudy.kernels import loops

        images, channels, height, width = x.shape
        size = (height // 2, width // 2) if pool else (height, width)
        out = torch.empty(
            (images, channels, *size), dtype=x.dtype, memory_format=torch.channels_last
        )
        pooled_x = torch.empty_like(out) if pool else None
        norm = np.empty((3, channels))
        affine = weight.detach().numpy(), bias.detach().numpy()
        statistics = bn.running_mean.view(-1).numpy(), bn.running_var.view(-1).numpy()
        running = *statistics, bn.momentum, bn.eps
        loops.forward(
            _nhwc(x),
            None if add is None else _nhwc(add),
            affine,
            running,
            norm,
            None if pooled_x is None else _nhwc(pooled_x),
            _nhwc(out),
        )
        ctx.save_for_backward(x, pooled_x, out)
        ctx.norm, ctx.adds = norm, add is not None
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        from understudy.kernels import loops

        x, pooled_x, out = ctx.saved_tensors
        grad_out = grads[0].to(x.dtype).contiguous(memory_format=torch.channels_last)
        grad_x, grad_affine = torch.empty_like(x), torch.empty((2, x.shape[1]))
        grad_add = torch.empty_like(out) if ctx.adds else None
        loops.backward(
            _nhwc(x),
            None if pooled_x is None else _nhwc(pooled_x),
            _nhwc(out),
            _nhwc(grad_out),
            ctx.norm,
            None if grad_add is None else _nhwc(grad_add),
            _nhwc(grad_x),
            grad_affine.numpy(),
        )
        return grad_x, *grad_affine.unbind(), grad_add, None, None
