"""The image files in a folder, found in one walk: names, identity, and what was passed over."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from understudy.data import litter
from understudy.data.identity import identity_of, state_of
from understudy.data.litter import Census
from understudy.data.names import counted, listed, refuse_undecodable, shown
from understudy.errors import UnderstudyError

Encoded = Callable[[Sequence[int]], Iterable[tuple[str, bytes | Path]]]
"""Positions to (name in messages, encoded bytes or file), in that order. Any thread may call it."""

_Above = tuple[tuple[int, int], ...]
"""Device and inode of the folders that a folder is in."""


@dataclass(frozen=True, eq=False)
class Tree:
    """All image files in a folder or an archive.

    Attributes:
        name: of the data set.
        where: the folder or archive, for messages.
        images: paths inside of it, with slashes.
        folders: every folder inside, ``""`` for the outermost -> images directly in it.
        encoded: positions in ``images`` to their files.
        census: what was passed over; the layout adds to it.
    """

    name: str
    where: str
    images: Sequence[str]
    folders: Mapping[str, int]
    encoded: Encoded
    census: Census


def scan_folder(root: Path, *, skip_bad: bool = False) -> tuple[Tree, str]:
    """The images in a folder and below it, and an identity that changes with any of them.

    Links are followed, to files and to folders, but not in circles.

    Args:
        root: an existing folder, resolved.
        skip_bad: pass over broken links, which are refused otherwise.

    Raises:
        UnderstudyError: for broken links and for names that are not UTF-8.
        OSError: if a folder cannot be read.
    """
    walk = _Walk(str(root))
    order = sorted(range(len(walk.images)), key=walk.images.__getitem__)
    images = [walk.images[row] for row in order]
    refuse_undecodable([*walk.folders, *images], str(root))
    walk.broken.sort()
    if walk.broken and not skip_bad:
        raise UnderstudyError(
            f"{shown(str(root))} has {counted(len(walk.broken), 'broken link')}: "
            f"{listed(walk.broken)}; restore what they point to, remove them, or go "
            "on without them by --skip-bad (data.skip_bad=true)"
        )
    walk.census.add_all(litter.BROKEN_LINK, walk.broken)

    def encoded(positions: Sequence[int]) -> Iterator[tuple[str, Path]]:
        for position in positions:
            path = os.path.join(root, images[position])
            yield shown(path), Path(path)

    tree = Tree(root.name, str(root), images, walk.folders, encoded, walk.census)
    return tree, identity_of(root, images, [walk.states[row] for row in order])


class _Walk:
    """One walk through a folder; each is read once, each file's state too."""

    def __init__(self, root: str) -> None:
        self.images: list[str] = []
        self.states: list[bytes] = []
        self.folders: dict[str, int] = {}
        self.broken: list[str] = []
        self.census = Census()
        left: list[tuple[str, str, _Above]] = [("", root, ())]
        while left:
            inside, path, above = left.pop()
            own = os.stat(path)
            if (own.st_dev, own.st_ino) in above:
                self.census.add(litter.CIRCLE, f"{inside}/")
                continue
            above = (*above, (own.st_dev, own.st_ino))
            before = len(self.images)
            with os.scandir(path) as entries:
                found = [(entry, f"{inside}/{entry.name}".lstrip("/")) for entry in entries]
            left += [
                (name, entry.path, above) for entry, name in found if self._is_entered(entry, name)
            ]
            self.folders[inside] = len(self.images) - before

    def _is_entered(self, entry: "os.DirEntry[str]", name: str) -> bool:
        """Whether it is a folder to read; a file is noted."""
        reason = litter.why_not_file(entry.name)
        if reason == litter.HIDDEN:
            self.census.add(reason, name)
            return False
        try:
            state = entry.stat()
        except OSError:  # a link to nothing, or to itself
            self.broken.append(name)
            return False
        if stat.S_ISDIR(state.st_mode):
            reason = litter.why_not_folder(entry.name)
            if reason is not None:
                self.census.add(reason, f"{name}/")
            return reason is None
        if reason is None and stat.S_ISREG(state.st_mode):
            self.images.append(name)
            self.states.append(state_of(state))
        else:
            self.census.add(reason or litter.NOT_A_FILE, name)
        return False
