"""DistillationBatches: the teacher's outputs for exactly the views of a loop of one's own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.worlds import tiny_data, tiny_net, untrained

from understudy import DistillationBatches, Student
from understudy.api.batches import TaughtBatch
from understudy.errors import UnderstudyError
from understudy.methods.kd import kd_loss


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path))


def small(**options: Any) -> DistillationBatches:
    return DistillationBatches(untrained(tiny_net(1)), tiny_data(), 10, device="cpu", **options)


def test_logits_are_those_of_the_very_view() -> None:
    teacher = tiny_net(1).eval()
    for batch in small():
        with torch.no_grad():
            expected = teacher(batch.images)
        torch.testing.assert_close(batch.teacher_logits, expected, rtol=1e-2, atol=1e-2)
        assert torch.equal(batch.labels, batch.batch.labels)


def test_every_iteration_is_the_next_epoch_unless_it_is_chosen() -> None:
    batches = small(seed=3)
    first, second = list(batches), list(batches)
    assert len(batches) == len(first) == 3 and [len(b.labels) for b in first] == [10, 10, 4]
    assert not torch.equal(first[0].images, second[0].images)
    batches.set_epoch(0)
    assert all(torch.equal(a.images, b.images) for a, b in zip(first, list(batches), strict=True))


def test_teacher_runs_once_for_each_view(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = small()
    list(batches)
    monkeypatch.setattr(
        "understudy.teachers.frozen.FrozenTeacher.outputs", lambda *_: pytest.fail("runs again")
    )
    batches.set_epoch(0)
    assert len(list(batches)) == 3


def test_plain_loop_trains_a_student_that_is_ready_to_use(tmp_path: Path) -> None:
    batches, network = small(), tiny_net(0).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    losses = []
    for _ in range(6):
        for images, labels, teacher_logits, *_ in batches:
            logits = network(images)
            soft = kd_loss(logits, teacher_logits, temperature=2.0)
            loss = soft + torch.nn.functional.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    student = batches.student(network)
    assert isinstance(student, Student) and not network.training
    images, labels = next(batches.validation())
    assert student.evaluate(batches.data.val).accuracy == pytest.approx(
        float((network(images).argmax(1) == labels).double().mean())
    )


def test_features_run_the_teacher_live() -> None:
    batch = next(iter(small(reads="features")))
    assert isinstance(batch, TaughtBatch)
    assert len(batch.teacher.features) == 1 and batch.teacher.embedding is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reads": "everything"}, "reads must be one of logits, embedding, features"),
        ({"seed": 0.5}, "seed must be a whole number"),
        ({"image_sise": 8}, "unknown keyword image_sise: did you mean image_size"),
        ({"image_size": 8}, "not for data that is prepared already"),
    ],
)
def test_wrong_arguments_are_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UnderstudyError, match=message):
        small(**options)


def test_teacher_and_data_cannot_be_swapped() -> None:
    with pytest.raises(UnderstudyError, match=r"call DistillationBatches\(teacher, data\)"):
        DistillationBatches(tiny_data(), tiny_net(1))
    with pytest.raises(UnderstudyError, match="needs a teacher"):
        DistillationBatches(None, tiny_data())
    with pytest.raises(UnderstudyError, match="batch_size must be at least 1"):
        DistillationBatches(untrained(tiny_net(1)), tiny_data(), 0)
