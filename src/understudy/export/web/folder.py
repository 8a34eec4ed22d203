"""The page as a folder of files, for any web server."""

import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from understudy.export.deployable import Deployable
from understudy.export.web.page import SCRIPTS, Page, asset, html, page_of
from understudy.export.web.samples import Sample


def write(deployable: Deployable, out: Path, samples: Sequence[Sample] = ()) -> None:
    """Write the folder ``out``; an existing one is replaced.

    Args:
        deployable: the student.
        out: the folder.
        samples: images on which it and its teacher differ.

    Raises:
        UnderstudyError: if the student has an operation that the page's kernels lack, and
            onnxruntime-web is not installed.
    """
    page = page_of(deployable, "web", samples)
    temporary = out.parent / f".{out.name}.{secrets.token_hex(4)}.tmp"
    temporary.mkdir(parents=True)
    try:
        for name, content in _files(page).items():
            (temporary / name).write_bytes(content)
        if out.exists():
            shutil.rmtree(out)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _files(page: Page) -> dict[str, bytes]:
    texts = {
        "index.html": html(page),
        "style.css": asset("style.css"),
        **{f"{name}.js": asset(f"{name}.js") for name in SCRIPTS},
        **{f"{name}.json": text for name, text in page.data().items()},
    }
    return {name: text.encode() for name, text in texts.items()} | dict(page.binaries)
