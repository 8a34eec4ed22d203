"""Networks and an export's parts, small enough for tests."""

import torch
from tests.worlds import MEAN, STD, tiny_data, tiny_net
from torch import Tensor, nn

from understudy.data.preprocess import Preprocessing
from understudy.data.spec import ImageSpec
from understudy.export.deployable import Deployable, Examples
from understudy.models.normalisation import Normalisation


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """Batch norms with statistics, scales of both signs and shifts, so that folding can fail."""
    rng = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            shape = module.running_mean.shape
            module.running_mean.copy_(0.2 * torch.randn(shape, generator=rng))
            module.running_var.copy_(0.5 + torch.rand(shape, generator=rng))
            module.weight.data.copy_(torch.randn(shape, generator=rng))
            module.bias.data.copy_(0.2 * torch.randn(shape, generator=rng))
    return network.eval()


class SqueezeExcite(nn.Module):
    """Every operation of the graph that no network of the zoo has."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=2, dilation=2)
        self.reduce = nn.Conv2d(8, 4, 1)
        self.expand = nn.Conv2d(4, 8, 1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = nn.functional.hardswish(self.stem(images))
        factor = self.expand(nn.functional.silu(self.reduce(x.mean((2, 3), keepdim=True))))
        x = x * nn.functional.hardsigmoid(factor)
        x = nn.functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
        x = nn.functional.relu6(self.bn(self.grouped(x)) + x)
        x = x * torch.sigmoid(x)
        logits: Tensor = self.fc(nn.functional.max_pool2d(x, 2).amax((2, 3)))
        return logits


def tiny_deployable(num_classes: int = 3, size: tuple[int, int] = (8, 8)) -> Deployable:
    """An untrained network of a few weights, for images of :func:`tests.worlds.tiny_data`."""
    return Deployable(
        network=randomised(tiny_net(num_classes=num_classes)),
        classes=tuple("abc"[:num_classes]),
        preprocessing=Preprocessing(image=ImageSpec(3, *size)),
        normalisation=Normalisation(MEAN, STD),
    )


def tiny_examples(num_images: int = 24) -> Examples:
    """Training and validation images for it."""
    data = tiny_data(num_images)
    return Examples(train=data.train, val=data.val)
