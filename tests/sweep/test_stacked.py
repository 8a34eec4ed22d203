"""An epoch of a stack: who is trained together, what is kept from one epoch to the next, and what fails for all."""

from dataclasses import replace

import pytest
import torch
from tests.test_loop import SETTINGS, make_data, make_method

from understudy.data.training import TrainingData
from understudy.loop import make_fabric
from understudy.sweep.interleaved import SharedBatches
from understudy.sweep.stacked import Stack, epoch_stacked
from understudy.sweep.stacked_student import StackedStudent


def company(data: TrainingData, *rates: float) -> dict[str, StackedStudent]:
    """Plain students with dropout that differ in learning rate alone, named after it."""
    batches = SharedBatches(data.train, data.config, SETTINGS.batch_size, 0, torch.device("cpu"))
    fabric = make_fabric("cpu", "fp32")
    return {
        str(rate): StackedStudent(make_method(data, 0.3), data, replace(SETTINGS, lr=rate), fabric, None, batches, 0)
        for rate in rates
    }


def test_a_stack_goes_on_while_its_students_stay_together_and_who_stays_does_not_notice_who_leaves():
    data = make_data()
    staying, left = company(data, 0.1, 0.01), company(data, 0.1, 0.2, 0.01)
    for students in (staying, left):
        dict(epoch_stacked(students))
        first = students["0.1"].stack
        dict(epoch_stacked(students))
        assert first is not None and students["0.1"].stack is first and students["0.01"].stack is first
    left.pop("0.2")
    before = left["0.1"].stack
    for students in (staying, left):
        results = dict(epoch_stacked(students))
        assert [result.epoch for result in results.values()] == [2, 2]
        assert all(student.done and student.stack is None for student in students.values())
    assert before is not None and before.count == 3
    for name, student in staying.items():
        for ours, theirs in zip(student.method.parameters(), left[name].method.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    rates = [student.method.student.head.weight for student in staying.values()]
    assert not torch.allclose(*rates, atol=1e-3), "each has learnt at a rate of its own"


def test_what_fails_for_all_is_said_of_each(monkeypatch: pytest.MonkeyPatch):
    def full(self: Stack, epoch: int) -> None:
        raise MemoryError(f"no room in epoch {epoch}")

    monkeypatch.setattr(Stack, "train_epoch", full)
    ended = dict(epoch_stacked(company(make_data(), 0.1, 0.2)))
    assert {name: str(error) for name, error in ended.items()} == dict.fromkeys(("0.1", "0.2"), "no room in epoch 0")
