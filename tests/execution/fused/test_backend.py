"""Students trained together: the bits (interleaved) or the numbers (stacked) of training alone,
whatever ends in between."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.execution.trainings import (
    alone,
    config_for,
    drain,
    measured,
    results,
    train_teacher,
    training_for,
    weights,
)
from tests.sweep.small_sweep import small_config
from tests.worlds import write_colours

from understudy.execution.backend import Epoch, Failed, Finished, Stopped, Training
from understudy.execution.fused.backend import FusedBackend
from understudy.execution.fused.stack import Stack
from understudy.runs.folder import RunFolder
from understudy.sweep.driver import run_sweep
from understudy.sweep.space import configured

# On CUDA a stacked student's dropout draws from a stream of its own: only without it are the
# numbers those of training alone.
WITHOUT_DROPOUT = {"name": "founding_student", "options": {"dropout1": 0.0, "dropout2": 0.0}}
METHODS: list[dict[str, Any]] = [
    {"name": "ce"},
    {"name": "kd", "temperature": 1.5, "alpha": 0.3},
    {"name": "lskd", "temperature": 3.0},
    {"name": "dkd", "warmup_epochs": 3, "alpha": 0.1},
    {"name": "dist", "beta": 2.0},
    {"name": "kd+dist", "alpha": 0.5, "dist": {"weight": 1.0}},
]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("images") / "colours.npz")


@pytest.fixture(scope="module")
def teachers(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_teacher(images, tmp_path_factory.mktemp("teachers"))


def same_bits(first: Training, second: Training) -> bool:
    ours, theirs = weights(first), weights(second)
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[name], theirs[name]) for name in ours
    )


def moved(training: Training, folder: Path) -> Training:
    """The same training into another folder."""
    return replace(training, folder=RunFolder(folder / training.name))


def close_bits(first: Training, second: Training, tolerance: float) -> None:
    """Weights within rounding. What a batch norm hides is left out: its gradient is rounding and
    nothing else."""
    ours, theirs = weights(first), weights(second)
    for name in ours:
        if not name.endswith(("conv.bias", "running_mean")):
            torch.testing.assert_close(
                ours[name],
                theirs[name],
                rtol=tolerance,
                atol=tolerance,
                msg=lambda m, n=name: f"{n}: {m}",
            )


def test_interleaved_students_end_with_the_bits_of_training_alone(
    images: Path, teachers: Path, tmp_path: Path, device: torch.device
):
    """Dropout, two seeds, different losses and rates, averages and clipping, classes balanced in
    two ways, and a method that reads the live teacher's maps."""
    mixed = [
        *(
            training_for(config_for(images, METHODS[1], **change), name, tmp_path, teachers)
            for name, change in (
                ("sampled", {"sampling": "balanced"}),
                ("weighted", {"class_weights": "balanced"}),
            )
        ),
        training_for(config_for(images, METHODS[1], lr=1e-2), "hot", tmp_path, teachers),
        training_for(
            config_for(images, METHODS[3], optimizer="sgd", ema_decay=0.9),
            "sgd",
            tmp_path,
            teachers,
        ),
        training_for(
            config_for(images, {"name": "fitnets"}, keep="best", epochs=3),
            "maps",
            tmp_path,
            teachers,
        ),
        training_for(
            config_for(images, {"name": "at"}, grad_clip=0.5),
            "clipped",
            tmp_path,
            teachers,
            seed=1,
            final=True,
        ),
    ]
    with FusedBackend(device=device.type, engine="interleaved") as backend:
        backend.submit(mixed)
        found = results(drain(backend))
    for training in mixed:
        by_itself = moved(training, tmp_path / "alone")
        result = alone(by_itself, device=device.type)
        assert same_bits(training, by_itself), training.name
        assert measured(found[training.name]) == measured(result)
        assert ("test" in result) == training.final


def test_students_of_one_seed_read_different_teacher_outputs(
    images: Path, teachers: Path, tmp_path: Path
):
    """Logits, logits and embeddings, maps: side by side, each with the bits of training alone."""
    group = [
        training_for(config_for(images, {"name": name}), name, tmp_path, teachers)
        for name in ("kd", "rkd", "at")
    ]
    with FusedBackend(device="cpu") as backend:
        backend.submit(group)
        results(drain(backend))
    for training in group:
        by_itself = moved(training, tmp_path / "alone")
        alone(by_itself)
        assert same_bits(training, by_itself), training.name


def test_students_with_different_views_share_no_batches(
    images: Path, teachers: Path, tmp_path: Path
):
    config = config_for(images, METHODS[1], epochs=1)
    augments = {
        "cropped": {"padding": 2},
        "plain": {"padding": 0, "flip": False},
        "mixed": {"mix": "cutmix"},
    }
    group = [
        training_for(configured(config, {"data.augment": augment}), name, tmp_path, teachers)
        for name, augment in augments.items()
    ]
    with FusedBackend(device="cpu") as backend:
        backend.submit(group)
        results(drain(backend))
    for training in group:
        by_itself = moved(training, tmp_path / "alone")
        alone(by_itself)
        assert same_bits(training, by_itself), training.name
    assert not any(same_bits(group[0], other) for other in group[1:])


def test_batches_and_teacher_outputs_are_made_once_per_seed(
    images: Path, teachers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from understudy.execution.fused.interleaved import SharedBatches
    from understudy.teachers.frozen import FrozenTeacher

    config = config_for(images, {"name": "at"})
    made = {"batches": 0, "outputs": 0}
    render, outputs = SharedBatches._batch, FrozenTeacher.outputs

    def count(name: str, original: Any) -> Any:
        def counted(*args: Any) -> Any:
            made[name] += 1
            return original(*args)

        return counted

    monkeypatch.setattr(SharedBatches, "_batch", count("batches", render))
    with FusedBackend(device="cpu") as backend:
        backend.submit([training_for(config, f"{n}", tmp_path, teachers) for n in range(3)])
        assert (
            backend.wait()
        )  # sets them up, which asks about example images, and trains the first epoch
        made["batches"] = 4
        monkeypatch.setattr(FrozenTeacher, "outputs", count("outputs", outputs))
        results(drain(backend))
    assert made == {"batches": 4 + 4, "outputs": 4}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "adam"])
def test_stacked_students_end_as_they_would_alone(
    images: Path, teachers: Path, tmp_path: Path, optimizer: str, device: torch.device
):
    """Every logit method, two seeds, other rates, decays, schedules and smoothing, with dropout:
    one group.

    fp32 sums differ in order: 1e-6 relative in a step's gradients. SGD passes that on (tolerance
    1e-4 after 8 steps); Adam divides by a gradient's own size, so that where it is near 0 the
    update differs by a part of the rate (3e-3).
    """
    varied: list[dict[str, Any]] = [
        {"weight_decay": 0.1, "schedule": "cosine"},
        {"lr": 1e-3, "label_smoothing": 0.2},
        {"schedule": "step", "step_epochs": 1},
        {"decay_norms": False, "weight_decay": 0.1},
        {"grad_clip": 0.5},
        {"ema_decay": 0.8, "keep": "best", "momentum": 0.5},
    ]
    gpu, student = device.type == "cuda", WITHOUT_DROPOUT if device.type == "cuda" else None
    group = [
        training_for(
            config_for(images, method, student, optimizer=optimizer, **train),
            f"{n}",
            tmp_path,
            teachers,
            seed=n % 2,
        )
        for n, (method, train) in enumerate(zip(METHODS, varied, strict=True))
    ]
    with FusedBackend(device=device.type, engine="stacked") as backend:
        backend.submit(group)
        events = drain(backend)
    found = results(events)
    for training in group:
        by_itself = moved(training, tmp_path / "alone")
        result = alone(by_itself, device=device.type)
        close_bits(training, by_itself, (1e-4 if optimizer == "sgd" else 1e-3) * (5 if gpu else 1))
        ours, theirs = found[training.name], result
        assert ours.keys() == theirs.keys()
        assert ours["val"]["nll"] == pytest.approx(
            theirs["val"]["nll"], rel=1e-3 if optimizer == "sgd" else 3e-2
        )
        own = torch.load(
            training.folder.checkpoint(training.run.name),
            weights_only=True,
        )
        other = torch.load(
            by_itself.folder.checkpoint(training.run.name),
            weights_only=True,
        )
        assert own["fingerprint"] == other["fingerprint"] and torch.equal(
            own["rng"]["cpu"], other["rng"]["cpu"]
        )
        for mine, its in zip(own["history"], other["history"], strict=True):
            assert mine["losses"] == pytest.approx(its["losses"], rel=1e-3)
            assert mine["lr"] == pytest.approx(its["lr"])


@pytest.mark.parametrize("engine", ["interleaved", "stacked"])
def test_checkpoint_is_resumed_by_either_kind_of_training(
    images: Path, teachers: Path, tmp_path: Path, engine: str, device: torch.device
):
    """One epoch together and the rest alone, and the other way round: as good as one go. The seeds'
    dropout goes on too."""
    student, where = WITHOUT_DROPOUT if device.type == "cuda" else None, device.type
    config = config_for(images, METHODS[1], student, optimizer="sgd", lr=1e-2, epochs=3)
    whole = training_for(config, "whole", tmp_path, teachers)
    alone(whole, device=where)

    left = [training_for(config, f"left{n}", tmp_path, teachers) for n in range(2)]
    with FusedBackend(device=where, engine=engine) as backend:  # type: ignore[arg-type]
        backend.submit(left)
        events = []
        while not events:
            events = backend.wait()
        assert [type(event) for event in events] == [Epoch, Epoch]
    alone(left[0], resume=True, device=where)
    with FusedBackend(device=where, engine=engine) as backend:  # type: ignore[arg-type]
        late = training_for(config, "late", tmp_path, teachers)
        backend.submit(
            [left[1], late]
        )  # one stands before its second epoch, the other before its first
        found = drain(backend)
    assert [e.result.epoch for e in found if isinstance(e, Epoch) and e.training == "left1"] == [
        0,
        1,
        2,
    ]
    with FusedBackend(device=where, engine=engine) as backend:
        backend.submit(left)
        assert [type(event) for event in drain(backend)] == [
            Finished,
            Finished,
        ]  # nothing is trained twice
    for training in (*left, late):
        if engine == "interleaved":
            assert same_bits(training, whole)
        else:
            close_bits(training, whole, 5e-4 if where == "cuda" else 1e-4)


@pytest.mark.parametrize("engine", ["interleaved", "stacked"])
def test_failed_and_stopped_trainings_do_not_affect_the_others(
    images: Path, teachers: Path, tmp_path: Path, engine: str
):
    good = config_for(images, METHODS[1], optimizer="sgd", epochs=3)
    bad = config_for(images, METHODS[1], optimizer="sgd", epochs=3, lr=1e30)
    group = [
        training_for(config, name, tmp_path, teachers)
        for config, name in ((good, "a"), (bad, "bad"), (good, "b"), (good, "stopped"))
    ]
    with FusedBackend(device="cpu", engine=engine) as backend:  # type: ignore[arg-type]
        backend.submit(group)
        first = backend.wait()
        backend.stop("stopped")
        events = [*first, *drain(backend)]
    failed = [event for event in events if isinstance(event, Failed)]
    assert [event.training for event in failed] == ["bad"] and "is not finite in epoch" in failed[
        0
    ].reason
    assert [event.training for event in events if isinstance(event, Stopped)] == ["stopped"]
    assert [event.training for event in events if isinstance(event, Finished)] == ["a", "b"]
    by_itself = training_for(good, "alone", tmp_path, teachers)
    alone(by_itself)
    if engine == "interleaved":
        assert same_bits(group[0], by_itself) and same_bits(group[2], by_itself)
    else:
        close_bits(group[2], by_itself, 1e-4)
    # What was stopped goes on later.
    assert alone(group[3], resume=True)["epochs"] == 3


def test_stack_too_large_for_the_memory_is_halved_until_it_fits(
    images: Path, teachers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Five students where there is room for two: each ends as it would have alone, and the same two
    stay together."""
    config = config_for(images, METHODS[1], optimizer="sgd", epochs=3)
    trained: list[tuple[int, list[int]]] = []
    train_epoch = Stack.train_epoch

    def cramped(self: Stack, epoch: int) -> Any:
        if self.count > 2:
            for student in self.students:
                torch.rand(7, generator=student.generator)  # the epoch was under way
            raise torch.OutOfMemoryError("no room")
        trained.append((epoch, [student.seed for student in self.students]))
        return train_epoch(self, epoch)

    monkeypatch.setattr(Stack, "train_epoch", cramped)
    group = [training_for(config, f"{seed}", tmp_path, teachers, seed=seed) for seed in range(5)]
    with FusedBackend(device="cpu", engine="stacked") as backend:
        backend.submit(group)
        results(drain(backend))
    assert trained == [(epoch, seeds) for epoch in range(3) for seeds in ([0, 1], [2, 3], [4])]
    for training in group:
        by_itself = moved(training, tmp_path / "alone")
        alone(by_itself)
        close_bits(training, by_itself, 1e-4)

    def full(self: Stack, epoch: int) -> Any:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(Stack, "train_epoch", full)
    with FusedBackend(device="cpu", engine="stacked") as backend:
        backend.submit([moved(training, tmp_path / "none") for training in group[:2]])
        events = drain(backend)
    assert [type(event) for event in events] == [Failed, Failed], (
        "where not even one fits, each one fails"
    )


def test_training_that_cannot_be_stacked_fails(images: Path, teachers: Path, tmp_path: Path):
    trainings = [
        training_for(config_for(images, {"name": "at"}), "maps", tmp_path, teachers),
        training_for(config_for(images), "fine", tmp_path, teachers),
    ]
    with FusedBackend(device="cpu", engine="stacked") as backend:
        backend.submit(trainings)
        events = drain(backend)
    reasons = {event.training: event.reason for event in events if isinstance(event, Failed)}
    assert (
        "the method at is not one of ce, kd, lskd, dkd and dist; use the engine interleaved"
        in reasons["maps"]
    )
    assert "fine" in {event.training for event in events if isinstance(event, Finished)}


def test_training_without_its_teacher_fails(images: Path, tmp_path: Path):
    with FusedBackend(device="cpu") as backend:
        backend.submit([training_for(config_for(images), "orphan", tmp_path, tmp_path / "nowhere")])
        (event,) = drain(backend)
    assert isinstance(event, Failed) and "no weights file" in event.reason


@pytest.mark.slow
def test_sweep_of_fused_students_on_any_device(images: Path, tmp_path: Path, device: torch.device):
    """From teacher to test images: on CUDA the students are stacked and their steps recorded."""
    config = small_config(images, student={"model": WITHOUT_DROPOUT}, seeds=[0])
    found = run_sweep(
        config,
        {"method.temperature": [1.0, 4.0]},
        tmp_path / "sweep",
        backend="fused",
        device=device.type,
        workers=1,
        cache=str(tmp_path / "cache"),
    )
    assert [trial.state for trial in found.trials] == ["complete"] * 2
    assert found.backend.name == "fused" and found.final is not None
    accuracies = [[run.val.nll for run in trial.runs] for trial in found.trials]
    assert accuracies[0] != accuracies[1], "the temperature reaches the loss"
