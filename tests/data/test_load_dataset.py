import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.worlds import SeenEvents

from understudy.data import SOURCES, load_dataset
from understudy.errors import UnderstudyError


def save(path: Path, shift: int = 0, **arrays: np.ndarray) -> Path:
    """A dozen 4x4 images of three classes."""
    labels = np.arange(12) % 3
    images = (
        np.full((12, 4, 4, 3), shift, np.uint8) + np.arange(12, dtype=np.uint8)[:, None, None, None]
    )
    test = {"x_test": images[:3], "y_test": labels[:3]}
    np.savez(path, **{"x_train": images, "y_train": labels, **test, **arrays})  # type: ignore[arg-type]
    return path


def test_importing_the_list_of_sources_loads_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "sklearn", "pyarrow", "PIL")
    check = f"import sys, understudy.data; print([n for n in {heavy} if n in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_images_are_nchw_over_mapped_nhwc(tmp_path: Path) -> None:
    dataset = load_dataset("npz", save(tmp_path / "toy.npz"), cache_dir=tmp_path / "cache")
    assert (
        dataset.name == "toy"
        and dataset.class_names == ("0", "1", "2")
        and dataset.image_shape == (3, 4, 4)
    )
    assert dataset.train.images.dtype == torch.uint8 and dataset.train.images.is_contiguous(
        memory_format=torch.channels_last
    )
    assert dataset.train.images[:, 2, 3, 1].tolist() == list(range(12))
    assert len(dataset.test) == 3


def test_each_split_has_its_own_images_and_labels(tmp_path: Path) -> None:
    images = (
        np.full((4, 4, 4, 3), 200, np.uint8) + np.arange(4, dtype=np.uint8)[:, None, None, None]
    )
    path = save(
        tmp_path / "toy.npz",
        x_test=images,
        y_test=np.array([2, 0, 1, 1]),
        class_names=np.array(["a", "b", "c"]),
    )
    dataset = load_dataset("npz", str(path), cache_dir=tmp_path / "cache")
    test = dataset.test.open_for_final_evaluation()
    assert dataset.train.labels.tolist() == [0, 1, 2] * 4 and dataset.train.images[
        :, 0, 0, 0
    ].tolist() == list(range(12))
    assert test.labels.tolist() == [2, 0, 1, 1] and test.images[:, 0, 0, 0].tolist() == [
        200,
        201,
        202,
        203,
    ]
    assert dataset.class_names == ("a", "b", "c") and dataset.num_classes == 3
    assert load_dataset("npz", path, image_size=1, cache_dir=tmp_path / "cache").image_shape == (
        3,
        1,
        1,
    )


def test_two_classes_are_enough_even_if_one_image_has_the_second(tmp_path: Path) -> None:
    """Only the last training image is of another class: that is enough to train on."""
    labels = np.array([1] * 11 + [0])
    dataset = load_dataset(
        "npz",
        save(tmp_path / "toy.npz", y_train=labels, y_test=np.zeros(3, int)),
        cache_dir=tmp_path,
    )
    assert dataset.train.labels.tolist() == labels.tolist()
    names, ones = np.array(["0", "1"]), np.ones(12, int)
    alone = save(tmp_path / "one.npz", y_train=ones, y_test=ones[:3], class_names=names)
    with pytest.raises(UnderstudyError, match=r"of one class \(1\): at least two"):
        load_dataset("npz", alone, cache_dir=tmp_path)


def test_the_second_start_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "toy.npz")
    seen = SeenEvents()
    first = load_dataset("npz", path, cache_dir=tmp_path / "cache", observer=seen)
    assert seen.steps
    seen.steps.clear()
    monkeypatch.setenv("UNDERSTUDY_DATA", str(path))
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "cache"))
    second = load_dataset("npz", observer=seen)
    assert not seen.steps and first.fingerprint == second.fingerprint
    assert torch.equal(first.train.images, second.train.images)


def test_changed_files_give_another_data_set(tmp_path: Path) -> None:
    path = tmp_path / "toy.npz"
    before = load_dataset("npz", save(path), cache_dir=tmp_path / "cache")
    after = load_dataset("npz", save(path, shift=40), cache_dir=tmp_path / "cache")
    assert before.fingerprint != after.fingerprint
    assert after.train.images.min() == 40 and before.train.images.min() == 0
    resized = load_dataset("npz", path, image_size=8, cache_dir=tmp_path / "cache")
    assert resized.image_shape == (3, 8, 8) and resized.fingerprint != after.fingerprint


def test_each_rule_of_resizing_is_decoded_and_cached_apart(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3), np.uint8)
    path, cache = save(tmp_path / "toy.npz", x_train=noise), tmp_path / "cache"
    found = {
        rule: load_dataset("npz", path, image_size=(8, 4), resize=rule, cache_dir=cache).fingerprint
        for rule in ("crop", "pad", "squash")
    }
    assert len(set(found.values())) == 3
    again = load_dataset("npz", path, image_size=(8, 4), resize="pad", cache_dir=cache)
    assert again.fingerprint == found["pad"]


def test_the_fingerprint_is_of_the_content_and_not_of_the_file(tmp_path: Path) -> None:
    one = load_dataset("npz", save(tmp_path / "one.npz"), cache_dir=tmp_path / "a")
    held = np.load(tmp_path / "one.npz")
    np.savez_compressed(tmp_path / "two.npz", **held)
    two = load_dataset("npz", tmp_path / "two.npz", cache_dir=tmp_path / "b")
    assert one.fingerprint == two.fingerprint


def test_digits_read_no_path_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_DATA", str(tmp_path / "missing"))
    dataset = load_dataset("digits", cache_dir=tmp_path)
    assert dataset.name == "digits" and dataset.image_shape == (3, 32, 32)


def test_cifar10_takes_a_parquet_copy_of_ten_classes_by_its_own_name(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="the data extra is not installed")
    pq = pytest.importorskip("pyarrow.parquet")
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, "PNG")

    def write(classes: int) -> None:
        table = pa.table(
            {
                "img": [{"bytes": file.getvalue()}] * 20,
                "label": [row % classes for row in range(20)],
            }
        )
        for split in ("train", "test"):
            (tmp_path / "cifar10-small").mkdir(exist_ok=True)
            pq.write_table(table, tmp_path / "cifar10-small" / f"{split}.parquet")

    write(classes=10)
    dataset = load_dataset("cifar10", tmp_path / "cifar10-small", cache_dir=tmp_path / "cache")
    assert (
        dataset.name == "cifar10-small" and dataset.num_classes == 10 and len(dataset.train) == 20
    )
    write(classes=4)
    with pytest.raises(UnderstudyError, match="4 classes and CIFAR-10 ten"):
        load_dataset("cifar10", tmp_path / "cifar10-small", cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"y_test": np.array([0, 1, 3])},
            "label 3 in the test split is out of range: there are 3 classes",
        ),
        ({"y_train": np.zeros(12, int)}, "all training images are of one class"),
        (
            {"y_train": np.arange(12) % 3 + 1, "class_names": np.array(["a", "b", "c"])},
            "label 3 in the train split is out of range",
        ),
    ],
)
def test_bad_data_is_refused_and_not_cached(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    path = save(
        tmp_path / "toy.npz",
        **({"y_test": np.zeros(3, int)} | arrays if "y_test" not in arrays else arrays),
    )
    with pytest.raises(UnderstudyError, match=message):
        load_dataset("npz", path, cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache" / "datasets").glob("npz-*/"))


def test_wrong_arguments_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNDERSTUDY_DATA", raising=False)
    with pytest.raises(UnderstudyError, match="unknown data source 'cifar': did you mean cifar10"):
        load_dataset("cifar")
    with pytest.raises(UnderstudyError, match="image_size must be at least 1"):
        load_dataset("digits", image_size=0)
    with pytest.raises(UnderstudyError, match="unknown resize rule 'padd': did you mean pad"):
        load_dataset("digits", resize="padd")
    for source in set(SOURCES) - {"digits", "cifar10", "hf"}:
        with pytest.raises(UnderstudyError, match="UNDERSTUDY_DATA"):
            load_dataset(source, cache_dir=tmp_path)
        with pytest.raises(UnderstudyError, match="no such file or folder"):
            load_dataset(source, tmp_path / "missing", cache_dir=tmp_path)
