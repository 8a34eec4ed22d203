"""What the gate accepts, refuses and calls unproven."""

import numpy as np
import pytest
from tests.export.networks import tiny_deployable, tiny_examples

from understudy.data.dataset import Split
from understudy.errors import UnderstudyError
from understudy.evaluation.deployment import Parity, compare
from understudy.export.gate import Limits, judge, measure, probabilities
from understudy.export.source import TorchRuntime

CLASSES = ("a", "b")


def parity(count: int, lost: int = 0, won: int = 0, margin: float = 0.5) -> Parity:
    """Of a file that changes ``lost + won`` images, each with this margin in the network."""
    high, low = 0.5 + margin / 2, 0.5 - margin / 2
    expected = np.tile(np.array([[high, low]], np.float32), (count, 1))
    found, labels = expected.copy(), np.zeros(count, int)
    changed = lost + won
    found[:changed] = [[low, high]]
    labels[lost:changed] = 1
    return compare(expected, found, labels, CLASSES)


def test_fp32_may_differ_only_where_the_network_is_undecided() -> None:
    assert judge(parity(100, lost=1, margin=5e-4), "fp32").verdict == "accepted"
    refused = judge(parity(100, lost=1, margin=5e-3), "fp32")
    assert refused.verdict == "refused"
    assert "1 of 100 images" in refused.reason


def test_fp32_is_refused_even_if_the_accuracy_rises() -> None:
    assert judge(parity(1000, won=5), "fp32").verdict == "refused"


@pytest.mark.parametrize(
    ("count", "lost", "won", "verdict"),
    [
        (10_000, 30, 0, "accepted"),
        (10_000, 51, 0, "refused"),
        (10_000, 45, 0, "unproven"),
        (2_500, 12, 14, "accepted"),
        (300, 0, 0, "unproven"),
        (300, 2, 0, "refused"),
    ],
)
def test_int8_may_lose_half_a_point_and_must_prove_it(
    count: int, lost: int, won: int, verdict: str
) -> None:
    assert judge(parity(count, lost, won), "int8").verdict == verdict


def test_unproven_is_accepted_only_on_request_and_the_card_shows_it() -> None:
    judgement = judge(parity(300), "int8", Limits(accept_unproven=True))
    assert judgement.verdict == "accepted"
    assert "not excluded, accepted by --accept-unproven" in judgement.reason
    refused = judge(parity(300, lost=9), "int8", Limits(accept_unproven=True))
    assert refused.verdict == "refused"


def test_limit_is_the_users() -> None:
    assert judge(parity(10_000, lost=90), "int8", Limits(max_drop=0.02)).verdict == "accepted"


def test_gate_runs_every_image_in_order_and_reads_no_label() -> None:
    deployable, examples = tiny_deployable(), tiny_examples()
    runtime = TorchRuntime(deployable)
    expected = probabilities(runtime, examples.train)
    unlabelled = Split(examples.train.images, examples.train.labels * 0)
    assert np.array_equal(probabilities(runtime, unlabelled), expected)
    assert np.array_equal(expected, runtime(examples.train.images.contiguous().numpy()))
    found = measure(runtime, expected, examples.train)
    assert (found.count, found.num_disagreements, found.largest_difference) == (24, 0, 0)


@pytest.mark.parametrize(
    "result",
    [np.zeros((1, 3), np.float32), np.full((6, 3), np.nan, np.float32), np.zeros(6, np.float32)],
    ids=["rows", "not a number", "shape"],
)
def test_runtime_that_returns_nonsense_is_refused(result: np.ndarray) -> None:
    with pytest.raises(UnderstudyError, match="it is not usable"):
        probabilities(lambda images: result, tiny_examples().val, detail="a file")
