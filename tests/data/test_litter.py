import pytest

from understudy.data.litter import Census, why_not_file, why_not_folder


@pytest.mark.parametrize(
    "suffix", [".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm"]
)
def test_usual_suffixes_of_images_are_read_in_any_case(suffix: str) -> None:
    assert why_not_file(f"a{suffix}") is None and why_not_file(f"a.b{suffix.upper()}") is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("._a.jpg", "hidden"),
        (".DS_Store", "hidden"),
        ("Thumbs.db", "left by the operating system"),
        ("DESKTOP.INI", "left by the operating system"),
        ("a.TXT", "not an image (.txt)"),
        ("README", "not an image (no suffix)"),
        ("film.mp4", "not an image (.mp4)"),
        ("a.2024", "not an image"),
        ("v1.2 of the whole thing", "not an image"),
        ("a.\x1b[31m", r"not an image (.\x1b[31m)"),
        ("a.jpg.zip", "not an image (.zip)"),
    ],
)
def test_other_files_have_a_reason(name: str, reason: str) -> None:
    assert why_not_file(name) == reason


def test_folders_of_systems_are_not_entered_and_others_are() -> None:
    for name in ("__MACOSX", ".ipynb_checkpoints", ".git", "@eaDir", "$RECYCLE.BIN"):
        assert why_not_folder(name) is not None
    for name in ("cat", "macosx", "_", "train", "a.b"):
        assert why_not_folder(name) is None


def test_a_census_counts_each_name_once_and_shows_three() -> None:
    census = Census()
    census.add_all("hidden", ("cat/._b", "cat/._a", "cat/._a", "dog/._d", "dog/._c"))
    census.add("a broken link", "cat/0.jpg")
    hidden, link = census.results()
    assert (hidden.reason, hidden.count) == ("hidden", 4) and link.count == 1
    assert hidden.examples == ("cat/._a", "cat/._b", "dog/._c")
    assert census.below("cat/") == "2 hidden, 1 a broken link"
