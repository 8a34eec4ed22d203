"""The pace of a backend, on a clock that only the backend moves."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.sweep.small_sweep import small_config
from tests.worlds import write_colours

import understudy.execution.autoselect as measure
from understudy.data.prepare import prepare_data
from understudy.errors import UnderstudyError
from understudy.execution.backend import Backend, Epoch, Event, Failed, Finished, Training
from understudy.runs.folder import RunFolder


class Clockwork(Backend):
    """Takes groups of trainings through their epochs in turn; a group's epoch takes a second,
    whatever its size."""

    name = "clockwork"

    def __init__(
        self, clock: SimpleNamespace, capacity: int, group: int, fails: bool = False
    ) -> None:
        self.clock, self.capacity, self.group, self.fails = clock, capacity, group, fails
        self.rounds: list[list[str]] = []
        self.events: Iterator[list[Event]] = iter(())

    def submit(self, trainings: Sequence[Training]) -> None:
        assert len(trainings) <= self.capacity
        self.rounds.append([f"{training.name} {training.run.seed}" for training in trainings])
        self.events = self._events([training.name for training in trainings])

    def _events(self, names: list[str]) -> Iterator[list[Event]]:
        groups = [names[i : i + self.group] for i in range(0, len(names), self.group)]
        for epoch in range(4):
            for group in groups:
                self.clock.now += 1.0 if len(self.rounds) > 1 else 100.0  # the first round warms up
                self.clock.now += (
                    7.0 if epoch == 3 else 0.0
                )  # students that are done are evaluated before their event
                yield [Failed(name, "no") if self.fails else Epoch(name, None) for name in group]  # type: ignore[arg-type]
        yield [Finished(name, {}) for name in names]

    def wait(self) -> list[Event]:
        return next(self.events)

    def stop(self, training: str) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


@pytest.fixture
def rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is measured of backends that the test describes, in batches of 4 images and epochs of 8
    steps."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(measure, "available_cores", lambda: [0, 1])
    train = {"epochs": 15, "stop_epoch": 12, "batch_size": 4}
    config = small_config(write_colours(tmp_path / "colours.npz"), train=train, seeds=[7, 8, 9])

    def measured(
        planned: int = 100, **backends: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Clockwork]]:
        made = {name: Clockwork(clock, **options) for name, options in backends.items()}
        openers = {name: lambda made=backend: made for name, backend in made.items()}
        return measure.measure_backends(
            config, prepare_data(config.data)[0], openers, planned=planned
        ), made

    return measured


def test_rates_of_trainings_side_by_side_add_up(rates: Any):
    """One at a time, four as one, and six in three groups that wait for each other: 32 images an
    epoch of each."""
    found, _ = rates(
        one={"capacity": 1, "group": 1},
        four={"capacity": 4, "group": 4},
        six={"capacity": 6, "group": 2},
    )
    assert found == {
        "one": pytest.approx(32),
        "four": pytest.approx(4 * 32),
        "six": pytest.approx(2 * 32),
    }


@pytest.mark.parametrize("own", [{"classes": ["c", "b", "a"]}, {"head": "linear-probe"}])
def test_a_given_teacher_is_replaced_by_an_untrained_one_for_the_images(own: Any, tmp_path: Path):
    """Whatever its classes and its head: nothing is read of its file."""
    config = small_config(write_colours(tmp_path / "colours.npz"))
    given = replace(config.teacher, path=str(tmp_path / "mine.pt"), image_size=32, **own)
    config = replace(config, teacher=given)
    plan = measure._short_plan(config, prepare_data(config.data)[0], tmp_path)
    teacher = plan.arm("teacher")
    assert not teacher.is_given and teacher.inputs.image_size == 32
    assert RunFolder(tmp_path).weights("teacher-seed0").exists()


def test_both_rounds_show_the_same_and_no_more_than_planned(rates: Any):
    _, made = rates(planned=5, many={"capacity": 64, "group": 64})
    first, second = made["many"].rounds
    assert first == ["measure-first0 7", "measure-first1 8", "measure-first2 9"]
    assert [line.split()[1] for line in second] == ["7", "8", "9", "7", "8"], (
        "the sweep's seeds in turn"
    )


def test_a_failing_backend_is_left_out_and_the_only_one_refused(rates: Any):
    bad, good = {"capacity": 1, "group": 1, "fails": True}, {"capacity": 1, "group": 1}
    assert list(rates(bad=bad, good=good)[0]) == ["good"]
    with pytest.raises(UnderstudyError, match="choose one by --backend"):
        rates(bad=bad)
