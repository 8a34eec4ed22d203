"""Networks that together use every layer of the C code, with weights that make a difference."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.data.dataset import Split
from understudy.data.preprocess import Preprocessing
from understudy.data.spec import ImageSpec
from understudy.export.deployable import Deployable, Examples
from understudy.models import build_model
from understudy.models.normalisation import Normalisation

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


class Squeezed(nn.Module):
    """A gate for each channel, a product of maps, and every activation with a table."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.left, self.right = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = F.hardswish(self.stem(images))
        x = x * F.hardsigmoid(self.excite(F.silu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        x = self.left(x) * torch.sigmoid(self.right(x))
        return self.head(x.amax((2, 3)))


class Uneven(nn.Module):
    """Strides, dilations, paddings and groups that differ between the two directions."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 12, (3, 5), (2, 1), (1, 3), (1, 2))
        self.two = nn.Conv2d(12, 18, (3, 1), 1, (2, 0), (2, 1), groups=3)
        self.three = nn.Conv2d(18, 7, 1, 2, bias=False)
        self.padded = nn.Conv2d(7, 5, 1, 1, 1)
        self.head = nn.Linear(5, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = self.two(F.relu6(self.one(images)))
        return self.head(self.padded(F.relu(self.three(x))).mean((2, 3)))


class Pooled(nn.Module):
    """The image goes into pools, whose padding counts or does not; a ReLU with two readers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, 1, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = F.avg_pool2d(images, 3, 2, 1) + F.max_pool2d(images, 3, 2, 1)
        x = self.conv(F.avg_pool2d(x, (3, 2), 1, (1, 1), count_include_pad=False))
        x = F.max_pool2d(F.relu(x), 2) + F.relu6(F.max_pool2d(x, 2))
        return self.head(F.avg_pool2d(F.silu(x), 2).mean((2, 3)))


class Separable(nn.Module):
    """Depthwise convolutions, the first one on the image; no linear layer at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, 1, 1, groups=3)
        self.second = nn.Conv2d(6, 6, 3, 2, 2, dilation=2, groups=6)
        self.norm = nn.BatchNorm2d(6)
        self.last = nn.Conv2d(6, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(F.max_pool2d(F.relu(self.first(images)), 2))
        return self.last(F.relu(self.second(x))).mean((2, 3))


@dataclass(frozen=True)
class World:
    """A network, its images, and how many classes it has."""

    build: Callable[[], nn.Module]
    size: tuple[int, int]
    classes: int


WORLDS = {
    "founding_student": World(lambda: build_model("founding_student", 10), (32, 32), 10),
    "tiny_dw": World(lambda: build_model("tiny_dw", 10), (32, 32), 10),
    "resnet8": World(lambda: build_model("resnet8", 10), (32, 32), 10),
    "squeezed": World(Squeezed, (16, 16), 4),
    "uneven": World(Uneven, (17, 12), 3),
    "pooled": World(Pooled, (13, 14), 3),
    "separable": World(Separable, (16, 12), 3),
}


def deployable(name: str, classes: tuple[str, ...] = ()) -> Deployable:
    """A network of :data:`WORLDS`: logits between -4 and 4 or so, batch norm not trivial."""
    world = WORLDS[name]
    torch.manual_seed(0)
    network = world.build().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.3, 0.3)
        images = torch.from_numpy(images_of(name, 64)).float() / 255
        last = [one for one in network.modules() if isinstance(one, nn.Linear | nn.Conv2d)][-1]
        mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (MEAN, STD))
        logits = network((images - mean) / std)
        spread = logits.std(0).mean()
        last.weight *= 2 / spread
        last.bias.copy_((last.bias - logits.mean(0)) * 2 / spread)
    return Deployable(
        network=network,
        classes=classes or tuple(f"class {number}" for number in range(world.classes)),
        preprocessing=Preprocessing(image=ImageSpec(3, *world.size)),
        normalisation=Normalisation(MEAN, STD),
    )


def images_of(name: str, count: int, seed: int = 0) -> np.ndarray:
    """Blocks of colours with noise: uint8 ``[N, 3, H, W]``."""
    height, width = WORLDS[name].size
    rng = np.random.default_rng(seed)
    shape = (count, 3, -(-height // 4), -(-width // 4))
    blocks = rng.integers(0, 256, shape).repeat(4, 2).repeat(4, 3)[:, :, :height, :width]
    light = rng.integers(-100, 100, (count, 3, 1, 1))
    return (blocks + light).clip(0, 255).astype(np.uint8)


def examples(name: str, count: int = 64) -> Examples:
    """Images to calibrate on."""
    split = Split.from_arrays(
        np.ascontiguousarray(images_of(name, count).transpose(0, 2, 3, 1)), np.zeros(count, int)
    )
    return Examples(train=split, val=split)
