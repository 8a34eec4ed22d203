"""A network is at chance unless it shows that it looks at the images."""

import numpy as np
import pytest
import torch

from understudy.evaluation.chance import against_chance, chance_note, is_skewed
from understudy.evaluation.metrics import metrics
from understudy.evaluation.results import Metrics


def right_on(counts: list[int], hits: list[int]) -> Metrics:
    """The metrics of a network with so many right predictions of each class."""
    labels, predicted = [], []
    for label, (count, right) in enumerate(zip(counts, hits, strict=True)):
        labels += [label] * count
        predicted += [label] * right + [(label + 1) % len(counts)] * (count - right)
    return metrics(torch.eye(len(counts))[torch.tensor(predicted)], torch.tensor(labels))


def test_a_network_that_predicts_the_largest_class_alone_is_at_chance() -> None:
    found = against_chance([right_on([90, 10], [90, 0])])
    assert found is not None and found.is_at_chance
    assert found.accuracy.value == found.majority == 0.9
    assert found.balanced == found.uniform == 0.5


def test_a_network_that_serves_small_classes_is_above_chance_below_the_largest_share() -> None:
    found = against_chance([right_on([900, 100], [720, 80])])
    assert found is not None and found.accuracy.value == 0.8 < found.majority == 0.9
    assert found.balanced == pytest.approx(0.8) and found.balanced_low > 0.5
    assert not found.is_at_chance


def test_few_images_do_not_show_that_a_network_is_above_chance() -> None:
    few, many = right_on([6, 6], [4, 4]), right_on([600, 600], [400, 400])
    assert few.accuracy == many.accuracy
    at_chance = [against_chance([one]) for one in (few, many)]
    assert [one is not None and one.is_at_chance for one in at_chance] == [True, False]


def test_the_sentence_names_the_arm_and_both_numbers() -> None:
    note = chance_note("teacher", [right_on([55, 45], [50, 2])])
    assert note == (
        "the teacher is at chance: 52.0 % of 100 images right, "
        "where the largest class for every image gives 55.0 %"
    )
    assert chance_note("teacher", [right_on([55, 45], [50, 40])]) == ""


def test_seeds_are_averaged_over_their_common_images() -> None:
    """More seeds on the same images do not narrow the interval."""
    seeds = [right_on([50, 50], hits) for hits in ([32, 28], [28, 32], [30, 30])]
    together, alone = against_chance(seeds), against_chance([right_on([50, 50], [30, 30])])
    assert together is not None and alone is not None
    assert together.accuracy.low == pytest.approx(alone.accuracy.low)
    assert together.balanced_low == pytest.approx(alone.balanced_low)


def test_without_counts_of_the_classes_nothing_is_stated() -> None:
    assert against_chance([Metrics(accuracy=0.1, per_class=(0.1, 0.1))]) is None
    assert against_chance([]) is None
    assert chance_note("teacher", [Metrics(accuracy=0.1)]) == ""


def test_classes_without_images_count_neither_as_classes_nor_as_small() -> None:
    found = against_chance([right_on([40, 0, 40], [30, 0, 30])])
    assert found is not None and found.uniform == 0.5 and found.majority == 0.5
    assert not is_skewed((40, 0, 40)) and is_skewed((61, 40)) and not is_skewed((60, 40))
    assert not is_skewed(None) and not is_skewed(())


@pytest.mark.parametrize("counts", [(40, 40), (150, 50), (500, 300, 200)])
def test_a_network_that_guesses_is_rarely_above_chance(counts: tuple[int, ...]) -> None:
    """Each of the two intervals lies above chance in 2.5 % of repetitions."""
    rng, above = np.random.default_rng(0), 0
    for _ in range(400):
        hits = [int(rng.binomial(count, 1 / len(counts))) for count in counts]
        found = against_chance([right_on(list(counts), hits)])
        above += found is not None and not found.is_at_chance
    assert above / 400 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
