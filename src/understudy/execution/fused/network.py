"""K networks of one architecture as one: grouped convolutions and batched matrix products.

The layers of a network are replaced by layers that hold the weights of all K. Their activations are
those of the K networks side by side in the channels, ``[B, K * C, H, W]``, so that the network's
own code (ReLU, pooling, sums) runs unchanged on all of them at once.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.errors import UnderstudyError
from understudy.models.base import Classifier
from understudy.models.foreign import ForeignClassifier

_UNTOUCHED = (nn.ReLU, nn.MaxPool2d, nn.Identity)
"""Layers that treat each channel by itself, so that K students side by side are treated as one."""


def why_no_stacked_network(network: Classifier) -> str:
    """Why a network cannot be stacked with others of its kind; empty if it can."""
    if isinstance(network, ForeignClassifier) or not type(network).__module__.startswith(
        "understudy.models."
    ):
        return (
            f"{type(network).__name__} is not a network of this package, "
            "and its code may mix channels"
        )
    for layer in network.modules():
        is_leaf = next(layer.children(), None) is None and not _is_container(layer)
        if is_leaf and type(layer) not in (*_STACKED, *_UNTOUCHED):
            return f"there is no stacked form of the layer {type(layer).__name__}"
    return ""


def architecture(network: nn.Module) -> str:
    """What two networks must have in common to be stacked: layers, and every plain attribute.

    ``repr(network)`` is not enough: an option that its code reads as a flag, such as whether a
    stage pools first, is not a layer.
    """
    own = vars(nn.Module()).keys()  # parameters, hooks and mode, which every module has
    described = []
    for name, layer in network.named_modules():
        plain = {k: v for k, v in vars(layer).items() if k not in own}
        options = {k: _shape_or_value(v) for k, v in sorted(plain.items())}
        weights = {k: tuple(v.shape) for k, v in layer.named_parameters(recurse=False)}
        kind = f"{type(layer).__module__}.{type(layer).__qualname__}"
        described.append((name, kind, options, weights))
    return repr(described)


def _shape_or_value(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor) else value


def _is_container(layer: nn.Module) -> bool:
    return type(layer) in (nn.ModuleList, nn.Sequential)


class StackedConv2d(nn.Module):
    """K convolutions as one grouped convolution: weight ``[K, O, I / g, kh, kw]``, bias ``[K, O]``.

    Takes ``[B, K * I, H, W]``, or images that several networks share: ``[B, I, H, W]`` for all K,
    or ``[B, S * I, H, W]`` of S sources. Shared images make S ordinary convolutions with many
    outputs; K groups of three colours would be the slowest convolution that a library has.

    Attributes:
        shared: how many networks in a row share each source.
    """

    def __init__(self, layers: Sequence[nn.Conv2d]) -> None:
        super().__init__()
        self.like = copy.deepcopy(layers[0]).requires_grad_(False)
        self.weight = nn.Parameter(
            torch.stack([layer.weight.detach() for layer in layers]).contiguous()
        )
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = nn.Parameter(torch.stack(biases)) if biases else None
        self.shared: tuple[int, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        size = self.like.in_channels
        if x.shape[1] in (size, size * len(self.weight)):
            return self._convolve(x, self.weight, self.bias)
        images, weights = x.split(size, 1), self.weight.split(self.shared)
        biases = [None] * len(images) if self.bias is None else self.bias.split(self.shared)
        return torch.cat(
            [self._convolve(*part) for part in zip(images, weights, biases, strict=True)], 1
        )

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        count, like = len(weight), self.like
        if x.shape[1] == like.in_channels and like.groups > 1:
            x = x.repeat(1, count, 1, 1)
        groups = like.groups if x.shape[1] == like.in_channels else like.groups * count
        assert not isinstance(like.padding, str) and like.padding_mode == "zeros"
        own = None if bias is None else bias.flatten()
        return F.conv2d(
            x, weight.flatten(0, 1), own, like.stride, like.padding, like.dilation, groups
        )


class StackedBatchNorm2d(nn.Module):
    """K batch norms as one over ``K * C`` channels: tensors ``[K, C]``, batches seen ``[K]``."""

    def __init__(self, layers: Sequence[nn.BatchNorm2d]) -> None:
        super().__init__()
        self.momentum, self.eps = layers[0].momentum, layers[0].eps
        assert self.momentum is not None, "our networks average with a momentum"
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(
                name, torch.stack([getattr(layer, name).detach() for layer in layers])
            )

    is_batch_norm = True  # for norm_relu
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.num_batches_tracked += 1
        # Views, updated in place.
        mean, var = self.running_mean.flatten(), self.running_var.flatten()
        momentum = 0.0 if self.momentum is None else self.momentum
        return F.batch_norm(
            x,
            mean,
            var,
            self.weight.flatten(),
            self.bias.flatten(),
            self.training,
            momentum,
            self.eps,
        )


class StackedLinear(nn.Module):
    """K linear layers as one batched product: ``[B, K * I]`` to ``[B, K * O]``.

    Weight ``[K, O, I]``, bias ``[K, O]``.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = nn.Parameter(torch.stack(biases)) if biases else None

    def forward(self, x: Tensor) -> Tensor:
        count, _, inputs = self.weight.shape
        rows = x.view(len(x), count, inputs).transpose(0, 1)
        weight = self.weight.transpose(1, 2)
        if self.bias is None:
            out = torch.bmm(rows, weight)
        else:
            out = torch.baddbmm(self.bias[:, None], rows, weight)
        return out.transpose(0, 1).flatten(1)


class StackedDropout(nn.Module):
    """K dropouts as one product with a mask.

    Attributes:
        mask: ``[B, K * C]`` of zeros and ``1 / (1 - p)``; set it before each training step.
        width: C, known after the first forward pass.
    """

    def __init__(self, layers: Sequence[nn.Dropout]) -> None:
        super().__init__()
        self.p, self.count = layers[0].p, len(layers)
        self.width: int | None = None
        self.mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.width = x.shape[1] // self.count
        if not self.training or self.p == 0:
            return x
        assert self.mask is not None, "set the mask before a training step"
        return x * self.mask.to(x.dtype)


_STACKED: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.Conv2d: StackedConv2d,
    nn.BatchNorm2d: StackedBatchNorm2d,
    nn.Linear: StackedLinear,
    nn.Dropout: StackedDropout,
}


class StackedNetwork(nn.Module):
    """K networks of one architecture as one.

    Args:
        networks: of this package (:func:`why_no_stacked_network`); not changed.
        example: images ``[B, C, H, W]``, B at least 1, on which the result is checked.

    Raises:
        UnderstudyError: if the stack's outputs for the example are not those of the networks, which
            means that their code mixes channels.
    """

    def __init__(self, networks: Sequence[Classifier], example: Tensor) -> None:
        super().__init__()
        self.count = len(networks)
        self.body = copy.deepcopy(networks[0])
        for name, layer in list(self.body.named_modules()):
            if type(layer) in _STACKED:
                layers = [network.get_submodule(name) for network in networks]
                parent, _, own_name = name.rpartition(".")
                stacked = _STACKED[type(layer)](layers)
                setattr(self.body.get_submodule(parent), own_name, stacked)
        dropouts = [layer for layer in self.body.modules() if isinstance(layer, StackedDropout)]
        self.dropouts = [layer for layer in dropouts if layer.p > 0]
        self._check(networks, example)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[K, B, classes]``.

        Args:
            images: ``[B, C, H, W]`` for all networks, ``[B, K * C, H, W]`` with each one's own, or
                ``[B, S * C, H, W]`` of S sources (:meth:`share`).
        """
        logits = self.body.outputs(images).logits
        return logits.view(len(images), self.count, -1).transpose(0, 1)

    def share(self, counts: Sequence[int]) -> None:
        """Set how many networks, in their order, get the images of each source."""
        assert sum(counts) == self.count
        for layer in self.body.modules():
            if isinstance(layer, StackedConv2d):
                layer.shared = tuple(counts)

    def rows(self) -> Iterator[tuple[str, Tensor]]:
        """Every parameter and buffer, ``[K, ...]``, under the name it has in one network."""
        for name, tensor in (*self.body.named_parameters(), *self.body.named_buffers()):
            if ".like." not in name:
                yield name, tensor

    @torch.no_grad()
    def _check(self, networks: Sequence[Classifier], example: Tensor) -> None:
        modes = [network.training for network in networks]
        expected = torch.stack([network.eval()(example) for network in networks])
        for network, mode in zip(networks, modes, strict=True):
            network.train(mode)
        found = self.eval()(example)
        # Loose enough for TF32, in which CUDA convolves; mixed channels change logits completely.
        scale = float(expected.abs().max().nan_to_num(1.0))
        if not torch.allclose(expected, found, rtol=0.0, atol=0.02 * scale, equal_nan=True):
            raise UnderstudyError(
                f"{type(networks[0]).__name__} cannot be stacked: its code mixes channels; "
                "use the engine interleaved"
            )
