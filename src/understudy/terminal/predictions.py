"""Predictions on standard output: a table for people, plain lines, CSV or JSON for programs."""

import csv
import itertools
import json
from collections.abc import Iterable
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from understudy.export.predictions import Guess, Prediction

_FORMULA = ("=", "+", "-", "@")
"""A cell that starts so is a formula to a spreadsheet, which runs it."""


def visible(text: str) -> str:
    """The text on one line, with an escape in place of each character that is not seen.

    Names of files may hold any byte: commands for the terminal, line breaks, half a character.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def print_table(predictions: Iterable[Prediction], console: Console) -> None:
    """A table after the last prediction; nothing if there is none."""
    rows = list(predictions)
    if not rows:
        return
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    made.add_column("image", overflow="fold")
    made.add_column("class", overflow="fold")
    made.add_column("probability", justify="right")
    if any(len(row.top) > 1 for row in rows):
        made.add_column("then", overflow="fold")
    if any(row.teacher for row in rows):
        made.add_column("teacher", overflow="fold")
    for row in rows:
        first, *others = row.top
        cells = [visible(row.path), visible(first.name), f"{100 * first.probability:.1f} %"]
        if others:
            cells.append(", ".join(map(_percent, others)))
        if row.teacher is not None:
            cells.append(_percent(row.teacher))
        # Text: a name that looks like rich's [markup] is shown unchanged.
        made.add_row(*(Text(cell) for cell in cells))
    console.print(made)


def _percent(guess: Guess) -> str:
    return f"{visible(guess.name)} {100 * guess.probability:.1f} %"


def write_lines(predictions: Iterable[Prediction], out: TextIO) -> None:
    """For a file or a pipe: path, class and probability (and the teacher's), tabs between them."""
    for row in predictions:
        guesses = (row.top[0], row.teacher) if row.teacher else row.top[:1]
        cells = [(visible(guess.name), f"{guess.probability:.4f}") for guess in guesses if guess]
        out.write("\t".join([visible(row.path), *itertools.chain(*cells)]) + "\n")


def write_csv(predictions: Iterable[Prediction], out: TextIO, columns: int, teacher: bool) -> None:
    """``path,class,probability,class_2,probability_2,...``, a line for each image.

    Args:
        predictions: each is written at once.
        out: where to.
        columns: how many classes of each image.
        teacher: whether its class is there as well.
    """
    writer = csv.writer(out, lineterminator="\n")
    ranks = ["", *(f"_{rank}" for rank in range(2, columns + 1))]
    heading = [f"{key}{rank}" for rank in ranks for key in ("class", "probability")]
    of_teacher = ["teacher_class", "teacher_probability"] if teacher else []
    writer.writerow(["path", *heading, *of_teacher])
    for row in predictions:
        guesses = [*row.top, *([row.teacher] if row.teacher else [])]
        cells = itertools.chain(*((_harmless(g.name), g.probability) for g in guesses))
        writer.writerow([_harmless(row.path), *cells])


def _harmless(text: str) -> str:
    """A cell that no spreadsheet runs."""
    shown = visible(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def write_json(predictions: Iterable[Prediction], out: TextIO) -> None:
    """A list with one object for each image, a line each; complete even after an interruption."""
    before = "[\n"
    try:
        for row in predictions:
            out.write(before + json.dumps(_entry(row)))
            before = ",\n"
    finally:
        out.write("[]\n" if before == "[\n" else "\n]\n")


def _entry(row: Prediction) -> dict[str, object]:
    first = _plain(row.top[0])
    entry = {"path": row.path, **first, "top": [_plain(guess) for guess in row.top]}
    return entry | ({"teacher": _plain(row.teacher)} if row.teacher else {})


def _plain(guess: Guess) -> dict[str, object]:
    return {"class": guess.name, "probability": guess.probability}
