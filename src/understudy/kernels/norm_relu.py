"""Batch norm, max-pool and ReLU as one operation with few passes over the map.

PyTorch on a CPU reads or writes the map some fifteen times for these three, forward and backward, and keeps eight bytes of
index for each pooled element. The same function takes four passes:

1. mean and variance of the map;
2. norm, pool and ReLU in one: of each window only the element that wins is normalised. The norm is monotone in each channel,
   so that the window's largest (or smallest, where the scale is negative) wins before it as after it;
3. backward, the two sums that batch norm needs (Ioffe & Szegedy 2015, section 3): the gradient is zero but at the winners, so
   that they run over the pooled quarter;
4. the gradient by the map, written once.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

_MOST_THREADS = 2  # ours run on one thread; with more than two PyTorch's several are faster
_FEWEST_ELEMENTS = (
    1 << 17
)  # below, what a call costs outweighs what it saves, and loading Numba never pays


def norm_relu(bn: Any, x: Tensor, *, pool: bool = False, add: Tensor | None = None) -> Tensor:
    """``relu(max_pool2d(bn(x), 2))``, or ``relu(bn(x) + add)``.

    In training on a CPU with channels-last maps this is one operation of ours, equal to PyTorch's within rounding;
    everywhere else it is PyTorch's. Which one it is depends on shapes, device and number of threads, never on a clock.

    Args:
        bn: an ``nn.BatchNorm2d``, or a module with all its tensors and numbers whose ``is_batch_norm`` is true and whose
            tensors may have any shape of C elements. Its running statistics are updated as by itself.
        x: ``[B, C, H, W]``, fp32 or bf16.
        pool: halve height and width by the maximum of each 2 x 2 window.
        add: of the result's shape, such as a residual branch; not together with ``pool``.

    Returns:
        ``[B, C, H, W]``, pooled ``[B, C, H // 2, W // 2]``, of ``x``'s dtype.

    Raises:
        ValueError: if asked to pool and to add.
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
    if (
        x.device.type != "cpu"
        or x.numel() < _FEWEST_ELEMENTS
        or not (bn.training and torch.is_grad_enabled())
    ):
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
    # Of one value a channel has no variance; PyTorch says so.
    return x.dtype in (torch.float32, torch.bfloat16) and _is_map(x) and x.numel() > x.shape[1]


def _is_map(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


def _is_transformed(x: Tensor) -> bool:
    """Whether ``torch.func`` is looking: it has no numbers to give yet."""
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
        picked = torch.empty_like(out) if pool else None
        norm = np.empty((3, channels))
        loops.forward(
            _nhwc(x),
            None if add is None else _nhwc(add),
            weight.detach().numpy(),
            bias.detach().numpy(),
            bn.running_mean.view(-1).numpy(),
            bn.running_var.view(-1).numpy(),
            bn.momentum,
            bn.eps,
            norm,
            None if picked is None else _nhwc(picked),
            _nhwc(out),
        )
        ctx.save_for_backward(x, picked, out)
        ctx.norm, ctx.adds = norm, add is not None
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from understudy.kernels import loops

        x, picked, out = ctx.saved_tensors
        gradient = gradients[0].to(x.dtype).contiguous(memory_format=torch.channels_last)
        by_x, by_parameters = torch.empty_like(x), torch.empty((2, x.shape[1]))
        by_add = torch.empty_like(out) if ctx.adds else None
        loops.backward(
            _nhwc(x),
            None if picked is None else _nhwc(picked),
            _nhwc(out),
            _nhwc(gradient),
            ctx.norm,
            None if by_add is None else _nhwc(by_add),
            _nhwc(by_x),
            *by_parameters.numpy(),
        )
        return by_x, *by_parameters.unbind(), by_add, None, None
