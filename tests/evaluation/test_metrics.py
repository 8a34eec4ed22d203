"""Figures of a classifier against values worked out by hand and plain loops."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from tests.worlds import tiny_config, tiny_net, tiny_split
from torch import nn

from understudy.config.schema import DataConfig
from understudy.data.dataset import SealedSplit, Split
from understudy.evaluation.correctness import unpack
from understudy.evaluation.metrics import (
    Metrics,
    accuracy,
    agreement,
    ece,
    evaluate,
    metrics,
    nll,
    per_class_accuracy,
    predict,
    reliability,
    teacher_kl,
)
from understudy.evaluation.results import MOST_CONFUSION
from understudy.files import from_json, to_json

# Softmax of these is exactly (1/2, 1/4, 1/4), (1/4, 1/2, 1/4), (1/10, 1/10, 8/10) and
# (8/10, 1/10, 1/10).
LOGITS = torch.tensor(
    [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]], dtype=torch.float64
).log()
LABELS = torch.tensor([0, 2, 2, 0])


def random_logits(num: int = 400, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(num, 5, generator=rng), torch.randint(5, (num,), generator=rng)


def test_accuracy_is_the_share_of_hits() -> None:
    assert accuracy(LOGITS, LABELS) == 0.75


def test_per_class_accuracy_is_recall_and_nan_without_images() -> None:
    first, second, third = per_class_accuracy(LOGITS, LABELS)
    assert (first, third) == (1.0, 0.5) and math.isnan(second)


def test_per_class_accuracy_names_every_class_that_there_is() -> None:
    """Classes 2 and 3 of four have no images, class 1 no hit: neither shortens the list."""
    logits = torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 1.0], [1.0, 0, 0, 0], [0, 0, 1.0, 0]])
    first, second, third, fourth = per_class_accuracy(logits, torch.tensor([0, 0, 1, 1]))
    assert (first, second) == (0.5, 0.0) and math.isnan(third) and math.isnan(fourth)


def test_nll_is_the_mean_log_of_the_labels_probability() -> None:
    assert nll(LOGITS, LABELS) == pytest.approx(
        -(math.log(0.5) + math.log(0.25) + 2 * math.log(0.8)) / 4
    )


def test_ece_by_hand() -> None:
    # Two bins of ten hold something: confidence 0.5 with half right, confidence 0.8 with all right.
    assert ece(LOGITS, LABELS, num_bins=10) == pytest.approx(0.5 * 0.0 + 0.5 * 0.2)
    sure_and_wrong = torch.tensor([[100.0, 0.0], [100.0, 0.0]])
    assert ece(sure_and_wrong, torch.tensor([1, 1])) == pytest.approx(1)
    assert ece(sure_and_wrong, torch.tensor([0, 0])) == pytest.approx(0)


def test_bins_are_open_below_and_closed_above() -> None:
    """Confidences 1/4, 1/2, 3/4 and 1 with four bins: each is the upper edge of its own."""
    probabilities = torch.tensor(
        [[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0], [0.75, 0.25, 0, 0], [1.0, 0, 0, 0]],
        dtype=torch.float64,
    )
    bins = reliability(probabilities.log(), torch.tensor([0, 1, 0, 0]), num_bins=4)
    assert bins.count == (1, 1, 1, 1) and bins.accuracy == (1, 0, 1, 1)
    assert bins.confidence == pytest.approx((0.25, 0.5, 0.75, 1.0))
    assert all(type(count) is int for count in bins.count)


def test_low_confidence_is_counted_in_the_first_bin() -> None:
    bins = reliability(torch.zeros(2, 2000), torch.tensor([0, 1]), num_bins=15)
    assert (
        bins.count == (2,) + (0,) * 14
        and bins.accuracy[0] == 0.5
        and bins.confidence[0] == pytest.approx(1 / 2000)
    )
    assert bins.confidence[1:] == bins.accuracy[1:] == (None,) * 14


def test_logits_that_are_not_numbers_leave_the_diagram_its_size() -> None:
    bins = reliability(torch.full((2, 3), math.nan), torch.tensor([0, 1]), num_bins=4)
    assert sum(bins.count) == 2 and len(bins.count) == len(bins.accuracy) == 4


def test_ece_weighs_bins_by_images_and_takes_gaps_of_either_sign() -> None:
    # Three at confidence 0.9, one of them right: gap 0.9 - 1/3. One at 0.6, right: gap 1 - 0.6.
    probabilities = torch.tensor(
        [[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.6, 0.4]], dtype=torch.float64
    )
    expected = (3 * (0.9 - 1 / 3) + 1 * (1 - 0.6)) / 4
    assert ece(probabilities.log(), torch.tensor([0, 1, 1, 0])) == pytest.approx(expected)
    assert ece(probabilities.log(), torch.tensor([0, 1, 1, 0]), num_bins=1) == pytest.approx(
        abs(0.825 - 0.5)
    )


def test_ece_equals_a_loop_over_bins() -> None:
    logits, labels = random_logits()
    confidence, predicted = (x.numpy() for x in logits.double().softmax(1).max(1))
    hits = predicted == labels.numpy()
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - hits[inside].mean())
    assert ece(logits, labels) == pytest.approx(expected, abs=1e-12)


def test_the_reliability_bins_hold_every_prediction_once() -> None:
    logits, labels = random_logits()
    bins = reliability(logits, labels)
    assert sum(bins.count) == len(labels)
    assert {len(bins.confidence), len(bins.accuracy), len(bins.count)} == {15}
    for number, (confidence, hit, count) in enumerate(
        zip(bins.confidence, bins.accuracy, bins.count, strict=True)
    ):
        if count:
            assert number / 15 < confidence <= (number + 1) / 15 and 0 <= hit <= 1
        else:
            assert confidence is hit is None


def test_the_bins_give_back_the_accuracy() -> None:
    logits, labels = random_logits()
    bins = reliability(logits, labels)
    hits = sum(hit * count for hit, count in zip(bins.accuracy, bins.count, strict=True) if count)
    assert hits / len(labels) == pytest.approx(accuracy(logits, labels))


def test_a_network_agrees_with_itself() -> None:
    logits, _ = random_logits()
    assert agreement(logits, logits) == 1
    assert teacher_kl(logits, logits) == pytest.approx(0, abs=1e-12)
    assert teacher_kl(logits, logits + 3) == pytest.approx(0, abs=1e-12), (
        "a constant on all logits says nothing"
    )


def test_the_divergence_is_from_the_teacher_to_the_model() -> None:
    teacher, model = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
    assert teacher_kl(model, teacher) == pytest.approx(
        0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1), rel=1e-6
    )
    assert agreement(torch.tensor([[1.0, 0], [0, 1.0]]), torch.tensor([[1.0, 0], [1.0, 0]])) == 0.5


def test_metrics_holds_all_of_them() -> None:
    logits, labels = random_logits()
    alone, beside = metrics(logits, labels), metrics(logits, labels, logits)
    assert alone.agreement is alone.teacher_kl is None
    assert beside.agreement == 1 and beside.accuracy == alone.accuracy == accuracy(logits, labels)


def test_metrics_are_the_single_figures_under_their_names() -> None:
    """Each figure has a value of its own, so that none can stand in another's place."""
    teacher = LOGITS.flip(1)
    found = metrics(LOGITS, LABELS, teacher)
    # The teacher's rows are the model's, read backwards.
    gaps = [
        0.25 * math.log(0.25 / 0.5) + 0.25 * math.log(0.25 / 0.25) + 0.5 * math.log(0.5 / 0.25),
        0.0,
    ]
    gaps += [0.8 * math.log(0.8 / 0.1) + 0.1 * math.log(0.1 / 0.8)] * 2
    assert found.teacher_kl == pytest.approx(sum(gaps) / 4)
    assert found.agreement == 0.25 and found.accuracy == 0.75 and found.per_class[::2] == (1.0, 0.5)
    assert found.nll == pytest.approx(-(math.log(0.5) + math.log(0.25) + 2 * math.log(0.8)) / 4)
    assert found.ece == pytest.approx(0.5 * 0.0 + 0.5 * 0.2), "bins 8 and 12 of 15"
    assert found.reliability.count == (*[0] * 7, 2, *[0] * 3, 2, *[0] * 3)
    assert {f.name for f in dataclasses.fields(found)} == {
        "accuracy",
        "per_class",
        "nll",
        "ece",
        "agreement",
        "teacher_kl",
        "reliability",
        "correct",
        "balanced_accuracy",
        "macro_f1",
        "class_counts",
        "per_class_interval",
        "confusion",
    }
    assert unpack(found.correct).tolist() == (LOGITS.argmax(1) == LABELS).tolist()
    assert found.class_counts == (2, 0, 2) and found.confusion == ((2, 0, 0), (0, 0, 0), (0, 1, 1))
    assert found.balanced_accuracy == 0.75 and found.macro_f1 == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert found.per_class_interval is not None and found.per_class_interval[1] is None


def skewed_logits(num: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
    """Classes of 1 to 300 images and one without any, of which few predictions are right."""
    rng = torch.Generator().manual_seed(4)
    shares = torch.tensor([0.5, 0.3, 0.15, 0.04, 0.01, 0.0])
    labels = torch.multinomial(shares, num, replacement=True, generator=rng)
    logits = torch.randn(num, 6, generator=rng)
    logits[:, 5] -= 2  # predicted now and then, though no image is of it
    logits[torch.arange(num), labels] += 0.8
    return logits, labels


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("num", [30, 600])
def test_figures_of_skewed_classes_are_those_of_scikit_learn(num: int) -> None:
    from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score

    logits, labels = skewed_logits(num)
    found, predicted = metrics(logits, labels), logits.argmax(1)
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert found.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"))
    expected = confusion_matrix(labels, predicted, labels=range(6))
    assert np.array_equal(found.confusion, expected)
    assert found.class_counts == tuple(expected.sum(1))


def test_intervals_of_classes_are_those_of_scipy() -> None:
    from scipy.stats import binomtest

    found = metrics(*skewed_logits())
    assert found.confusion is not None and found.per_class_interval is not None
    for index, interval in enumerate(found.per_class_interval):
        hits, count = found.confusion[index][index], sum(found.confusion[index])
        if interval is None:
            assert count == 0
            continue
        expected = binomtest(hits, count).proportion_ci(method="wilson")
        assert interval == pytest.approx((expected.low, expected.high))


def test_a_confusion_matrix_is_stored_up_to_a_hundred_classes() -> None:
    for classes in (MOST_CONFUSION, MOST_CONFUSION + 1):
        found = metrics(torch.eye(classes), torch.arange(classes))
        assert (found.confusion is not None) == (classes == MOST_CONFUSION)
        assert found.balanced_accuracy == found.macro_f1 == 1


def test_metrics_of_earlier_versions_are_read_and_written_without_new_keys() -> None:
    old = {"accuracy": 0.5, "per_class": [0.5, None]}
    found = from_json(Metrics, old, "here", "run again")
    assert found.class_counts is found.confusion is found.macro_f1 is None
    assert {"class_counts", "confusion", "macro_f1"} & set(to_json(found)) == set()
    new = metrics(*skewed_logits())
    assert from_json(Metrics, json.loads(json.dumps(to_json(new))), "here", "run again") == new


def test_the_divergence_in_metrics_is_not_the_other_way_round() -> None:
    teacher, model = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
    forward = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert metrics(model, torch.tensor([0]), teacher).teacher_kl == pytest.approx(forward, rel=1e-6)


def test_figures_are_computed_in_double_precision() -> None:
    """Of fp32 logits, against numpy in fp64: to twelve digits, of which fp32 has seven."""
    logits, labels = random_logits(30)
    teacher, _ = random_logits(30, seed=1)

    def logs(x: torch.Tensor) -> np.ndarray:
        return x.double().numpy() - np.log(np.exp(x.double().numpy()).sum(1, keepdims=True))

    assert nll(logits, labels) == pytest.approx(
        -logs(logits)[np.arange(30), labels.numpy()].mean(), rel=1e-12
    )
    divergence = (np.exp(logs(teacher)) * (logs(teacher) - logs(logits))).sum(1).mean()
    assert teacher_kl(logits, teacher) == pytest.approx(divergence, rel=1e-12)
    assert accuracy(torch.eye(3), torch.tensor([0, 0, 0])) == 1 / 3
    assert per_class_accuracy(torch.eye(3), torch.tensor([0, 0, 0]))[0] == 1 / 3
    assert agreement(torch.eye(3), torch.eye(3)[[0, 0, 0]]) == 1 / 3


class Brightness(nn.Module):
    """Logits: the square of each channel's normalised mean, so that a shift shows, too."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3)).square()


def solid_split() -> Split:
    """Three images of one colour each: red 255, green 51, blue 102 in the first, and so on."""
    colours = torch.tensor([[255, 51, 102], [0, 204, 51], [102, 102, 153]], dtype=torch.uint8)
    return Split(
        colours[:, :, None, None].expand(3, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        torch.tensor([0, 1, 0]),
    )


def test_evaluate_normalises_by_a_half_and_a_quarter_by_default() -> None:
    means = torch.tensor([[1.0, 0.2, 0.4], [0.0, 0.8, 0.2], [0.4, 0.4, 0.6]], dtype=torch.float64)
    logits = ((means - 0.5) / 0.25).square()
    found = evaluate(Brightness(), solid_split())
    assert found.nll == pytest.approx(
        float(-logits.log_softmax(1)[[0, 1, 2], [0, 1, 0]].mean()), rel=1e-5
    )
    assert found.per_class[0] >= 0.5 and found.per_class[1] == 0 and found.agreement is None


def test_evaluate_takes_a_normalisation_and_compares_with_a_teacher() -> None:
    class Backwards(Brightness):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images).flip(1)

    config = DataConfig(mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 1.0))
    shown = torch.tensor([[1.0, 0.2, 0.4], [0.0, 0.8, 0.2], [0.4, 0.4, 0.6]], dtype=torch.float64)
    logits = ((shown - torch.tensor([0.1, 0.2, 0.3])) / torch.tensor([0.5, 0.5, 1.0])).square()
    model, teacher = logits.log_softmax(1), logits.flip(1).log_softmax(1)
    found = evaluate(Brightness(), solid_split(), config, teacher=Backwards())
    assert found.nll == pytest.approx(float(-model[[0, 1, 2], [0, 1, 0]].mean()), rel=1e-5)
    assert found.teacher_kl == pytest.approx(
        float((teacher.exp() * (teacher - model)).sum(1).mean()), rel=1e-4
    )
    assert found.agreement == pytest.approx(1 / 3), "green is in the middle, forwards and backwards"


def test_predict_keeps_the_order_of_the_images() -> None:
    logits = predict(
        Brightness(),
        solid_split(),
        DataConfig(mean=(0.0,) * 3, std=(1.0,) * 3),
        torch.device("cpu"),
        batch_size=2,
    )
    expected = torch.tensor([[1.0, 0.2, 0.4], [0.0, 0.8, 0.2], [0.4, 0.4, 0.6]]).square()
    torch.testing.assert_close(logits, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_predict_computes_in_the_given_precision(precision: str, dtype: torch.dtype) -> None:
    seen = []
    network = tiny_net()
    network.conv.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    predict(network, tiny_split(6), tiny_config(), torch.device("cpu"), precision=precision)
    assert seen == [dtype]


@pytest.mark.parametrize("training", [True, False])
def test_predict_evaluates_and_puts_the_mode_back(training: bool) -> None:
    network, split = tiny_net().train(training), tiny_split(10)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    logits = predict(network, split, tiny_config(), torch.device("cpu"), batch_size=4)
    assert network.training is training
    assert all(
        torch.equal(before[name], tensor) for name, tensor in network.state_dict().items()
    ), "no running statistics moved"
    assert logits.shape == (10, 3) and logits.dtype == torch.float32 and not logits.requires_grad
    one_by_one = predict(network, split, tiny_config(), torch.device("cpu"), batch_size=1)
    torch.testing.assert_close(one_by_one, logits)


def test_predict_in_bf16_returns_fp32_close_by() -> None:
    network, split = tiny_net(), tiny_split(10)
    exact = predict(network, split, tiny_config(), torch.device("cpu"))
    rounded = predict(network, split, tiny_config(), torch.device("cpu"), precision="bf16")
    assert rounded.dtype == torch.float32 and not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)


def test_class_without_images_has_no_accuracy() -> None:
    assert metrics(LOGITS, LABELS).per_class == (1.0, None, 0.5)


def test_evaluate_opens_a_sealed_split() -> None:
    network, split = tiny_net(), tiny_split(10)
    sealed = evaluate(network, SealedSplit(split), tiny_config())
    assert sealed == evaluate(network, split, tiny_config())
    logits = predict(network, split, tiny_config(), torch.device("cpu"))
    assert sealed.accuracy == accuracy(logits, split.labels) and sealed.agreement is None


def test_evaluate_compares_with_a_teacher() -> None:
    network, split = tiny_net(), tiny_split(10)
    measured = evaluate(network, split, tiny_config(), teacher=network)
    assert measured.agreement == 1 and measured.teacher_kl == pytest.approx(0, abs=1e-12)


def test_metrics_are_printed_without_their_long_lists() -> None:
    shown = Metrics(accuracy=0.8125, per_class=(0.7,) * 10, nll=0.65432, ece=0.01, agreement=0.9)
    assert repr(shown) == "Metrics(accuracy=0.8125, nll=0.6543, ece=0.01, agreement=0.9)"


def test_metrics_round_trip_through_json() -> None:
    logits, labels = random_logits()
    measured = metrics(logits, labels, logits)
    written = json.loads(json.dumps(to_json(measured)))
    assert from_json(Metrics, written, "here", "measure again") == measured
