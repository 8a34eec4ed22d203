"""A training put together: what it returns, and what its observer follows."""

import pytest
import torch
from tests.worlds import SeenEvents, tiny_data, tiny_net

from understudy.config.schema import TrainConfig
from understudy.errors import UnderstudyError
from understudy.methods import method_config
from understudy.teachers.frozen import FrozenTeacher
from understudy.training.device import make_fabric
from understudy.training.setup import Teaching, Trained, fit

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
