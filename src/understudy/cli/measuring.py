"""The commands on a finished run: evaluate, benchmark, report, diagnose."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from understudy.cli.checks import check_exists
from understudy.cli.options import AsJson, CommandLine
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
        # Not which images were right, packed for results.json: text that nobody reads.
        shown = {name: replace(metrics, correct=None) for name, metrics in measured.items()}
        print_json(to_json(shown))
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


def benchmark(
    path: Path,
    /,
    *,
    runtimes: str | None = None,
    threads: str = "1",
    batch: str | None = None,
    data: str | None = None,
    as_json: AsJson = False,
    command_line: CommandLine,
) -> None:
    """Measure size, arithmetic and latency of a run's models, the models taking turns.

    With --runtimes it measures what is deployed, the student and its teacher in each runtime:
    bytes, start, latency, memory and energy, from uint8 images to probabilities.

    Args:
        path: a run's folder.
        runtimes: torch, torch-compile, onnx, onnx-int8, openvino, executorch, executorch-int8, with
            commas between them; or all, which measures those that are installed.
        threads: CPU threads for each model; with --runtimes also several numbers, such as 1,2.
        batch: with --runtimes, images in a call; 1,128 by default.
        data: with --runtimes, a local copy of the images, with which int8 files are calibrated.
        as_json: print JSON.
    """
    counts = _counts("--threads", threads)
    if runtimes is not None:
        _benchmark_runtimes(path, runtimes, counts, batch, data, as_json, command_line)
        return
    if batch is not None or data is not None:
        raise UnderstudyError("--batch and --data need --runtimes, such as --runtimes all")
    if len(counts) > 1:
        raise UnderstudyError("several numbers of --threads need --runtimes, such as all")
    check_exists(path)

    from understudy.files import to_json
    from understudy.runs.remeasure import benchmark_run
    from understudy.terminal.tables import print_measures

    print_measures(to_json(benchmark_run(path, threads=counts[0])), as_json)


def _benchmark_runtimes(
    path: Path,
    runtimes: str,
    threads: tuple[int, ...],
    batch: str | None,
    data: str | None,
    as_json: bool,
    command_line: str,
) -> None:
    from understudy.export.contenders import contenders_of

    batches = _counts("--batch", batch or "1,128")
    contenders, missing = contenders_of(runtimes)
    check_exists(path)

    from understudy.export.benchmark import BenchmarkSettings, benchmark_training
    from understudy.export.source import open_source
    from understudy.files import to_json
    from understudy.terminal.deploy_benchmark import show_benchmark
    from understudy.terminal.progress import RunDisplay
    from understudy.terminal.tables import print_json

    settings = BenchmarkSettings(threads=threads, batches=batches)
    source = open_source(path, data=data)
    with RunDisplay() as display:
        results = benchmark_training(
            source,
            contenders,
            missing,
            settings=settings,
            command=command_line,
            observer=display,
        )
    if as_json:
        print_json(to_json(results))
    else:
        show_benchmark(results)


def _counts(option: str, text: str) -> tuple[int, ...]:
    """Numbers of at least 1 with commas between them, each once."""
    try:
        numbers = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UnderstudyError(
            f"{option} takes whole numbers with commas between them, such as 1,2, not {text}"
        ) from None
    if min(numbers) < 1:
        raise UnderstudyError(f"{option} must be at least 1, not {min(numbers)}")
    return numbers


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
    Console(emoji=False).print(terminal_text(diagnosis))
    print(f"Diagnosis: {page}")
