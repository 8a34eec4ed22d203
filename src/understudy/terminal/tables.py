"""Lists, cards and measures on standard output, as tables or as JSON."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from understudy.evaluation.chance import chance_note, is_skewed
from understudy.evaluation.results import Metrics

METRICS = ("accuracy", "nll", "ece", "agreement", "teacher_kl")
"""The numbers of :class:`~understudy.evaluation.results.Metrics` that are single ones."""
_OF_SKEWED_CLASSES = ("balanced_accuracy", "macro_f1")
"""Shown as well where classes differ in size."""
_METRIC_HEADINGS = {"balanced_accuracy": "balanced"}
MOST_IN_A_CELL = 8
"""Longer lists are left to ``--json``."""
_BETWEEN_COLUMNS = 3
"""Characters from one column to the next."""
_IN_FULL_ONLY = ("card", "doc", "options")
"""Entries of a network or method that only its card shows."""


def print_json(value: Any) -> None:
    """Plain JSON values, indented."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_list(entries: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """One row for each entry, without its card, text and options."""
    if as_json:
        print_json(entries)
    else:
        _print(table([without(entry, *_IN_FULL_ONLY) for entry in entries]))


def print_card(entry: Mapping[str, Any], as_json: bool) -> None:
    """One network or method in full: short facts, the text of its card, a table of its options."""
    if as_json:
        print_json(entry)
        return
    for key, value in without(entry, *_IN_FULL_ONLY).items():
        print(f"{key}: {cell(value)}")
    text = entry.get("card") or entry.get("doc")
    if text:
        print(f"\n{text}")
    options = entry.get("options")
    if isinstance(options, Mapping):
        options = [{"name": option, "default": default} for option, default in options.items()]
    if options:
        print("\nOptions")
        _print(table(options))


def print_measures(measures: Mapping[str, Mapping[str, Any]], as_json: bool) -> None:
    """One row for each model of ``{model: {measure: value}}``."""
    if as_json:
        print_json(measures)
    else:
        _print(table([{"name": name, **flat(value)} for name, value in measures.items()]))


def print_record(record: Mapping[str, Any], as_json: bool) -> None:
    """One row with the values of a mapping."""
    if as_json:
        print_json(record)
    else:
        _print(table([flat(record)]))


def print_metrics(measured: Mapping[str, Metrics]) -> None:
    """One row for each training, without its lists (per class, per bin of confidence).

    Below it a sentence for each training that is at chance.
    """
    names: tuple[str, ...] = METRICS
    if any(is_skewed(metrics.class_counts) for metrics in measured.values()):
        names = ("accuracy", *_OF_SKEWED_CLASSES, "nll", "agreement")  # 80 characters hold no more
    rows = []
    for name, metrics in measured.items():
        rows.append({"name": name} | {metric: getattr(metrics, metric) for metric in names})
    _print(table(rows, heading=lambda key: _METRIC_HEADINGS.get(key, key.replace("_", " "))))
    for name, metrics in measured.items():
        note = chance_note(name, [metrics])
        if note:
            Console(emoji=False).print(note, markup=False, highlight=False)


def print_per_class(measured: Mapping[str, Metrics], class_names: Sequence[str] = ()) -> None:
    """Accuracy on each class: a row for each class, a column for each training.

    Where classes differ in size also their numbers of images, and the 95 % intervals. Trainings
    that do not fit the width of the terminal follow in further tables.

    Args:
        measured: training -> its metrics.
        class_names: index = label; numbers stand for them if there are not as many as classes.
    """
    count = max((len(metrics.per_class) for metrics in measured.values()), default=0)
    labels = list(class_names) if len(class_names) == count else [str(i) for i in range(count)]
    trainings = list(measured)
    counts = next((m.class_counts for m in measured.values() if is_skewed(m.class_counts)), None)
    for names in _blocks(trainings, labels, Console().width, _WIDEST[counts is not None]):
        rows = []
        for index, label in enumerate(labels):
            row: dict[str, Any] = {"class": label}
            if counts:
                row["images"] = counts[index]
                row |= {name: _with_interval(measured[name], index) for name in names}
            else:
                row |= {name: measured[name].per_class[index] for name in names}
            rows.append(row)
        _print(table(rows, heading=str))


_WIDEST = {False: "0.1234", True: "0.1234 [0.1234, 0.1234]"}
"""The longest cell of an accuracy, without and with its interval."""


def _with_interval(metrics: Metrics, index: int) -> str:
    interval = metrics.per_class_interval and metrics.per_class_interval[index]
    if not interval:
        return cell(metrics.per_class[index])
    low, high = map(cell, interval)
    return f"{cell(metrics.per_class[index])} [{low}, {high}]"


def _blocks(
    names: Sequence[str], labels: Sequence[str], width: int, widest: str
) -> list[Sequence[str]]:
    """Names of columns in groups that fit ``width`` characters next to the labels.

    Args:
        names: of the columns.
        labels: of the rows.
        width: of the terminal.
        widest: the longest cell.
    """
    room = width - max(map(len, ["class", *labels]))
    each = max(map(len, [widest, *names])) + _BETWEEN_COLUMNS
    step = max(1, room // each)
    return [names[start : start + step] for start in range(0, len(names), step)]


def table(
    rows: Sequence[Mapping[str, Any]],
    heading: Callable[[str], str] = lambda key: key.replace("_", " "),
) -> Table:
    """A table for ``rich.print`` with a column for each key; a missing value is an empty cell.

    Args:
        rows: key -> value.
        heading: of a key's column.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        numeric = all(isinstance(row.get(column), (int, float, type(None))) for row in rows)
        # Text: a name that looks like rich's [markup] is shown unchanged.
        made.add_column(
            Text(heading(column)), justify="right" if numeric else "left", overflow="fold"
        )
    for row in rows:
        made.add_row(*(Text(cell(row.get(column))) for column in columns))
    return made


def cell(value: Any) -> str:
    """A value as text: four significant digits of a float, thousands of an int with commas."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


def flat(measures: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by a space, without long lists."""
    found: dict[str, Any] = {}
    for key, value in measures.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key} ")
        elif not (isinstance(value, (list, tuple)) and len(value) > MOST_IN_A_CELL):
            found[f"{prefix}{key}"] = value
    return found


def without(entry: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """A mapping without some of its keys."""
    return {key: value for key, value in entry.items() if key not in keys}


def _print(made: Table) -> None:

    Console(emoji=False).print(made)
