"""The head of a network: its last linear layer, which turns pooled features into logits.

No library's names are needed to find it. The network is run once, and the head is the linear layer
(or convolution of one pixel) whose output is the logits, up to a constant factor.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.models.base import Classifier
from understudy.models.foreign import random_images
from understudy.models.modes import evaluating


@dataclass(frozen=True)
class Head:
    """Where the head of a network is.

    Attributes:
        path: of the module in the bare network (:func:`understudy.models.deployed`).
        width: numbers in a feature.
        num_outputs: logits.
        has_bias: whether it adds a constant to each logit.
        scale: the logits are its output times this.
    """

    path: str
    width: int
    num_outputs: int
    has_bias: bool
    scale: float


def find_head(network: Classifier, image: ImageSpec, name: str) -> Head:
    """Run a network on two random images and find its head.

    Args:
        network: on any device; its modes, statistics and the global random numbers do not change.
        image: the shape of its images.
        name: of the network, for the message.

    Raises:
        UnderstudyError: if no linear layer of pooled features gives the logits.
    """
    images = random_images(network, image)
    calls: list[tuple[str, nn.Module, Tensor, Tensor]] = []

    def note(path: str) -> object:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            calls.append((path, module, inputs[0], output))

        return hook

    handles = [
        module.register_forward_hook(note(path))
        for path, module in network.bare.named_modules()
        if is_linear(module)
    ]
    try:
        with evaluating(network), torch.no_grad():
            logits = network(images)
    finally:
        for handle in handles:
            handle.remove()
    for path, module, inputs, output in reversed(calls):
        scale = _factor(output.flatten(1), logits)
        width = inputs.flatten(1).shape[1]
        if scale is not None and width == _weight(module).flatten(1).shape[1]:
            return Head(path, width, logits.shape[1], module.bias is not None, scale)
    raise UnderstudyError(
        f"model {name} has no linear layer of pooled features that gives its logits, so it cannot "
        "get a new head: set teacher.head=own, or take another network"
    )


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer, or a convolution of single pixels."""
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear)


@contextmanager
def head_inputs(network: Classifier, head: Head) -> Iterator[list[Tensor]]:
    """Inside the block, each forward pass adds the features ``[B, width]`` that the head gets."""
    found: list[Tensor] = []
    module = network.bare.get_submodule(head.path)
    handle = module.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].flatten(1)))
    try:
        yield found
    finally:
        handle.remove()


@torch.no_grad()
def set_head(network: Classifier, head: Head, weight: Tensor, bias: Tensor | None) -> None:
    """Put a linear map from features to logits into a network, in place.

    Args:
        network: whose head it is.
        head: where it is; without a bias of its own none may be given.
        weight: ``[num_outputs, width]``.
        bias: ``[num_outputs]``.
    """
    module = network.bare.get_submodule(head.path)
    own = _weight(module)
    own.copy_((weight / head.scale).view_as(own))
    if bias is not None:
        assert isinstance(module.bias, Tensor), "a head without a bias gets none"
        module.bias.copy_(bias / head.scale)


def _weight(module: nn.Module) -> Tensor:
    assert isinstance(module.weight, Tensor)
    return module.weight


def _factor(output: Tensor, logits: Tensor) -> float | None:
    """The constant that turns one into the other; ``None`` if there is no such."""
    if output.shape != logits.shape:
        return None
    output, logits = output.double(), logits.double()
    square = float(output.square().sum())
    factor = float((output * logits).sum()) / square if square else 1.0
    same = torch.allclose(factor * output, logits, rtol=1e-3, atol=1e-5)
    if not same or factor == 0:
        return None
    return 1.0 if abs(factor - 1) < 1e-4 else factor
