"""A training put together: what it returns, and what its observer follows."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.worlds import SeenEvents, tiny_data, tiny_net

from understudy.config.schema import TrainConfig
from understudy.data.dataset import Split
from understudy.data.prepare import TrainingData
from understudy.errors import UnderstudyError
from understudy.methods import build_method, method_config
from understudy.teachers.frozen import FrozenTeacher
from understudy.training.device import make_fabric
from understudy.training.setup import Teaching, Trained, fit, make_context

SETTINGS = TrainConfig(epochs=3, batch_size=8, precision="fp32")


def trained(name: str, observer: SeenEvents, teacher: FrozenTeacher | None = None) -> Trained:
    teaching = Teaching(method_config({"name": name}), teacher, outputs="live")
    fabric = make_fabric("cpu", "fp32")
    return fit(tiny_net(1), tiny_data(), teaching, SETTINGS, fabric, observer=observer)


def test_observer_follows_every_epoch() -> None:
    observer = SeenEvents()
    history = trained("ce", observer).history
    assert [result.epoch for result in history] == [0, 1, 2]
    assert [result for _, result in observer.epochs] == list(history)


def test_trained_network_is_in_eval_mode() -> None:
    network = trained("ce", SeenEvents()).network
    assert not any(module.training for module in network.modules())


def test_given_teacher_is_not_trained() -> None:
    network = tiny_net(2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trained("kd", SeenEvents(), FrozenTeacher(network))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_method_that_needs_a_teacher_is_refused_without_one() -> None:
    with pytest.raises(UnderstudyError, match="method kd needs a teacher"):
        trained("kd", SeenEvents())


def fitted(name: str, settings: TrainConfig, **options: object) -> Trained:
    teacher = FrozenTeacher(tiny_net(2)) if name != "ce" else None
    teaching = Teaching(method_config({"name": name, **options}), teacher, outputs="live")
    return fit(tiny_net(1), skewed_data(), teaching, settings, make_fabric("cpu", "fp32"))


def skewed_data() -> TrainingData:
    """Class 0 has eleven images of the twelve that are not of class 2."""
    data = tiny_data()
    labels = data.train.labels.clone()
    labels[labels == 1] = 0
    labels[0] = 1
    return replace(data, train=Split(data.train.images, labels))


@pytest.mark.parametrize("change", [{"sampling": "balanced"}, {"class_weights": "balanced"}])
@pytest.mark.parametrize("name", ["ce", "kd", "dml", "dkd"])
def test_balanced_classes_change_the_training_of_every_method(
    name: str, change: dict[str, Any]
) -> None:
    plain, balanced = fitted(name, SETTINGS), fitted(name, replace(SETTINGS, **change))
    assert plain.history[-1].losses["loss"] != balanced.history[-1].losses["loss"]
    again = fitted(name, replace(SETTINGS, **change))
    assert again.history[-1].losses == balanced.history[-1].losses


def test_terms_that_compare_with_the_teacher_have_no_class_weights() -> None:
    options = {"alpha": 1.0, "temperature": 2.0}
    plain = fitted("kd", SETTINGS, **options)
    weighted = fitted("kd", replace(SETTINGS, class_weights="balanced"), **options)
    assert plain.history[-1].losses == weighted.history[-1].losses


def test_class_weights_are_no_part_of_what_is_saved() -> None:
    settings = replace(SETTINGS, class_weights="balanced")
    context = make_context(tiny_net(1), skewed_data(), settings, None, torch.device("cpu"))
    method = build_method(method_config({"name": "ce"}), tiny_net(1), context)
    assert method.class_weights is not None
    assert not any("class_weights" in key for key in method.state_dict())


def test_a_curriculum_and_balanced_sampling_are_refused_together() -> None:
    with pytest.raises(UnderstudyError, match="both choose an epoch's images"):
        fitted("kd", replace(SETTINGS, sampling="balanced"), curriculum={})
