"""Names that look like frames of one clip, and the many that do not."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.data.picture_folders import samples_named

from understudy.data.clips import clip_pattern, groups_of


def proposed(names: list[str]) -> set[str] | None:
    """The groups that the proposed pattern makes; ``None`` without a proposal."""
    pattern = clip_pattern(samples_named(names))
    return None if pattern is None else set(groups_of(pattern, names))


def of_two_classes(name: Callable[[str, int, int], str], clips: int = 4) -> list[str]:
    """Six images of each clip; clips are numbered from 1 in either class."""
    return [
        f"{kind}/{name(kind, clip, 7 * frame)}"
        for kind in ("ants", "bees")
        for clip in range(1, clips + 1)
        for frame in range(6)
    ]


CLIPS = {
    "camera and running number": lambda kind, clip, k: f"cam{clip}_{k:06}.jpg",
    "frame by name": lambda kind, clip, k: f"video{clip:02}_frame_{k:04}.png",
    "dash": lambda kind, clip, k: f"{kind}-{clip}-{k}.jpg",
    "scans of a patient": lambda kind, clip, k: f"patient{clip}_scan{k}.png",
    "folder of each clip": lambda kind, clip, k: f"clip{clip}/{k:04}.jpg",
}


@pytest.mark.parametrize("name", CLIPS.values(), ids=CLIPS)
def test_frames_of_a_clip_are_one_group(name: Callable[[str, int, int], str]) -> None:
    groups = proposed(of_two_classes(name))
    assert groups is not None
    assert len(groups) in (4, 8)  # a clip of the same name in both classes may be the same one


PLAIN = {
    "camera": lambda kind, clip, k: f"IMG_{100 * clip + k:04}.jpg",
    "class": lambda kind, clip, k: f"{kind}_{100 * clip + k:06}.jpg",
    "class with a digit": lambda kind, clip, k: f"{kind}2_{100 * clip + k:06}.jpg",
    "number alone": lambda kind, clip, k: f"{100 * clip + k:04}.jpg",
    "WordNet": lambda kind, clip, k: f"n0{len(kind)}440764_{100 * clip + k}.JPEG",
    "search terms": lambda kind, clip, k: f"{'abcd'[clip - 1]}_plane_s_{k:06}.png",
    "hash": lambda kind, clip, k: f"{clip * 7919 + k}_{k * 104729 + clip:x}{kind[0]}.jpg",
    "running in brackets": lambda kind, clip, k: f"{kind} ({100 * clip + k}).jpg",
}


@pytest.mark.parametrize("name", PLAIN.values(), ids=PLAIN)
def test_running_numbers_are_no_clips(name: Callable[[str, int, int], str]) -> None:
    assert proposed(of_two_classes(name)) is None


def test_copies_of_a_picture_are_one_group() -> None:
    names = [f"{kind}/IMG_{k:04}.jpg" for kind in ("ants", "bees") for k in range(50)]
    assert proposed(names) is None  # the same number in two classes is not the same picture
    groups = proposed([*names, "ants/IMG_0007 (2).jpg", "bees/IMG_0009 - Copy.jpg"])
    assert groups is not None
    assert len(groups) == 100


def test_too_few_clips_to_be_split_are_not_proposed() -> None:
    assert proposed(of_two_classes(CLIPS["camera and running number"], clips=2)) is None


def test_groups_that_are_given_are_not_proposed_again() -> None:
    samples = samples_named(of_two_classes(CLIPS["dash"]))
    assert clip_pattern(samples) is not None
    assert clip_pattern([replace(sample, group="a") for sample in samples]) is None
