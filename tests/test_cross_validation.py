"""Whole cross-validated runs: what a fold sees, resuming to the same bits, record and report."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.worlds import SeenEvents, config_for, numbers, write_colours

from understudy import cross_validation
from understudy.cli import main
from understudy.config.schema import RunConfig
from understudy.cross_validation import run_folds
from understudy.errors import UnderstudyError
from understudy.files import to_json
from understudy.report import write_report
from understudy.report.folds import _lead
from understudy.runs.folder import RunFolder, load_run
from understudy.runs.folds import FoldsFolder, FoldsResults, assemble_folds, read_folds
from understudy.runs.remeasure import evaluate_run
from understudy.runs.results import read_results


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("images") / "colours.npz")


def small(images: Path, **changes: object) -> RunConfig:
    config = config_for(images, train={"epochs": 1, "batch_size": 16, "precision": "fp32"})
    return replace(config, data=replace(config.data, mean=(), std=()), **changes)


@pytest.fixture(scope="module")
def finished(
    images: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, FoldsResults, SeenEvents]:
    """Two folds, two seeds."""
    out, seen = tmp_path_factory.mktemp("folds") / "out", SeenEvents()
    options = {"device": "cpu", "workers": 1, "cache": str(out.parent / "cache")}
    results = run_folds(small(images), out, 2, observer=seen, **options)
    assert results is not None
    return out, results, seen


def test_each_fold_is_a_complete_run_on_images_of_its_own(
    finished: tuple[Path, FoldsResults, SeenEvents],
):
    out, results, seen = finished
    assert read_folds(out) == results
    assert json.loads(FoldsFolder(out).record.read_text()) == to_json(results)
    assert [(run.repeat, run.fold, run.seed) for run in results.runs] == [
        (1, 1, 0),
        (1, 2, 0),
        (2, 1, 1),
        (2, 2, 1),
    ]
    assert results.num_images == 60, "the 30 test images stay sealed"
    assert results.arms == ("teacher", "baseline", "distilled")
    configs = [load_run(FoldsFolder(out).run(number).path) for number in (1, 2, 3, 4)]
    assert [(c.data.folds, c.data.fold, c.data.split_seed) for c in configs] == [
        (2, 1, 0),
        (2, 2, 0),
        (2, 1, 1),
        (2, 2, 1),
    ]
    assert all(len(config.data.mean) == 3 for config in configs), "measured, fold by fold"
    assert len({config.data.mean for config in configs}) > 1
    assert {name for name, _ in seen.epochs} >= {"fold1/teacher-seed0", "fold4/distilled-seed1"}


def test_gains_are_those_of_the_folds_and_the_interval_is_corrected(
    finished: tuple[Path, FoldsResults, SeenEvents],
):
    out, results, _ = finished
    (comparison,) = results.comparisons
    runs = [read_results(FoldsFolder(out).run(number).path) for number in (1, 2, 3, 4)]
    gains = [run.comparisons[0].mean for run in runs]
    assert [*comparison.gain.gains[0], *comparison.gain.gains[1]] == pytest.approx(gains)
    assert comparison.gain.test_share == 0.5 and comparison.gain.df == 3
    assert "over 2 folds × 2 seeds" in comparison.verdict


def test_equal_gains_are_no_evidence(finished: tuple[Path, FoldsResults, SeenEvents]):
    out, _, _ = finished
    one = read_results(FoldsFolder(out).run(1).path)
    (comparison,) = assemble_folds("x", "", 2, [one, one]).comparisons
    assert comparison.gain.verdict == "no evidence" and comparison.gain.low is None
    assert comparison.verdict.startswith("no evidence that distillation")
    assert comparison.verdict.endswith("over 2 folds, and equal gains have no interval")


def test_images_that_were_left_out_are_counted(finished: tuple[Path, FoldsResults, SeenEvents]):
    out, _, _ = finished
    one = read_results(FoldsFolder(out).run(1).path)
    assert "num_skipped" not in to_json(assemble_folds("x", "", 2, [one, one]))
    counted = assemble_folds("x", "", 2, [one, one], num_skipped=3)
    assert to_json(counted)["num_skipped"] == 3
    assert "3 unreadable images left out." in _lead(counted)


def test_a_stopped_cross_validation_resumes_to_the_same_bits(
    finished: tuple[Path, FoldsResults, SeenEvents], images: Path, tmp_path: Path
):
    whole, results, _ = finished
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    FoldsFolder(out).record.unlink()
    shutil.rmtree(FoldsFolder(out).run(4).path)
    third = FoldsFolder(out).run(3)
    third.results.unlink()  # stopped while the students of the third fold were trained
    shutil.rmtree(third.arm("distilled-seed1"))
    options = {"device": "cpu", "workers": 1, "cache": str(tmp_path / "cache")}
    again = run_folds(small(images), out, 2, resume=True, **options)
    assert again == results
    for number in (3, 4):
        before, after = (
            numbers(read_results(FoldsFolder(folder).run(number).path)) for folder in (whole, out)
        )
        assert before == after
    changed = replace(small(images), train=replace(small(images).train, lr=0.5))
    with pytest.raises(UnderstudyError, match=r"cannot resume .*fold1: .*train\.lr differ"):
        run_folds(changed, out, 2, resume=True, **options)


def test_other_images_are_neither_trained_on_nor_measured(
    finished: tuple[Path, FoldsResults, SeenEvents], images: Path, tmp_path: Path
):
    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    first = FoldsFolder(out).run(1)
    first.images.write_text("of other images")
    with pytest.raises(UnderstudyError, match=r"cannot resume .*fold1: the images have changed"):
        run_folds(small(images), out, 2, resume=True)
    with pytest.raises(UnderstudyError, match=r"cannot evaluate .*: the images have changed"):
        evaluate_run(first.path, device="cpu")
    assert evaluate_run(first.path, data=str(images), device="cpu")


def test_a_folder_holds_a_run_or_a_cross_validation(images: Path, tmp_path: Path):
    RunFolder(tmp_path).config.write_text("")
    with pytest.raises(UnderstudyError, match="holds a run without --folds"):
        run_folds(small(images), tmp_path, 2, resume=True)


def test_the_report_shows_every_fold(finished: tuple[Path, FoldsResults, SeenEvents]):
    out, results, _ = finished
    page = write_report(out)
    text = page.read_text()
    assert page == out / "report.html" and "2-fold cross-validation" in text
    assert all(f"fold{number}</th>" in text for number in (1, 2, 3, 4))
    assert "distilled − baseline, points" in text and "Nadeau and Bengio" in text
    assert f"Each of the {results.num_images} images" in text
    assert write_report(out).read_text() == text


def test_mistakes_are_found_before_a_fold_trains(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing may train")

    monkeypatch.setattr(cross_validation, "run_experiment", refuse)
    with pytest.raises(UnderstudyError, match="--folds must be at least 2, not 1"):
        run_folds(small(images), tmp_path / "one", 1)
    with pytest.raises(UnderstudyError, match="fewer than the 21 folds"):
        run_folds(small(images), tmp_path / "many", 21)
    assert not list(tmp_path.iterdir())


def test_the_command_line_refuses_to_export_a_cross_validation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["run", "digits", "--folds", "3", "--export", "onnx", "--out", str(tmp_path / "x")]
    assert main(words) == 2
    assert "leave out --export" in capsys.readouterr().err
