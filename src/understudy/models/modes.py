"""Eval mode for a while, without a trace: every submodule gets its own mode back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def evaluating(*models: "nn.Module") -> Iterator[None]:
    """Networks in eval mode inside the block.

    Afterwards, also after an exception, each submodule is in the mode it was in: ``model.train()``
    would be wrong for a network with a frozen batch norm, which is in two modes at once.
    """
    modes = [(module, module.training) for model in models for module in model.modules()]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
