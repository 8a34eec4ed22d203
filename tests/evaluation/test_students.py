"""The student of a budget: exact costs for the images at hand, accuracy from the table."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from tests.worlds import SeenEvents

from understudy.config.budget import Budget
from understudy.config.networks import ModelConfig
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.evaluation import students
from understudy.evaluation.latency import count_macs, model_size
from understudy.evaluation.stopwatch import Job, Timed
from understudy.evaluation.students import (
    candidates,
    choose_student,
    exact_costs,
    preferred,
    within,
)
from understudy.models import build_model
from understudy.models.students import KnownStudent, known_students

SMALL, LARGE = ImageSpec(3, 32, 32), ImageSpec(3, 64, 64)


def entry(name: str, *accuracies: float, **options: object) -> KnownStudent:
    accuracy = {str(seed): value for seed, value in enumerate(accuracies)}
    return KnownStudent(name=name, options=options, parameters=1, macs=1, accuracy=accuracy)


TABLE = replace(
    known_students(),
    seeds=(0, 1),
    students=(
        entry("tiny_wide", 0.66, 0.68),  # 104,042 parameters, 5.8M
        entry("tiny_res", 0.695, 0.705, widths=[8, 12, 20, 24]),  # 18,130 parameters, 0.87M
        entry("resnet20", 0.74, 0.76),  # 272,474 parameters, 40.8M
        entry("resnet8", 0.70, 0.712),  # 78,042 parameters, 12.5M
        entry("resnet14"),  # not trained yet
    ),
)


@pytest.fixture(autouse=True)
def made_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(students, "known_students", lambda: TABLE)


def names(found: Sequence[students.Candidate]) -> list[str]:
    return [each.model.name for each in found]


def test_the_most_accurate_comes_first_and_a_tie_goes_to_the_cheaper() -> None:
    assert TABLE.standard_error == pytest.approx(0.0081, abs=1e-4)
    found = preferred(candidates(SMALL, 10, TABLE), TABLE.standard_error)
    assert names(found) == ["resnet20", "tiny_res", "resnet8", "tiny_wide"]
    assert [each.place for each in found] == [1, 3, 2, 4], "0.700 and 0.706 are the same"


def test_what_is_beyond_the_budget_has_no_part_in_a_tie() -> None:
    three = [
        replace(candidates(SMALL, 10, TABLE)[0], accuracy=accuracy, macs=macs, place=macs)
        for accuracy, macs in ((0.712, 9), (0.706, 6), (0.700, 3))
    ]
    assert [each.macs for each in preferred(three, 0.008)] == [6, 9, 3]
    assert [each.macs for each in preferred(three[1:], 0.008)] == [3, 6]


@pytest.mark.parametrize(
    ("image", "num_classes"), [(SMALL, 10), (ImageSpec(1, 17, 40), 3), (LARGE, 1000)]
)
def test_costs_are_those_of_the_network_that_is_built(image: ImageSpec, num_classes: int) -> None:
    for each in candidates(image, num_classes, TABLE):
        network = build_model(each.model.name, num_classes, image, options=each.model.options)
        assert each.parameters == model_size(network).parameters
        assert each.macs == count_macs(network, image.shape)
        assert exact_costs(each.model, image, num_classes) == (each.parameters, each.macs)


def test_larger_images_get_a_stride_and_more_classes_more_parameters() -> None:
    small, large = candidates(SMALL, 10, TABLE), candidates(LARGE, 10, TABLE)
    assert all(each.model.options["stem_stride"] == 2 for each in large)
    assert [each.macs for each in small] == [each.macs for each in large]
    assert within(Budget.of("20k"), SMALL, 10)[0].model.name == "tiny_res"
    with pytest.raises(UnderstudyError, match="the smallest has 42,880 parameters"):
        within(Budget.of("20k"), SMALL, 1000)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ("1M", ["resnet20", "tiny_res", "resnet8", "tiny_wide"]),
        ("100k", ["tiny_res", "resnet8"]),
        ("10M-macs", ["tiny_res", "tiny_wide"]),
        ("272474", ["resnet20", "tiny_res", "resnet8", "tiny_wide"]),
        ("272473", ["tiny_res", "resnet8", "tiny_wide"]),
        ("100k,1M-macs", ["tiny_res"]),
    ],
)
def test_a_budget_is_a_limit(budget: str, expected: list[str]) -> None:
    assert names(within(Budget.of(budget), SMALL, 10)) == expected


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("1k", "no known student has at most 1,000 parameters for 3x32x32 images of 10 classes: "),
        ("1k", "the smallest has 18,130 parameters (tiny_res 8-12-20-24)"),
        ("100-macs", "the one with the fewest multiply-accumulates has 87"),
        ("1k,100-macs", "at most 1,000 parameters and 100 multiply-accumulates"),
    ],
)
def test_where_nothing_fits_the_smallest_is_named(budget: str, message: str) -> None:
    with pytest.raises(UnderstudyError) as refused:
        within(Budget.of(budget), SMALL, 10)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def stopwatch(milliseconds: dict[str, float], chosen: int | None) -> Callable[[Job], Timed]:
    return lambda job: Timed(chosen=chosen, milliseconds=milliseconds)


def test_times_are_those_that_were_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"0": 9.0, "1": 0.5, "3": 2.0}  # the third was not measured
    monkeypatch.setattr(students, "time_students", stopwatch(times, 1))
    found = within(Budget.of("auto:5ms@onnx"), SMALL, 10)
    assert names(found) == ["tiny_res", "tiny_wide"]
    assert [each.milliseconds for each in found] == [0.5, 2.0]


def test_only_what_is_small_enough_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Job] = []

    def watch(job: Job) -> Timed:
        seen.append(job)
        return Timed(chosen=0, milliseconds={"0": 1.0})

    monkeypatch.setattr(students, "time_students", watch)
    within(Budget.of("auto:100k,5ms@openvino"), LARGE, 7)
    (job,) = seen
    assert [model.name for model in job.models] == ["tiny_res", "resnet8"]
    assert (job.image, job.num_classes, job.runtime, job.limit) == ((3, 64, 64), 7, "openvino", 5)


def test_where_nothing_is_fast_enough_the_smallest_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(students, "time_students", stopwatch({"1": 0.5}, None))
    with pytest.raises(UnderstudyError, match=r"at most 0\.1 ms on torch here: .*takes 0\.5 ms"):
        within(Budget.of("0.1ms"), SMALL, 10)


def test_a_line_shows_what_was_chosen_and_why() -> None:
    seen = SeenEvents()
    model = choose_student("auto:100k", LARGE, 10, seen)
    assert model == ModelConfig("tiny_res", {"widths": [8, 12, 20, 24], "stem_stride": 2})
    (line,) = seen.lines
    assert line.startswith("student auto:100k: tiny_res 8-12-20-24 for 3x64x64, 18,130 parameters")
    assert "place 3 of 4 in the table (70.0% on" in line
    assert "as good as resnet8 (70.6%) within the noise, and cheaper" in line
    choose_student("auto:1M", SMALL, 10, seen)
    assert "place 1 of 4" in seen.lines[1] and "the best of 4 within the budget" in seen.lines[1]


def test_choosing_draws_no_random_number() -> None:
    before = torch.get_rng_state()
    choose_student("auto:100k", SMALL, 10)
    assert torch.equal(before, torch.get_rng_state())


def test_the_real_table_has_a_student_for_every_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(students, "known_students", known_students)
    before = 0.0
    for limit in (20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000):
        first = within(Budget(str(limit), parameters=limit), SMALL, 10)[0]
        assert first.parameters <= limit
        assert first.accuracy >= before - known_students().standard_error, "more is never worse"
        before = first.accuracy
