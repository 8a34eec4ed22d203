"""Figures of a classifier against values worked out by hand and plain loops."""

import json
import math

import numpy as np
import pytest
import torch
from tests.tiny_data import tiny_config, tiny_net, tiny_split

from understudy.data.dataset import SealedSplit
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
from understudy.files import from_json, to_json

# Softmax of these is exactly (1/2, 1/4, 1/4), (1/4, 1/2, 1/4), (1/10, 1/10, 8/10), (8/10, 1/10, 1/10).
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
