"""The integers as a file."""

import json

import numpy as np
import pytest
from safetensors.numpy import load, save
from tests.export.c.networks import images_of
from tests.export.int8.test_quantise import quantised

from understudy.errors import UnderstudyError
from understudy.export.int8.network import IntegerNetwork
from understudy.export.int8.reference import run


@pytest.mark.parametrize("name", ["squeezed", "pooled", "separable"])
def test_file_gives_the_same_network(name: str) -> None:
    network = quantised(name)
    data = network.to_bytes()
    again = IntegerNetwork.from_bytes(data, "x")
    images = images_of(name, 8)
    np.testing.assert_array_equal(run(network, images), run(again, images))
    assert again.to_bytes() == data


def described(data: bytes) -> dict:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"]["understudy"])


def with_description(data: bytes, content: object) -> bytes:
    return save(load(data), {"understudy": json.dumps(content)})


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_cut_file_is_damaged(length: int) -> None:
    data = quantised("uneven").to_bytes()[:length]
    with pytest.raises(UnderstudyError, match="x is damaged: export it again"):
        IntegerNetwork.from_bytes(data, "x")


def test_file_of_another_program_is_damaged() -> None:
    data = save({"weight": np.zeros(3)})
    with pytest.raises(UnderstudyError, match="x is damaged"):
        IntegerNetwork.from_bytes(data, "x")


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["operations"].reverse(),
        lambda content: content["operations"].clear(),
        lambda content: content["operations"][1].update(kind="Explosion"),
        lambda content: content["operations"][1].update(stride="wide"),
        lambda content: content["operations"][1].pop("shape"),
        lambda content: content.pop("logit_scale"),
    ],
)
def test_changed_description_is_damaged(change) -> None:
    data = quantised("uneven").to_bytes()
    content = described(data)
    change(content)
    with pytest.raises(UnderstudyError, match="x is damaged"):
        IntegerNetwork.from_bytes(with_description(data, content), "x")
