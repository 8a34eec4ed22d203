"""The loop against a plain PyTorch loop, one option at a time."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.plain_loop import (
    SETTINGS,
    assert_state,
    averages,
    method_of,
    plain_loop,
    steps_of,
    train,
    validation_loss,
)
from tests.worlds import TinyNet, tiny_data, tiny_net
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.methods import CE
from understudy.training.state import TrainingFiles

# One option at a time


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"decay_norms": False, "weight_decay": 0.5},
        {"grad_clip": 0.7},
        {"drop_last": True},
        {"channels_last": False},
        {"weight_decay": 0.0},
    ],
    ids=str,
)
def test_weights_equal_those_of_a_plain_loop(change: dict[str, Any]) -> None:
    data, config = tiny_data(), replace(SETTINGS, **change)
    plain = plain_loop(tiny_net(1), data, config)
    method, _ = train(data, config)
    assert_state(method.student, plain[-1][-1].state)
    if config.grad_clip:
        assert {step.norm > config.grad_clip for steps in plain for step in steps} == {
            True,
            False,
        }, "both cases are there"


def test_student_given_in_eval_mode_is_trained_in_training_mode() -> None:
    data, method = tiny_data(), method_of(tiny_data()).eval()
    train(data, method=method)
    assert_state(method.student, plain_loop(tiny_net(1), data, SETTINGS)[-1][-1].state)


def test_dropout_draws_from_the_seed_of_the_batches() -> None:
    class Dropping(TinyNet):
        def classify(self, embedding: Tensor) -> Tensor:
            return super().classify(F.dropout(embedding, 0.5, self.training))

    data, network = tiny_data(), Dropping()
    plain = plain_loop(deepcopy(network), data, SETTINGS, seed=4)
    torch.rand(5)
    method, _ = train(data, method=method_of(data, network), seed=4)
    assert_state(method.student, plain[-1][-1].state)


def test_losses_and_accuracy_are_means_over_images() -> None:
    data = tiny_data()
    plain = plain_loop(tiny_net(1), data, SETTINGS)
    _, history = train(data)
    for steps, result in zip(plain, history, strict=True):
        assert [step.images for step in steps] == [10, 10, 4]
        assert result.losses == {"ce": result.losses["loss"], "loss": result.losses["loss"]}
        assert result.losses["ce"] == pytest.approx(
            sum(step.loss * step.images for step in steps) / 24, rel=1e-4
        )
        assert result.train_accuracy == sum(step.correct for step in steps) / 24
    assert [result.epoch for result in history] == [0, 1, 2]


def test_dropped_batch_counts_in_no_mean() -> None:
    data, config = tiny_data(), replace(SETTINGS, drop_last=True)
    plain = plain_loop(tiny_net(1), data, config)
    _, history = train(data, config)
    for steps, result in zip(plain, history, strict=True):
        assert [step.images for step in steps] == [10, 10]
        assert result.losses["loss"] == pytest.approx(
            sum(step.loss for step in steps) / 2, rel=1e-4
        )
        assert result.train_accuracy == sum(step.correct for step in steps) / 20


def test_gradient_below_the_limit_is_not_clipped() -> None:
    data = tiny_data()
    (free, _), (limited, _) = train(data), train(data, replace(SETTINGS, grad_clip=1e6))
    assert_state(limited.student, free.student.state_dict())


# The average of the weights


def test_average_is_updated_in_every_step_of_every_epoch() -> None:
    """Decay 0.9 over nine steps; training goes on from the raw weights, and counters are copied."""
    data, network = tiny_data(), tiny_net(1)
    start = deepcopy(network.state_dict())
    plain = plain_loop(network, data, SETTINGS)
    expected = averages(start, plain, 0.9)
    method, history = train(data, replace(SETTINGS, ema_decay=0.9))
    assert_state(method.student, expected[-1])
    assert method.student.bn.num_batches_tracked == 9
    for result, average, steps in zip(history, expected, plain, strict=True):
        assert result.val_loss == pytest.approx(validation_loss(average, data), rel=1e-4), (
            "the average is validated"
        )
        assert result.val_loss != pytest.approx(validation_loss(steps[-1].state, data), rel=1e-2), (
            "and differs from the raw weights"
        )
        assert result.losses["ce"] == pytest.approx(
            sum(step.loss * step.images for step in steps) / 24, rel=1e-4
        )


def test_without_average_the_last_weights_are_validated() -> None:
    data = tiny_data()
    plain = plain_loop(tiny_net(1), data, SETTINGS)
    _, history = train(data)
    for result, steps in zip(history, plain, strict=True):
        assert result.val_loss == pytest.approx(validation_loss(steps[-1].state, data), rel=1e-4)


# The weights that the student ends with


HITS = (2, 4, 1, 4, 3)
"""Correct of six validation images, by epoch: the second is the best, the fourth equals it."""


class Fixed(nn.Module):
    """Right on the first ``hits`` images of a batch, wrong on the others."""

    def __init__(self, labels: Tensor, hits: int) -> None:
        super().__init__()
        self.labels, self.hits = labels, hits

    def forward(self, images: Tensor) -> Tensor:
        wrong = (torch.arange(len(images)) >= self.hits).long()
        return F.one_hot((self.labels + wrong) % 3, 3).float()


class Scripted(CE):
    """Trains like CE; its validation accuracy is that of ``HITS``."""

    def deployed(self) -> Any:
        return Fixed(torch.arange(6) % 3, HITS[self.epoch])


FIVE = replace(SETTINGS, epochs=5)


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_first_epoch_of_the_highest_validation_accuracy_is_final(decay: float) -> None:
    data, network = tiny_data(), tiny_net(1)
    start = deepcopy(network.state_dict())
    plain = plain_loop(network, data, FIVE)
    best = averages(start, plain, decay)[1] if decay else plain[1][-1].state
    method, history = train(
        data, replace(FIVE, keep="best", ema_decay=decay), method=method_of(data, kind=Scripted)
    )
    assert [result.val_accuracy for result in history] == [hits / 6 for hits in HITS]
    assert_state(method.student, best)
    assert not method.training


def test_last_epoch_is_final_by_default() -> None:
    data = tiny_data()
    plain = plain_loop(tiny_net(1), data, FIVE)
    method, _ = train(data, FIVE, method=method_of(data, kind=Scripted))
    assert_state(method.student, plain[-1][-1].state)
    assert not method.training


@pytest.mark.parametrize("stopped_after", [1, 2, 4])
def test_resumed_training_restores_best_epoch_and_average(
    tmp_path: Path, stopped_after: int
) -> None:
    data, config = tiny_data(), replace(FIVE, keep="best", ema_decay=0.9)
    whole, expected = train(data, config, method=method_of(data, kind=Scripted))
    files = TrainingFiles(tmp_path / "c.pt")
    steps = steps_of(method_of(data, kind=Scripted), data, config, files=files)
    for result in steps:
        if result is not None and result.epoch == stopped_after - 1:
            break
    steps.close()
    files = TrainingFiles(tmp_path / "c.pt", resume=True)
    again, history = train(data, config, method=method_of(data, kind=Scripted), files=files)
    assert all(
        torch.equal(again.state_dict()[name], value) for name, value in whole.state_dict().items()
    )
    assert [(r.epoch, r.lr, r.losses, r.val_loss) for r in history] == [
        (r.epoch, r.lr, r.losses, r.val_loss) for r in expected
    ]


def test_finished_training_resumes_without_another_step(tmp_path: Path) -> None:
    data = tiny_data()
    _, expected = train(data, files=TrainingFiles(tmp_path / "c.pt"))

    class Idle(CE):
        def forward(self, *_: Any) -> Any:
            raise AssertionError("trained again")

    files = TrainingFiles(tmp_path / "c.pt", resume=True)
    assert train(data, method=method_of(data, kind=Idle), files=files)[1] == expected


def test_resume_without_a_checkpoint_starts_from_the_beginning(tmp_path: Path) -> None:
    data = tiny_data()
    expected = train(data)[0].student.state_dict()
    for checkpoint in (None, tmp_path / "none.pt"):
        files = TrainingFiles(checkpoint, resume=True)
        assert_state(train(data, files=files)[0].student, expected)
    assert (tmp_path / "none.pt").exists(), "it is written after each epoch"


def test_checkpoint_is_read_only_on_resume(tmp_path: Path) -> None:
    data = tiny_data()
    files = TrainingFiles(tmp_path / "c.pt")
    train(data, files=files)
    fresh, _ = train(data, files=files, method=method_of(data, tiny_net(2)))
    assert_state(
        fresh.student, train(data, method=method_of(data, tiny_net(2)))[0].student.state_dict()
    )


# Learning rates


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"schedule": "constant"}, [0.1, 0.1, 0.1]),
        ({"schedule": "step", "step_epochs": 1, "step_gamma": 0.5}, [0.1, 0.05, 0.025]),
        ({"schedule": "step", "step_milestones": (2,), "step_gamma": 0.1}, [0.1, 0.1, 0.01]),
        # Nine steps without warm-up: steps 2, 5 and 8 are 2/9, 5/9 and 8/9 down half a cosine.
        ({"schedule": "cosine", "warmup_fraction": 0.0}, [0.0883022, 0.0413176, 0.0030154]),
    ],
    ids=str,
)
def test_reported_rate_is_that_of_the_last_step(
    change: dict[str, Any], expected: list[float]
) -> None:
    _, history = train(tiny_data(), replace(SETTINGS, **change))
    assert [result.lr for result in history] == pytest.approx(expected, rel=1e-4)


def test_every_step_and_group_uses_the_scheduled_rate() -> None:
    """Norms and biases have a group of their own; at a rate of 0 neither group moves."""
    data, config = (
        tiny_data(),
        replace(SETTINGS, schedule="step", step_epochs=1, step_gamma=0.0, decay_norms=False),
    )
    first, _ = train(data, replace(config, stop_epoch=1))
    last, history = train(data, config)
    parameters = zip(first.student.parameters(), last.student.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in parameters)
    assert [result.lr for result in history] == [0.1, 0.0, 0.0]


def test_early_stop_uses_the_schedule_of_the_whole_training() -> None:
    config = replace(SETTINGS, schedule="onecycle")
    whole, stopped = (
        train(tiny_data(), config)[1],
        train(tiny_data(), replace(config, stop_epoch=2))[1],
    )
    assert [r.losses for r in stopped] == [r.losses for r in whole[:2]] and [
        r.lr for r in stopped
    ] == [r.lr for r in whole[:2]]
