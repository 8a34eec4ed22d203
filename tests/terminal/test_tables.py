"""Lists, cards and measures as text that a person reads in 80 columns."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from understudy.evaluation.metrics import metrics
from understudy.evaluation.results import Metrics, Reliability
from understudy.terminal.tables import (
    cell,
    flat,
    print_card,
    print_list,
    print_measures,
    print_metrics,
    print_per_class,
    print_record,
)

SEVENTEEN_DIGITS = 0.70123456789012345


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def metrics_of(classes: int) -> Metrics:
    return Metrics(
        accuracy=SEVENTEEN_DIGITS,
        per_class=(SEVENTEEN_DIGITS,) * (classes - 1) + (None,),
        nll=1.25,
        ece=0.0625,
        reliability=Reliability((0.5,) * 3, (0.25,) * 3, (1,) * 3),
    )


@pytest.mark.parametrize("classes", [2, 8, 100])
def test_metrics_take_one_line_for_each_training(
    classes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{arm}-seed{seed}" for arm in ("teacher", "distilled") for seed in range(3)]
    print_metrics({name: metrics_of(classes) for name in names})
    printed = lines(capsys)
    rows = [line for line in printed if "seed" in line]
    assert [row.split()[0] for row in rows] == names
    assert all(row.split()[1:] == ["0.7012", "1.25", "0.0625"] for row in rows)
    assert max(map(len, printed)) <= 80
    headings = next(line for line in printed if line.strip())
    assert headings.split() == ["name", "accuracy", "nll", "ece", "agreement", "teacher", "kl"]


def test_per_class_table_has_a_row_for_each_class(capsys: pytest.CaptureFixture[str]) -> None:
    measured = {
        "[red]x-seed0": metrics_of(3),
        "dkd-seed0": Metrics(accuracy=1.0, per_class=(1.0,) * 3),
    }
    print_per_class(measured, ["cat", "[bold]dog[/bold]", "emu"])
    rows = [line.split() for line in lines(capsys)]
    assert ["class", "[red]x-seed0", "dkd-seed0"] in rows, "a name is no markup"
    assert ["cat", "0.7012", "1"] in rows
    assert ["[bold]dog[/bold]", "0.7012", "1"] in rows
    assert ["emu", "1"] in rows, "a class without images has an empty cell"


def test_per_class_tables_are_complete_and_fit_eighty_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [f"distilled-seed{seed}" for seed in range(10)]
    print_per_class({name: metrics_of(12) for name in names})
    printed = lines(capsys)
    headings = [line.split() for line in printed if "class" in line]
    assert len(headings) > 1
    assert [name for line in headings for name in line[1:]] == names
    assert max(map(len, printed)) <= 80
    assert [line.split()[0] for line in printed if "0.7012" in line] == [
        *map(str, range(11))
    ] * len(headings), "without names of classes their numbers stand in the first column"


def test_per_class_shows_numbers_if_the_names_do_not_fit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_per_class({"kd-seed0": metrics_of(3)}, ["only", "two"])
    printed = capsys.readouterr().out
    assert "only" not in printed
    assert ["0", "0.7012"] in [line.split() for line in printed.splitlines()]


def test_list_shows_no_cards(capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"name": "kd", "parameters": 106826, "card": "long", "doc": "long", "options": {"t": 4}}
    print_list([entry], as_json=False)
    printed = capsys.readouterr().out
    assert "106,826" in printed
    assert "long" not in printed and "options" not in printed
    print_list([entry], as_json=True)
    assert json.loads(capsys.readouterr().out) == [entry]


def test_card_shows_facts_text_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    entry: dict[str, Any] = {
        "name": "kd",
        "needs": "logits",
        "card": "The card.",
        "options": {"t": 4},
    }
    print_card(entry, as_json=False)
    printed = lines(capsys)
    assert printed[:2] == ["name: kd", "needs: logits"]
    assert "The card." in printed and "Options" in printed
    assert ["t", "4"] in [line.split() for line in printed]
    print_card(entry, as_json=True)
    assert json.loads(capsys.readouterr().out) == entry


def test_measures_have_a_row_for_each_model_and_a_record_has_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    measures = {"teacher": {"latency": {"1": {"median_ms": 2.5}}}, "kd": {"size": 3}}
    print_measures(measures, as_json=False)
    rows = [line.split() for line in lines(capsys)]
    assert ["teacher", "2.5"] in rows and ["kd", "3"] in rows
    assert ["name", "latency", "1", "median", "ms", "size"] in rows
    print_record({"views": 1000, "empty": None}, as_json=False)
    assert ["1,000"] in [line.split() for line in lines(capsys)]


def test_cells_are_short() -> None:
    values = [None, True, False, 1234567, SEVENTEEN_DIGITS, [1, 2], "text"]
    texts = ["", "yes", "no", "1,234,567", "0.7012", "1, 2", "text"]
    assert [cell(value) for value in values] == texts


def test_flat_joins_keys_and_leaves_long_lists_out() -> None:
    nested = {"a": {"b": 1, "long": [0] * 9, "short": [0] * 8}, "c": 2}
    assert flat(nested) == {"a b": 1, "a short": [0] * 8, "c": 2}


def skewed() -> Metrics:
    labels = torch.tensor([0] * 30 + [1] * 6)
    logits = torch.eye(2)[torch.tensor([0] * 27 + [1] * 3 + [1] * 5 + [0])]
    return metrics(logits, labels)


def test_skewed_classes_have_their_figures_and_intervals(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_metrics({"distilled-seed0": replace(skewed(), nll=0.009492, agreement=0.1034)})
    printed = lines(capsys)
    assert max(map(len, printed)) <= 80
    assert any(line.split()[0] == "distilled-seed0" for line in printed if line.strip())
    headings = next(line for line in printed if line.strip()).split()
    assert headings[:6] == ["name", "accuracy", "balanced", "macro", "f1", "nll"]
    print_per_class({"kd-seed0": skewed()}, ["cat", "dog"])
    rows = [line.split() for line in lines(capsys)]
    assert ["class", "images", "kd-seed0"] in rows
    assert ["cat", "30", "0.9", "[0.7438,", "0.9654]"] in rows
    assert ["dog", "6", "0.8333", "[0.4365,", "0.9699]"] in rows


def test_per_class_tables_with_intervals_fit_eighty_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_per_class({f"distilled-seed{seed}": skewed() for seed in range(5)}, ["cat", "dog"])
    printed = lines(capsys)
    assert max(map(len, printed)) <= 80
    assert sum("[0.7438, 0.9654]" in line for line in printed) >= 2


def test_a_training_at_chance_is_stated(capsys: pytest.CaptureFixture[str]) -> None:
    labels = torch.tensor([0] * 30 + [1] * 6)
    majority = metrics(torch.eye(2)[torch.zeros(36, dtype=torch.int64)], labels)
    print_metrics({"teacher-seed0": majority, "kd-seed0": skewed()})
    notes = [line for line in lines(capsys) if "at chance" in line]
    assert len(notes) == 1 and notes[0].startswith("the teacher-seed0 is at chance: 83.3 %")
