"""Convolution weight gradients as one matrix product, where oneDNN is slow at them.

On CPUs with AVX2 only, oneDNN computes the weight gradient of a convolution over small maps at a
fraction of the speed of a matrix product: 512 -> 512 channels on 2 x 2 maps at batch 128 takes
170 ms there and 43 ms as ``gradient^T @ columns`` (AMD Zen 3, one thread). The sums are the same up
to the order of additions. The rule that picks the path depends on shapes and the processor only,
never on a clock, so that a run's numbers stay reproducible.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LARGEST_MAP = 16
"""Output positions; at 8 x 8 and above oneDNN is faster (docs/performance.md)."""
_FEWEST_CHANNELS = 32


class _Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.has_bias = stride, padding, bias is not None
        return torch.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight = ctx.saved_tensors
        grad_x = None
        if ctx.needs_input_grad[0]:
            mask = (True, False, False)
            grad_x = torch.ops.aten.convolution_backward(
                grad, x, weight, None, ctx.stride, ctx.padding, (1, 1), False, (0, 0), 1, mask
            )[0]
        out_channels, in_channels, kernel_h, kernel_w = weight.shape
        rows = grad.permute(0, 2, 3, 1).reshape(-1, out_channels)
        columns = _columns(x, (kernel_h, kernel_w), ctx.stride, ctx.padding)
        grad_weight = (
            (rows.t() @ columns)
            .view(out_channels, kernel_h, kernel_w, in_channels)
            .permute(0, 3, 1, 2)
        )
        return grad_x, grad_weight, rows.sum(0) if ctx.has_bias else None, None, None


def _columns(
    x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """``[B * H' * W', kh * kw * C]``: the patch under each output position.

    Read as a strided view of NHWC memory.
    """
    padded = (
        F.pad(x, (padding[1], padding[1], padding[0], padding[0])).permute(0, 2, 3, 1).contiguous()
    )
    batch, height, width, channels = padded.shape
    out_h, out_w = (height - kernel[0]) // stride[0] + 1, (width - kernel[1]) // stride[1] + 1
    b, h, w, c = padded.stride()
    shape = (batch, out_h, out_w, *kernel, channels)
    return padded.as_strided(shape, (b, h * stride[0], w * stride[1], h, w, c)).reshape(
        batch * out_h * out_w, -1
    )


class SmallMapConv2d(nn.Conv2d):
    """``nn.Conv2d`` whose weight gradient on small CPU maps is a matrix product.

    Parameters, state dict and outputs are those of ``nn.Conv2d``.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled() and _worth_it(self, input)):
            return super().forward(input)
        assert not isinstance(self.padding, str)
        return _Conv2d.apply(input, self.weight, self.bias, self.stride, self.padding)


def _worth_it(conv: nn.Conv2d, x: Tensor) -> bool:
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    if (
        conv.groups != 1
        or conv.dilation != (1, 1)
        or conv.padding_mode != "zeros"
        or isinstance(conv.padding, str)
    ):
        return False
    out_h = (x.shape[2] + 2 * conv.padding[0] - conv.kernel_size[0]) // conv.stride[0] + 1
    out_w = (x.shape[3] + 2 * conv.padding[1] - conv.kernel_size[1]) // conv.stride[1] + 1
    return (
        out_h * out_w <= _LARGEST_MAP
        and min(conv.in_channels, conv.out_channels) >= _FEWEST_CHANNELS
    )


def use_small_map_gradients(model: nn.Module) -> None:
    """Make a model's plain convolutions :class:`SmallMapConv2d`, in place, on CPUs where it pays.

    The class of each module is replaced, not the module: names, weights, hooks and references from
    elsewhere (an optimizer, a wrapper, a tied layer) stay valid, as they would not if new modules
    were put in place of the old ones. ``SmallMapConv2d`` adds no attribute, so every ``nn.Conv2d``
    is a complete instance of it. Subclasses of ``nn.Conv2d`` are left alone.
    """
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "DEFAULT"):
        return
    for module in model.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = SmallMapConv2d
