import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pa = pytest.importorskip("pyarrow", reason="the data extra is not installed")
pq = pytest.importorskip("pyarrow.parquet")

from tests.data.picture_folders import picture  # noqa: E402
from tests.worlds import SeenEvents, read  # noqa: E402

from understudy.data import listing_of, load_dataset  # noqa: E402
from understudy.data.decoding import Decoding  # noqa: E402
from understudy.data.sources import parquet  # noqa: E402
from understudy.data.sources.base import Arrays, SourceOptions  # noqa: E402
from understudy.data.sources.parquet import Reader  # noqa: E402
from understudy.errors import UnderstudyError  # noqa: E402
from understudy.events import SILENT, Observer  # noqa: E402


def load(path: Path, image_size: int | None = None, observer: Observer = SILENT) -> Arrays:
    return read(Reader(path), image_size, observer)


find = Reader.find


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
    """A file in the Hugging Face layout; with class names it has the metadata, without it is a bare
    table."""
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


def test_features_are_found_by_name_and_strings_become_classes(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("with_test", [True, False])
def test_each_image_keeps_its_label_over_four_files(tmp_path: Path, with_test: bool) -> None:
    """Files of 5, 3, 6 and 4 rows; the image of value v has the label v % 3."""
    bounds = [0, 5, 8, 14, 18]
    for number in range(4):
        held = range(bounds[number], bounds[number + 1])
        path = tmp_path / f"train-{number}.parquet"
        write(path, [png(value) for value in held], [value % 3 for value in held])
    if with_test:
        for number in range(4):
            write(
                tmp_path / f"test-{number}.parquet",
                [png(40 + number), png(50 + number)],
                [number % 3, 2],
            )
    arrays = load(tmp_path)
    assert [value % 3 for value in values(arrays.train_images)] == arrays.train_labels.tolist()
    if with_test:
        assert values(arrays.train_images) == list(range(18))
        assert values(arrays.test_images) == [40, 50, 41, 51, 42, 52, 43, 53]
        assert arrays.test_labels.tolist() == [0, 2, 1, 2, 2, 2, 0, 2]
    else:
        assert (
            [value % 3 for value in values(arrays.test_images)]
            == arrays.test_labels.tolist()
            == sorted_by_row(arrays)
        )
        assert sorted(values(arrays.train_images) + values(arrays.test_images)) == list(range(18))
        assert values(arrays.train_images) == sorted(values(arrays.train_images)), (
            "in the order of the files"
        )
        assert np.bincount(arrays.test_labels).tolist() == [1, 1, 1]


def sorted_by_row(arrays: Arrays) -> list[int]:
    """Labels of the test images in the order of their rows."""
    return [value % 3 for value in sorted(values(arrays.test_images))]


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_kept_rows_are_counted_over_files_and_named_within_them(tmp_path: Path, batch: int) -> None:
    """Three files of 5, 3 and 6 rows, read a few rows at a time."""
    bounds = [0, 5, 8, 14]
    files = [
        write(
            tmp_path / f"{number}.parquet",
            [bytes([value]) for value in range(*bounds[number : number + 2])],
            range(size),
        )
        for number, size in enumerate((5, 3, 6))
    ]
    keep = np.isin(np.arange(14), [1, 4, 5, 7, 8, 12, 13])
    found = list(parquet.encoded_rows(files, "img", keep, batch=batch))
    assert [data[0] for _, data in found] == [1, 4, 5, 7, 8, 12, 13]
    places = [(1, 0), (4, 0), (0, 1), (2, 1), (0, 2), (4, 2), (5, 2)]
    assert [where for where, _ in found] == [
        f"row {row} of {number}.parquet" for row, number in places
    ]


def test_the_size_is_that_of_the_first_image_or_the_given_one(tmp_path: Path) -> None:
    path = write(tmp_path / "wide.parquet", [png(value, (6, 4)) for value in range(10)], HALVES)
    assert load(path).train_images.shape == (8, 4, 6, 3), "four lines of six pixels"
    assert load(path, image_size=2).test_images.shape == (2, 2, 2, 3)


def test_a_source_is_named_and_recognised_by_its_own_files(tmp_path: Path) -> None:
    one = write(tmp_path / "one" / "pets.parquet", TEN, HALVES)
    two = write(tmp_path / "two" / "pets.parquet", TEN, HALVES)
    assert find(one, tmp_path).name == "pets" and find(tmp_path / "one", tmp_path).name == "one"
    assert (
        find(one, tmp_path).identity
        == find(two, tmp_path).identity
        == find(tmp_path / "one", tmp_path).identity
    )
    assert (
        find(write(tmp_path / "pets.v2" / "a.parquet", TEN, HALVES).parent, tmp_path).name
        == "pets.v2"
    )
    write(two, TEN[::-1], HALVES)
    assert find(one, tmp_path).identity != find(two, tmp_path).identity
    with pytest.raises(UnderstudyError, match="the parquet source needs a folder or file"):
        find(None, tmp_path)


def test_files_below_are_read_only_where_there_are_none_above(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "train.parquet", TEN, HALVES)
    write(tmp_path / "deep" / "test.parquet", TEN[:2], [0, 1])
    assert values(load(tmp_path).test_images) == [0, 1]
    write(tmp_path / "train.parquet", TEN[::-1], HALVES)
    write(tmp_path / "test.parquet", TEN[4:6], [0, 1])
    arrays = load(tmp_path)
    assert values(arrays.test_images) == [4, 5] and values(arrays.train_images) == list(
        range(9, -1, -1)
    )


def test_a_files_own_name_decides_its_split_before_its_folders(tmp_path: Path) -> None:
    write(tmp_path / "test" / "TRAIN-0.parquet", TEN, HALVES)
    write(tmp_path / "train" / "valid-0.parquet", TEN[:3], [0, 1, 1])
    arrays = load(tmp_path)
    assert arrays.annotations.own_val is not None
    assert arrays.train_labels[arrays.annotations.own_val].tolist() == [0, 1, 1]


def test_usual_names_come_first_among_columns_of_the_right_type(tmp_path: Path) -> None:
    """Two columns of images and two of labels: img before thumb, label before coarse; of unusual
    ones the first."""
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

    def column(start: int) -> Any:
        return pa.array([{"bytes": png(start + row), "path": "x.png"} for row in range(10)], struct)

    def written(*names: str) -> Arrays:
        first, second, third, fourth = names
        table = pa.table(
            {first: column(0), third: HALVES, second: column(100), fourth: HALVES[::-1]}
        )
        features: dict[str, object] = {first: {"_type": "Image"}, second: {"_type": "Image"}}
        features |= {
            name: {"names": [f"{name}-a", f"{name}-b"], "_type": "ClassLabel"}
            for name in (third, fourth)
        }
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
        pq.write_table(table, tmp_path / "some.parquet")
        return load(tmp_path / "some.parquet")

    usual = written("thumb", "img", "coarse", "label")
    assert min(values(usual.train_images)) >= 100 and usual.class_names == ("label-a", "label-b")
    unusual = written("photo", "thumb", "kind", "coarse")
    assert max(values(unusual.train_images)) < 100 and unusual.class_names == ("kind-a", "kind-b")


def test_names_without_types_are_taken_in_their_usual_order(tmp_path: Path) -> None:
    more = {"fine_label": [7] * 10, "labels": HALVES[::-1]}
    arrays = load(write(tmp_path / "some.parquet", TEN, HALVES, ("images", "label"), more=more))
    assert arrays.train_labels.tolist() == [
        int(value >= 5) for value in values(arrays.train_images)
    ]


def test_string_labels_are_indices_into_the_given_names(tmp_path: Path) -> None:
    path = tmp_path / "some.parquet"
    arrays = load(write(path, TEN, ["emu"] * 5 + ["cat"] * 5, names=["emu", "dog", "cat"]))
    assert arrays.class_names == ("emu", "dog", "cat")
    assert arrays.train_labels.tolist() == [
        2 * int(value >= 5) for value in values(arrays.train_images)
    ]
    with pytest.raises(
        UnderstudyError,
        match="label 'cow' of the train split is out of range: it is none of the 3 class names",
    ):
        load(write(path, TEN, ["emu"] * 5 + ["cow"] * 5, names=["emu", "dog", "cat"]))


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_bare_columns_of_bytes_are_read(tmp_path: Path, kind: Any) -> None:
    pq.write_table(
        pa.table({"image": pa.array(TEN, kind), "label": HALVES}), tmp_path / "some.parquet"
    )
    arrays = load(tmp_path / "some.parquet")
    assert sorted(values(arrays.train_images) + values(arrays.test_images)) == list(range(10))


def test_broken_metadata_is_as_good_as_none(tmp_path: Path) -> None:
    path = write(tmp_path / "some.parquet", TEN, HALVES)
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": "{"}), path)
    assert load(path).class_names == ("0", "1")


def test_a_file_without_the_column_of_the_others_is_named(tmp_path: Path) -> None:
    write(tmp_path / "train-0.parquet", TEN, HALVES)
    write(tmp_path / "train-1.parquet", TEN, HALVES, ("img", "kind"))
    with pytest.raises(
        UnderstudyError,
        match=r"train-1.parquet has no column label, which the other files have: img, kind",
    ):
        load(tmp_path)


def test_progress_counts_the_images_of_each_split(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", TEN, HALVES)
    write(tmp_path / "test.parquet", TEN[:3], [0, 1, 0])
    seen = SeenEvents()
    load(tmp_path, observer=seen)
    assert seen.counts() == [("decoding train images", 10, 10), ("decoding test images", 3, 3)]


@pytest.mark.parametrize("with_test", [True, False])
def test_validation_is_the_data_sets_own(tmp_path: Path, with_test: bool) -> None:
    """At the end of the training block; without test files the test rows are cut from train."""
    write(tmp_path / "train" / "0000.parquet", TEN, HALVES)
    held = [png(50), png(51), png(52)]
    write(tmp_path / "validation" / "0000.parquet", held, [1, 0, 1])
    write(tmp_path / "extra" / "0000.parquet", TEN[:1], HALVES[:1])
    if with_test:
        write(tmp_path / "test" / "0000.parquet", TEN[:4], HALVES[:4])
    arrays = load(tmp_path)
    own = arrays.annotations
    assert own.own_val is not None and own.has_own_test == with_test
    assert values(arrays.train_images[own.own_val]) == [50, 51, 52]
    assert arrays.train_labels[own.own_val].tolist() == [1, 0, 1]
    assert len(arrays.test_images) == (4 if with_test else 2)
    if not with_test:
        rest = values(arrays.train_images[~own.own_val]) + values(arrays.test_images)
        assert sorted(rest) == list(range(10))


def test_columns_are_named_and_groups_stay_together(tmp_path: Path) -> None:
    images, labels = [png(value) for value in range(24)], [value % 2 for value in range(24)]
    more = {"patient": [f"p{value // 4}" for value in range(24)]}
    path = write(tmp_path / "x.parquet", images, labels, ("pixels", "kind"), more=more)
    with pytest.raises(UnderstudyError, match=r"name it: data.columns=\{image: NAME\}"):
        load(path)
    columns = {"image": "pixels", "label": "kind", "group": "patient"}
    arrays = read(find(path, tmp_path, SourceOptions(columns=columns)))
    assert [value % 2 for value in values(arrays.train_images)] == arrays.train_labels.tolist()
    train, test = (
        {value // 4 for value in values(block)}
        for block in (arrays.train_images, arrays.test_images)
    )
    own = arrays.annotations
    assert not train & test and train | test == set(range(6)) and own.test_groups is not None
    assert own.test_groups.tolist() == [value // 4 for value in values(arrays.test_images)]
    with pytest.raises(UnderstudyError, match="no column 'pixel': did you mean pixels"):
        load_with(path, {"image": "pixel"})
    with pytest.raises(UnderstudyError, match=r"data.columns.split is not for the source parquet"):
        load_with(path, {"split": "kind"})


def load_with(path: Path, columns: dict[str, str]) -> Arrays:
    return read(find(path, path, SourceOptions(columns=columns)))


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
    with pytest.raises(
        UnderstudyError, match=r"row 9 of some.parquet has no value in column label"
    ):
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


def photos(path: Path, count: int = 12) -> Path:
    """Two classes in turn, of mixed sizes; the fourth image is no image."""
    cells = []
    for row in range(count):
        file = io.BytesIO()
        picture(row, (40 + row, 30)).save(file, "PNG")
        cells.append({"bytes": b"" if row == 3 else file.getvalue(), "path": None})
    labels = ["bee" if row % 2 else "ant" for row in range(count)]
    pq.write_table(pa.table({"image": cells, "label": labels}), path)
    return path


def test_a_look_lists_the_rows_that_a_run_reads(tmp_path: Path) -> None:
    path = photos(tmp_path / "photos.parquet")
    listing = listing_of("parquet", path)
    names = [sample.name for sample in listing.samples]
    assert sorted(names) == sorted(f"row {row} of photos.parquet" for row in range(12))
    assert [name for name, _ in listing.encoded([5, 0, 11])] == [names[row] for row in (5, 0, 11)]
    assert {listing.class_names[sample.label] for sample in listing.samples} == {"ant", "bee"}
    for sample in listing.samples:
        assert sample.label == int(sample.name.split()[1]) % 2


def test_bad_rows_are_left_out_and_the_others_are_those_of_a_run_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "cache"))
    path = photos(tmp_path / "photos.parquet")
    with pytest.raises(UnderstudyError, match=r"1 image \(row 3 of photos\.parquet"):
        load_dataset("parquet", path, image_size=8)
    data = load_dataset("parquet", path, image_size=8, options=SourceOptions(skip_bad=True))
    assert len(data.train) + len(data.test) == 11
    assert data.inspection is not None
    assert [bad.name for bad in data.inspection.unreadable] == ["row 3 of photos.parquet"]


def test_both_ways_to_read_give_the_same_images(tmp_path: Path) -> None:
    for split, count in (("train", 10), ("val", 4), ("test", 6)):
        write(tmp_path / "set" / f"{split}.parquet", TEN[:count], HALVES[-count:])
    path = tmp_path / "set"
    plain, looked = (
        Reader.find(path, tmp_path, SourceOptions(skip_bad=skip)).read(Decoding((8, 8)))
        for skip in (False, True)
    )
    assert np.array_equal(plain.train_images, looked.train_images)
    assert np.array_equal(plain.train_labels, looked.train_labels)
    assert np.array_equal(plain.test_images, looked.test_images)
    assert np.array_equal(plain.test_labels, looked.test_labels)
    own = [arrays.annotations.own_val for arrays in (plain, looked)]
    assert own[0] is not None and np.array_equal(*own) and own[0].sum() == 4
