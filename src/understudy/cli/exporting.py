"""``understudy export``: a trained network as files for devices."""

from pathlib import Path

from understudy.cli.checks import check_exists
from understudy.cli.options import AsJson, CommandLine
from understudy.errors import UnderstudyError


def export(
    path: Path,
    /,
    *,
    to: str,
    out: Path | None = None,
    arm: str | None = None,
    seed: str = "best-val",
    data: str | None = None,
    max_drop: float = 0.5,
    accept_unproven: bool = False,
    as_json: AsJson = False,
    command_line: CommandLine,
) -> None:
    """Write a trained network for devices; every file is measured on the validation images first.

    Args:
        path: a run's folder, or one safetensors file in it.
        to: formats with commas between them: onnx, onnx-int8, openvino, executorch,
            executorch-int8, c, web, web-single, hub.
        out: the folder to write to; deploy in the run's folder by default.
        arm: which network of the run; distilled by default.
        seed: of its training, or best-val for the best on validation.
        data: a local copy of the images.
        max_drop: points of accuracy that an int8 file may lose.
        accept_unproven: accept an int8 file although there are too few images for a proof.
        as_json: print JSON.
    """
    from understudy.export.formats import formats_of

    check_exists(path)
    if not 0 <= max_drop <= 100:
        raise UnderstudyError(f"--max-drop takes points from 0 to 100, not {max_drop:g}")
    formats = formats_of(to)
    for entry in formats:
        entry.require()

    from understudy.export.driver import export_training
    from understudy.export.gate import Limits
    from understudy.export.source import open_source
    from understudy.files import to_json
    from understudy.runs.folder import RunFolder
    from understudy.terminal.exporting import show_export
    from understudy.terminal.progress import RunDisplay
    from understudy.terminal.tables import print_json

    source = open_source(path, arm, seed, data)
    folder = out or RunFolder(source.folder.path).deploy
    with RunDisplay() as display:
        results = export_training(
            source,
            formats,
            folder,
            limits=Limits(max_drop=max_drop / 100, accept_unproven=accept_unproven),
            command=command_line,
            observer=display,
        )
    if as_json:
        print_json(to_json(results))
    else:
        show_export(results, folder)
    rejected = [entry.file for entry in results.files if entry.verdict != "accepted"]
    if rejected:
        raise UnderstudyError(
            f"not accepted: {', '.join(rejected)} in {folder}; the table above has the reasons"
        )
