"""Whether files are those that were read before."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

_SMALL = 64 * 2**20
"""Bytes: files up to this sum are identified by their content, larger ones by size and time."""


def identity(root: Path, files: Sequence[Path]) -> str:
    """A hex digest that changes when any of the files does, see :func:`identity_of`."""
    names = [file.relative_to(root).as_posix() for file in files]
    return identity_of(root, names, [file.stat() for file in files])


def identity_of(root: Path, names: Sequence[str], stats: Sequence[os.stat_result]) -> str:
    """A hex digest that changes when any of the files below ``root`` does.

    Files of up to 64 MiB in all are identified by their path below ``root``, which may hold the
    label, and their bytes, whatever folder they are in. Larger ones, because reading them at each
    start would take longer than starting, by path, size, inode, and times of modification and of
    change in nanoseconds: the latter is that of the system, which no program sets back.

    Args:
        root: the folder of the data set.
        names: paths inside of it, with slashes, in a fixed order.
        stats: the state of each file.
    """
    by_content = sum(stat.st_size for stat in stats) <= _SMALL
    digest = hashlib.sha256(b"" if by_content else os.fsencode(root))
    for name, stat in zip(names, stats, strict=True):
        if by_content:
            with open(os.path.join(root, name), "rb") as file:
                state = hashlib.sha256(file.read()).hexdigest()
        else:
            times = f"{stat.st_mtime_ns}\0{stat.st_ctime_ns}"
            state = f"{stat.st_size}\0{stat.st_ino}\0{times}"
        digest.update(f"{name}\0{state}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
