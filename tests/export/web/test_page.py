"""What is written, without a browser: sizes, rules, escapes, and what happens on mistakes."""

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.export.web.students import deployable, in_torch, samples, student
from torch import Tensor, nn

from understudy.errors import UnderstudyError
from understudy.export.card import Card
from understudy.export.web import folder, headless, library, single


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("single") / "student.html"
    single.write(student(), path, samples())
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("folder") / "student-web"
    folder.write(student(), path, samples())
    return path


class Scripts(HTMLParser):
    """Attributes and text of each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str | None], str]] = []
        self._is_inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.found.append((dict(attrs), ""))
        self._is_inside = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._is_inside = False

    def handle_data(self, data: str) -> None:
        if self._is_inside:
            self.found[-1] = (self.found[-1][0], self.found[-1][1] + data)


def policy(text: str) -> dict[str, str]:
    content = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert content is not None
    rules = content[1].replace("&#39;", "'").split("; ")
    return dict(rule.split(" ", 1) for rule in rules)


def test_single_page_of_the_founding_student_is_below_600_kilobytes(page: Path) -> None:
    assert page.stat().st_size < 600_000


def test_folder_has_what_the_page_loads(files: Path) -> None:
    names = {path.name for path in files.iterdir()}
    assert names == {
        *("index.html", "style.css", "kernels.js", "preprocess.js", "app.js"),
        *("card.json", "model.json", "samples.json", "weights.bin"),
    }
    card = Card.from_text((files / "card.json").read_text(), "card.json")
    assert (card.format, card.dtype) == ("web", "fp32")
    assert card.classes == student().classes


def test_same_student_gives_the_same_bytes(page: Path, files: Path, tmp_path: Path) -> None:
    single.write(student(), tmp_path / "again.html", samples())
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()
    folder.write(student(), tmp_path / "again", samples())
    for path in files.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_folder_replaces_an_old_one_whole(tmp_path: Path) -> None:
    out = tmp_path / "student-web"
    out.mkdir()
    (out / "old.js").write_text("")
    folder.write(student(), out)
    assert not (out / "old.js").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["student-web"]


def test_single_page_runs_its_own_scripts_only(page: Path) -> None:
    text = page.read_text("utf-8")
    rules = policy(text)
    code = [content for attributes, content in Scripts(text).found if "type" not in attributes]
    hashes = [base64.b64encode(hashlib.sha256(c.encode()).digest()).decode() for c in code]
    expected = [*(f"'sha256-{digest}'" for digest in hashes), "'wasm-unsafe-eval'"]
    assert rules["script-src"].split() == expected
    assert rules["default-src"] == rules["connect-src"] == "'none'"
    assert "unsafe-inline" not in str(rules)


def test_folder_loads_its_own_files_only(files: Path) -> None:
    rules = policy((files / "index.html").read_text("utf-8"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert rules["connect-src"] == rules["style-src"] == "'self'"


def test_no_class_name_ends_a_script(page: Path) -> None:
    text = page.read_text("utf-8")
    assert "<script>alert" not in text
    data = {a["id"]: content for a, content in Scripts(text).found if "type" in a}
    assert json.loads(data["data-card"])["classes"] == list(student().classes)
    assert "<b>run" not in text.partition("<body>")[0], "the title is escaped"


def test_no_address_of_a_server_is_in_the_page(page: Path, files: Path) -> None:
    texts = [page.read_text("utf-8"), *(p.read_text("utf-8") for p in files.glob("*.*s"))]
    assert not [text for text in texts if re.search(r"(https?|wss?)://", text)]


class Unusual(nn.Module):
    """Has an operation that no kernel computes."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.tanh(images.mean((2, 3)))


def test_student_that_needs_onnxruntime_names_layer_and_remedy(tmp_path: Path) -> None:
    for write in (folder.write, single.write):
        with pytest.raises(UnderstudyError, match=r"tanh.*onnxruntime-web .*make ort-web"):
            write(deployable(Unusual(), 3), tmp_path / "page")
    assert list(tmp_path.iterdir()) == []


def test_other_files_of_onnxruntime_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path))
    library.folder().mkdir()
    (library.folder() / library.LIBRARY).write_text("alert(1)")
    with pytest.raises(UnderstudyError, match="is not that of onnxruntime-web"):
        library.read(library.LIBRARY)


def test_fetching_without_npm_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnderstudyError, match="npm is not installed"):
        library.fetch()


def test_failure_of_npm_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho no network >&2\necho at all >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(UnderstudyError, match=r"cannot fetch .*: no network at all$"):
        library.fetch()


@pytest.mark.parametrize("content", ["", "<!doctype html><p>Hello", b"\xff\xfe\x00"])
def test_another_html_file_is_no_student(content: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UnderstudyError, match="export it again"):
        headless.open_file(path)
    with pytest.raises(UnderstudyError, match="cannot read"):
        headless.open_file(tmp_path / "missing.html")


def test_page_without_its_weights_is_named(files: Path, tmp_path: Path) -> None:
    for name in ("card.json", "model.json", "kernels.js"):
        (tmp_path / name).write_bytes((files / name).read_bytes())
    with pytest.raises(UnderstudyError, match="no complete page"):
        headless.open_file(tmp_path)


def test_without_node_and_browser_the_page_cannot_be_checked(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(headless, "CHROMIUM", Path("/nowhere/chromium"))
    with pytest.raises(UnderstudyError, match="install node, or playwright and /nowhere"):
        headless.open_file(page)


@pytest.mark.slow
def test_folder_file_and_threads_give_the_same_numbers(page: Path, files: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32)).astype(np.uint8)
    found = headless.open_file(files)(images)
    assert found.shape == (5, 10)
    assert found.dtype == np.float32
    assert np.array_equal(headless.open_file(page)(images), found)
    assert np.array_equal(headless.open_file(files, threads=2)(images), found)


@pytest.mark.slow
def test_the_whole_page_in_chromium_is_a_runtime_too(page: Path, files: Path) -> None:
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not headless.CHROMIUM.exists():
        pytest.skip(f"{headless.CHROMIUM} is not installed")
    images = np.random.default_rng(0).integers(0, 256, (300, 3, 32, 32)).astype(np.uint8)
    reference = in_torch(student(), images)
    for path in (files, page):
        browser = headless.BrowserPage(path, student().card("web", "fp32"))
        found = browser(images)
        assert found.dtype == np.float32
        assert np.abs(found - reference).max() < 1e-4
        browser.close()


@pytest.mark.slow
def test_page_that_does_not_start_in_chromium_is_an_error(files: Path, tmp_path: Path) -> None:
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not headless.CHROMIUM.exists():
        pytest.skip(f"{headless.CHROMIUM} is not installed")
    shutil.copytree(files, tmp_path / "page")
    (tmp_path / "page" / "weights.bin").unlink()
    with pytest.raises(UnderstudyError, match=r"does not run in Chromium.*weights.bin is missing"):
        headless.BrowserPage(tmp_path / "page", student().card("web", "fp32"))
