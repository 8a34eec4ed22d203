"""The images that a user names: files, globs, folders, standard input. Labels are never read."""

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from understudy.data.formats import SUFFIXES
from understudy.errors import UnderstudyError, one_line

STANDARD_INPUT = "-"
_LITTER = ("Thumbs.db", "desktop.ini", ".DS_Store", "__MACOSX")
"""What operating systems put next to images. Files on macOS have a second half, ``._NAME``."""


@dataclass(frozen=True)
class ImageFile:
    """One image to classify.

    Attributes:
        name: its path as the user gave it, or as it was found below a folder; ``-`` for standard
            input.
        data: the file, or the encoded bytes.
    """

    name: str
    data: Path | bytes


@dataclass(frozen=True)
class ImageFiles:
    """All images that the arguments stand for.

    Attributes:
        images: in the order of the arguments; those of a folder or glob are sorted.
        passed_over: how many files and folders are no images: hidden ones, litter, other suffixes.
    """

    images: tuple[ImageFile, ...]
    passed_over: int


def image_files(arguments: Sequence[str], stdin: BinaryIO) -> ImageFiles:
    """The images that the arguments of a command stand for.

    A file that is named is tried whatever it is called; only a folder's are chosen by suffix.

    Args:
        arguments: files, folders (with all below them), globs that the shell left alone, ``-``.
        stdin: where ``-`` reads the bytes of one image.

    Raises:
        UnderstudyError: for an argument that stands for no image, a folder that cannot be read, or
            ``-`` on a terminal or twice.
    """
    found: list[ImageFile] = []
    passed_over = 0
    for argument in arguments:
        if argument == STANDARD_INPUT:
            found.append(_from_standard_input(found, stdin))
            continue
        for path in _matches(argument):
            files, others = _below(path) if path.is_dir() else _alone(path)
            found += files
            passed_over += others
    if not found:
        raise _nothing_in(", ".join(arguments))
    return ImageFiles(tuple(found), passed_over)


def _nothing_in(place: str) -> UnderstudyError:
    return UnderstudyError(
        f"there is no image in {place}: give image files, or folders with {', '.join(SUFFIXES)}"
    )


def _matches(argument: str) -> list[Path]:
    """The paths that an argument stands for; at least one."""
    if Path(argument).exists() or not glob.has_magic(argument):
        return [Path(argument)]  # if it does not exist, reading it gives the reason
    matches = sorted(glob.glob(os.path.expanduser(argument), recursive=True))
    if not matches:
        raise _nothing_in(argument)
    return [Path(match) for match in matches]


def _from_standard_input(found: Iterable[ImageFile], stdin: BinaryIO) -> ImageFile:
    if any(image.name == STANDARD_INPUT for image in found):
        raise UnderstudyError("- stands for one image on standard input: give it once")
    if stdin.isatty():
        raise UnderstudyError("- reads an image from standard input: add < FILE, or pipe one in")
    return ImageFile(STANDARD_INPUT, stdin.read())


def _alone(file: Path) -> tuple[list[ImageFile], int]:
    """A file that was named, or that the shell or a glob found next to others."""
    if any(_is_litter(part) for part in file.parts):
        return [], 1
    return [ImageFile(str(file), file)], 0


def _below(folder: Path) -> tuple[list[ImageFile], int]:
    """The images in a folder and its folders, sorted by path, and how much else is there."""

    def refuse(error: OSError) -> None:
        raise UnderstudyError(f"cannot read the folder: {one_line(error)}") from error

    found: list[Path] = []
    passed_over = 0
    for place, folders, files in os.walk(folder, onerror=refuse):
        entered = [name for name in folders if not _is_hidden(name)]
        chosen = [
            name for name in files if name.lower().endswith(SUFFIXES) and not _is_hidden(name)
        ]
        passed_over += len(folders) - len(entered) + len(files) - len(chosen)
        folders[:] = entered  # os.walk goes into these
        found += [Path(place, name) for name in chosen]
    if not found:
        raise _nothing_in(str(folder))
    return [ImageFile(str(path), path) for path in sorted(found)], passed_over


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or _is_litter(name)


def _is_litter(name: str) -> bool:
    return name in _LITTER or name.startswith("._")
