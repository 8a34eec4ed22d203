"""Name, published figures, mean and std belong to a data set, not to the recipe's settings."""

import pytest

from understudy.config.recipe import data_note, from_yaml, load_config, to_yaml
from understudy.errors import UnderstudyError

PHOTOS = ["data.source=imagefolder", "data.image_size=64", 'data.path="my photos/Ants & bees"']


def test_another_source_leaves_the_recipes_facts_behind() -> None:
    config = load_config("cifar10", PHOTOS)
    assert config.name == "Ants-bees" and config.reference == {}
    assert config.data.mean == config.data.std == (), "to be measured"
    assert config.student == load_config("cifar10").student, "settings stay"
    line = data_note("cifar10", config)
    assert line.startswith("data.source=imagefolder is not the data of cifar10 (cifar10): ")
    assert "called Ants-bees" in line and "are measured" in line


def test_what_is_given_with_the_source_stays() -> None:
    numbers = ["data.mean=[0.1, 0.2, 0.3]", "data.std=[1, 1, 1]"]
    config = load_config("cifar10", [*PHOTOS, *numbers, "name=mine", "reference={a: {b: 1}}"])
    assert config.name == "mine" and config.reference == {"a": {"b": 1}}
    assert config.data.mean == (0.1, 0.2, 0.3) and config.data.std == (1, 1, 1)
    assert "measured" not in data_note("cifar10", config)
    assert load_config("cifar10", ["data={source: digits}"]).name == "digits"


def test_another_copy_of_the_same_data_changes_nothing() -> None:
    copy = load_config("cifar10", ['data.path="copies/cifar"', "data.source=cifar10"])
    assert copy.data.mean == load_config("cifar10").data.mean and copy.name == "cifar10"
    assert copy.reference and data_note("cifar10", copy) == ""


def test_null_means_measured_and_goes_through_yaml() -> None:
    config = load_config("digits", ["data.mean=null", "data.std=null"])
    assert config.data.mean == config.data.std == ()
    assert from_yaml(to_yaml(config), "config.yaml") == config
    with pytest.raises(UnderstudyError, match="must have the same length"):
        load_config("digits", ["data.mean=null"])
    with pytest.raises(UnderstudyError, match=r"benchmark\.batch_sizes"):
        load_config("digits", ["benchmark.batch_sizes=null"])


def test_a_data_set_of_the_hub_gives_a_name_that_a_folder_can_have() -> None:
    assert load_config("cifar10", ["data.source=hf:someone/ants"]).name == "hf-someone-ants"
