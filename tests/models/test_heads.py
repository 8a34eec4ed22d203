"""The head of any network is found by running it, and a linear map can be put in its place."""

import importlib.util

import pytest
import torch
from tests.worlds import TinyNet, tiny_net
from torch import Tensor, nn

from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.models import build_model
from understudy.models.foreign import ForeignClassifier
from understudy.models.heads import find_head, head_inputs, set_head

IMAGE = ImageSpec(3, 16, 16)
IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


class ConvolutionHead(nn.Module):
    """Its last layer is a convolution of the one pixel that is left."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.last = nn.Conv2d(6, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.body(images)).flatten(1)


class PooledScores(nn.Module):
    """Scores at every pixel, averaged: no linear layer gives the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(3, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(images).relu().mean((2, 3))


def wrapped(module: nn.Module) -> ForeignClassifier:
    return ForeignClassifier(module, 3, name="own", image_size=16).eval()


@pytest.mark.parametrize(
    ("name", "path", "scale"),
    [
        ("founding_student", "fc2", 1.0),
        ("founding_teacher", "fc", 1.0),
        ("resnet8", "fc", 1.0),
        ("fast_teacher", "fc", 0.125),
        ("tiny_wide", None, 1.0),
    ],
)
def test_own_networks_show_their_head(name: str, path: str | None, scale: float) -> None:
    network = build_model(name, 5, IMAGE).eval()
    head = find_head(network, IMAGE, name)
    assert head.num_outputs == 5 and head.scale == pytest.approx(scale, rel=1e-5)
    assert path is None or head.path == path


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_050"])
def test_networks_of_timm_show_their_head(name: str) -> None:
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("timm needs torchvision, which is not installed")
    import tests.torchvision_operators  # noqa: F401  (before torchvision)

    timm = pytest.importorskip("timm")
    size = 224 if "vit" in name else 64
    network = ForeignClassifier(
        timm.create_model(name, num_classes=4), 4, name=name, image_size=size
    ).eval()
    head = find_head(network, ImageSpec(3, size, size), name)
    assert head.num_outputs == 4
    assert network.model.get_classifier() is network.model.get_submodule(head.path)


@pytest.mark.parametrize("network", [tiny_net().eval(), wrapped(ConvolutionHead())])
def test_a_linear_map_of_the_features_takes_the_place_of_the_head(network: TinyNet) -> None:
    head = find_head(network, IMAGE, "own")
    rng = torch.Generator().manual_seed(2)
    weight = torch.randn(3, head.width, generator=rng).double()
    bias = torch.randn(3, generator=rng).double()
    set_head(network, head, weight, bias)
    with torch.no_grad(), head_inputs(network, head) as features:
        logits = network(IMAGES)
    assert features[0].shape == (3, head.width)
    assert torch.allclose(logits, features[0] @ weight.float().T + bias.float(), atol=1e-5)


def test_a_factor_behind_the_head_is_taken_into_account() -> None:
    network = build_model("fast_teacher", 3, IMAGE).eval()
    head = find_head(network, IMAGE, "fast_teacher")
    weight = torch.ones(3, head.width)
    set_head(network, head, weight, None)
    with torch.no_grad(), head_inputs(network, head) as features:
        assert torch.allclose(network(IMAGES), features[0].sum(1, keepdim=True).expand(3, 3))


def test_a_network_without_a_linear_head_is_refused() -> None:
    with pytest.raises(UnderstudyError, match=r"model own has no linear layer of pooled features"):
        find_head(wrapped(PooledScores()), IMAGE, "own")


def test_looking_for_the_head_leaves_no_trace() -> None:
    network = tiny_net().train()
    before, mean = torch.get_rng_state(), network.bn.running_mean.clone()
    find_head(network, IMAGE, "own")
    assert torch.equal(before, torch.get_rng_state()) and network.training
    assert torch.equal(mean, network.bn.running_mean)
    assert not any(module._forward_hooks for module in network.modules())
