"""An epoch of a stack: groups, errors, and a step without host sync that a recording repeats."""

import gc
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.execution.fused.tape import Tape, recorded
from tests.somewhere_else import THERE, HostTouched, only_there, there
from tests.training.small_training import SETTINGS, make_data, make_method
from tests.worlds import tiny_net
from torch import Tensor

from understudy.config.schema import AugmentConfig
from understudy.data.prepare import TrainingData
from understudy.execution.fused.interleaved import SharedBatches, SharedTeacher
from understudy.execution.fused.network import StackedNetwork
from understudy.execution.fused.stack import Stack, StepInputs, epoch_stacked
from understudy.execution.fused.student import StackedStudent
from understudy.methods import build_method, method_config, needs_of
from understudy.methods.base import MethodContext
from understudy.models import build_model
from understudy.models.base import Outputs
from understudy.teachers.frozen import FrozenTeacher
from understudy.training.device import make_fabric

CPU = torch.device("cpu")
METHODS: list[dict[str, Any]] = [
    {"name": "ce", "alpha": 0.2},
    {"name": "kd", "temperature": 1.5, "alpha": 0.3},
    {"name": "lskd", "temperature": 3.0},
    {"name": "dkd", "warmup_epochs": 3, "alpha": 0.1},
    {"name": "dist", "beta": 2.0},
    {"name": "kd+dist+dkd+lskd", "alpha": 0.5, "dist": {"weight": 1.0}},
]
"""Every method that can be stacked, alone and summed."""
OPTIMIZERS = ["sgd", "adam", "adamw"]


def logit_students(optimizer: str, mix: str = "none", **changes: Any) -> dict[str, StackedStudent]:
    """The founding student (with dropout) by each method, on two seeds with a teacher each."""
    data = make_data()
    data = replace(data, config=replace(data.config, augment=AugmentConfig(padding=1, mix=mix)))
    sources = [
        SharedBatches(data.train, data.config, SETTINGS.batch_size, seed, CPU) for seed in range(2)
    ]
    teachers = [SharedTeacher(FrozenTeacher(tiny_net(seed))) for seed in range(2)]
    example = Outputs(torch.zeros(2, 3))
    own: list[dict[str, Any]] = [
        {"ema_decay": 0.8},
        {"grad_clip": 0.5},
        {"label_smoothing": 0.2},
        {"lr": 0.01},
        {"weight_decay": 0.1},
        {"decay_norms": False},
    ]
    made = {}
    for number, (options, train) in enumerate(zip(METHODS, own, strict=True)):
        torch.manual_seed(number)
        settings = replace(SETTINGS, **{"optimizer": optimizer, "lr": 1e-3, **train, **changes})
        context = MethodContext(3, data.train.labels, 3, settings.label_smoothing, example, example)
        method = build_method(method_config(options), build_model("founding_student", 3), context)
        teacher = None if needs_of(method.config) == "nothing" else teachers[number % 2]
        seed = number % 2
        fabric = make_fabric("cpu", "fp32")
        made[options["name"]] = StackedStudent(
            method, data, settings, fabric, teacher, sources[seed]
        )
    return made


def group_of(data: TrainingData, *rates: float) -> dict[str, StackedStudent]:
    """Plain students with dropout that differ in learning rate alone, named after it."""
    batches = SharedBatches(data.train, data.config, SETTINGS.batch_size, 0, torch.device("cpu"))
    fabric = make_fabric("cpu", "fp32")
    return {
        str(rate): StackedStudent(
            make_method(data, 0.3), data, replace(SETTINGS, lr=rate), fabric, None, batches
        )
        for rate in rates
    }


def test_stack_is_reused_and_leaving_students_change_nothing():
    data = make_data()
    staying, left = group_of(data, 0.1, 0.01), group_of(data, 0.1, 0.2, 0.01)
    for students in (staying, left):
        dict(epoch_stacked(students))
        first = students["0.1"].stack
        dict(epoch_stacked(students))
        assert (
            first is not None and students["0.1"].stack is first and students["0.01"].stack is first
        )
    left.pop("0.2")
    before = left["0.1"].stack
    for students in (staying, left):
        results = dict(epoch_stacked(students))
        assert [result.epoch for result in results.values()] == [2, 2]
        assert all(student.done and student.stack is None for student in students.values())
    assert before is not None and before.count == 3
    for name, student in staying.items():
        for ours, theirs in zip(
            student.method.parameters(), left[name].method.parameters(), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    rates = [student.method.student.head.weight for student in staying.values()]
    assert not torch.allclose(*rates, atol=1e-3), "each has learnt at a rate of its own"


def test_error_of_the_stack_is_reported_for_every_student(monkeypatch: pytest.MonkeyPatch):
    def full(self: Stack, epoch: int) -> None:
        raise MemoryError(f"no room in epoch {epoch}")

    monkeypatch.setattr(Stack, "train_epoch", full)
    ended = dict(epoch_stacked(group_of(make_data(), 0.1, 0.2)))
    assert {name: str(error) for name, error in ended.items()} == dict.fromkeys(
        ("0.1", "0.2"), "no room in epoch 0"
    )


def stack_there(students: dict[str, StackedStudent], patch: pytest.MonkeyPatch) -> Stack:
    """The stack of these students, with all that it holds on a device that has no values."""
    patch.setattr(
        StackedNetwork, "_check", lambda self, networks, example: self.eval()(example)
    )  # it compares values
    for teacher in {
        id(s.teacher): s.teacher for s in students.values() if s.teacher is not None
    }.values():
        assert isinstance(teacher, SharedTeacher) and isinstance(teacher.teacher, FrozenTeacher)
        teacher.teacher.model = there(teacher.teacher.model)
    for student in students.values():
        student.device, student.method = THERE, there(student.method)
        average = student.state.ema
        student.state.ema = average and {name: there(value) for name, value in average.items()}
    return Stack(list(students.values()))


@pytest.mark.parametrize("mix", ["none", "mixup"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_step_needs_no_host_sync(optimizer: str, mix: str, monkeypatch: pytest.MonkeyPatch):
    """No value is read on the host or copied from it: a CUDA graph needs that."""
    students = logit_students(optimizer, mix)
    sources = list({id(s.batches): s.batches for s in students.values()}.values())
    batches = [next(source.epoch(0, source.policy.epoch(0))) for source in sources]
    stack = stack_there(students, monkeypatch)
    parts = [there(batch) for batch in batches]
    rates = torch.full((len(students),), 0.1, device=THERE)
    masks = [
        torch.ones(16, len(students) * (layer.width or 0), device=THERE)
        for layer in stack.network.dropouts
    ]
    assert len(masks) == 2
    stack.network.train()
    with only_there() as watched:
        inputs = [*stack._inputs.of(parts), rates, *masks]
        outside = watched.operations
        stack.step(inputs)
    images, labels, teacher, partners, share, *_ = inputs
    assert (
        images is not None
        and images.shape == (16, 2 * 3, 8, 8)
        and images.is_contiguous(memory_format=torch.channels_last)
    )
    assert labels is not None and labels.shape == (6, 16)
    assert teacher is not None and teacher.shape == (6, 16, 3)
    assert (partners is not None) == (share is not None) == (mix == "mixup")
    assert watched.operations > outside + 100


@pytest.mark.parametrize(
    "slip",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: x * torch.tensor([1.0, 2.0, 3.0, 4.0], device=x.device),
        lambda x: x + torch.tensor(1.0),
        lambda x: x[[0, 2]],
        lambda x: x.to("cpu"),
        lambda x: bool(x.any()),
    ],
    ids=["value", "mask", "numbers", "scalar", "list", "copy", "branch"],
)
def test_host_sync_in_a_step_is_detected(slip: Any):
    """Each of these would pass on a CPU; the test above is worth something if they are refused."""
    with only_there(), pytest.raises((HostTouched, NotImplementedError)):
        slip(torch.ones(4, device=THERE))


def test_launches_outside_the_recording_do_not_grow():
    def launches(times: int) -> int:
        shows = StepInputs(list(logit_students("sgd", "mixup").values()) * times, 3, CPU)
        batches = [next(source.epoch(0, source.policy.epoch(0))) for source in shows.sources]
        with Tape() as tape:
            images, labels, *_ = shows.of(batches)
        assert (
            images is not None
            and images.shape[1] == 6
            and labels is not None
            and len(labels) == 6 * times
        )
        return len(tape.noted)

    assert launches(1) == launches(4) < 50


@pytest.mark.parametrize("mix", ["none", "mixup"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_recorded_steps_give_the_same_bits(
    optimizer: str, mix: str, monkeypatch: pytest.MonkeyPatch
):
    """Recorded in the first step, replayed in three epochs of two full batches and a smaller one.

    Rates, masks, warm-up, averages and what validation does in between must all reach the tape.
    """
    monkeypatch.setattr("understudy.execution.fused.cuda_graph._recorded", recorded)
    plain, taped = logit_students(optimizer, mix), logit_students(optimizer, mix)
    stack = Stack(list(taped.values()))
    stack.records = True
    for student in taped.values():
        student.stack = stack
    for epoch in range(3):
        expected, found = dict(epoch_stacked(plain)), dict(epoch_stacked(taped))
        for name in plain:
            assert (
                found[name].losses == expected[name].losses
                and found[name].val_loss == expected[name].val_loss
            )  # type: ignore[union-attr]
        if epoch < 2:
            assert taped["kd"].stack is stack
    assert stack.recorded is not None and isinstance(stack.recorded.graph, Tape)
    for name, student in plain.items():
        state = taped[name].method.state_dict()
        assert all(
            torch.equal(value, state[key]) for key, value in student.method.state_dict().items()
        ), name


def test_dropout_masks_depend_only_on_the_student(monkeypatch: pytest.MonkeyPatch):
    """As on CUDA: by seed, epoch and step, whatever other students are in the stack."""
    monkeypatch.setattr("understudy.execution.fused.stack._BLOCK", 2)
    students = list(logit_students("sgd").values())
    for student in students:
        student.data = students[0].data

    def masks(group: list[StackedStudent], student: StackedStudent) -> list[Tensor]:
        stack = Stack(group)
        steps = [
            stack._draw_blocks(epoch, number, rows)
            for epoch in (0, 1)
            for number, rows in ((0, 16), (1, 16), (2, 8))
        ]
        row = stack.students.index(student)
        return [mask.view(len(mask), len(group), -1)[:, row] for step in steps for mask in step]

    ours, beside = masks(students, students[3]), masks(students[3:], students[3])
    assert [tuple(mask.shape) for mask in ours[:6]] == [
        (16, 128),
        (16, 64),
        (16, 128),
        (16, 64),
        (8, 128),
        (8, 64),
    ]
    assert all(torch.equal(a, b) for a, b in zip(ours, beside, strict=True))
    assert not any(
        torch.equal(ours[i][:8], ours[j][:8]) for i in range(0, 12, 2) for j in range(0, i, 2)
    )
    assert ours[0].unique().tolist() == [0.0, 2.0]
    assert float(torch.cat([m.flatten() for m in ours[::2]]).mean()) == pytest.approx(1.0, abs=0.1)


def test_old_stack_is_released_when_the_group_changes():
    """It holds GPU memory for all its students: no cycle of references may keep it alive."""
    students = group_of(make_data(), 0.1, 0.2, 0.01)
    dict(epoch_stacked(students))
    old = weakref.ref(students["0.1"].stack)
    left = students.pop("0.2")
    gc.disable()
    try:
        dict(epoch_stacked(students))
        assert old() is None and left.stack is None
    finally:
        gc.enable()
