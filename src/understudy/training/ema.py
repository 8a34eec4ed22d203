"""Exponential moving average of weights."""

from collections.abc import Mapping

import torch
from torch import Tensor


@torch.no_grad()
def update_ema(ema: Mapping[str, Tensor], current: Mapping[str, Tensor], decay: float) -> None:
    """``ema = decay * ema + (1 - decay) * current``, in place; integer buffers are copied.

    Never waits for the device, and needs one kernel for all floating-point tensors.

    Args:
        ema: a state dict's tensors, on their device.
        current: the same names and shapes.
        decay: in [0, 1).
    """
    floats = [name for name, value in current.items() if value.is_floating_point()]
    averages = [ema[name] for name in floats]
    torch._foreach_lerp_(averages, [current[name] for name in floats], 1 - decay)
    for name, value in current.items():
        if not value.is_floating_point():
            ema[name].copy_(value)
