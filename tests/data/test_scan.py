"""The scan opens every image once, notes its facts, and lists all that cannot be read."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tests.data.picture_folders import listing_of_folder, picture, write_pictures

from understudy.data import scan as scanning
from understudy.data.listing import Listing
from understudy.data.scan import scan
from understudy.events import Progress, Silent


class Follower(Silent):
    """Remembers the progress."""

    def __init__(self) -> None:
        self.seen: list[Progress] = []

    def progress(self, progress: Progress, training: str = "") -> None:
        self.seen.append(progress)


def test_facts_are_in_the_order_of_the_listing(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "a"
    folder.mkdir(parents=True)
    for number in range(100):
        picture(number, (20 + number, 30)).save(folder / f"{number:03}.png")
    observer = Follower()
    facts = scan(listing_of_folder(tmp_path), observer=observer).facts
    assert facts.width.tolist() == list(range(20, 120))
    assert (facts.height == 30).all() and facts.is_read.all()
    assert len({tuple(digest) for digest in facts.digest.tolist()}) == 100
    assert observer.seen[-1] == Progress("scan", 100, 100, detail="reading images")


def test_sizes_are_upright_and_modes_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "a"
    folder.mkdir(parents=True)
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(0, (40, 30)).save(folder / "0.jpg", exif=turned)
    picture(1).convert("L").save(folder / "1.png")
    frames = [picture(2), picture(3)]
    frames[0].save(folder / "2.gif", save_all=True, append_images=frames[1:])
    facts = scan(listing_of_folder(tmp_path)).facts
    assert (facts.width[0], facts.height[0], facts.orientation[0]) == (30, 40, 6)
    assert [facts.modes[code] for code in facts.mode] == ["RGB", "L", "P"]
    assert [facts.formats[code] for code in facts.format] == ["JPEG", "PNG", "GIF"]
    assert facts.frames.tolist() == [1, 1, 2]


def test_all_bad_images_are_listed_with_their_rows_and_reasons(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"train/ants": 3})
    for name in ("1a.jpg", "1b.jpg", "9.jpg"):
        (tmp_path / "train/ants" / name).write_bytes(b"")
    found = scan(listing_of_folder(tmp_path))
    assert [(bad.row, bad.name) for bad in found.bad] == [
        (2, "train/ants/1a.jpg"),
        (3, "train/ants/1b.jpg"),
        (5, "train/ants/9.jpg"),
    ]
    assert all(bad.reason for bad in found.bad)
    assert found.facts.is_read.tolist() == [True, True, False, False, True, False]


def test_few_images_are_read_ahead(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"train/a": 1})
    content = (tmp_path / "train/a/0.png").read_bytes()
    listing = listing_of_folder(tmp_path)
    opened = 0
    done: list[int] = []

    def encoded(rows: object) -> Iterator[tuple[str, bytes]]:
        nonlocal opened
        for row in range(2000):
            opened += 1
            yield f"{row}", content

    class Watch(Follower):
        def progress(self, progress: Progress, training: str = "") -> None:
            done.append(opened - progress.done)

    many = Listing("m", ("a",), listing.samples * 2000, encoded, True)
    facts = scan(many, observer=Watch()).facts
    assert facts.is_read.all()
    workers = len(scanning.available_cores())
    assert max(done) <= scanning._CHUNK * (2 * workers + 1)


def test_a_million_images_fit_into_memory() -> None:
    facts = scanning.Facts(1000)
    arrays = [value for value in vars(facts).values() if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in arrays) <= 120 * 1000
