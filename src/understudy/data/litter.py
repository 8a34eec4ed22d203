"""What lies among images and is not read: hidden files, leftovers of systems, other files."""

import os
from collections.abc import Iterable

from understudy.data.formats import SUFFIXES
from understudy.data.listing import PassedOver
from understudy.data.names import shown

HIDDEN = "hidden"
LEFTOVER = "left by the operating system"
NOT_A_FILE = "neither a file nor a folder"
NOT_AN_IMAGE = "not an image"
CIRCLE = "a link to a folder that it is in"
BROKEN_LINK = "a broken link"
NO_CLASS = "not in a class folder"
BESIDE_SPLITS = "in a folder next to the splits"
"""Reasons for which something is passed over."""

_LEFTOVER_FOLDERS = frozenset(
    ("__macosx", "__pycache__", "@eadir", "lost+found", "$recycle.bin", "system volume information")
)
_LEFTOVER_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))
_LONGEST_SUFFIX = 8
"""Characters of a suffix; a longer one, or a number, is part of a name: not a reason for each."""
_EXAMPLES = 3


def why_not_folder(name: str) -> str | None:
    """Why a folder of this name (without its path) is not entered; ``None`` if it is."""
    if name.startswith("."):
        return HIDDEN
    return LEFTOVER if name.lower() in _LEFTOVER_FOLDERS else None


def why_not_file(name: str) -> str | None:
    """Why a file of this name (without its path) is not read as an image; ``None`` if it is."""
    if name.startswith("."):
        return HIDDEN
    lower = name.lower()
    if lower.endswith(SUFFIXES):
        return None
    if lower in _LEFTOVER_FILES:
        return LEFTOVER
    suffix = os.path.splitext(lower)[1]
    is_usual = len(suffix) <= _LONGEST_SUFFIX and not suffix[1:].isdigit()
    return f"not an image ({shown(suffix) or 'no suffix'})" if is_usual else NOT_AN_IMAGE


class Census:
    """Counts what is passed over, by reason."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, None]] = {}

    def add(self, reason: str, name: str) -> None:
        """One file, or a folder with a slash at its end; counted once however often it is added."""
        self._names.setdefault(reason, {})[name] = None

    def add_all(self, reason: str, names: Iterable[str]) -> None:
        """Several at once."""
        for name in names:
            self.add(reason, name)

    def below(self, folder: str) -> str:
        """``12 .heic, 1 hidden``: what of a folder (with a slash at its end) is passed over."""
        counts = {
            reason: sum(name.startswith(folder) for name in names)
            for reason, names in self._names.items()
        }
        return ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)

    def results(self) -> tuple[PassedOver, ...]:
        """The most frequent reason first."""
        found = [
            PassedOver(reason, len(names), tuple(sorted(names)[:_EXAMPLES]))
            for reason, names in self._names.items()
        ]
        return tuple(sorted(found, key=lambda part: (-part.count, part.reason)))
