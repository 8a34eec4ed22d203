"""Equal files, and pictures that are the same but for size, compression and brightness."""

import hashlib
import io
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from tests.data.picture_folders import picture

from understudy.data import duplicates
from understudy.data.duplicates import TOLERANCE, exact_groups, near_groups
from understudy.data.facts import Facts
from understudy.data.inspection import ImageFacts
from understudy.data.thumbnail import thumbnail_of


def facts_of(images: Sequence[Image.Image]) -> Facts:
    """The facts of images as a scan finds them; equal pixels count as equal files."""
    facts = Facts(len(images))
    for row, image in enumerate(images):
        digest = hashlib.sha256(image.tobytes()).digest()[:16]
        small = image.resize((64, 64), Image.Resampling.BILINEAR)
        found = ImageFacts(*image.size, image.mode, "PNG", 1, 1, digest, thumbnail_of(small))
        facts.add(row, found)
    return facts


def rows(groups: Sequence[np.ndarray]) -> list[list[int]]:
    return [group.tolist() for group in groups]


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def test_equal_files_are_exact_duplicates() -> None:
    facts = facts_of([picture(0), picture(1), picture(0), picture(2), picture(1), picture(1)])
    assert sorted(rows(exact_groups(facts))) == [[0, 2], [1, 4, 5]]
    assert near_groups(facts) == []  # nothing but equal files


def test_images_that_were_not_read_are_not_compared() -> None:
    facts = facts_of([picture(0), picture(1)])
    facts.is_read[:] = False
    assert exact_groups(facts) == [] and near_groups(facts) == []


COPIES = {
    "compressed": lambda image: as_jpeg(image, 60),
    "smaller": lambda image: image.resize((image.width // 2, image.height // 2)),
    "larger": lambda image: image.resize((3 * image.width, 3 * image.height)),
    "other proportions": lambda image: image.resize((image.width, image.height // 2)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "grey": lambda image: image.convert("L"),
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES)
def test_changed_copies_are_near_duplicates(change: object) -> None:
    others = [picture(seed, (96, 96)) for seed in range(1, 30)]
    original = picture(0, (96, 96))
    facts = facts_of([original, *others, change(original), *others[:1]])  # type: ignore[operator]
    assert rows(near_groups(facts)) == [[0, 30]]


def test_another_cut_of_a_picture_is_another_picture() -> None:
    original = picture(0, (96, 96))
    mirrored = original.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert near_groups(facts_of([original, mirrored, original.crop((30, 0, 96, 66))])) == []


def test_flat_pictures_are_no_flood_of_near_duplicates() -> None:
    random = np.random.default_rng(0)
    noisy = 250 + random.integers(-2, 3, (200, 48, 48, 3))
    blank = [Image.fromarray(pixels.astype(np.uint8)) for pixels in noisy]
    facts = facts_of([*blank, *[Image.new("RGB", (48, 48), "white")] * 50])
    assert near_groups(facts) == []
    assert [len(group) for group in exact_groups(facts)] == [50]


def test_equal_files_are_part_of_a_group_that_has_others() -> None:
    original = picture(0, (96, 96))
    facts = facts_of([original, as_jpeg(original, 60), picture(1), original])
    assert rows(near_groups(facts)) == [[0, 1, 3]]


def test_frames_that_change_slowly_are_one_group() -> None:
    """Each is near to the next, the first not to the last; and few are compared with all."""
    first, last = (np.asarray(picture(seed, (64, 64))).astype(float) for seed in (0, 1))
    frames = [
        Image.fromarray((first + (last - first) * step / 400).astype(np.uint8))
        for step in range(200)
    ]
    facts = facts_of([*frames, picture(2)])
    assert rows(near_groups(facts)) == [list(range(200))]
    points, _ = duplicates._points(facts.thumbnail)
    assert 1 - points[0] @ points[199] > 2 * TOLERANCE
    assert len(list(duplicates._neighbourhoods(points))) < 100


def test_no_pair_is_missed_by_the_tree() -> None:
    """The same groups as by comparing all pairs."""
    random = np.random.default_rng(0)
    base = random.integers(0, 256, (60, 64))
    noise = random.normal(0, 4, (240, 64))
    thumbnails = (base[np.arange(240) % 60] + noise).clip(0, 255).astype(np.uint8)
    cluster = duplicates._clusters(thumbnails)
    points, _ = duplicates._points(thumbnails)
    near = ((points[:, None] - points[None]) ** 2).sum(2) < 2 * TOLERANCE
    assert 240 < near.sum() < 240 * 4  # some of the pairs, not all
    assert (cluster[:, None] == cluster[None])[near].all()
    assert len(np.unique(cluster)) >= 60


def test_thumbnail_is_of_the_whole_image_line_by_line() -> None:
    image = Image.new("L", (80, 24))
    image.paste(200, (40, 0, 80, 24))
    assert thumbnail_of(image) == bytes([0, 0, 0, 0, 200, 200, 200, 200] * 8)
