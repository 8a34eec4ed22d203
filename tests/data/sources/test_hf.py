import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.worlds import read

from understudy.data import load_dataset
from understudy.data.sources.base import SourceOptions
from understudy.data.sources.hf import Reader
from understudy.errors import UnderstudyError


def test_without_the_package_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)  # as if it were not installed
    with pytest.raises(UnderstudyError, match=r"pip install 'understudy\[datasets\]'"):
        load_dataset("hf:cats")


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    return pytest.importorskip("datasets", reason="the datasets extra is not installed")


def made(datasets: Any, start: int, count: int, **more: list[object]) -> Any:
    held = {"photo": [Image.new("RGB", (4, 4), (start + n, 0, 0)) for n in range(count)]}
    held["kind"] = [n % 2 for n in range(count)]
    types = {"photo": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])}
    types |= {name: datasets.Value("string") for name in more}
    return datasets.Dataset.from_dict({**held, **more}, features=datasets.Features(types))


def test_a_saved_data_set_is_read_with_its_splits(datasets: Any, tmp_path: Path) -> None:
    parts = {"train": made(datasets, 0, 10), "validation": made(datasets, 50, 4)}
    parts |= {"test": made(datasets, 100, 4), "extra": made(datasets, 200, 2)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "pets")
    reader = Reader.find(Path(f"hf:{tmp_path / 'pets'}"), tmp_path)
    arrays = read(reader)
    assert reader.name == "pets" and arrays.class_names == ("cat", "dog")
    assert arrays.annotations.own_val is not None
    assert sorted(arrays.train_images[arrays.annotations.own_val, 0, 0, 0]) == [50, 51, 52, 53]
    assert (arrays.test_images[:, 0, 0, 0] % 2).tolist() == arrays.test_labels.tolist()
    assert "not read: extra" in reader.listing.notes
    assert Reader.find(tmp_path / "pets", tmp_path).identity == reader.identity


def test_columns_of_groups_keep_images_together(datasets: Any, tmp_path: Path) -> None:
    made(datasets, 0, 20, who=[f"p{n // 4}" for n in range(20)]).save_to_disk(tmp_path / "x")
    options = SourceOptions(columns={"group": "who", "image": "photo"})
    listing = Reader.find(tmp_path / "x", tmp_path, options).listing
    groups = [{listing.samples[row].group for row in listing.rows_of(s)} for s in ("train", "test")]
    assert not groups[0] & groups[1] and len(groups[0] | groups[1]) == 5
    with pytest.raises(UnderstudyError, match="no column 'whom': did you mean who"):
        Reader.find(tmp_path / "x", tmp_path, SourceOptions(columns={"group": "whom"}))


def test_a_name_that_cannot_be_loaded_is_refused_in_one_line(datasets: Any, tmp_path: Path) -> None:
    with pytest.raises(
        UnderstudyError, match=r"cannot load hf:.*no-such .*: check the name"
    ) as caught:
        Reader.find(Path(f"hf:{tmp_path / 'no-such'}"), tmp_path)
    assert "\n" not in str(caught.value)


def labelled(datasets: Any, labels: list[object], kind: str = "string") -> Any:
    held = {"image": [Image.new("RGB", (4, 4))] * len(labels), "label": labels}
    types = {"image": datasets.Image(), "label": datasets.Value(kind)}
    return datasets.Dataset.from_dict(held, features=datasets.Features(types))


def test_a_missing_label_is_no_class(datasets: Any, tmp_path: Path) -> None:
    labelled(datasets, ["a", "b", None, "a", "b"]).save_to_disk(tmp_path / "x")
    with pytest.raises(UnderstudyError, match=r"1 row of train in .* without a label: 2"):
        Reader.find(tmp_path / "x", tmp_path)


def test_a_test_split_without_labels_is_not_read(datasets: Any, tmp_path: Path) -> None:
    train = labelled(datasets, ["a", "b"] * 5)
    parts = {"train": train, "test": labelled(datasets, [None] * 3)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "x")
    listing = Reader.find(tmp_path / "x", tmp_path).listing
    assert listing.class_names == ("a", "b") and not listing.has_own_test
    assert "test has no labels and is not read" in listing.notes


def test_a_row_without_an_image_counts_as_bad(datasets: Any, tmp_path: Path) -> None:
    held = labelled(datasets, ["a", "b"] * 6).to_dict()
    held["image"][4] = None
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    datasets.Dataset.from_dict(held, features=features).save_to_disk(tmp_path / "x")
    with pytest.raises(UnderstudyError, match="cannot decode 1 image"):
        read(Reader.find(tmp_path / "x", tmp_path))
