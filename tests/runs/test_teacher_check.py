"""A teacher is compared with the plain student before it teaches, image by image."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.worlds import SeenEvents, config_for, write_colours

from understudy.cli import main
from understudy.config.recipe import to_yaml
from understudy.config.schema import RunConfig
from understudy.errors import UnderstudyError
from understudy.evaluation.metrics import metrics
from understudy.evaluation.results import Metrics
from understudy.experiment import run_experiment, train_arm
from understudy.runs.folder import RunFolder, load_run
from understudy.runs.plan import resolve_plan
from understudy.runs.teacher_check import measured_line, teacher_advantage

POOR = {"train": {"epochs": 1, "lr": 1e-9}}


def right_on(number: int, of: int = 1000, start: int = 0) -> Metrics:
    """Metrics of a network of two classes that is right on so many images."""
    labels = torch.zeros(of, dtype=torch.long)
    right = torch.zeros(of, dtype=torch.bool)
    right[start : start + number] = True
    logits = torch.stack((right.float(), 1 - right.float()), 1)
    return metrics(logits, labels)


def test_a_better_teacher_is_shown_with_the_difference() -> None:
    found = teacher_advantage([right_on(900)], [right_on(800), right_on(820)])
    assert not found.is_worse and not found.is_within_error
    assert found.line.startswith(
        "the teacher has 90.0 % on validation, the student without it 81.0 %, the mean of 2 seeds "
        "(difference +9.0 ± "
    )


def test_a_teacher_far_below_is_worse() -> None:
    found = teacher_advantage([right_on(700)], [right_on(800), right_on(820)])
    assert found.is_worse and "it would teach its mistakes" in found.refusal
    assert "--resume --go-on" in found.refusal


def test_a_difference_within_its_error_stops_nothing() -> None:
    # On 20 images one image is 5 points: with three each that only one of them gets right, noise.
    teacher, student = right_on(15, 20), right_on(16, 20, start=4)
    found = teacher_advantage([teacher], [student])
    assert not found.is_worse and found.is_within_error
    assert "it may have nothing to teach" in found.line
    # The same share of 2,000 images is none.
    assert teacher_advantage([right_on(1500, 2000)], [right_on(1600, 2000, 400)]).is_worse


def test_an_equal_teacher_is_pointed_out() -> None:
    found = teacher_advantage([right_on(800)], [right_on(800)])
    assert found.is_within_error and not found.is_worse and found.error == 0


def test_the_error_has_a_part_over_images_and_one_over_seeds() -> None:
    one = teacher_advantage([right_on(900)], [right_on(800)])
    assert one.error == pytest.approx((0.1 * 0.9 / 1000) ** 0.5)
    two = teacher_advantage([right_on(900)], [right_on(780), right_on(820)])
    assert two.error > (0.0008 / 2) ** 0.5  # variance of 0.78 and 0.82 is 0.0008


def test_results_without_a_list_of_right_images_are_compared_by_their_seeds() -> None:
    plain = [replace(right_on(number), correct=None) for number in (780, 820)]
    found = teacher_advantage([right_on(700)], plain)
    assert found.error == pytest.approx(0.02) and found.is_worse


def test_the_line_about_a_teacher_has_its_balanced_accuracy() -> None:
    labels = torch.tensor([0] * 8 + [1] * 2)
    always_first = torch.tensor([[1.0, 0.0]]).expand(10, 2)
    run = resolve_plan(RunConfig()).arm_run("teacher", 0)
    line = measured_line(run, metrics(always_first, labels))
    assert line == "teacher: 80.0 % on validation (balanced accuracy 50.0 %)"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("images") / "colours.npz")


def poor(images: Path, **teacher: Any) -> Any:
    base = config_for(images).teacher
    own = {"model": {"name": base.model.name, "options": base.model.options}} | POOR
    train = {"epochs": 6, "batch_size": 16, "lr": 1e-2}
    return config_for(images, teacher=own | {"go_on": False} | teacher, train=train, seeds=[0])


def test_a_poor_teacher_stops_the_run_before_it_teaches_and_go_on_continues(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = tmp_path / "poor.yaml", tmp_path / "run"
    recipe.write_text(to_yaml(poor(images)))
    command = ["run", str(recipe), "--out", str(out), "--workers", "1"]
    assert main(command) == 2
    shown = capsys.readouterr().err
    assert "teacher: " in shown and "it would teach its mistakes" in shown
    folder = RunFolder(out)
    assert folder.result("baseline-seed0").exists() and folder.result("teacher-seed0").exists()
    assert not folder.arm("distilled-seed0").exists() and not folder.results.exists()
    assert main([*command, "--resume"]) == 2
    # A student that has finished side by side with the last baseline decides nothing.
    train_arm(load_run(out), "distilled", 0, out, device="cpu")
    assert main([*command, "--resume"]) == 2
    assert main([*command, "--resume", "--go-on"]) == 0
    assert "it will teach its mistakes" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0  # that it may teach has been decided


def test_the_recipe_can_say_go_on_and_the_numbers_are_the_same(
    images: Path, tmp_path: Path
) -> None:
    """Whether the baseline is trained before the others or with them does not change its bits."""
    seen = SeenEvents()
    options: dict[str, Any] = {"device": "cpu", "workers": 1, "cache": str(tmp_path / "cache")}
    config = poor(images, go_on=True)
    one = run_experiment(config, tmp_path / "one", observer=seen, **options)
    assert any("it will teach its mistakes" in line for line in seen.lines)
    with pytest.raises(UnderstudyError, match=r"it would teach its mistakes"):
        run_experiment(poor(images), tmp_path / "two", **options)
    two = run_experiment(poor(images), tmp_path / "two", resume=True, go_on=True, **options)
    assert one is not None and two is not None
    for arm in ("teacher", "baseline", "distilled"):
        assert one.arms[arm].runs[0].test == two.arms[arm].runs[0].test
