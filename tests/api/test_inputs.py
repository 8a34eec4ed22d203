"""Wrong arguments of train and distill are refused in one line, before the first step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.worlds import TinyNet, tiny_data, tiny_net, untrained
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import understudy
from understudy.api.inputs import RunOptions, classifier, split_options
from understudy.config.schema import TrainConfig
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


TENSORS = TensorDataset(torch.zeros(8, 3, 8, 8), torch.zeros(8, dtype=torch.int64))
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
        r"the teacher TinyNet gives logits of shape \[2, 5\] for 2 images of 3 classes",
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
    "torch data set": ({"data": TENSORS}, r"load_dataset, not torch\.utils\.data\.dataset\.Tens"),
    "data loader": ({"data": DataLoader(TENSORS)}, r"not torch\.utils\.data\.dataloader\.DataLoad"),
    "arrays": ({"data": (np.zeros(3), np.zeros(3))}, r"not tuple: save .* numpy\.savez"),
    "dictionaries": ({"data": [{"image": 0, "label": 1}]}, r"not list: save"),
    "a split alone": ({"data": tiny_data().train}, r"not understudy\.data\.dataset\.Split"),
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
    config, run = split_options(
        TrainConfig(epochs=7, lr=0.5),
        RunOptions(resume=True, outputs="live"),
        {"epochs": 9, "checkpoint": "a.pt", "outputs": "cached"},
    )
    assert (config.epochs, config.lr) == (9, 0.5)
    assert run == RunOptions(outputs="cached", checkpoint=Path("a.pt"), resume=True)


def test_method_config_is_accepted_and_not_parsed_again() -> None:
    from understudy.api.inputs import parsed_method

    config = method_config({"name": "kd", "temperature": 2.0})
    assert parsed_method(config) is config
    assert parsed_method({"name": "kd", "temperature": 2.0}) == config
    assert parsed_method("kd") == method_config({"name": "kd"})


def test_a_budget_is_a_student() -> None:
    data = tiny_data(size=16)
    network = classifier("student", "auto:20k", data)
    chosen = choose_student("auto:20k", data.image, data.num_classes)
    assert network.architecture == Architecture(chosen.name, chosen.options)
    with pytest.raises(UnderstudyError, match="auto:5parsecs is no budget"):
        classifier("student", "auto:5parsecs", data)
