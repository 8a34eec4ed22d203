"""The mean over a map, in the order of memory."""

import torch
from torch import Tensor
from torch.nn import functional as F


def global_average(x: Tensor) -> Tensor:
    """``[B, C]``: the mean of each channel over ``[B, C, H, W]``.

    Channels-last maps in training on a CPU are averaged in the order of memory: the gradient of
    PyTorch's pooling is an expanded tensor, and copying it into the map's order costs six times as
    much. An exported network has the pooling that every runtime knows.
    """
    if (
        x.device.type == "cpu"
        and x.requires_grad
        and x.is_contiguous(memory_format=torch.channels_last)
    ):
        return x.permute(0, 2, 3, 1).flatten(1, 2).mean(1)
    return F.adaptive_avg_pool2d(x, 1).flatten(1)
