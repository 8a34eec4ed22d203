"""Eval mode for a while, without a trace."""

import pytest
from torch import nn

from understudy.models.modes import evaluating


def half_frozen() -> nn.Sequential:
    """A network in train mode whose batch norm is in eval mode."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    network[1].eval()
    return network


def test_each_submodule_gets_its_mode_back_after_eval_mode() -> None:
    network = half_frozen()
    with evaluating(network):
        assert not any(module.training for module in network.modules())
    assert network.training and network[0].training and not network[1].training


def test_modes_are_back_after_an_exception() -> None:
    network = half_frozen()
    with pytest.raises(ValueError, match="broken"), evaluating(network):
        raise ValueError("broken")
    assert network.training and network[0].training and not network[1].training


def test_network_in_eval_mode_stays_there() -> None:
    network = half_frozen().eval()
    with evaluating(network):
        pass
    assert not any(module.training for module in network.modules())


def test_several_networks_at_once() -> None:
    first, second = half_frozen(), half_frozen()
    with evaluating(first, second):
        assert not first.training and not second.training
    assert first.training and second.training
