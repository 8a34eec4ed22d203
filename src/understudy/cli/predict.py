"""``understudy predict``: the classes of image files."""

import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from understudy.cli.checks import check_exists
from understudy.cli.options import AsJson
from understudy.errors import UnderstudyError, one_line

if TYPE_CHECKING:
    from understudy.export.inputs import ImageFiles
    from understudy.export.predictions import Prediction
    from understudy.export.runtime import Runtime

Form = Literal["table", "lines", "csv", "json"]


def predict(
    path: Path,
    /,
    *images: Annotated[str, Parameter(allow_leading_hyphen=True)],
    top: int = 5,
    as_csv: Annotated[bool, Parameter(name="--csv")] = False,
    as_json: AsJson = False,
    beside: Literal["teacher"] | None = None,
) -> None:
    """Classify images by an exported file, or by the student of a run; labels are never read.

    Args:
        path: a file that understudy export wrote, or a run's folder.
        images: files, folders, globs, or - for one image on standard input.
        top: how many classes to give for each image.
        as_csv: print CSV.
        as_json: print JSON, a list with one object for each image.
        beside: show the class of the run's teacher as well.
    """
    if top < 1:
        raise UnderstudyError(f"--top must be at least 1, not {top}")
    if as_csv and as_json:
        raise UnderstudyError("--csv and --json exclude each other: give one of them")
    if not images:
        raise UnderstudyError("no images: give files, folders, globs, or - for standard input")
    for word in images:
        if word.startswith("--") and not Path(word).exists():  # only `-` alone stands for an image
            raise UnderstudyError(f"unknown option {word}: see understudy predict --help")
    check_exists(path)

    from understudy.export.inputs import image_files

    given = image_files(images, sys.stdin.buffer)
    runtime, teacher = _open(path, beside)
    form: Form = "json" if as_json else "csv" if as_csv else "table"
    failures = _classify(given, runtime, teacher, top, form)
    if failures:
        raise UnderstudyError(f"{failures:,} of {len(given.images):,} images cannot be read")


def _open(path: Path, beside: str | None) -> "tuple[Runtime, Runtime | None]":
    """What classifies and, with ``beside``, its teacher."""
    from understudy.export.artefact import is_artefact, open_artefact

    if not is_artefact(path):
        from understudy.export.source import open_run

        return open_run(path), open_run(path, teacher=True) if beside else None
    runtime = open_artefact(path)
    if beside:
        run = runtime.card.origin.run
        raise UnderstudyError(
            f"{path} holds the student alone: for --beside teacher give the folder of the run "
            + (f"{run!r}, which has the teacher's weights" if run else "that trained it")
        )
    return runtime, None


def _classify(
    given: "ImageFiles", runtime: "Runtime", teacher: "Runtime | None", top: int, form: Form
) -> int:
    """Print the class of each image; returns how many could not be read."""
    from rich.console import Console

    from understudy.events import SILENT
    from understudy.export.predictions import BATCH, classify
    from understudy.terminal.predictions import (
        print_table,
        visible,
        write_csv,
        write_json,
        write_lines,
    )
    from understudy.terminal.progress import CountDisplay

    out = sys.stdout  # taken now: the display leads prints to standard error
    console = Console(file=out, emoji=False)
    if form == "table" and not console.is_terminal:
        form = "lines"
    display, failures = CountDisplay("classifying"), 0

    def failed(error: UnderstudyError) -> None:
        nonlocal failures
        failures += 1
        display.message(visible(one_line(error)))

    if given.passed_over:
        display.message(f"passed over, for they are no images: {given.passed_over:,}")
    # No bar among lines that go to the same terminal.
    has_bar = len(given.images) > BATCH and (form == "table" or not console.is_terminal)
    with display if has_bar else nullcontext():
        found: Iterable[Prediction] = classify(
            given.images,
            runtime,
            top=top,
            teacher=teacher,
            failed=failed,
            observer=display if has_bar else SILENT,
        )
        match form:
            case "table":
                found = list(found)  # printed after the bar
            case "lines":
                write_lines(found, out)
            case "csv":
                write_csv(found, out, min(top, len(runtime.card.classes)), teacher is not None)
            case "json":
                write_json(found, out)
    if form == "table":
        print_table(found, console)
    return failures
