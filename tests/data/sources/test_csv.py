import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image
from tests.worlds import read

from understudy.data.listing import Listing
from understudy.data.sources.base import SourceOptions
from understudy.data.sources.csv import Reader
from understudy.errors import UnderstudyError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twelve images, each of its number, in two folders."""
    root = tmp_path / "pets"
    for number in range(12):
        file = root / f"roll{number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number, 0, 0)).save(file)
    return root


def name_of(number: int) -> str:
    return f"roll{number % 2}/{number}.png"


def table(root: Path, header: str, rows: list[str], encoding: str = "utf-8") -> Path:
    path = root / "labels.csv"
    path.write_bytes("\n".join([header, *rows, ""]).encode(encoding))
    return path


def reader_of(path: Path, **options: object) -> Reader:
    return Reader.find(path, path, SourceOptions(**options))  # type: ignore[arg-type]


def list_files(path: Path, columns: Mapping[str, str] | None = None) -> Listing:
    return reader_of(path, columns=columns or {}).listing


KINDS = ["dog" if number % 3 else "cat" for number in range(12)]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["", "\r"])
def test_separator_and_byte_order_mark_are_found(
    root: Path, separator: str, encoding: str, end: str
) -> None:
    rows = [f"{name_of(number)}{separator} {KINDS[number]}{end}" for number in range(12)]
    path = table(root, f"File{separator}Class{end}", rows, encoding)
    listing = list_files(path)
    assert listing.name == "labels" and listing.class_names == ("cat", "dog")
    for sample in listing.samples:
        assert listing.class_names[sample.label] == KINDS[int(Path(sample.name).stem)]
    arrays = read(reader_of(path))
    assert sorted([*arrays.train_images[:, 0, 0, 0], *arrays.test_images[:, 0, 0, 0]]) == list(
        range(12)
    )


def test_named_columns_give_splits_groups_and_slices(root: Path) -> None:
    splits = ["Train", "validation", "TEST"]
    rows = [
        f"{KINDS[number]},{name_of(number)},{splits[number // 2 % 3]},p{number // 6},s{number % 2}"
        for number in range(12)
    ]
    path = table(root, "species,photo,part,patient,lamp", rows)
    columns = {"image": "photo", "label": "species", "split": "part", "group": "patient"}
    columns["slice"] = "lamp"
    listing = list_files(path, columns)
    assert (
        listing.has_own_test
        and [len(listing.rows_of(s)) for s in ("train", "val", "test")] == [4] * 3
    )
    for sample in listing.samples:
        number = int(Path(sample.name).stem)
        assert sample.split == ("train", "val", "test")[number // 2 % 3]
        assert (sample.group, sample.slice) == (f"p{number // 6}", f"s{number % 2}")
    assert any("2 groups have images in more than one split: p0, p1" in n for n in listing.notes)
    own = read(reader_of(path, columns=columns)).annotations
    assert own.own_val is not None and own.own_val.sum() == 4 and own.slice_names == ("s0", "s1")


def test_integers_are_ordered_as_numbers(root: Path) -> None:
    rows = [f"{name_of(number)},{(2, 10, 9)[number % 3]:02}" for number in range(12)]
    assert list_files(table(root, "image,label", rows)).class_names == ("2", "9", "10")


def test_a_changed_label_is_another_data_set(root: Path) -> None:
    rows = [f"{name_of(number)},{KINDS[number]}" for number in range(12)]
    path = table(root, "image,label", rows)
    state, before = path.stat(), reader_of(path).identity
    assert reader_of(path).identity == before
    table(root, "image,label", [*rows[:-1], rows[-1].replace("dog", "cat")])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert reader_of(path).identity != before
    table(root, "image,label", rows)
    assert reader_of(path).identity == before
    Image.new("RGB", (4, 4), "white").save(root / name_of(0))
    assert reader_of(path).identity != before


def test_repeated_rows_are_read_once_and_contradictions_refused(root: Path) -> None:
    rows = [f"{name_of(number)},{KINDS[number]}" for number in range(12)]
    listing = list_files(table(root, "image,label", [*rows, *rows[:2], f"./{rows[2]}"]))
    assert len(listing.samples) == 12
    assert any("3 repeated rows" in note for note in listing.notes)
    with pytest.raises(UnderstudyError, match=r"1 image with .* roll0/0.png .line 2, line 14."):
        list_files(table(root, "image,label", [*rows, f"{name_of(0)},dog"]))


@pytest.mark.parametrize("place", ["/etc/x.png", "../x.png", "roll0/../../x.png", "C:\\x.png", ""])
def test_paths_outside_of_the_folder_are_refused(root: Path, place: str) -> None:
    with pytest.raises(UnderstudyError, match="paths must lie in the folder of the table"):
        list_files(table(root, "image,label", [f"{name_of(0)},cat", f"{place},dog"]))


def test_paths_of_windows_are_read(root: Path) -> None:
    rows = [f"{name_of(number)},{KINDS[number]}".replace("/", "\\") for number in range(12)]
    assert {s.name for s in list_files(table(root, "image,label", rows)).samples} == {
        name_of(number) for number in range(12)
    }


def test_missing_files_are_counted_and_named_or_passed_over(root: Path) -> None:
    rows = [f"{name_of(number)},{KINDS[number]}" for number in range(12)]
    path = table(root, "image,label", [*rows, "gone.png,cat", "roll0,cat"])
    with pytest.raises(UnderstudyError, match=r"2 files of 14 that are not in .*: gone.png, roll0"):
        list_files(path)
    listing = reader_of(path, skip_bad=True).listing
    assert len(listing.samples) == 12 and listing.passed_over[0].count == 2


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("image,kind", ["a,b"], r"no label column: it has image, kind; call it label or class"),
        ("image,label", [], "is empty"),
        ("image,label", ["roll0/0.png,cat"], "all images of labels are of one class .cat."),
        ("image,label", ["a.png"], "line 2 of labels.csv has 1 value, the first has 2"),
        ("image,label", ['"a.png,cat'], "as CSV .* check its quotes"),
        ("image,label", ["roll0/0.png,"], "1 row without a label: line 2"),
        ("image,label,split", ["roll0/0.png,cat,extra"], "names the splits extra: known are train"),
        ("image,label,split", ["roll0/0.png,cat,test"], "no rows of the train split"),
        (
            "image,label,split",
            ["roll0/0.png,cat,train", "roll0/2.png,cow,test"],
            "1 class of test in labels.csv that train does not have: cow",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(
    root: Path, header: str, rows: list[str], message: str
) -> None:
    with pytest.raises(UnderstudyError, match=message) as caught:
        list_files(table(root, header, rows))
    assert "\n" not in str(caught.value)


def test_only_utf8_is_read(root: Path) -> None:
    with pytest.raises(
        UnderstudyError, match=r"labels.csv is not UTF-8 text .* save it as CSV UTF-8"
    ):
        list_files(table(root, "image,label", ["a.png,käfer"], "latin-1"))


def test_unknown_columns_and_roles_are_refused(root: Path) -> None:
    path = table(root, "image,label", [f"{name_of(0)},cat"])
    with pytest.raises(UnderstudyError, match="no column 'labels': did you mean label"):
        list_files(path, {"label": "labels"})
    with pytest.raises(UnderstudyError, match=r"data.columns.images is not for the source csv"):
        list_files(path, {"images": "image"})


def test_a_folder_with_one_table_stands_for_it(root: Path) -> None:
    rows = [f"{name_of(number)},{KINDS[number]}" for number in range(12)]
    table(root, "image,label", rows)
    assert reader_of(root).name == "labels"
    (root / "more.tsv").write_text("x")
    with pytest.raises(UnderstudyError, match="has 2 tables"):
        reader_of(root)


def test_a_parquet_file_may_list_paths(root: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="the data extra is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    held = {"path": [name_of(number) for number in range(12)], "class": [n % 2 for n in range(12)]}
    parquet.write_table(pa.table(held), root / "labels.parquet")
    listing = list_files(root / "labels.parquet")
    assert listing.class_names == ("0", "1")
    assert all(int(Path(s.name).stem) % 2 == s.label for s in listing.samples)
    parquet.write_table(pa.table({"image": [b"x"], "label": [0]}), root / "labels.parquet")
    with pytest.raises(UnderstudyError, match=r"holds bytes, .* set data.source=parquet"):
        list_files(root / "labels.parquet")


def test_absolute_paths_inside_of_the_folder_are_those_files(root: Path) -> None:
    rows = [f"{name_of(number)},{KINDS[number]}" for number in range(12)]
    relative = list_files(table(root, "image,label", rows))
    absolute = list_files(table(root, "image,label", [f"{root.resolve()}/{row}" for row in rows]))
    assert absolute.samples == relative.samples
