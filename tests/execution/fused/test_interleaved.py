"""What students in turns share, and that a turn has random generators of its own."""

from collections.abc import Iterator

import torch
from tests.worlds import tiny_data

from understudy.data.loader import Batch, TrainBatches
from understudy.execution.fused.interleaved import (
    SharedBatches,
    SharedTeacher,
    StepwiseRun,
    round_robin_epoch,
)
from understudy.models.base import Outputs
from understudy.teachers.base import Teacher

CPU = torch.device("cpu")


def test_batch_is_shared_in_step_and_rendered_again_out_of_step():
    data = tiny_data()
    batches, own = (
        kind(data.train, data.config, 8, 0, CPU) for kind in (SharedBatches, TrainBatches)
    )
    views = batches.policy.epoch(3)
    first, second = batches.epoch(3, views), batches.epoch(3, views)
    for expected in own.epoch(3, views):
        a, b = next(first), next(second)
        assert a is b and torch.equal(a.images, expected.images)
    early, late = batches.epoch(4, views), batches.epoch(4, views)
    a = [next(early), next(early)]
    b = [next(late), next(late)]
    assert all(x is not y and torch.equal(x.images, y.images) for x, y in zip(a, b, strict=True))


class Counting(Teacher):
    def __init__(self) -> None:
        self.prepared, self.computed = [], 0

    def prepare(self, epoch: int, views: object, observer: object = None) -> None:
        self.prepared.append(epoch)

    def outputs(self, batch: Batch) -> Outputs:
        self.computed += 1
        return Outputs(torch.zeros(len(batch.labels), 3))


def test_shared_teacher_computes_each_batch_once():
    data, teacher = tiny_data(), Counting()
    batches, shared = SharedBatches(data.train, data.config, 8, 0, CPU), SharedTeacher(teacher)
    views = batches.policy.epoch(0)
    for _ in range(2):
        shared.prepare(0, views)
    for batch in batches.epoch(0, views):
        assert shared.outputs(batch) is shared.outputs(batch)
    assert (teacher.prepared, teacher.computed) == ([0], 3)


def training(seed: int, drawn: list[float], fails: bool = False) -> Iterator[None]:
    """Two epochs of two steps that draw one number each, as the loop would yield them (results are
    stand-ins)."""
    torch.manual_seed(seed)
    for epoch in range(2):
        yield None
        for _ in range(2):
            drawn.append(float(torch.rand(())))
            yield None
        if fails:
            raise ValueError("broken")
        yield f"epoch {epoch}"  # type: ignore[misc]


def test_each_run_draws_what_it_would_draw_alone():
    alone: list[float] = []
    list(training(1, alone))
    drawn: dict[str, list[float]] = {"a": [], "b": [], "c": []}
    runs = {
        name: StepwiseRun(training(seed, drawn[name], fails=name == "c"), CPU)
        for name, seed in (("a", 1), ("b", 2), ("c", 1))
    }
    assert all(turn.start() == [] for turn in runs.values())
    first = dict(round_robin_epoch(runs))
    assert first["a"] == first["b"] == "epoch 0" and str(first["c"]) == "broken"
    del runs["c"]
    assert set(dict(round_robin_epoch(runs)).values()) == {"epoch 1"}
    assert drawn["a"] == alone and drawn["b"] != alone and all(turn.done for turn in runs.values())
    assert runs["a"].seconds > 0
