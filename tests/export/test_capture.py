"""What is captured computes what the network computes, with a ReLU moved where it costs less."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.export.exported import in_torch, pixels, pooled
from torch import Tensor, nn

from understudy.errors import UnderstudyError
from understudy.export.capture import capture, layer_of


def operations(deployable):
    program = capture(deployable)
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    return program, [name.split(".")[1].rstrip("_") for name in names if name.startswith("aten")]


def test_relu_moves_in_front_of_the_pool_and_no_bit_changes():
    program, names = operations(pooled())
    assert names.index("relu") < names.index("max_pool2d")
    found = program.module()(torch.from_numpy(pixels(7))).detach().numpy()
    np.testing.assert_array_equal(found, in_torch(pooled(), pixels(7)))


class PoolReadTwice(nn.Module):
    """The pool's negative values are read as well: the ReLU has to stay behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        pool = nn.functional.max_pool2d(self.conv(images), 2)
        logits: Tensor = self.fc((pool.relu() + pool).mean((2, 3)))
        return logits


def test_relu_stays_if_the_pool_has_another_reader():
    deployable = replace(pooled(), network=PoolReadTwice().eval())
    program, names = operations(deployable)
    assert names.index("max_pool2d") < names.index("relu")
    found = program.module()(torch.from_numpy(pixels(7))).detach().numpy()
    np.testing.assert_array_equal(found, in_torch(deployable, pixels(7)))


@pytest.mark.parametrize("count", [1, 2, 3, 200])
def test_any_number_of_images(count):
    program = capture(pooled())
    assert program.module()(torch.from_numpy(pixels(count))).shape == (count, 3)


def test_layers_are_named_after_their_weights():
    assert layer_of("network.stage1.conv.weight") == "stage1.conv"
    assert layer_of("network.stage1_conv_weight") == "stage1_conv"  # of a GraphModule


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(192, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(images.flatten(1) if images.sum() > 0 else -images.flatten(1))
        return logits


def test_network_that_decides_by_its_values_is_refused_in_one_line(capfd):
    with pytest.raises(UnderstudyError, match=r"torch\.export cannot capture.*data-dependent") as e:
        capture(replace(pooled(), network=Branches().eval()))
    assert "\n" not in str(e.value)
    assert capfd.readouterr() == ("", "")
