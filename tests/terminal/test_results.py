"""What a run and a sweep print when they end."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.report.example_run import skew_classes, write_example_run
from tests.report.example_run import typed as typed_run
from tests.report.example_sweep import GRID, LOG, typed, write_example_sweep

from understudy.terminal.results import run_table, show_run, show_sweep, sweep_table

MANY = [
    *GRID,
    LOG,
    {"key": "student.name", "kind": "choice", "values": ["[bold]resnet[/bold]", "wrn"]},
]


@pytest.mark.parametrize("published", [True, False])
def test_run_table_fits_eighty_characters(tmp_path: Path, published: bool) -> None:
    results = write_example_run(tmp_path, num_test=200, epochs=2)
    results["arms"]["[red]x"] = results["arms"].pop("dkd")  # rich markup in a name stays text
    if not published:
        results["reference"] = {}
    console = Console(width=80, file=io.StringIO())
    console.print(run_table(typed_run(results)))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]x" in text
    assert ("72.70" in text) == published
    assert "…" not in text
    assert len([line for line in text.splitlines() if "baseline" in line]) == 1


def test_table_of_skewed_classes_shows_balanced_accuracy_in_eighty_characters(
    tmp_path: Path,
) -> None:
    write_example_run(tmp_path, num_test=200, epochs=2)
    results = skew_classes(tmp_path)
    console = Console(width=80, file=io.StringIO())
    console.print(run_table(typed_run(results)))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    mean = results["arms"]["distilled"]["summary"]["balanced_accuracy"]["mean"]
    assert "balanced" in text and f"{100 * mean:.2f} ±" in text and "…" not in text


def test_show_run_prints_a_verdict_for_each_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = write_example_run(tmp_path, num_test=200, epochs=2)
    show_run(typed_run(results))
    printed = capsys.readouterr().out.splitlines()
    verdicts = [comparison["verdict"] for comparison in results["comparisons"]]
    assert verdicts and printed[-len(verdicts) :] == verdicts


def printed(results: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(sweep_table(typed(results)))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_sweep_table_shows_best_trials_and_the_baseline(tmp_path: Path) -> None:
    results = write_example_sweep(tmp_path)
    text = printed(results)
    best = results["trials"][results["best"]["number"]]
    gain, plain = best["gain"], results["baselines"][0]["summary"]
    assert f"{100 * gain['mean']:+.2f} [{100 * gain['low']:.2f}, {100 * gain['high']:.2f}]" in text
    assert f"{100 * plain['mean']:.2f} ± {100 * (plain['high'] - plain['mean']):.2f}" in text
    assert len([line for line in text.splitlines() if "±" in line]) == 10 + 1


def test_sweep_table_with_many_settings_fits_eighty_characters(tmp_path: Path) -> None:
    text = printed(write_example_sweep(tmp_path, space=MANY, sampled=12))
    assert max(map(len, text.splitlines())) <= 80
    assert "[bold]resnet[/bold]" in text
    assert "]  " in text, "intervals are whole"


def test_sweep_without_a_finished_trial_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = write_example_sweep(
        tmp_path, space=GRID[:1], failed=dict.fromkeys(range(5), "lost"), final=False
    )
    show_sweep(typed(results))
    assert "Of 5 trials 5 failed." in capsys.readouterr().out


def test_images_that_were_left_out_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = write_example_run(tmp_path, num_test=100, epochs=1)
    show_run(typed_run(results))
    assert "Left out" not in capsys.readouterr().out
    results["data"]["num_skipped"] = 1200
    show_run(typed_run(results))
    assert ": 1,200 images that cannot be read\n" in capsys.readouterr().out
