"""A page as a runtime, without a person: its kernels in Node, or the whole page in Chromium."""

import base64
import html
import json
import re
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np

from understudy.errors import UnderstudyError
from understudy.export.card import Card
from understudy.export.runtime import Runtime
from understudy.export.web.page import WEIGHTS
from understudy.export.web.weights import from_planes, inflated

CHROMIUM = Path("/usr/bin/chromium")
_ADDRESS = "http://student.invalid/"
"""What a folder's page believes to be its server; no request reaches a network."""
_BATCH = 256
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".json": "application/json",
}


def open_file(path: Path, threads: int = 1) -> Runtime:
    """A page, ready to run.

    Args:
        path: a folder or a file of the formats ``web`` and ``web-single``.
        threads: processes of Node that share the images; Chromium uses one.

    Raises:
        UnderstudyError: if the page is damaged, or neither Node nor playwright with Chromium, for
            students that run through onnxruntime-web only the latter, is installed.
    """
    parts = _folder_parts(path) if path.is_dir() else _single_parts(path)
    card = Card.from_text(parts.get("card"), str(path))
    try:
        runtime = json.loads(parts["model"])["runtime"]
    except (KeyError, ValueError, TypeError):
        raise _damaged(path) from None
    if runtime == "kernels" and shutil.which("node"):
        return NodePage(path, card, parts, threads)
    if find_spec("playwright") and CHROMIUM.exists():
        return BrowserPage(path, card)
    node = "node, or " if runtime == "kernels" else ""
    raise UnderstudyError(
        f"{path} cannot run without a browser: install {node}playwright and {CHROMIUM}"
    )


class NodePage:
    """The kernels, the weights and the description of the student that are in the page."""

    def __init__(self, path: Path, card: Card, parts: dict[str, str], threads: int) -> None:
        self.card, self.path, self.threads = card, path, threads
        self._folder = Path(tempfile.mkdtemp(prefix="understudy-page-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        try:
            (self._folder / "kernels.js").write_text(parts["kernels"], "utf-8")
            (self._folder / "model.json").write_text(parts["model"], "utf-8")
            (self._folder / WEIGHTS).write_bytes(_weights(path, parts))
        except (KeyError, ValueError, OSError):
            raise _damaged(path) from None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        parts = np.array_split(images, min(self.threads, len(images)))
        running = [self._start(index, part) for index, part in enumerate(parts)]
        outputs = [process.communicate()[1] for process in running]
        for process, errors in zip(running, outputs, strict=True):
            if process.returncode:
                lines = [line for line in errors.splitlines() if "Error" in line] or ["no reason"]
                raise UnderstudyError(f"{self.path} does not run in node: {lines[0][:200]}")
        found = [np.fromfile(self._output(index), "<f4") for index in range(len(parts))]
        return np.concatenate(found).astype(np.float32).reshape(len(images), -1)

    def _start(self, index: int, images: np.ndarray) -> "subprocess.Popen[str]":
        pixels = self._folder / f"pixels-{index}"
        np.ascontiguousarray(images, np.uint8).tofile(pixels)
        runner = resources.files("understudy.export.web").joinpath("assets", "node.js")
        with resources.as_file(runner) as script:
            return subprocess.Popen(
                ["node", str(script), str(self._folder), str(pixels), str(self._output(index))],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )

    def _output(self, index: int) -> Path:
        return self._folder / f"probabilities-{index}"


class BrowserPage:
    """The whole page in Chromium, until :meth:`close` or until nobody refers to it.

    Playwright's calls have a thread of their own: it refuses to run where an event loop does, as in
    a notebook.
    """

    def __init__(self, path: Path, card: Card) -> None:
        self.card, self.path = card, path
        self._thread = ThreadPoolExecutor(1)
        self._page, browser = self._thread.submit(_open_in_chromium, path).result()
        self._end = weakref.finalize(self, _close, self._thread, browser)
        self._end.atexit = False  # without its program Chromium ends by itself

    def __call__(self, images: np.ndarray) -> np.ndarray:
        batches = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
        return np.concatenate([self._thread.submit(self._run, b).result() for b in batches])

    def _run(self, images: np.ndarray) -> np.ndarray:
        pixels = base64.b64encode(np.ascontiguousarray(images, np.uint8).tobytes()).decode()
        found = self._page.evaluate(_RUN, [pixels, int(np.prod(images.shape[1:]))])
        return np.array(found, np.float32)

    def close(self) -> None:
        """End the browser."""
        self._end()


def _open_in_chromium(path: Path) -> tuple[Any, ExitStack]:
    """A tab with the page, ready, and what ends its browser."""
    from playwright.sync_api import Error, sync_playwright

    with ExitStack() as stack:
        driver = stack.enter_context(sync_playwright())
        try:
            browser = driver.chromium.launch(
                executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
            )
            stack.callback(browser.close)
            page = browser.new_page()
            serve(page, path)
            page.goto(address(path))
            page.evaluate("understudy.ready.then(() => null)")
        except Error as error:
            reason = error.message.splitlines()[0]
            raise UnderstudyError(f"{path} does not run in Chromium: {reason}") from None
        return page, stack.pop_all()


def _close(thread: ThreadPoolExecutor, browser: ExitStack) -> None:
    thread.submit(browser.close).result()
    thread.shutdown()


_RUN = """async ([text, size]) => {
  const pixels = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const rows = [];
  for (let start = 0; start < pixels.length; start += size) {
    rows.push(await understudy.run(pixels.slice(start, start + size)));
  }
  return rows;
}"""


def address(path: Path) -> str:
    """Where a browser finds the page: see :func:`serve`."""
    return f"{_ADDRESS}index.html" if path.is_dir() else path.resolve().as_uri()


def serve(page: Any, path: Path) -> None:
    """Give a tab of playwright the files of a page's folder, as a web server would."""
    if not path.is_dir():
        return

    def fulfil(route: Any) -> None:
        file = path / route.request.url.removeprefix(_ADDRESS)
        if file.is_file():
            kind = _TYPES.get(file.suffix, "application/octet-stream")
            route.fulfill(body=file.read_bytes(), content_type=kind)
        else:
            route.fulfill(status=404)

    page.route(f"{_ADDRESS}**", fulfil)


def _folder_parts(path: Path) -> dict[str, str]:
    """Name -> text of the files that Node needs."""
    files = {"card": "card.json", "model": "model.json", "kernels": "kernels.js"}
    return {
        name: (path / file).read_text("utf-8")
        for name, file in files.items()
        if (path / file).is_file()
    }


def _single_parts(path: Path) -> dict[str, str]:
    """The same of a page in one file, with its weights."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise UnderstudyError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _damaged(path) from None
    found = re.findall(r'<script [^>]*id="(?:data|script)-([^"]+)">(.*?)</script>', text, re.DOTALL)
    return {html.unescape(name): content for name, content in cast(Sequence[Any], found)}


def _weights(path: Path, parts: dict[str, str]) -> bytes:
    if path.is_dir():
        return (path / WEIGHTS).read_bytes()
    return from_planes(inflated(json.loads(parts[WEIGHTS])))


def _damaged(path: Path) -> UnderstudyError:
    return UnderstudyError(
        f"{path} is no complete page of understudy: export it again with understudy export"
    )
