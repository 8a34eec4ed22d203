import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pa = pytest.importorskip("pyarrow", reason="the data extra is not installed")
pq = pytest.importorskip("pyarrow.parquet")

from understudy.data.sources.parquet import find, load  # noqa: E402
from understudy.errors import UnderstudyError  # noqa: E402


def png(value: int, size: tuple[int, int] = (4, 4)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(file, "PNG")
    return file.getvalue()


def write(
    path: Path,
    images: Sequence[bytes | None],
    labels: Sequence[object],
    columns: tuple[str, str] = ("img", "label"),
    names: list[str] | None = None,
    more: Mapping[str, Sequence[object]] | None = None,
) -> Path:
    """A file in the Hugging Face layout; with class names it has the metadata, without it is a bare table."""
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    held = pa.array([{"bytes": data, "path": "x.png"} for data in images], struct)
    table = pa.table({**(more or {}), columns[0]: held, columns[1]: labels})
    if names is not None:
        features: dict[str, object] = {
            name: {"dtype": "int64", "_type": "Value"} for name in more or {}
        }
        features |= {
            columns[0]: {"_type": "Image"},
            columns[1]: {"names": names, "_type": "ClassLabel"},
        }
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


TEN = [png(value) for value in range(10)]
HALVES = [0] * 5 + [1] * 5


def values(images: np.ndarray) -> list[int]:
    return [int(value) for value in images[:, 0, 0, 0]]


def test_columns_and_names_come_from_the_features(tmp_path: Path) -> None:
    more = {"label": list(range(10))}  # a decoy: no ClassLabel
    for split in ("train", "test"):
        write(
            tmp_path / f"{split}-00000-of-00001.parquet",
            TEN,
            HALVES,
            ("photo", "kind"),
            ["cat", "dog", "emu"],
            more,
        )
    arrays = load(tmp_path)
    assert arrays.class_names == ("cat", "dog", "emu")
    assert arrays.train_labels.tolist() == HALVES and values(arrays.train_images) == list(range(10))
    assert values(arrays.test_images) == list(range(10))


def test_without_features_they_are_found_by_name_and_strings_become_classes(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", TEN, ["dog"] * 5 + ["cat"] * 5, ("image", "fine_label"))
    write(tmp_path / "test.parquet", TEN[:2], ["cat", "dog"], ("image", "fine_label"))
    arrays = load(tmp_path)
    assert arrays.class_names == ("cat", "dog")
    assert arrays.train_labels.tolist() == [1] * 5 + [0] * 5 and arrays.test_labels.tolist() == [
        0,
        1,
    ]


def test_bare_integer_labels_are_numbered_in_order(tmp_path: Path) -> None:
    arrays = load(write(tmp_path / "some.parquet", TEN, [30] * 5 + [7] * 5))
    assert arrays.class_names == ("7", "30") and set(arrays.train_labels.tolist()) == {0, 1}


def test_rows_of_several_files_follow_each_other(tmp_path: Path) -> None:
    write(tmp_path / "data" / "train-00001-of-00002.parquet", TEN[6:], HALVES[6:])
    write(tmp_path / "data" / "train-00000-of-00002.parquet", TEN[:6], HALVES[:6])
    write(tmp_path / "data" / "test-00000-of-00001.parquet", TEN[:3], HALVES[:3])
    assert values(load(tmp_path).train_images) == list(range(10))


def test_validation_serves_as_test_only_where_there_is_none(tmp_path: Path) -> None:
    write(tmp_path / "train" / "0000.parquet", TEN, HALVES)
    write(tmp_path / "validation" / "0000.parquet", TEN[:3], HALVES[:3])
    write(tmp_path / "extra" / "0000.parquet", TEN[:1], HALVES[:1])
    assert len(load(tmp_path).test_images) == 3
    write(tmp_path / "test" / "0000.parquet", TEN[:4], HALVES[:4])
    arrays = load(tmp_path)
    assert len(arrays.test_images) == 4 and len(arrays.train_images) == 10


def test_without_a_test_split_a_stratified_fifth_is_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "pets.parquet", TEN, HALVES)
    arrays = load(path)
    assert arrays.test_labels.tolist() == [0, 1] and len(arrays.train_labels) == 8
    assert sorted(values(arrays.train_images) + values(arrays.test_images)) == list(range(10))
    assert arrays.train_labels.tolist() == [
        int(value >= 5) for value in values(arrays.train_images)
    ]
    assert find(path, tmp_path).name == "pets"


def test_a_corrupt_image_is_named_by_file_and_row(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [*TEN[:7], b"broken", *TEN[8:]], HALVES)
    write(tmp_path / "test.parquet", TEN, HALVES)
    with pytest.raises(UnderstudyError, match=r"row 7 of train.parquet"):
        load(tmp_path)
    write(tmp_path / "train.parquet", [*TEN[:4], None, *TEN[5:]], HALVES)
    with pytest.raises(
        UnderstudyError, match=r"row 4 of train.parquet: column img holds no image bytes"
    ):
        load(tmp_path)
    write(tmp_path / "train.parquet", [*TEN[:9], png(9, (5, 4))], HALVES)
    with pytest.raises(
        UnderstudyError, match=r"row 9 of train.parquet is 5x4 .* set data.image_size"
    ):
        load(tmp_path)
    assert load(tmp_path, image_size=4).train_images.shape == (10, 4, 4, 3)


def test_bad_labels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.parquet"
    with pytest.raises(UnderstudyError, match=r"row 9 of some.parquet has no label"):
        load(write(path, TEN, [*HALVES[:9], None]))
    with pytest.raises(UnderstudyError, match="of type float"):
        load(write(path, TEN, [0.5] * 10))
    write(tmp_path / "train.parquet", TEN, ["a", "b"] * 5)
    write(tmp_path / "test.parquet", TEN, ["a", "c"] * 5)
    with pytest.raises(UnderstudyError, match="label 'c' of the test split is out of range"):
        load(tmp_path)


def test_bad_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnderstudyError, match=r"has no \*.parquet files"):
        find(tmp_path, tmp_path)
    with pytest.raises(UnderstudyError, match="has no image column: it has photo, label"):
        load(write(tmp_path / "some.parquet", TEN, HALVES, ("photo", "label")))
    pq.write_table(
        pa.table({"image": ["a.png"] * 4, "label": [0, 0, 1, 1]}), tmp_path / "paths.parquet"
    )
    with pytest.raises(UnderstudyError, match="holds string, not the bytes"):
        load(tmp_path / "paths.parquet")
    with pytest.raises(UnderstudyError, match="train split is empty"):
        load(write(tmp_path / "some.parquet", [], pa.array([], pa.int64())))
    with pytest.raises(UnderstudyError, match=r"no Parquet file in .* is called train\*"):
        load(write(tmp_path / "test.parquet", TEN, HALVES))
    (tmp_path / "half.parquet").write_bytes((tmp_path / "test.parquet").read_bytes()[:-9])
    with pytest.raises(UnderstudyError, match=r"cannot read .*half.parquet as Parquet"):
        load(tmp_path / "half.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    with pytest.raises(UnderstudyError, match=r"pip install understudy\[data\]"):
        load(tmp_path / "half.parquet")
