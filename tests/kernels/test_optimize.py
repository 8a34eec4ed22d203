"""The one switch for CPU kernels."""

import pytest
import torch
from torch import nn

from understudy.kernels.conv_grad import SmallMapConv2d
from understudy.kernels.optimize import optimize_for_cpu


class Special(nn.Conv2d):
    """A convolution with code of its own."""


@pytest.fixture(autouse=True)
def slow_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


def test_plain_convolutions_are_optimized_in_place() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Special(4, 4, 3), nn.ReLU())
    first, weight, names = model[0], model[0].weight, list(model.state_dict())
    optimize_for_cpu(model)
    assert [type(layer) for layer in model] == [SmallMapConv2d, Special, nn.ReLU]
    assert model[0] is first and first.weight is weight, "an optimizer's references stay valid"
    assert list(model.state_dict()) == names


def test_bf16_uses_the_library() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    optimize_for_cpu(model, "bf16")
    assert type(model[0]) is nn.Conv2d


def test_fast_processor_uses_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    optimize_for_cpu(model)
    assert type(model[0]) is nn.Conv2d
