"""Students timed on a runtime: which are measured, and that it works in a process of its own."""

import pytest

from understudy.config.networks import ModelConfig
from understudy.errors import UnderstudyError
from understudy.evaluation.stopwatch import Job, time_students
from understudy.export.timed_students import first_within, timed

TWO = (
    ModelConfig("tiny_res", {"widths": [8, 8, 8, 8]}),
    ModelConfig("tiny_res", {"widths": [2, 2, 2, 2]}),
)


def job(runtime: str = "torch", limit: float = 1e4) -> Job:
    return Job(
        models=TWO, macs=(200, 100), image=(3, 16, 16), num_classes=3, runtime=runtime, limit=limit
    )


def test_the_first_that_is_fast_enough_is_chosen() -> None:
    macs = [60, 40, 20, 10]  # preferred: the largest
    chosen, times = first_within(macs, 45, lambda number: float(macs[number]))
    assert chosen == 1 and times[1] == 40 and times[3] == 10


def test_few_of_many_networks_are_measured() -> None:
    macs = list(range(100, 0, -1))
    chosen, times = first_within(macs, 50.5, lambda number: float(macs[number]))
    assert chosen == 50 and len(times) <= 30, "those that are not far above the limit, in order"


def test_the_smallest_is_measured_first_and_alone_if_it_is_too_slow() -> None:
    chosen, times = first_within([30, 10, 20], 5, lambda number: 6.0)
    assert chosen is None and times == {1: 6.0}


def test_a_network_that_is_faster_than_its_size_is_found() -> None:
    macs, times = [70, 60, 50], {0: 4.0, 1: 6.0, 2: 3.0}
    chosen, _ = first_within(macs, 5, times.__getitem__)
    assert chosen == 0, "the one of 60 is too slow, and the one of 70 is not"


def test_one_that_is_much_larger_is_not_measured() -> None:
    chosen, times = first_within([1000, 10, 90], 5, {0: 1e9, 1: 1.0, 2: 9.0}.__getitem__)
    assert chosen == 1 and 0 not in times


def test_networks_are_timed_in_this_process() -> None:
    found = timed(job())
    assert found.chosen == 0 and set(found.milliseconds) == {"0", "1"}
    assert all(0 < value < 1e4 for value in found.milliseconds.values())
    assert timed(job(limit=1e-6)).chosen is None


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["torch", "onnx", "onnx-int8"])
def test_networks_are_timed_in_a_process_of_its_own(runtime: str) -> None:
    if runtime != "torch":
        pytest.importorskip("onnxruntime")
    found = time_students(job(runtime))
    assert found.chosen == 0 and set(found.milliseconds) == {"0", "1"}


@pytest.mark.slow
def test_an_unknown_runtime_is_refused_in_one_line() -> None:
    with pytest.raises(UnderstudyError) as refused:
        time_students(job("onx"))
    assert str(refused.value).startswith(
        "students cannot be timed on onx: unknown runtime 'onx': did you mean onnx?"
    )
    assert "\n" not in str(refused.value)
