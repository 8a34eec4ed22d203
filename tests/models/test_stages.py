"""Stages are found: the last map of each resolution, or blocks at equal distances."""

import importlib.util

import pytest
import torch
from torch import Tensor, nn

from understudy.data.spec import ImageSpec
from understudy.models import build_model
from understudy.models.expects import expects
from understudy.models.foreign import ForeignClassifier
from understudy.models.libraries import build_module
from understudy.models.stages import propose_stages, stage_setting

IMAGE = ImageSpec(3, 32, 32)


def conv(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU())


class Block(nn.Module):
    """Residual, with a squeeze-and-excitation and a shortcut: neither is on the way."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.body = conv(before, after, 2)
        self.squeeze = nn.Conv2d(after, 2, 1)
        self.excite = nn.Conv2d(2, after, 1)
        self.shortcut = nn.Conv2d(before, after, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        gate = self.excite(self.squeeze(y.mean((2, 3), keepdim=True))).sigmoid()
        return (self.shortcut(x) + y * gate).relu()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 4)
        self.layer1 = nn.Sequential(Block(4, 8), conv(8, 8))
        self.layer2 = nn.Sequential(Block(8, 16))
        self.layer3 = nn.Sequential(Block(16, 32))
        self.layer4 = nn.Sequential(Block(32, 32))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        return self.head(self.pool(x).flatten(1))


class Tokens(nn.Module):
    def __init__(self, depth: int = 12) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 8, 8)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(8, 2, 8, batch_first=True) for _ in range(depth)
        )
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))


class ChannelsLast(nn.Module):
    """Maps [B, H, W, C], as Swin transformers have them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 24, 4, 4)
        self.stage1, self.merge, self.stage2 = (
            nn.Linear(24, 24),
            nn.Linear(96, 48),
            nn.Linear(48, 48),
        )
        self.head = nn.Linear(48, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage1(self.embed(x).permute(0, 2, 3, 1))
        parts = [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        return self.head(self.stage2(self.merge(torch.cat(parts, -1))).mean((1, 2)))


def test_the_last_map_of_each_resolution() -> None:
    assert propose_stages(Net(), IMAGE) == ("layer1", "layer2", "layer3", "layer4")


def test_a_map_of_one_pixel_is_a_stage_but_no_pooling_is() -> None:
    assert propose_stages(Net(), ImageSpec(3, 16, 16))[-1] == "layer4"


def test_what_is_proposed_can_be_read() -> None:
    for network in (Net(), Tokens(), ChannelsLast()):
        stages = propose_stages(network, IMAGE)
        model = ForeignClassifier(network, 5, name="net", stages=stages)
        assert len(stages) > 1 and len(model.feature_channels) == len(stages)


def test_blocks_of_a_transformer_at_equal_distances() -> None:
    assert propose_stages(Tokens(), IMAGE) == ("blocks.2", "blocks.5", "blocks.8", "blocks.11")
    assert propose_stages(Tokens(3), IMAGE) == ("blocks.0", "blocks.1", "blocks.2")


def test_channels_last_maps_are_turned() -> None:
    stages = propose_stages(ChannelsLast(), IMAGE)
    model = ForeignClassifier(ChannelsLast(), 5, name="net", stages=stages)
    features = model.outputs(torch.randn(2, 3, 32, 32)).features
    assert [tuple(f.shape[1:]) for f in features] == [(24, 8, 8), (48, 4, 4)]


def test_logits_as_a_map_are_no_stage() -> None:
    network = nn.Sequential(
        conv(3, 8, 2), conv(8, 16, 2), nn.Conv2d(16, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    assert propose_stages(network, IMAGE) == ("0", "1")


def test_a_network_without_maps_has_none() -> None:
    assert propose_stages(nn.Sequential(nn.Flatten(), nn.Linear(3072, 5)), IMAGE) == ()
    assert propose_stages(nn.Linear(1, 1), IMAGE) == (), "it does not run on such images"


def test_a_setting_with_stages_can_be_typed() -> None:
    """YAML would read 0 and 1.0 as numbers."""
    assert stage_setting("teacher", ("layer1", "a.0")) == "teacher.stages=[layer1,a.0]"
    assert stage_setting("student", ("0", "1.0")) == """'student.stages=["0","1.0"]'"""


def test_looking_for_stages_leaves_the_network_alone() -> None:
    network = Net().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    propose_stages(network, IMAGE)
    assert network.training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.fixture
def timm():
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed (extra: torchvision)")
    import tests.torchvision_operators  # noqa: F401

    return pytest.importorskip("timm", reason="timm is not installed (extra: timm)")


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("resnet10t", ("layer1", "layer2", "layer3", "layer4")),
        ("mobilenetv3_small_050", None),
        ("convnext_atto", ("stages.0", "stages.1", "stages.2", "stages.3")),
        ("efficientvit_b0", None),
        ("mobilevit_xxs", None),
    ],
)
def test_timm_names_its_own_stages(timm, name: str, stages) -> None:
    network = timm.create_model(name, num_classes=5)
    found = propose_stages(network, ImageSpec(3, 64, 64))
    assert len(found) >= 3 and stages in (None, found)
    listed = [entry["module"] for entry in network.feature_info]
    assert set(found) <= set(listed)
    ForeignClassifier(network, 5, name=name, image_size=64, stages=found)


def test_stages_of_timm_are_used_by_themselves(timm) -> None:
    model = build_model("timm:resnet10t", 5, image_size=64)
    assert model.stages == ("layer1", "layer2", "layer3", "layer4")
    assert len(model.outputs(torch.randn(2, 3, 64, 64)).features) == 4


def test_classes_of_imagenet_are_known_of_timm(timm) -> None:
    found = expects(build_module("timm:resnet10t", None))
    assert len(found.class_names) == 1000 and found.class_names[:2] == ("tench", "goldfish")
    assert found.aliases[0] == ("n01440764", "Tinca tinca")
    assert expects(build_module("timm:resnet10t", 5)).class_names == ()
