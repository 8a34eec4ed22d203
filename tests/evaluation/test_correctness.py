"""Which images were right, packed into a result, and the gains that come out of it."""

import numpy as np
import pytest

from understudy.errors import UnderstudyError
from understudy.evaluation import paired_gain
from understudy.evaluation.correctness import differences, gain_between, pack, unpack
from understudy.evaluation.gain import gain_over_seeds
from understudy.evaluation.results import Metrics
from understudy.files import from_json, to_json


def measured(*rows: np.ndarray) -> list[Metrics]:
    return [Metrics(accuracy=float(row.mean()), correct=pack(row)) for row in rows]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 1000])
def test_packing_is_reversible(count):
    correct = np.random.default_rng(count).random(count) < 0.8
    assert (unpack(pack(correct)) == correct).all() and len(unpack(pack(correct))) == count


def test_ten_thousand_images_are_a_short_line():
    assert len(pack(np.ones(10_000, bool))) == 1674
    assert pack(np.array([True, *[False] * 7, True, True])) == "10:gMA="


@pytest.mark.parametrize(
    "text", ["", "10", "x:gMA=", "10:gM", "10:gMA!", "17:gMA=", "9:gMA=", "8:gMA=", "-1:"]
)
def test_a_changed_list_is_one_line(text):
    with pytest.raises(UnderstudyError, match="was changed; run again") as refused:
        unpack(text)
    assert "\n" not in str(refused.value)


def test_metrics_hold_it_in_json_but_do_not_show_it():
    metrics = Metrics(accuracy=0.3, correct="10:gMA=")
    assert to_json(metrics)["correct"] == "10:gMA=" and "correct" not in repr(metrics)
    assert from_json(Metrics, to_json(metrics), "here", "") == metrics
    assert "correct" not in to_json(Metrics(accuracy=0.3)), "files of earlier versions stay as is"


def test_the_gain_is_that_of_the_images():
    rng = np.random.default_rng(0)
    student, baseline = rng.random((3, 50)) < 0.9, rng.random((3, 50)) < 0.6
    assert gain_between(measured(*student), measured(*baseline)) == paired_gain(student, baseline)
    found = differences(measured(*student), measured(*baseline))
    assert (found == student.astype(int) - baseline).all() and found.dtype == np.int8


def test_without_the_images_the_gain_is_over_seeds_alone():
    old = [Metrics(accuracy=value) for value in (0.7, 0.72)]
    new = measured(*(np.arange(50)[None] < [[40], [30]]))
    for student, baseline in ((old, old), (new, old), (old, new), ([new[0], old[1]], new)):
        accuracies = [[each.accuracy for each in arm] for arm in (student, baseline)]
        assert gain_between(student, baseline) == gain_over_seeds(*accuracies)
    fewer = measured(*(np.arange(40)[None] < [[30], [20]]))
    assert gain_between(new, fewer).images is None, "other images are no pairs"
