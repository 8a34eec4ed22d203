import hashlib
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from understudy.data import load_dataset
from understudy.data.cifar10 import CLASS_NAMES, MD5, download, find, load, load_download
from understudy.errors import UnderstudyError

BATCHES = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]


def batch(number: int) -> bytes:
    """Two records. Red is the batch's number, green the pixel's line, blue its column."""
    line, column = np.mgrid[:32, :32].astype(np.uint8)
    planes = np.stack([np.full((32, 32), number, np.uint8), line, column]).tobytes()
    return b"\x01" + planes + b"\x09" + planes


def archive(names: list[str] = BATCHES) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for number, name in enumerate(names, 1):
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(batch(number))
            tar.addfile(info, io.BytesIO(batch(number)))
    return file.getvalue()


def extract(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number, name in enumerate(BATCHES, 1):
        (folder / name).write_bytes(batch(number))
    return folder


CONTENT = archive()
CONTENT_MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT under every address; ``limits`` holds after how many bytes each of the next answers breaks off."""

    ranges: bool = True
    limits: list[int]
    asked: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
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
    return f"http://127.0.0.1:{server.server_address[1]}/cifar.tar.gz"


@pytest.mark.parametrize("form", ["archive", "folder", "folder above"])
def test_records_become_images_of_the_right_way_up(tmp_path: Path, form: str) -> None:
    if form == "archive":
        path = tmp_path / "cifar.tar.gz"
        path.write_bytes(CONTENT)
    else:
        path = extract(tmp_path / "cifar-10-batches-bin")
        path = path.parent if form == "folder above" else path
    arrays = load(path)
    assert arrays.train_images.shape == (10, 32, 32, 3) and arrays.test_images.shape == (2, 32, 32, 3)
    assert arrays.train_images[:, 0, 0, 0].tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert arrays.test_images[0, 20, 7].tolist() == [6, 20, 7]
    assert arrays.train_labels.tolist() == [1, 9] * 5 and arrays.class_names == CLASS_NAMES
    assert find(path, tmp_path).name == "cifar10"


def test_each_label_stays_with_its_image_and_sizes_change_together(tmp_path: Path) -> None:
    """Records of rising brightness: image n of batch b is all of 10 b + n, and has the label (b + 3 n) % 10."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for number, name in enumerate(BATCHES, 1):
        records = [bytes([(number + 3 * n) % 10]) + bytes([10 * number + n]) * 3072 for n in range(3)]
        (folder / name).write_bytes(b"".join(records))
    seen: list[tuple[str, int, int]] = []
    arrays = load(folder, image_size=8, progress=lambda *event: seen.append(event))
    assert arrays.train_images[:, 4, 4, 1].tolist() == [10 * b + n for b in range(1, 6) for n in range(3)]
    assert arrays.train_labels.tolist() == [(b + 3 * n) % 10 for b in range(1, 6) for n in range(3)]
    assert arrays.test_images[:, 7, 0, 2].tolist() == [60, 61, 62] and arrays.test_labels.tolist() == [6, 9, 2]
    assert arrays.train_images.shape == (15, 8, 8, 3) and arrays.test_images.shape == (3, 8, 8, 3)
    assert arrays.train_labels.dtype == np.int64 and seen == [("reading cifar10", 18, 18)]


def test_classes_and_checksum_are_the_official_ones() -> None:
    assert CLASS_NAMES == ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    assert MD5 == "c32a1d4ab5d03f1284b67883e8d87530"


def test_a_source_is_recognised_by_its_files_or_the_checksum(tmp_path: Path) -> None:
    assert (find(None, tmp_path).name, find(None, tmp_path).identity) == ("cifar10", MD5)
    one, two = extract(tmp_path / "one"), extract(tmp_path / "two")
    assert find(one, tmp_path).identity == find(two, tmp_path).identity
    (two / "test_batch.bin").write_bytes(batch(9))
    assert find(one, tmp_path).identity != find(two, tmp_path).identity
    (tmp_path / "a.tar.gz").write_bytes(CONTENT)
    assert find(tmp_path / "a.tar.gz", tmp_path).load().test_labels.tolist() == [1, 9]


def test_a_split_without_images_is_refused(tmp_path: Path) -> None:
    folder = extract(tmp_path / "bin")
    (folder / "test_batch.bin").write_bytes(b"")
    with pytest.raises(UnderstudyError, match="the test split is empty"):
        load(folder)


def test_five_attempts_are_made_while_bytes_arrive(tmp_path: Path, server: Server) -> None:
    server.limits = [10] * 5
    seen: list[tuple[str, int, int]] = []
    with pytest.raises(UnderstudyError, match="broke off at"):
        download(tmp_path / "a", address(server), CONTENT_MD5, lambda *event: seen.append(event))
    assert server.asked == [None, "bytes=10-", "bytes=20-", "bytes=30-", "bytes=40-"]
    assert seen == [("downloading cifar10", done, len(CONTENT)) for done in (10, 20, 30, 40, 50)]


def test_what_is_no_binary_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "python.tar.gz").write_bytes(archive(["data_batch_1"]))
    with pytest.raises(UnderstudyError, match=r"has no data_batch_1.bin: the binary version"):
        load(tmp_path / "python.tar.gz")
    (tmp_path / "half.tar.gz").write_bytes(CONTENT[: len(CONTENT) // 2])
    with pytest.raises(UnderstudyError, match=r"cannot read .*half.tar.gz"):
        load(tmp_path / "half.tar.gz")
    with pytest.raises(UnderstudyError, match=r"has no data_batch_1.bin"):
        find(tmp_path, tmp_path)
    folder = extract(tmp_path / "bin")
    (folder / "data_batch_3.bin").write_bytes(batch(3)[:-1])
    with pytest.raises(UnderstudyError, match=r"data_batch_3.bin is truncated"):
        load(folder)


def test_a_download_is_checked_and_then_kept(tmp_path: Path, server: Server) -> None:
    for _ in range(2):
        arrays = load_download(tmp_path, url=address(server), md5=CONTENT_MD5)
        assert len(arrays.train_images) == 10
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
    with pytest.raises(UnderstudyError, match=f"md5 {CONTENT_MD5} in place of {MD5} and was deleted"):
        download(tmp_path / "a", address(server), MD5)
    assert [path.name for path in tmp_path.iterdir()] == ["a.lock"]


def test_a_download_that_makes_no_progress_says_what_to_do(tmp_path: Path, server: Server) -> None:
    server.limits = [100, 0]
    with pytest.raises(UnderstudyError, match=r"broke off .* are kept and the next run resumes: give a local copy .* --data"):
        download(tmp_path / "a", address(server), CONTENT_MD5)
    assert (tmp_path / "a.part").read_bytes() == CONTENT[:100]


def test_without_a_network_one_line_names_data(tmp_path: Path, server: Server) -> None:
    url = address(server)
    server.server_close()
    with pytest.raises(UnderstudyError, match=r"cannot download .* with --data PATH") as caught:
        load_download(tmp_path, url=url, md5=MD5)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif("UNDERSTUDY_DATA" not in os.environ, reason="UNDERSTUDY_DATA names no copy of CIFAR-10")
def test_the_real_images_are_all_there() -> None:
    dataset = load_dataset("cifar10", os.environ["UNDERSTUDY_DATA"])
    assert (len(dataset.train), len(dataset.test)) == (50_000, 10_000)
    assert dataset.train.labels.bincount().tolist() == [5_000] * 10
    assert dataset.class_names == CLASS_NAMES
