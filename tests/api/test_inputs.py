"""Wrong arguments of train and distill are refused in one line, before the first step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.worlds import MEAN, STD, TinyNet, tiny_data, tiny_net, untrained
from torch import nn
from torch.utils.data import TensorDataset

import understudy
from understudy.api import Student
from understudy.api.inputs import (
    RunOptions,
    classifier,
    image_channels,
    split_options,
    unwrapped,
)
from understudy.config.schema import TrainConfig
from understudy.data.dataset import SealedSplit
from understudy.data.in_memory import DataOptions
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.evaluation.students import choose_student
from understudy.methods import method_config
from understudy.models.base import Architecture

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 8, "precision": "fp32", "device": "cpu"}


@pytest.fixture(autouse=True)
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever reaches the training itself fails this test."""

    def started(*args: Any, **options: Any) -> None:
        pytest.fail("training started")

    monkeypatch.setattr("understudy.api.training.fit", started)


def frozen_net() -> nn.Module:
    return tiny_net(2).requires_grad_(False)


class Pair(nn.Module):
    """Gives its logits twice."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.inner(images)
        return logits, logits


class TwoInputs(nn.Module):
    """Needs more than images."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = tiny_net(0)

    def forward(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        return self.inner(images * masks)


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return TinyNet()


def trained() -> Student:
    return Student(tiny_net(0), (), ("a", "b", "c"), MEAN, STD, ImageSpec(3, 16, 16))


PIXELS = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
TENSORS = TensorDataset(torch.randn(8, 3, 16, 16), torch.arange(8) % 3)
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "class as teacher": (
        {"teacher": TinyNet},
        r"the teacher is the class TinyNet.*TinyNet\(\.\.\.\)",
    ),
    "class as student": ({"student": TinyNet}, r"the student is the class TinyNet"),
    "name as teacher": ({"teacher": "fast_teacher"}, "must be a trained network, not a name"),
    "function as student": ({"student": tiny_net}, "must be a torch module, not function"),
    "number as teacher": ({"teacher": 3}, "the teacher must be a torch module, not int"),
    "no teacher in a list": ({"teacher": []}, "teacher is an empty sequence"),
    "half student": ({"student": tiny_net(2).half()}, r"float16 weights: call student\.float\(\)"),
    "half teacher": ({"teacher": tiny_net(2).half()}, r"teacher has float16 weights"),
    "frozen student": ({"student": frozen_net()}, r"student\.requires_grad_\(True\)"),
    "no parameters": ({"student": nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(3))}, "trains"),
    "teacher of other classes": (
        {"teacher": untrained(tiny_net(2, num_classes=5))},
        r"the teacher TinyNet has 5 outputs, and the images have 3 classes",
    ),
    "student of other classes": (
        {"student": tiny_net(2, num_classes=5)},
        r"the student TinyNet gives logits of shape \[2, 5\]",
    ),
    "student of other channels": (
        {"student": nn.Conv2d(1, 3, 3)},
        "does not run on 3x16x16 images",
    ),
    "large seed": ({"seed": 2**70}, r"seed must be a whole number between -2\*\*62 and 2\*\*62"),
    "fractional seed": ({"seed": 0.5}, "seed must be a whole number"),
    "normalised data set": ({"data": TENSORS}, r"normalised.*normalised=\(mean, std\)"),
    "arrays of other lengths": ({"data": (PIXELS, [0, 1])}, "X has 8 images and y 2 labels"),
    "sealed test images": ({"data": SealedSplit(tiny_data().train)}, "not data.test"),
    "data of other classes": ({"data": (PIXELS, np.arange(8) % 2)}, r"\[2, 3\] for 2 images of 2"),
    "no such folder": ({"data": Path("absent/folder")}, "no such file or folder: absent/folder"),
    "no such path": ({"data": "absent/folder"}, "no such file or folder: absent/folder"),
    "swapped": (
        {"teacher": (PIXELS, np.arange(8)), "data": tiny_net(0)},
        r"the teacher is tuple, which is data: call distill\(teacher, student, data\)",
    ),
    "state dict": ({"teacher": tiny_net(0).state_dict()}, "the teacher is a state dict"),
    "data as student": ({"student": TENSORS}, r"the student is .*TensorDataset, which is data"),
    "network as data": ({"data": tiny_net(0)}, r"which is a network: call distill"),
    "optimizer as config": (
        {"config": torch.optim.SGD(tiny_net(0).parameters())},
        r"an optimizer is built here, not given \(SGD\): .* optimizer='sgd'",
    ),
    "optimizer as option": (
        {"optimizer": torch.optim.Adam(tiny_net(0).parameters())},
        r"not given \(Adam\)",
    ),
    "misspelled option of data": ({"image_sise": 8}, r"unknown keyword image_sise: did you mean"),
    "misspelled option of the run": ({"chekpoint": "a"}, "did you mean checkpoint"),
    "options for prepared data": ({"image_size": 8}, "image_size is not for data that is prep"),
    "unknown tracker": ({"track": "wandb"}, "unknown tracker 'wandb': there are csv"),
    "no GPU": ({"device": "cuda:7"}, "--device cuda:7"),
    "no function": ({"on_epoch": 3}, "on_epoch must be a function, not int"),
    "two inputs": ({"student": TwoInputs()}, "TwoInputs does not run on 3x16x16 images: .*missing"),
    "weights on no device": ({"student": on_meta()}, "is on the device meta, without weights"),
    "tuple of logits": ({"student": Pair(tiny_net(0))}, "gives tuple, not a tensor of logits"),
    "result as student": ({"student": trained()}, r"copy\.deepcopy\(result\.network\)"),
    "unknown source": ({"data": "cifar11"}, "unknown data source 'cifar11'"),
    "unknown model": ({"student": "founding_studnet"}, "did you mean founding_student"),
    "unknown method": ({"method": "kdd"}, "unknown method kdd: did you mean kd"),
    "method without name": ({"method": {"temperature": 2}}, "a mapping with a `name`"),
    "unknown option": ({"epoch": 3}, r"train\.epoch: did you mean train\.epochs"),
    "dictionary as config": (
        {"config": {"epochs": 3}},
        r"config must be an understudy\.TrainConfig",
    ),
    "unknown outputs": ({"outputs": "kept"}, "outputs must be auto, live or cached, not 'kept'"),
    "weights for another number": ({"weights": [1, 2]}, "weights are for several teachers"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_argument_is_one_line_before_the_first_step(case: str) -> None:
    changes, message = WRONG[case]
    arguments = {
        "teacher": untrained(tiny_net(1)),
        "student": tiny_net(0),
        "data": tiny_data(size=16),
        **QUICK,
        **changes,
    }
    with pytest.raises(UnderstudyError, match=message) as caught:
        understudy.distill(**arguments)
    assert "\n" not in str(caught.value)


def one_network() -> tuple[nn.Module, nn.Module]:
    network = tiny_net(1)
    return network, network


def shared_stem() -> tuple[nn.Module, nn.Module]:
    stem = nn.Conv2d(3, 4, 3)
    heads = [nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)) for _ in "ab"]
    return nn.Sequential(stem, heads[0]), nn.Sequential(stem, heads[1])


@pytest.mark.parametrize("pair", [one_network, shared_stem])
def test_teacher_and_student_must_not_share_weights(
    pair: Callable[[], tuple[nn.Module, nn.Module]],
) -> None:
    teacher, student = pair()
    with pytest.raises(UnderstudyError, match=r"share weights: give a copy, copy\.deepcopy"):
        understudy.distill(untrained(teacher), student, tiny_data(), **QUICK)


def test_options_are_put_where_they_belong() -> None:
    config, run, reading = split_options(
        TrainConfig(epochs=7, lr=0.5),
        RunOptions(resume=True, outputs="live"),
        {"epochs": 9, "checkpoint": "a.pt", "outputs": "cached", "image_size": 64},
    )
    assert reading == DataOptions(image_size=64)
    assert (config.epochs, config.lr) == (9, 0.5)
    assert run == RunOptions(outputs="cached", checkpoint=Path("a.pt"), resume=True)


def test_method_config_is_accepted_and_not_parsed_again() -> None:
    from understudy.api.inputs import parsed_method

    config = method_config({"name": "kd", "temperature": 2.0})
    assert parsed_method(config) is config
    assert parsed_method({"name": "kd", "temperature": 2.0}) == config
    assert parsed_method("kd") == method_config({"name": "kd"})


def test_wrappers_around_a_network_are_taken_off() -> None:
    network = tiny_net(0)
    compiled = torch.compile(network, backend="eager")
    assert unwrapped(nn.DataParallel(network)) is network
    assert unwrapped(compiled) is network  # type: ignore[arg-type]
    assert unwrapped(nn.DataParallel(compiled)) is network  # type: ignore[arg-type]
    assert unwrapped(network) is network


def test_first_convolution_tells_the_channels() -> None:
    assert image_channels(tiny_net(0)) == image_channels("resnet8") == 3
    assert image_channels(nn.Sequential(nn.Conv2d(1, 4, 3))) == 1
    assert image_channels(nn.Sequential(nn.Flatten(), nn.Linear(9, 3))) == 3


def test_a_budget_is_a_student() -> None:
    data = tiny_data(size=16)
    network = classifier("student", "auto:20k", data)
    chosen = choose_student("auto:20k", data.image, data.num_classes)
    assert network.architecture == Architecture(chosen.name, chosen.options)
    with pytest.raises(UnderstudyError, match="auto:5parsecs is no budget"):
        classifier("student", "auto:5parsecs", data)
