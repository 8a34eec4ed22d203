"""A run whose student is a budget: one network, chosen before the plan and written down."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.worlds import SeenEvents, config_for, write_colours

from understudy.cli import main
from understudy.config.recipe import to_yaml
from understudy.config.schema import RunConfig
from understudy.data.prepare import prepare_data
from understudy.errors import UnderstudyError
from understudy.evaluation import students
from understudy.evaluation.stopwatch import Timed
from understudy.runs.folder import RunFolder, load_run, record_config
from understudy.runs.student import with_student


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("images") / "colours.npz")


def budgeted(images: Path, budget: str, **changes: Any) -> RunConfig:
    return config_for(images, student=budget, seeds=[0], **changes)


def test_a_named_student_stays_what_it_is(images: Path) -> None:
    config = config_for(images)
    data, _ = prepare_data(config.data)
    assert with_student(config, data, None) is config


def test_a_budget_becomes_a_network_with_its_options(images: Path) -> None:
    config, seen = budgeted(images, "auto:20k"), SeenEvents()
    data, _ = prepare_data(config.data)
    student = with_student(config, data, None, seen).student
    assert student.model.name != "auto:20k" and student.model.options["widths"]
    assert "for 3x16x16" in seen.lines[0] and len(seen.lines) == 1


@pytest.mark.slow
def test_a_run_records_the_network_and_goes_on_with_it(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    recipe, out = tmp_path / "mine.yaml", tmp_path / "run"
    recipe.write_text(to_yaml(config_for(images, seeds=[0])))
    words = ["run", str(recipe), "student=auto:20k", "--workers", "1", "--out", str(out)]
    assert main(words) == 0
    assert "student auto:20k: " in capsys.readouterr().err
    student = load_run(out).student.model
    assert "auto" not in student.name
    assert yaml.safe_load((out / "config.yaml").read_text())["student"]["model"] == {
        "name": student.name,
        "options": student.options,
    }
    # Another table, as after an update, does not change a run that has begun.
    monkeypatch.setattr(students, "known_students", lambda: pytest.fail("chosen again"))
    assert main([*words, "--resume"]) == 0


def test_a_run_that_goes_on_keeps_its_student_if_that_is_within_the_budget(
    images: Path, tmp_path: Path
) -> None:
    record_config(config_for(images, student="resnet8"), RunFolder(tmp_path), resume=False)
    data, _ = prepare_data(config_for(images).data)
    seen = SeenEvents()
    kept = with_student(budgeted(images, "auto:1M"), data, load_run(tmp_path), seen)
    assert kept.student.model.name == "resnet8"
    assert seen.lines == ["student auto:1M: resnet8, with which the run was begun"]
    other = with_student(budgeted(images, "auto:20k"), data, load_run(tmp_path))
    assert other.student != kept.student


def test_every_rank_would_choose_by_a_time_of_its_own(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = budgeted(images, "auto:5ms")
    data, _ = prepare_data(config.data)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UnderstudyError, match=r"every rank would measure .* --budget 5ms`"):
        with_student(config, data, None)
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setattr(
        students, "time_students", lambda job: Timed(chosen=0, milliseconds={"0": 1.0})
    )
    assert with_student(config, data, None).student.model.name != "auto:5ms"


@pytest.mark.parametrize("section", ["teacher", "assistants"])
def test_only_students_are_chosen(
    images: Path, tmp_path: Path, section: str, capsys: pytest.CaptureFixture
) -> None:
    recipe = tmp_path / "mine.yaml"
    value: Any = ["auto:100k"] if section == "assistants" else "auto:100k"
    recipe.write_text(to_yaml(config_for(images, **{section: value})))
    assert main(["run", str(recipe), "--out", str(tmp_path / "run")]) == 2
    assert "auto:100k is a budget, by which a student is chosen" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
