"""Downloads: resumed where they broke off, checked, whole or not there."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.worlds import SeenEvents

from understudy.data import download as downloads
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer

CONTENT = bytes(range(256)) * 4
CONTENT_MD5 = hashlib.md5(CONTENT).hexdigest()
MD5 = "0" * 32


def download(target: Path, url: str, md5: str, observer: Observer = SILENT) -> Path:
    return downloads.download(target, url, md5, "give a copy with --data", observer)


class Server(ThreadingHTTPServer):
    """Serves CONTENT under every address; ``limits`` holds after how many bytes each of the next
    answers breaks off."""

    ranges: bool = True
    limits: list[int]
    asked: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = (
            int(asked.removeprefix("bytes=").removesuffix("-"))
            if asked and self.server.ranges
            else 0
        )
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.limits.pop(0)] if self.server.limits else body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as server:
        server.limits, server.asked = [], []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/content"


def test_five_attempts_are_made_while_bytes_arrive(tmp_path: Path, server: Server) -> None:
    server.limits = [10] * 5
    seen = SeenEvents()
    with pytest.raises(UnderstudyError, match="broke off at"):
        download(tmp_path / "a", address(server), CONTENT_MD5, seen)
    assert server.asked == [None, "bytes=10-", "bytes=20-", "bytes=30-", "bytes=40-"]
    assert seen.counts() == [("a", done, len(CONTENT)) for done in (10, 20, 30, 40, 50)]


def test_a_file_that_is_there_is_not_downloaded_again(tmp_path: Path, server: Server) -> None:
    for _ in range(2):
        assert download(tmp_path / "a", address(server), CONTENT_MD5).read_bytes() == CONTENT
    assert server.asked == [None]
    assert not list(tmp_path.rglob("*.part"))


def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path, server: Server) -> None:
    server.limits = [100, 50]
    target = download(tmp_path / "a.tar.gz", address(server), CONTENT_MD5)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100-", "bytes=150-"]


def test_what_an_earlier_run_left_is_used(tmp_path: Path, server: Server) -> None:
    (tmp_path / "a.part").write_bytes(CONTENT[:70])
    assert download(tmp_path / "a", address(server), CONTENT_MD5).read_bytes() == CONTENT
    (tmp_path / "b.part").write_bytes(CONTENT)  # complete, but the run was killed before the check
    assert download(tmp_path / "b", address(server), CONTENT_MD5).read_bytes() == CONTENT
    assert server.asked == ["bytes=70-", f"bytes={len(CONTENT)}-"]


def test_a_server_without_ranges_starts_again(tmp_path: Path, server: Server) -> None:
    server.ranges = False
    (tmp_path / "a.part").write_bytes(b"x" * 70)
    assert download(tmp_path / "a", address(server), CONTENT_MD5).read_bytes() == CONTENT


def test_a_wrong_checksum_deletes_what_came(tmp_path: Path, server: Server) -> None:
    with pytest.raises(
        UnderstudyError, match=f"md5 {CONTENT_MD5} instead of {MD5} and was deleted"
    ):
        download(tmp_path / "a", address(server), MD5)
    assert [path.name for path in tmp_path.iterdir()] == ["a.lock"]


def test_a_download_that_makes_no_progress_says_what_to_do(tmp_path: Path, server: Server) -> None:
    server.limits = [100, 0]
    with pytest.raises(
        UnderstudyError,
        match=r"broke off .* are saved, run again to resume: give a copy with --data",
    ):
        download(tmp_path / "a", address(server), CONTENT_MD5)
    assert (tmp_path / "a.part").read_bytes() == CONTENT[:100]


def test_no_network_is_one_line(tmp_path: Path, server: Server) -> None:
    url = address(server)
    server.server_close()
    with pytest.raises(UnderstudyError, match=r"cannot download .*: give a copy with --data") as e:
        download(tmp_path / "a", url, MD5)
    assert "\n" not in str(e.value) and "saved" not in str(e.value)
