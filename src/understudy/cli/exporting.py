"""``understudy export``: a trained network as files for devices."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.cli.checks import check_exists
from understudy.cli.options import EXPORT, AsJson, CommandLine, ExportOptions
from understudy.errors import UnderstudyError

if TYPE_CHECKING:
    from understudy.evaluation.deployment import ExportResults
    from understudy.export.formats import Format


def export(
    path: Path,
    /,
    *,
    to: str,
    out: Path | None = None,
    data: str | None = None,
    options: ExportOptions = EXPORT,
    as_json: AsJson = False,
    command_line: CommandLine,
) -> None:
    """Write a trained network for devices; every file is measured on the validation images first.

    Args:
        path: a run's folder, or one safetensors file in it.
        to: onnx, onnx-int8, openvino, executorch, executorch-int8, c, web, web-single, hub; several
            with commas between them.
        out: the folder to write to; deploy in the run's folder by default.
        data: a local copy of the images.
        as_json: print JSON.
    """
    check_exists(path)
    formats = required_formats(to)
    if not 0 <= options.max_drop <= 100:
        raise UnderstudyError(f"--max-drop takes points from 0 to 100, not {options.max_drop:g}")
    run = path if path.is_dir() else path.parent.parent
    folder = out or run / "deploy"
    results = export_files(path, formats, folder, data=data, command=command_line, options=options)
    if as_json:
        from understudy.files import to_json
        from understudy.terminal.tables import print_json

        print_json(to_json(results))
        check_accepted(results, folder)
    else:
        show_files(results, folder)


def required_formats(names: str) -> "Sequence[Format]":
    """The formats of ``--to``, their packages found.

    Raises:
        UnderstudyError: for an unknown format, or a package that is missing.
    """
    from understudy.export.formats import formats_of

    formats = formats_of(names)
    for entry in formats:
        entry.require()
    return formats


def export_files(
    path: Path,
    formats: "Sequence[Format]",
    out: Path,
    *,
    data: str | None,
    command: str,
    options: ExportOptions = EXPORT,
) -> "ExportResults":
    """Export a training of a run, with its progress on standard error."""
    from understudy.export.driver import export_training
    from understudy.export.gate import Limits
    from understudy.export.source import open_source
    from understudy.terminal.progress import RunDisplay

    source = open_source(path, options.arm, options.seed, data)
    limits = Limits(max_drop=options.max_drop / 100, accept_unproven=options.accept_unproven)
    with RunDisplay() as display:
        return export_training(
            source, formats, out, limits=limits, command=command, observer=display
        )


def show_files(results: "ExportResults", out: Path) -> None:
    """Print what was exported.

    Raises:
        UnderstudyError: if a file was not accepted.
    """
    from understudy.terminal.exporting import show_export

    show_export(results, out)
    check_accepted(results, out)


def check_accepted(results: "ExportResults", out: Path) -> None:
    """Raises UnderstudyError if a file was not accepted: scripts must not ship it unseen."""
    rejected = [entry for entry in results.files if entry.verdict != "accepted"]
    if rejected:
        reasons = "; ".join(f"{entry.format} is {entry.verdict}" for entry in rejected)
        raise UnderstudyError(f"{reasons}: look at {rejected[0].file} and export.json in {out}")
