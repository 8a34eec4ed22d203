"""Downloads that resume, are checked, and appear whole or not at all."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from filelock import FileLock

from understudy.errors import UnderstudyError, one_line
from understudy.events import SILENT, Observer, Progress

_ATTEMPTS = 5
"""Connections in one call, as long as each of them brings something."""


def download(target: Path, url: str, md5: str, hint: str, observer: Observer = SILENT) -> Path:
    """Fetch a file, continuing an earlier attempt; ``target`` exists only once it is complete.

    What has arrived is stored next to the target as ``<target>.part``.

    Args:
        target: where the file is wanted.
        url: where it is.
        md5: of the whole file, as hex. It guards against damage, not against malice.
        hint: what else the user can do, the end of every error message.
        observer: gets progress of phase ``download``, in bytes.

    Raises:
        UnderstudyError: without a network, if the server refuses or breaks off, or if the checksum
            differs (the part is then deleted).
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(target.name + ".lock")):
        if target.exists():
            return target
        part = target.with_name(target.name + ".part")
        for attempt in range(1, _ATTEMPTS + 1):
            before = part.stat().st_size if part.exists() else 0
            try:
                _fetch(part, url, observer)
                break
            except (OSError, http.client.HTTPException) as error:
                arrived = part.stat().st_size if part.exists() else 0
                if arrived > before and attempt < _ATTEMPTS:
                    continue
                state = (
                    f"; {arrived / 1e6:.1f} MB are saved, run again to resume" if arrived else ""
                )
                reason = _reason(error)
                raise UnderstudyError(f"cannot download {url} ({reason}){state}: {hint}") from error
        found = _md5(part)
        if found != md5:
            part.unlink()
            raise UnderstudyError(
                f"{url} arrived with md5 {found} instead of {md5} and was deleted: "
                f"run again, or {hint}"
            )
        os.replace(part, target)
    return target


def _fetch(part: Path, url: str, observer: Observer) -> None:
    """Bring the part to its full length.

    Raises:
        OSError, HTTPException: if the connection breaks off; the part keeps what has arrived.
    """
    have = part.stat().st_size if part.exists() else 0
    # S310: the address is a constant of a source, or a test's; no user gives it.
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310
    try:
        response = urllib.request.urlopen(request, timeout=30)  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:
            return  # nothing follows: the part is complete or wrong, which the checksum decides
        raise
    with response:
        content_range = response.headers.get("Content-Range", "")
        resumed = response.status == 206 and content_range.startswith(f"bytes {have}-")
        if response.status == 206 and not resumed:
            raise OSError("the server sent another range than requested")
        if not resumed:
            have = 0  # the server sends everything from the start
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else 0
        with open(part, "ab" if resumed else "wb") as file:
            while block := response.read(1 << 18):
                file.write(block)
                have += len(block)
                observer.progress(Progress("download", have, total, detail=part.stem))
        if total and have < total:
            raise ConnectionError(
                f"the connection broke off at {have / 1e6:.1f} of {total / 1e6:.1f} MB"
            )


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _reason(error: Exception) -> str:
    """Why a connection failed, in one line."""
    reason = getattr(error, "reason", "") or error
    return one_line(reason if isinstance(reason, Exception) else ConnectionError(reason))
