"""Outputs that cannot teach are noticed before training."""

import pytest
import torch

from understudy.errors import UnderstudyError
from understudy.teachers.output_checks import are_probabilities, check_outputs


def some_logits(count: int = 20, classes: int = 3) -> torch.Tensor:
    return 4 * torch.randn(count, classes, generator=torch.Generator().manual_seed(0))


def test_logits_and_log_probabilities_pass() -> None:
    logits = some_logits()
    assert check_outputs("it", logits) == ""
    assert check_outputs("it", logits.log_softmax(1)) == ""


def test_log_probabilities_are_logits_at_every_temperature() -> None:
    logits = some_logits().double()
    for temperature in (1, 4):
        softened = (logits.log_softmax(1) / temperature).softmax(1)
        torch.testing.assert_close(softened, (logits / temperature).softmax(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_probabilities_are_refused_with_what_to_do(dtype: torch.dtype) -> None:
    rounded = some_logits(classes=2).softmax(1).to(dtype).float()
    with pytest.raises(UnderstudyError, match=r"it gives probabilities .* take the softmax off"):
        check_outputs("it", rounded)
    assert not are_probabilities(some_logits().sigmoid())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_outputs_that_are_not_finite_are_counted(value: float) -> None:
    logits = some_logits()
    logits[3, 1] = logits[4, 0] = value
    with pytest.raises(UnderstudyError, match="infinity for 2 of 20 validation images: check its"):
        check_outputs("it", logits)


def test_the_same_outputs_for_every_image_are_a_line() -> None:
    constant = some_logits()[:1].expand(20, 3)
    line = check_outputs("it", constant + 1e-7 * some_logits())
    assert line.startswith("it gives the same outputs for all 20 validation images: check that")
    assert check_outputs("it", constant[:1]) == "", "one image shows nothing"


def test_one_class_for_every_image_is_a_line() -> None:
    line = check_outputs("it", some_logits() + torch.tensor([0.0, 0.0, 99.0]))
    assert line.startswith("it takes all 20 validation images for class 2: check its weights")
