from pathlib import Path

import pytest

from understudy.data import SOURCES, listing_of, load_dataset
from understudy.data.detect import ARCHIVES, detect_source
from understudy.errors import UnderstudyError


def placed(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


@pytest.mark.parametrize(
    ("names", "source"),
    [
        (("cat/0.jpg", "dog/0.jpg"), "imagefolder"),
        (("train/cat/0.jpg", "labels.csv", "test/cat/0.jpg"), "imagefolder"),
        (("images/0.jpg", "labels.csv"), "csv"),
        (("0.jpg", "labels.TSV"), "csv"),
        (("train-0.parquet",), "parquet"),
        (("data/train-0.parquet", "README.md"), "parquet"),
        (("dataset_dict.json", "train/state.json"), "hf"),
        (("cifar-10-batches-bin/data_batch_1.bin",), "cifar10"),
        (("data_batch_1.bin",), "cifar10"),
    ],
)
def test_a_folder_is_known_by_what_is_in_it(
    tmp_path: Path, names: tuple[str, ...], source: str
) -> None:
    assert detect_source(placed(tmp_path, *names)) == source


@pytest.mark.parametrize(
    ("name", "source"),
    [
        *((f"x{ending}", "imagefolder") for ending in ARCHIVES),
        *(("x.CSV", "csv"), ("x.parquet", "parquet"), ("x.npz", "npz")),
        ("cifar-10-binary.tar.gz", "cifar10"),
    ],
)
def test_a_file_is_known_by_how_its_name_ends(tmp_path: Path, name: str, source: str) -> None:
    assert detect_source(placed(tmp_path, name) / name) == source


def test_a_data_set_of_the_hub_is_known_by_its_prefix() -> None:
    assert detect_source("hf:cats") == "hf" and set(SOURCES) >= {"hf", "csv"}


def test_what_is_no_data_set_is_refused_with_what_is(tmp_path: Path) -> None:
    with pytest.raises(UnderstudyError, match="no such file or folder"):
        detect_source(tmp_path / "missing")
    with pytest.raises(UnderstudyError, match=r"is no data set: a folder with a folder of images"):
        detect_source(placed(tmp_path, "0.jpg"))
    with pytest.raises(UnderstudyError, match=r"ends in .*\.npz"):
        detect_source(placed(tmp_path, "x.docx") / "x.docx")


@pytest.mark.parametrize("source", ["cifar10", "parquet", "npz"])
def test_the_wrong_source_is_refused_with_the_right_one(tmp_path: Path, source: str) -> None:
    placed(tmp_path, "cat/0.jpg", "dog/0.jpg")
    with pytest.raises(UnderstudyError, match=r"data.source=imagefolder, or let `understudy init"):
        load_dataset(source, tmp_path, cache_dir=tmp_path / "cache")


def test_a_source_without_files_has_no_listing() -> None:
    with pytest.raises(UnderstudyError, match="digits holds arrays, no image files"):
        listing_of("digits")
