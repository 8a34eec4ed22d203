"""Which images an exported file is measured on again: those that the run tested on."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from tests.data.picture_folders import write_pictures

from understudy.config.schema import DataConfig
from understudy.data.prepare import prepare_data, source_options
from understudy.data.preprocess import Preprocessing
from understudy.data.spec import ImageSpec
from understudy.export.card import Fold, Origin
from understudy.export.remeasure import _test_images
from understudy.export.runtime import Runtime


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "pets", {"cat": 20, "dog": 20})
    return tmp_path / "pets"


def runtime_of(origin: Origin) -> Runtime:
    rule = Preprocessing(image=ImageSpec(3, 12, 12))
    card = SimpleNamespace(origin=origin, preprocessing=rule, classes=("cat", "dog"))
    return cast(Runtime, SimpleNamespace(card=card))


def config_of(pets: Path, **more: Any) -> DataConfig:
    return DataConfig(source="imagefolder", path=str(pets), image_size=12, **more)


def test_groups_cut_the_same_test_images_off_as_in_the_run(pets: Path) -> None:
    config = config_of(pets, group_by=r"(.)\.png")  # the last digit of the name
    _, test = prepare_data(config)
    wanted = test.open_for_final_evaluation()
    origin = Origin(source="imagefolder", reading=source_options(config))
    found = _test_images(runtime_of(origin), str(pets), pets)
    assert torch.equal(found.images, wanted.images) and torch.equal(found.labels, wanted.labels)
    usual = _test_images(runtime_of(Origin(source="imagefolder")), str(pets), pets)
    assert not torch.equal(usual.images, wanted.images)


def test_a_network_of_a_fold_is_measured_on_that_fold(pets: Path) -> None:
    config = config_of(pets, folds=4, fold=3, split_seed=7)
    _, test = prepare_data(config)
    origin = Origin(source="imagefolder", fold=Fold(fold=3, folds=4, seed=7))
    found = _test_images(runtime_of(origin), str(pets), pets)
    assert torch.equal(found.images, test.open_for_final_evaluation().images)


def test_cards_of_the_usual_way_have_no_further_keys() -> None:
    from understudy.files import from_json, to_json

    assert not {"reading", "fold"} & to_json(Origin()).keys()
    origin = Origin(reading=source_options(DataConfig(group_by="a", columns={"label": "b"})))
    assert from_json(Origin, to_json(origin), "card", "") == origin
