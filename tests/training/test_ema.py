"""Exponential moving average of weights."""

import pytest
import torch

from understudy.training.ema import update_ema


def test_average_moves_by_one_minus_decay_and_integers_are_copied() -> None:
    ema = {"weight": torch.tensor([1.0, 2.0]), "count": torch.tensor(3)}
    update_ema(ema, {"weight": torch.tensor([3.0, 2.0]), "count": torch.tensor(7)}, decay=0.75)
    assert ema["weight"].tolist() == [1.5, 2.0]
    assert int(ema["count"]) == 7


def test_average_is_updated_in_place() -> None:
    ema = {"weight": torch.zeros(2)}
    before = ema["weight"]
    update_ema(ema, {"weight": torch.ones(2)}, decay=0.5)
    assert ema["weight"] is before and before.tolist() == [0.5, 0.5]


def test_average_follows_many_steps_of_the_formula() -> None:
    expected, ema = torch.zeros(3), {"weight": torch.zeros(3)}
    for step in range(5):
        weight = torch.full((3,), float(step))
        expected = 0.9 * expected + 0.1 * weight
        update_ema(ema, {"weight": weight}, decay=0.9)
    torch.testing.assert_close(ema["weight"], expected)


def test_private_foreach_of_torch_exists() -> None:
    """Seen in torch 2.13; it is private, so another version may rename it."""
    assert callable(getattr(torch, "_foreach_lerp_", None)), "_foreach_lerp_, seen in torch 2.13"


def test_missing_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        update_ema({}, {"weight": torch.ones(2)}, decay=0.5)
