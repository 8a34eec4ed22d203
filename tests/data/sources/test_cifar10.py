import hashlib
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from tests.worlds import SeenEvents, read

from understudy.data import load_dataset
from understudy.data.sources.base import Arrays
from understudy.data.sources.cifar10 import ARCHIVE, CLASS_NAMES, MD5, Download, Reader
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer


def load(path: Path, image_size: int | None = None, observer: Observer = SILENT) -> Arrays:
    return read(Reader(path), image_size, observer)


find = Reader.find


def load_download(cache: Path, url: str, md5: str) -> Arrays:
    return read(Download(cache / "downloads" / ARCHIVE, url, md5))


BATCHES = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]


def batch(number: int) -> bytes:
    """Two records. Red is the batch's number, green the pixel's line, blue its column."""
    line, column = np.mgrid[:32, :32].astype(np.uint8)
    planes = np.stack([np.full((32, 32), number, np.uint8), line, column]).tobytes()
    return b"\x01" + planes + b"\x09" + planes


def archive(names: list[str] = BATCHES) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for number, name in enumerate(names, 1):
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(batch(number))
            tar.addfile(info, io.BytesIO(batch(number)))
    return file.getvalue()


def extract(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number, name in enumerate(BATCHES, 1):
        (folder / name).write_bytes(batch(number))
    return folder


CONTENT = archive()
CONTENT_MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.mark.parametrize("form", ["archive", "folder", "folder above"])
def test_records_become_images_of_the_right_way_up(tmp_path: Path, form: str) -> None:
    if form == "archive":
        path = tmp_path / "cifar.tar.gz"
        path.write_bytes(CONTENT)
    else:
        path = extract(tmp_path / "cifar-10-batches-bin")
        path = path.parent if form == "folder above" else path
    arrays = load(path)
    assert arrays.train_images.shape == (10, 32, 32, 3) and arrays.test_images.shape == (
        2,
        32,
        32,
        3,
    )
    assert arrays.train_images[:, 0, 0, 0].tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert arrays.test_images[0, 20, 7].tolist() == [6, 20, 7]
    assert arrays.train_labels.tolist() == [1, 9] * 5 and arrays.class_names == CLASS_NAMES
    assert find(path, tmp_path).name == "cifar10"


def test_each_label_stays_with_its_image_and_sizes_change_together(tmp_path: Path) -> None:
    """Records of rising brightness: image n of batch b is all of 10 b + n, and has the label (b + 3
    n) % 10."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for number, name in enumerate(BATCHES, 1):
        records = [
            bytes([(number + 3 * n) % 10]) + bytes([10 * number + n]) * 3072 for n in range(3)
        ]
        (folder / name).write_bytes(b"".join(records))
    seen = SeenEvents()
    arrays = load(folder, image_size=8, observer=seen)
    assert arrays.train_images[:, 4, 4, 1].tolist() == [
        10 * b + n for b in range(1, 6) for n in range(3)
    ]
    assert arrays.train_labels.tolist() == [(b + 3 * n) % 10 for b in range(1, 6) for n in range(3)]
    assert arrays.test_images[:, 7, 0, 2].tolist() == [
        60,
        61,
        62,
    ] and arrays.test_labels.tolist() == [6, 9, 2]
    assert arrays.train_images.shape == (15, 8, 8, 3) and arrays.test_images.shape == (3, 8, 8, 3)
    assert arrays.train_labels.dtype == np.int64 and seen.counts() == [("cifar10", 18, 18)]


def test_classes_and_checksum_are_the_official_ones() -> None:
    assert CLASS_NAMES == (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    assert MD5 == "c32a1d4ab5d03f1284b67883e8d87530"


def test_a_source_is_recognised_by_its_files_or_the_checksum(tmp_path: Path) -> None:
    assert (find(None, tmp_path).name, find(None, tmp_path).identity) == ("cifar10", MD5)
    one, two = extract(tmp_path / "one"), extract(tmp_path / "two")
    assert find(one, tmp_path).identity == find(two, tmp_path).identity
    (two / "test_batch.bin").write_bytes(batch(9))
    assert find(one, tmp_path).identity != find(two, tmp_path).identity
    (tmp_path / "a.tar.gz").write_bytes(CONTENT)
    assert read(find(tmp_path / "a.tar.gz", tmp_path)).test_labels.tolist() == [1, 9]


def test_a_split_without_images_is_refused(tmp_path: Path) -> None:
    folder = extract(tmp_path / "bin")
    (folder / "test_batch.bin").write_bytes(b"")
    with pytest.raises(UnderstudyError, match="the test split is empty"):
        load(folder)


def test_what_is_no_binary_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "python.tar.gz").write_bytes(archive(["data_batch_1"]))
    with pytest.raises(UnderstudyError, match=r"has no data_batch_1.bin: the binary version"):
        load(tmp_path / "python.tar.gz")
    (tmp_path / "half.tar.gz").write_bytes(CONTENT[: len(CONTENT) // 2])
    with pytest.raises(UnderstudyError, match=r"cannot read .*half.tar.gz"):
        load(tmp_path / "half.tar.gz")
    with pytest.raises(UnderstudyError, match=r"has no data_batch_1.bin"):
        find(tmp_path, tmp_path)
    folder = extract(tmp_path / "bin")
    (folder / "data_batch_3.bin").write_bytes(batch(3)[:-1])
    with pytest.raises(UnderstudyError, match=r"data_batch_3.bin is truncated"):
        load(folder)


def test_the_archive_is_downloaded_once_and_read(tmp_path: Path) -> None:
    there = tmp_path / "there.tar.gz"
    there.write_bytes(CONTENT)
    first = load_download(tmp_path / "cache", there.as_uri(), CONTENT_MD5)
    there.unlink()
    again = load_download(tmp_path / "cache", there.as_uri(), CONTENT_MD5)
    assert np.array_equal(first.train_images, again.train_images) and len(again.train_images) == 10
    assert (tmp_path / "cache" / "downloads" / ARCHIVE).read_bytes() == CONTENT


def test_failed_download_names_the_ways_to_give_a_copy(tmp_path: Path) -> None:
    with pytest.raises(UnderstudyError, match=r"cannot download .* with --data PATH") as caught:
        load_download(tmp_path, (tmp_path / "missing").as_uri(), MD5)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(
    "UNDERSTUDY_DATA" not in os.environ, reason="UNDERSTUDY_DATA names no copy of CIFAR-10"
)
def test_the_real_images_are_all_there() -> None:
    dataset = load_dataset("cifar10", os.environ["UNDERSTUDY_DATA"])
    assert (len(dataset.train), len(dataset.test)) == (50_000, 10_000)
    assert dataset.train.labels.bincount().tolist() == [5_000] * 10
    assert dataset.class_names == CLASS_NAMES
