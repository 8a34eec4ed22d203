"""What a sweep is to do: its methods and students, its fresh seeds, what machines that share it
must agree on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.sweep.small_sweep import small_config
from tests.worlds import write_colours

pytest.importorskip("optuna")

from understudy.errors import UnderstudyError
from understudy.sweep.folder import SweepFolder
from understudy.sweep.spec import SweepOptions, SweepSpec, make_sweep_spec

SPACE = {"method.temperature": [1, 4]}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("images") / "colours.npz")


def made(images: Path, space: Any = None, config: Any = None, **options: Any) -> SweepSpec:
    config = config or small_config(images)
    given = SweepOptions(**{"device": "cpu"} | options)
    return make_sweep_spec(config, space or SPACE, SweepFolder(Path("sweep")), given)


def test_final_seeds_follow_those_of_the_search(images: Path):
    assert made(images).final_seeds == (2, 3)
    assert made(images, config=small_config(images, seeds=[3, 1, 7])).final_seeds == (8, 9, 10)
    assert made(images, final_seeds=[9, 5]).final_seeds == (9, 5)


def test_recipe_is_varied_by_the_methods_of_the_search_only(images: Path):
    spec = made(images, {"method.name": ["at", "ce"], "train.lr": [0.1, 0.2]})
    methods = [plan.arm("distilled").method.name for plan in spec.method_variants]
    assert methods == ["kd", "at", "ce"]
    assert len(made(images).method_variants) == 1, "a temperature is no other method"


@pytest.mark.parametrize(
    ("recipe", "space", "needed"),
    [
        ("kd", {"method.temperature": [1, 2]}, True),
        ("ce", {"train.lr": [0.1, 0.2]}, False),
        ("ce", {"method.name": ["ce", "kd"]}, True),
    ],
)
def test_teacher_is_needed_if_any_method_reads_it(
    images: Path, recipe: str, space: dict[str, Any], needed: bool
):
    spec = made(images, space, small_config(images, method={"name": recipe}))
    assert spec.needs_teacher is needed


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"method.name": ["kd", "at"], "train.lr": [0.1, 0.2]},
            r"^method\.name=at train\.lr=0\.1: distilled: at compares feature maps",
        ),
        (
            {"train.ema_decay": [0.5, 0.9999]},
            r"^train\.ema_decay=0\.9999: baseline: train\.ema_decay=0\.9999 over",
        ),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(
    images: Path, space: dict[str, Any], message: str
):
    flat = {"model": {"name": "tests.runs.test_precheck.Flat"}}
    with pytest.raises(UnderstudyError, match=message):
        made(images, space, small_config(images, student=flat))


def test_costliest_variant_reads_most_of_its_teacher(images: Path):
    spec = made(images, {"method.name": ["pkt", "at", "fitnets"]})
    assert spec.costliest(spec.plan).arm("distilled").method.name == "at"
    only_logits = made(images, {"method.name": ["dkd", "dist"]})
    assert only_logits.costliest(only_logits.plan) is only_logits.plan


def test_machines_may_have_data_and_teacher_in_different_places(images: Path):
    spec = made(images)
    moved = replace(spec.config, data=replace(spec.config.data, path="elsewhere.npz"))
    assert replace(spec, plan=replace(spec.plan, config=moved)).identity == spec.identity
    other = replace(spec.config, train=replace(spec.config.train, lr=0.5))
    assert replace(spec, plan=replace(spec.plan, config=other)).identity != spec.identity
    assert spec.identity["space"] == [
        {"key": "method.temperature", "values": [1, 4], "kind": "choice"}
    ]


def test_password_of_the_database_is_not_shown():
    url = "postgresql://me:secret@host/db"
    options = SweepOptions(storage=url, command=f"understudy sweep digits --storage {url}")
    assert options.shown_storage == "postgresql://me:***@host/db"
    assert options.shown_command == "understudy sweep digits --storage postgresql://me:***@host/db"
    plain = SweepOptions(command="understudy sweep digits")
    assert plain.shown_storage == "SQLite in the sweep's folder"
    assert plain.shown_command == "understudy sweep digits"


def test_test_images_are_counted_and_stay_sealed(images: Path):
    spec = made(images)
    assert spec.num_test > 0 and len(spec.data.train) > 0
    assert not hasattr(spec.data, "test")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"backend": "fast"}, "unknown backend 'fast': there are auto, sequential"),
        ({"search": "tpe"}, "needs a number of --trials"),
        ({"final_seeds": [1]}, "--final-seeds 1 is a seed of the search"),
        ({"space": {"method.temperature": [1, -1]}}, "temperature"),
        ({"space": {"seeds": [[1], [2]]}}, "seeds"),
    ],
)
def test_sweep_that_makes_no_sense_is_refused(images: Path, options: dict[str, Any], says: str):
    with pytest.raises(UnderstudyError, match=says):
        made(images, **options)


@pytest.mark.parametrize("part", ["teacher", "student"])
def test_networks_that_cannot_be_built_are_refused(images: Path, part: str):
    config = small_config(images, **{part: {"model": {"name": "founding_pupil"}}})
    with pytest.raises(UnderstudyError, match="founding_pupil"):
        made(images, config=config)


def test_students_that_are_budgets_become_networks_before_the_first_trial(images: Path):
    config = small_config(images, student="auto:20k")
    spec = made(images, {"student": ["auto:50k", "tiny_dw"]}, config)
    (dimension,) = spec.search.space
    assert dimension.key == "student.model" and dimension.values[1] == {"name": "tiny_dw"}
    chosen = [spec.config.student.model.options, dimension.values[0]["options"]]
    assert all(options["widths"] for options in chosen) and chosen[0] != chosen[1]
    assert "auto:" not in str(spec.identity)
