"""The switch for what PyTorch does slowly on CPUs."""

from torch import nn

from understudy.kernels.conv_grad import use_small_map_gradients


def optimize_for_cpu(model: nn.Module, precision: str = "fp32") -> None:
    """Make a model's training faster on a CPU, in place.

    Names, weights and outputs stay the same; gradients are the same up to the order of additions.
    Nothing changes on a GPU, or in bf16, where oneDNN has fast kernels.

    The other kernels need no switch: networks of this package call
    :func:`~understudy.kernels.norm_relu.norm_relu` and
    :func:`~understudy.kernels.average.global_average`, which choose by device and shape, and
    :func:`~understudy.kernels.allocator.keep_freed_memory` belongs to the process.

    Args:
        model: any module.
        precision: that it trains in, ``fp32`` or ``bf16``.
    """
    if precision == "fp32":
        use_small_map_gradients(model)
