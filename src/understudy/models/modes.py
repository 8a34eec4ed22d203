"""Evaluation mode for a while: every submodule returns to the mode that it was in."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import nn

Model = TypeVar("Model", bound="nn.Module")


@contextlib.contextmanager
def evaluating(model: Model) -> Iterator[Model]:
    """Put ``model`` into evaluation mode inside a ``with`` block.

    Each submodule returns to its own mode afterwards, also after an exception: a network with a
    frozen part is in two modes at once.

    Args:
        model: any module; dropout is off and batch norm uses its running statistics in the block.

    Yields:
        the same module.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, training in modes:
            module.training = training
