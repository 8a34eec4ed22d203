"""Evaluation mode for a while, and back to exactly what was there."""

import pytest
from torch import nn

from understudy.models.modes import evaluating


def half_frozen() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    model.train()
    model[0].eval()
    return model


def test_model_evaluates_inside_the_block() -> None:
    with evaluating(half_frozen()) as model:
        assert not any(module.training for module in model.modules())


def test_each_submodule_returns_to_its_own_mode() -> None:
    model = half_frozen()
    with evaluating(model):
        pass
    assert [module.training for module in model.modules()] == [True, False, True]


def test_modes_return_after_an_exception() -> None:
    model = half_frozen()
    with pytest.raises(RuntimeError, match="broken"), evaluating(model):
        raise RuntimeError("broken")
    assert [module.training for module in model.modules()] == [True, False, True]
