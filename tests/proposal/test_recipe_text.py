"""The text of a proposed recipe: YAML that is read as what was proposed."""

from pathlib import Path

import pytest

from understudy.config.recipe import load_config
from understudy.config.schema import AugmentConfig, DataConfig, RunConfig
from understudy.data.inspection import ClassCounts, Inspection, SizeRange
from understudy.proposal.budget import Minutes
from understudy.proposal.propose import Proposal, default_name
from understudy.proposal.recipe_text import recipe_text

AWKWARD = [
    "my photos",
    "a: b # c",
    'say "no"',
    "2024",
    "null",
    "bär 🐻",
    "line\nname: x",
    "\x7f\x85",
]


def proposal(name: str = "mine", **data: object) -> Proposal:
    config = RunConfig(
        name=name,
        data=DataConfig(
            source="imagefolder", image_size=32, augment=AugmentConfig(view_seed=0), **data
        ),
        method={"name": "kd", "temperature": 2.0, "alpha": 0.9},
    )
    square = (40, 40)
    found = Inspection(
        name=name,
        classes=(ClassCounts("a", 10, 0, 2), ClassCounts("b", 40, 0, 2)),
        sizes=SizeRange(square, square, square, 1),
        modes={},
        formats={},
        num_duplicates={},
    )
    return Proposal(config, found, Minutes(1, 2, 3), 40, 10, 4, 100, 1000)


def read_back(text: str, tmp_path: Path) -> RunConfig:
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    return load_config(str(tmp_path / "recipe.yaml"))


@pytest.mark.parametrize("text", AWKWARD)
def test_any_name_and_path_is_read_back(text: str, tmp_path: Path) -> None:
    made = proposal(text, columns={"image": text}, group_by=r"(\d+)_", report_by="a|b")
    config = read_back(recipe_text(made, text, f"{text}.yaml"), tmp_path)
    assert (config.name, config.data.path, config.data.columns) == (text, text, {"image": text})
    assert (config.data.group_by, config.data.report_by) == (r"(\d+)_", "a|b")


def test_the_recipe_is_what_was_proposed(tmp_path: Path) -> None:
    made = proposal(max_pixels=1000, skip_bad=True)
    config = read_back(recipe_text(made, "photos", "recipe.yaml"), tmp_path)
    assert config.data.max_pixels == 1000 and config.data.skip_bad
    for part in ("teacher", "student", "seeds", "method"):
        assert getattr(config, part) == getattr(made.config, part)


def test_the_first_line_can_be_copied_into_a_shell() -> None:
    text = recipe_text(proposal(), "photos", "my photos.yaml")
    assert text.startswith("# understudy run 'my photos.yaml'\n#\n")
    assert "The largest class is 4 times the smallest" in text


@pytest.mark.parametrize(
    ("path", "name"),
    [("cats.v2", "cats.v2"), ("cats.tar.gz", "cats"), ("cats.v2.csv", "cats.v2"), ("cats", "cats")],
)
def test_a_run_has_the_name_of_its_pictures(path: str, name: str, tmp_path: Path) -> None:
    if "." not in path or path == "cats.v2":
        (tmp_path / path).mkdir()
    assert default_name(tmp_path / path) == name
