"""A network that is no :class:`Classifier`, behind that interface."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError, one_line, suggest
from understudy.models.base import Classifier, Outputs
from understudy.models.modes import evaluating
from understudy.models.normalisation import pretrained_config


class OtherClassCount(UnderstudyError):
    """A network gives another number of logits than there are classes.

    Attributes:
        found: how many it gives.
    """

    def __init__(self, message: str, found: int) -> None:
        super().__init__(message)
        self.found = found


_SAME_PROPORTIONS = 0.3
"""Logarithm of a factor up to which a map has the proportions of the image, rounding included."""


class ForeignClassifier(Classifier):
    """Another library's network, its logits unpacked and its stages read by hooks.

    The network is run once, in eval mode, on random images, to check its logits and to learn the
    channels of its stages. Stage maps are ``[B, C, H, W]``; the tokens ``[B, N, C]`` of a
    transformer become the largest map with the image's proportions that they fill, without the
    class and register tokens before it. The embedding is the global average of the last stage. If
    the network's own linear head turns that embedding into its logits (the probe checks it),
    ``classify`` uses that head.

    The wrapped network is :attr:`model`, whose ``state_dict`` has the network's own keys: save and
    load that (:func:`understudy.models.deployed`), and its own library can read the file.

    Args:
        model: the network, ``[B, C, H, W]`` to logits ``[B, K]`` or to an object with ``.logits``.
        num_classes: number of logits; ``None`` takes what the network gives, at least 2.
        name: its name in messages.
        in_channels: channels of the images.
        image_size: pixels, one number for square images or (height, width).
        stages: module paths inside ``model``, shallow to deep; without them there are neither stage
            maps nor an embedding.

    Attributes:
        num_classes: number of logits.
        image: the shape of the images that it was run on.

    Raises:
        UnderstudyError: if a stage does not exist or gives no map, or the network does not give
            ``num_classes`` logits.
    """

    def __init__(
        self,
        model: nn.Module,
        num_classes: int | None,
        *,
        name: str,
        in_channels: int = 3,
        image_size: int | tuple[int, int] = 32,
        stages: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.name = name
        self.model = model
        self.stages = tuple(stages)
        self.feature_channels = ()
        self.embedding_dim = 0
        self.head: str | None = None
        modules = dict(model.named_modules())
        self._captures = []
        for stage in self.stages:
            if stage not in modules or not stage:
                paths = filter(None, modules)
                raise UnderstudyError(
                    f"model {name} has no stage {stage!r}: "
                    f"{suggest(stage, paths, matches=5, most=12)}"
                )
            capture = _Capture(stage)
            modules[stage].register_forward_hook(capture)
            self._captures.append(capture)
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.image = ImageSpec(in_channels, height, width)
        self._probe(num_classes)

    @property
    def bare(self) -> nn.Module:
        """The wrapped network."""
        return self.model

    def extra_repr(self) -> str:
        """The stages, which decide its features and embedding."""
        return f"stages={self.stages}" if self.stages else ""

    def forward(self, images: Tensor) -> Tensor:
        return self._logits(images)

    def outputs(self, images: Tensor) -> Outputs:
        for capture in self._captures:
            capture.active, capture.output = True, None
        try:
            logits = self._logits(images)
            size = (images.shape[2], images.shape[3])
            features = tuple(capture.as_map(size, self.name) for capture in self._captures)
        finally:
            for capture in self._captures:
                capture.active, capture.output = False, None
        return Outputs(logits, features, features[-1].mean((2, 3)) if features else None)

    def classify(self, embedding: Tensor) -> Tensor:
        """Logits of pooled features.

        Raises:
            UnderstudyError: if there are no stages, or the last one does not feed the network's
                linear head directly.
        """
        if not self.stages:
            raise UnderstudyError(
                f"the classifier of model {self.name} cannot be used by itself: "
                "give the model's `stages`"
            )
        if self.head is None:
            raise UnderstudyError(
                f"the classifier of model {self.name} cannot be used by itself: its stage "
                f"{self.stages[-1]!r} does not feed a linear layer by global average pooling; "
                "name the module before the pooling as the last stage"
            )
        logits: Tensor = self.model.get_submodule(self.head)(embedding)
        return logits

    def _logits(self, images: Tensor) -> Tensor:
        result = self.model(images)
        logits = getattr(result, "logits", result)
        if not isinstance(logits, Tensor):
            raise UnderstudyError(
                f"model {self.name} gives {type(logits).__name__}, not a tensor of logits: wrap it "
                "in a module that returns the logits alone"
            )
        return logits

    def _probe(self, num_classes: int | None) -> None:
        outputs = probe(self, num_classes, self.image, f"model {self.name}")
        self.num_classes = outputs.logits.shape[1]
        self.feature_channels = tuple(feature.shape[1] for feature in outputs.features)
        self.embedding_dim = self.feature_channels[-1] if self.feature_channels else 0
        if outputs.embedding is not None and not outputs.embedding.is_meta:
            self.head = self._find_head(outputs.embedding, outputs.logits)

    def _find_head(self, embedding: Tensor, logits: Tensor) -> str | None:
        fits = (embedding.shape[1], logits.shape[1])
        for path, module in self.model.named_modules():
            if isinstance(module, nn.Linear) and (module.in_features, module.out_features) == fits:
                with torch.no_grad():
                    if torch.allclose(module(embedding), logits, rtol=1e-4, atol=1e-5):
                        return path
        return None


def probe(model: Classifier, num_classes: int | None, image: ImageSpec, label: str) -> Outputs:
    """Run a network once on two random images, in eval mode, without gradients.

    Args:
        model: on any device; its modes, statistics and the global random numbers do not change.
        num_classes: the number of logits that it must give; ``None`` for any, from 2.
        image: the shape of the images.
        label: the network in messages.

    Raises:
        UnderstudyError: if it does not run on such images, or gives other logits.
    """
    images = random_images(model, image)
    try:
        with evaluating(model), torch.no_grad():
            outputs = model.outputs(images)
    except UnderstudyError:
        raise
    except Exception as error:  # of the user's own code
        reason = one_line(error, first_line=True)
        trained = pretrained_config(model).get("input_size")
        if trained is not None and tuple(trained) != image.shape:
            reason += (
                f"; it was made for {'x'.join(map(str, trained))}: a teacher may see them at that "
                "size (teacher.image_size)"
            )
        raise UnderstudyError(f"{label} does not run on {image} images: {reason}") from error
    shape = tuple(outputs.logits.shape)
    if num_classes is None and len(shape) == 2 and shape[0] == 2 and shape[1] > 1:
        return outputs
    if shape != (2, num_classes):
        if len(shape) != 2 or shape[0] != 2:
            raise UnderstudyError(
                f"{label} gives {list(shape)} for 2 images, which are no logits [2, K]: wrap it in "
                "a module that gives one logit for each class"
            )
        classes = "any number of" if num_classes is None else num_classes
        raise OtherClassCount(
            f"{label} gives logits of shape {list(shape)} for 2 images of {classes} classes: "
            "take a network for these classes",
            shape[-1],
        )
    return outputs


def random_images(network: nn.Module, image: ImageSpec) -> Tensor:
    """Two images to try a network on, ``[2, C, H, W]`` in [0, 1], always the same.

    They are on the network's device and of its type. The global random numbers do not change, nor
    do the weights that are drawn from them for later networks.
    """
    parameter = next(network.parameters(), torch.empty(0))
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, *image.shape, generator=generator).to(parameter)


class _Capture:
    """A forward hook that keeps one module's output while :meth:`ForeignClassifier.outputs` runs.

    An object rather than a closure, so that a deep copy of the model (an average of weights, for
    example) has its own hooks.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.active = False
        self.output: Any = None

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if self.active:
            self.output = output

    def as_map(self, size: tuple[int, int], name: str) -> Tensor:
        """The stage's output as a map ``[B, C, H, W]``, for images of this (height, width).

        Raises:
            UnderstudyError: if it is neither a map nor tokens; ``name`` is the model's.
        """
        output = self.output
        output = output[0] if isinstance(output, (tuple, list)) and output else output
        if isinstance(output, Tensor) and output.ndim == 4:
            return output.permute(0, 3, 1, 2) if is_channels_last(output.shape, size) else output
        if isinstance(output, Tensor) and output.ndim == 3 and _grid(output.shape[1], size):
            height, width = _grid(output.shape[1], size)
            patches = output[:, output.shape[1] - height * width :]
            return patches.transpose(1, 2).unflatten(2, (height, width))
        is_tensor = isinstance(output, Tensor)
        found = f"shape {list(output.shape)}" if is_tensor else type(output).__name__
        if output is None:
            found = "nothing: it does not run"
        raise UnderstudyError(
            f"stage {self.stage!r} of model {name} must give a map [B, C, H, W] or tokens "
            f"[B, N, C], but gives {found} for images of {size[0]}x{size[1]} pixels"
        )


def is_channels_last(shape: Sequence[int], size: tuple[int, int]) -> bool:
    """Whether a map is ``[B, H, W, C]``, as Swin transformers have it.

    It has the image's proportions that way, and not as ``[B, C, H, W]``.

    Args:
        shape: of the map.
        size: (height, width) of the image.
    """
    _, first, second, third = shape
    wanted = math.log(size[0] / size[1])
    as_last = abs(math.log(first / second) - wanted)
    as_first = abs(math.log(second / third) - wanted)
    return as_last < _SAME_PROPORTIONS < as_first


def _grid(tokens: int, size: tuple[int, int]) -> tuple[int, ...]:
    """The largest grid of tokens with the proportions of the image; empty if there is none."""
    divisor = math.gcd(*size)
    height, width = size[0] // divisor, size[1] // divisor
    scale = math.isqrt(tokens // (height * width))
    return (height * scale, width * scale) if scale else ()
