"""Which images the arguments of a command stand for."""

import io
import re
from pathlib import Path

import pytest

from understudy.errors import UnderstudyError
from understudy.export.inputs import ImageFile, ImageFiles, image_files


def files(*arguments: str, stdin: bytes = b"") -> ImageFiles:
    return image_files(arguments, io.BytesIO(stdin))


def names(*arguments: str) -> list[str]:
    return [image.name for image in files(*arguments).images]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as people have them, and the working folder above it."""
    monkeypatch.chdir(tmp_path)
    for name in (
        *("b.jpg", "a.PNG", "notes.txt", "Thumbs.db", ".hidden.jpg", "._b.jpg", "[x].png"),
        *("cat/2.jpg", "cat/1.jpeg", "__MACOSX/b.jpg", ".thumbnails/b.jpg", "album.jpg/c.webp"),
    ):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "photos"


def test_a_folder_gives_all_images_below_it_sorted(photos: Path) -> None:
    found = files("photos")
    assert [image.name for image in found.images] == [
        *("photos/[x].png", "photos/a.PNG", "photos/album.jpg/c.webp", "photos/b.jpg"),
        *("photos/cat/1.jpeg", "photos/cat/2.jpg"),
    ]
    assert all(image.data == Path(image.name) for image in found.images)


def test_what_is_no_image_is_counted(photos: Path) -> None:
    """Four files and two folders: a text, two hidden ones, and what systems leave behind."""
    assert files("photos").passed_over == 6


def test_arguments_stay_in_their_order(photos: Path) -> None:
    assert names("photos/b.jpg", "photos/cat", "photos/a.PNG") == [
        *("photos/b.jpg", "photos/cat/1.jpeg", "photos/cat/2.jpg", "photos/a.PNG"),
    ]


def test_a_quoted_glob_is_expanded_and_sorted(photos: Path) -> None:
    assert names("photos/*.jpg") == ["photos/album.jpg/c.webp", "photos/b.jpg"]
    assert names("photos/**/*.jp*g") == [
        *("photos/album.jpg/c.webp", "photos/b.jpg", "photos/cat/1.jpeg", "photos/cat/2.jpg"),
    ]


def test_a_name_with_brackets_is_a_name_if_the_file_exists(photos: Path) -> None:
    assert names("photos/[x].png") == ["photos/[x].png"]


def test_a_file_that_is_named_is_tried_whatever_it_is_called(photos: Path) -> None:
    assert names("photos/notes.txt", "photos/.hidden.jpg") == [
        *("photos/notes.txt", "photos/.hidden.jpg"),
    ]


def test_a_missing_file_is_left_to_the_reader(photos: Path) -> None:
    assert names("photos/gone.jpg") == ["photos/gone.jpg"]


def test_what_the_shell_found_in_a_folder_may_include_litter(photos: Path) -> None:
    found = files("photos/Thumbs.db", "photos/b.jpg", "photos/._b.jpg")
    assert [image.name for image in found.images] == ["photos/b.jpg"]
    assert found.passed_over == 2


def test_standard_input_is_one_image() -> None:
    assert files("-", stdin=b"bytes").images == (ImageFile("-", b"bytes"),)
    with pytest.raises(UnderstudyError, match="give it once"):
        files("-", "-")


def test_a_terminal_is_no_image() -> None:
    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    with pytest.raises(UnderstudyError, match="reads an image from standard input"):
        image_files(["-"], Terminal())


@pytest.mark.parametrize("argument", ["empty", "photos/*.tiff"])
def test_a_folder_or_glob_without_an_image_is_refused(photos: Path, argument: str) -> None:
    (photos.parent / "empty").mkdir()
    with pytest.raises(UnderstudyError, match=f"there is no image in {re.escape(argument)}:"):
        files("photos/b.jpg", argument)


def test_litter_alone_is_refused(photos: Path) -> None:
    with pytest.raises(UnderstudyError, match=r"there is no image in photos/Thumbs\.db"):
        files("photos/Thumbs.db")
