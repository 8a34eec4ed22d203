"""Whether files are those that were read before."""

import hashlib
import os
import struct
from collections.abc import Sequence
from pathlib import Path

_SMALL = 64 * 2**20
"""Bytes: files up to this sum are identified by their content, larger ones by size and time."""
_STATE = struct.Struct("<QQqq")


def identity(root: Path, files: Sequence[Path]) -> str:
    """A hex digest that changes when any of the files does, see :func:`identity_of`."""
    names = [file.relative_to(root).as_posix() for file in files]
    return identity_of(root, names, [state_of(file.stat()) for file in files])


def state_of(found: os.stat_result) -> bytes:
    """32 bytes: size, inode, and the times of modification and of change in nanoseconds.

    The time of change is the system's own: no program sets it back.
    """
    inode = found.st_ino & (2**64 - 1)
    return _STATE.pack(found.st_size, inode, found.st_mtime_ns, found.st_ctime_ns)


def identity_of(root: Path, names: Sequence[str], states: Sequence[bytes]) -> str:
    """A hex digest that changes when any of the files below ``root`` does.

    Files of up to 64 MiB in all are identified by their path below ``root``, which may hold the
    label, and their bytes, whatever folder they are in. Larger ones by path and state, because
    reading them at each start would take longer than starting.

    Args:
        root: the folder of the data set.
        names: paths inside of it, with slashes, in a fixed order.
        states: of each file, by :func:`state_of`.
    """
    by_content = sum(_STATE.unpack(state)[0] for state in states) <= _SMALL
    digest = hashlib.sha256(b"" if by_content else os.fsencode(root))
    for name, state in zip(names, states, strict=True):
        if by_content:
            with open(os.path.join(root, name), "rb") as file:
                state = hashlib.sha256(file.read()).digest()
        digest.update(b"%b\0%b" % (name.encode("utf-8", "surrogateescape"), state))
    return digest.hexdigest()
