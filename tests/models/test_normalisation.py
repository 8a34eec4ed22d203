"""Which mean and standard deviation a network was trained with, if that is known."""

import copy

import pytest
from torch import nn

from understudy.errors import UnderstudyError
from understudy.models import build_model
from understudy.models.foreign import ForeignClassifier
from understudy.models.normalisation import (
    Normalisation,
    known_normalisation,
    record_normalisation,
)

OWN = Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def module(**attributes: object) -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
    for name, value in attributes.items():
        setattr(network, name, value)
    return network


def test_nothing_is_known_of_a_plain_module() -> None:
    assert known_normalisation(module(), 3) == (None, None)
    assert known_normalisation(build_model("resnet8", 4), 3) == (None, None)


def test_record_is_found_on_wrapper_wrapped_module_and_copies() -> None:
    inner = module()
    wrapper = ForeignClassifier(inner, 4, name="net", image_size=16)
    record_normalisation(wrapper, OWN)
    for network in (wrapper, inner, copy.deepcopy(wrapper), copy.deepcopy(inner)):
        assert known_normalisation(network, 3) == (OWN, "recorded")
    again = ForeignClassifier(inner, 4, name="net", image_size=16)
    assert known_normalisation(again, 3) == (OWN, "recorded")


def test_pretrained_cfg_is_read_and_a_record_goes_before_it() -> None:
    network = module(pretrained_cfg={"mean": (0.5, 0.5, 0.5), "std": [0.2, 0.2, 0.2]})
    expected = Normalisation((0.5,) * 3, (0.2,) * 3), "pretrained_cfg"
    assert known_normalisation(network, 3) == expected
    wrapper = ForeignClassifier(network, 4, name="net", image_size=16)
    assert known_normalisation(wrapper, 3) == expected
    record_normalisation(wrapper, OWN)
    assert known_normalisation(network, 3) == (OWN, "recorded")


@pytest.mark.parametrize("config", [None, {}, {"mean": (0.5,) * 3}, "resnet"])
def test_pretrained_cfg_without_normalisation_is_ignored(config: object) -> None:
    assert known_normalisation(module(pretrained_cfg=config), 3) == (None, None)


def test_pretrained_cfg_for_other_channels_is_ignored() -> None:
    network = module(pretrained_cfg={"mean": (0.5,) * 3, "std": (0.2,) * 3})
    assert known_normalisation(network, 1) == (None, None)
    assert known_normalisation(network)[1] == "pretrained_cfg"


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [((0.5,), (0.2, 0.2), "one per channel"), ((0.5,), (0.0,), "above 0")],
)
def test_impossible_normalisation_is_refused(
    mean: tuple[float, ...], std: tuple[float, ...], message: str
) -> None:
    with pytest.raises(UnderstudyError, match=message):
        Normalisation(mean, std)
