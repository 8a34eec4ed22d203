"""The benchmark's own file of a network in PyTorch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.export.networks import randomised, tiny_deployable

from understudy.data.preprocess import Preprocessing
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.export import torch_file
from understudy.export.deployable import Deployable
from understudy.export.source import TorchRuntime
from understudy.models import build_model


def named() -> Deployable:
    network = randomised(build_model("tiny_wide", 3, options={"widths": [4, 4, 8, 8]}))
    rule = Preprocessing(image=ImageSpec(3, 32, 32))
    return replace(tiny_deployable(), network=network, preprocessing=rule)


def test_file_gives_the_network_with_all_its_layers(tmp_path: Path) -> None:
    deployable = named()
    torch_file.write(deployable, tmp_path / "file")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    runtime = torch_file.open_file(tmp_path / "file")
    assert torch.equal(torch.get_rng_state(), before), "opening draws no random numbers"
    assert runtime.card == deployable.card("torch", "fp32")
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), np.uint8)
    assert np.array_equal(runtime(images), TorchRuntime(deployable)(images))
    names = set(torch_file.read(tmp_path / "file").network.state_dict())
    assert names == set(deployable.network.state_dict())


def test_network_that_was_not_built_by_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnderstudyError, match="leave torch and torch-compile out of --runtimes"):
        torch_file.write(tiny_deployable(), tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
