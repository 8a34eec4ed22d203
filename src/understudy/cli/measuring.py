"""The commands on a finished run: evaluate, benchmark, report, diagnose."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from understudy.cli.checks import check_exists
from understudy.cli.options import AsJson
from understudy.errors import UnderstudyError

if TYPE_CHECKING:
    from understudy.evaluation.results import Metrics


def evaluate(
    path: Path,
    /,
    *,
    data: str | None = None,
    device: str = "auto",
    per_class: bool = False,
    as_json: AsJson = False,
) -> None:
    """Measure trained weights, or an exported file, on the test images.

    Args:
        path: a run's folder, one safetensors file in it, or a file that understudy export wrote.
        data: a local copy of the images.
        device: auto, cpu, cuda or cuda:N.
        per_class: print the accuracy on each class as well.
        as_json: print JSON, with every number.
    """
    check_exists(path)

    from understudy.export.artefact import is_artefact
    from understudy.files import to_json
    from understudy.terminal.tables import print_json, print_metrics, print_per_class

    if is_artefact(path):
        measured, names = _evaluate_artefact(path, data)
    else:
        from understudy.runs.remeasure import class_names, evaluate_run

        measured, names = evaluate_run(path, data=data, device=device), class_names(path)
    if as_json:
        print_json(to_json(measured))
        return
    print_metrics(measured)
    if per_class:
        print_per_class(measured, names)


def _evaluate_artefact(
    path: Path, data: str | None
) -> "tuple[Mapping[str, Metrics], tuple[str, ...]]":
    """The metrics of an exported file under its name, and its classes."""
    from understudy.export.remeasure import evaluate_artefact
    from understudy.terminal.progress import CountDisplay

    with CountDisplay("images") as display:
        measured, classes = evaluate_artefact(path, data=data, observer=display)
    return {path.name: measured}, classes


def benchmark(path: Path, /, *, threads: int = 1, as_json: AsJson = False) -> None:
    """Measure size, arithmetic and latency of a run's models, the models taking turns.

    Args:
        path: a run's folder.
        threads: CPU threads for each model.
        as_json: print JSON.
    """
    if threads < 1:
        raise UnderstudyError(f"--threads must be at least 1, not {threads}")
    check_exists(path)

    from understudy.files import to_json
    from understudy.runs.remeasure import benchmark_run
    from understudy.terminal.tables import print_measures

    print_measures(to_json(benchmark_run(path, threads=threads)), as_json)


def report(path: Path, /) -> None:
    """Write a run's figures and report.html again.

    Args:
        path: a run's folder.
    """
    check_exists(path)

    from understudy.report import write_report

    print(f"Report: {write_report(path)}")


def diagnose(
    run: Path,
    /,
    *,
    data: str | None = None,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
    device: str = "auto",
) -> None:
    """Find out why distillation did not help in a finished run, and which settings to change.

    Writes diagnosis.html, diagnosis.json and figures/diagnosis_*; opens no test image.

    Args:
        run: a run's folder.
        data: a local copy of the images, if they have moved since the run.
        json_file: write the findings and every number behind them to this file as well.
        device: auto, cpu, cuda or cuda:N.
    """
    check_exists(run)

    from rich.console import Console

    from understudy.diagnose import diagnose_run, write_diagnosis
    from understudy.files import write_bytes
    from understudy.terminal.diagnosis import terminal_text

    diagnosis = diagnose_run(run, data=data, device=device)
    page = write_diagnosis(diagnosis, run)
    if json_file is not None:
        write_bytes(json_file, diagnosis.to_json_text().encode())
    Console().print(terminal_text(diagnosis))
    print(f"Diagnosis: {page}")
