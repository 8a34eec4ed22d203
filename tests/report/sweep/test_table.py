"""What a sweep prints when it ends."""

import io
from pathlib import Path
from typing import Any

import pytest
from tests.report.example_sweep import GRID, LOG, typed, view_of, write_example_sweep

from understudy.report import show_sweep, sweep_table
from understudy.report.sweep.table import conclusions

MANY = [
    *GRID,
    LOG,
    {"key": "student.name", "kind": "choice", "values": ["[bold]resnet[/bold]", "wrn"]},
]


def printed(results: dict[str, Any]) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(sweep_table(typed(results)))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_best_trials_and_the_plain_student(tmp_path: Path) -> None:
    results = write_example_sweep(tmp_path)
    text = printed(results)
    best = results["trials"][results["best"]["number"]]
    gain, plain = best["gain"], results["baselines"][0]["summary"]
    assert f"{100 * gain['mean']:+.2f} [{100 * gain['low']:.2f}, {100 * gain['high']:.2f}]" in text
    assert f"{100 * plain['mean']:.2f} ± {100 * (plain['high'] - plain['mean']):.2f}" in text
    assert len([line for line in text.splitlines() if "±" in line]) == 10 + 1


def test_many_settings_fit_eighty_characters_and_names_are_no_markup(tmp_path: Path) -> None:
    text = printed(write_example_sweep(tmp_path, space=MANY, sampled=12))
    assert max(map(len, text.splitlines())) <= 80
    assert "[bold]resnet[/bold]" in text
    assert "]  " in text, "intervals are whole"


def test_conclusions_say_what_is_known_and_no_more(tmp_path: Path) -> None:
    results = write_example_sweep(tmp_path, failed={0: "lost"}, pruned=[1])
    tested, best, lost = conclusions(view_of(results))
    assert tested[0].startswith(results["final"]["verdict"].capitalize()[:20])
    assert tested[1] == (results["final"]["gain"]["low"] > 0)
    assert "fresh seeds 100, 101" in tested[0]
    assert not best[1], "a winner on validation is no evidence"
    assert lost[0] == "Of 25 trials 1 failed and 1 was pruned."
    results["final"] = None
    assert "not tested on fresh seeds" in conclusions(view_of(results))[0][0]


def test_a_sweep_in_which_everything_failed_still_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = write_example_sweep(
        tmp_path, space=GRID[:1], failed=dict.fromkeys(range(5), "lost"), final=False
    )
    show_sweep(typed(results))
    assert "Of 5 trials 5 failed." in capsys.readouterr().out
