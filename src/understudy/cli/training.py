"""The commands that train: run, train, sweep."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.cli.checks import all_overrides, check_free, is_first_rank, show_data_note
from understudy.cli.exporting import export_files, required_formats, show_files
from understudy.cli.options import (
    INPUTS,
    RUN_EXECUTION,
    SEARCH,
    SWEEP_EXECUTION,
    CommandLine,
    Inputs,
    RunExecution,
    SearchOptions,
    SweepExecution,
)
from understudy.cli.tracking import followed
from understudy.errors import UnderstudyError, suggest
from understudy.runs.tracking import tracker_names

if TYPE_CHECKING:
    from understudy.config.schema import RunConfig
    from understudy.events import Observer


def run(
    recipe: str,
    /,
    *overrides: str,
    out: Path | None = None,
    inputs: Inputs = INPUTS,
    seeds: str | None = None,
    export: str | None = None,
    execution: RunExecution = RUN_EXECUTION,
    command_line: CommandLine,
) -> None:
    """Train teacher, baseline and distilled student on several seeds; measure, compare, report.

    Args:
        recipe: a name from `understudy recipes`, or a YAML file.
        overrides: changes of the recipe, such as method.temperature=2 train.epochs=30.
        out: the run's folder; runs/NAME by default.
        seeds: the seeds to train with, such as 0,1,2.
        export: formats to write the best distilled student in, as in understudy export --to.
    """
    from understudy.config.recipe import load_config

    workers, trackers = execution.most_workers, tracker_names(execution.track)
    formats = () if export is None else required_formats(export)
    config = load_config(recipe, all_overrides(overrides, inputs, seeds))
    show_data_note(recipe, config)
    folder = out or Path("runs", config.name)
    check_free(folder, folder, execution.resume)
    options: dict[str, Any] = {
        "device": execution.device,
        "workers": workers,
        "resume": execution.resume,
        "command": command_line,
        "together": execution.together,
        "go_on": execution.go_on,
    }
    if execution.folds is not None:
        if formats:
            raise UnderstudyError(
                "--folds trains many students, none of them on all images: leave out --export, and "
                "export the student of a run without --folds"
            )
        _run_folds(config, folder, execution.folds, options, trackers)
        return

    from understudy.experiment import run_experiment

    with _display() as display, followed(display, trackers, folder, config.name) as observer:
        results = run_experiment(config, folder, observer=observer, **options)
        if results is not None:
            observer.finish_run(results)
    if results is None:
        return

    from understudy.report import write_report
    from understudy.terminal.results import show_run

    exported = None
    if formats:
        exported = export_files(
            folder, formats, folder / "deploy", data=inputs.data, command=command_line
        )
    page = write_report(folder)
    show_run(results)
    print(f"Report: {page}")
    if exported is not None:
        show_files(exported, folder / "deploy")


def train(
    recipe: str,
    /,
    *overrides: str,
    arm: str = "distilled",
    seed: int = 0,
    out: Path | None = None,
    inputs: Inputs = INPUTS,
    device: str = "auto",
    resume: bool = False,
    track: str = "",
) -> None:
    """Train one network of a recipe: its teacher, or one student.

    Args:
        recipe: a name from `understudy recipes`, or a YAML file.
        overrides: changes of the recipe, such as method.temperature=2 train.epochs=30.
        arm: teacher, baseline, distilled, assistant1, or any other of the recipe's arms.
        seed: the seed of its initial weights and data order.
        out: the run's folder; runs/NAME by default.
        device: auto, cpu, cuda or cuda:N.
        resume: go on from the last finished epoch.
        track: where the numbers of every epoch go: tensorboard, mlflow, csv, or several.
    """
    trackers = tracker_names(track)
    from understudy.config.recipe import load_config
    from understudy.runs.folder import RunFolder, training_name
    from understudy.runs.plan import resolve_plan

    config = load_config(recipe, all_overrides(overrides, inputs))
    show_data_note(recipe, config)
    arms = list(resolve_plan(config).arms)
    if arm not in arms:
        raise UnderstudyError(f"unknown arm {arm!r}: {suggest(arm, arms)}")
    folder = out or Path("runs", config.name)
    paths, name = RunFolder(folder), training_name(arm, seed)
    check_free(paths.arm(name), folder, resume)

    from understudy.experiment import train_arm

    with _display() as display, followed(display, trackers, folder, config.name) as observer:
        result = train_arm(
            config, arm, seed, folder, device=device, resume=resume, observer=observer
        )
        observer.finish(arm, [result])
    if not is_first_rank():
        return
    print(f"{arm}, seed {seed}: {result.val.accuracy:.2%} on validation")
    print(f"Weights: {paths.weights(name)}")


def sweep(
    recipe: str,
    /,
    *overrides: str,
    out: Path | None = None,
    inputs: Inputs = INPUTS,
    seeds: str | None = None,
    search: SearchOptions = SEARCH,
    execution: SweepExecution = SWEEP_EXECUTION,
    command_line: CommandLine,
) -> None:
    """Try many settings with one teacher, choose by validation, test the best on fresh seeds.

    A key with a single value changes the recipe.

    Args:
        recipe: a name from `understudy recipes`, or a YAML file.
        overrides: values to try, such as method.temperature=1,2,3 or train.lr=log:1e-4..1e-2.
        out: the sweep's folder; runs/NAME-sweep by default.
        seeds: the seeds of each trial, such as 0,1,2.
    """
    from understudy.config.recipe import load_config
    from understudy.sweep.space import split_overrides

    workers, trackers = execution.most_workers, tracker_names(execution.track)
    space, changes = split_overrides(overrides)
    config = load_config(recipe, all_overrides(changes, inputs, seeds))
    show_data_note(recipe, config)
    if not space:
        raise UnderstudyError(
            "nothing to sweep: give several values for a key, such as method.temperature=1,2,3"
        )
    folder = out or Path("runs", f"{config.name}-sweep")
    check_free(folder, folder, execution.resume)

    from understudy.sweep.driver import run_sweep
    from understudy.terminal.sweep_progress import SweepDisplay

    with SweepDisplay() as display, followed(display, trackers, folder, config.name) as observer:
        results = run_sweep(
            config,
            space,
            folder,
            search=search.search,
            trials=search.trials,
            pruner=search.pruner,
            backend=search.backend,
            storage=search.storage,
            final_seeds=search.final_seed_numbers,
            device=execution.device,
            workers=workers,
            resume=execution.resume,
            command=command_line,
            observer=observer,
        )

    from understudy.report import write_report
    from understudy.terminal.results import show_sweep

    page = write_report(folder)
    show_sweep(results)
    print(f"Report: {page}")


def _run_folds(
    config: "RunConfig",
    folder: Path,
    folds: int,
    options: dict[str, Any],
    trackers: Sequence[str],
) -> None:
    """Cross-validate, write the report, and print what was found."""
    from understudy.cross_validation import run_folds

    with _display() as display, followed(display, trackers, folder, config.name) as observer:
        results = run_folds(config, folder, folds, observer=observer, **options)
    if results is None:
        return

    from understudy.report import write_report

    page = write_report(folder)
    for comparison in results.comparisons:
        print(comparison.verdict)
    print(f"Report: {page}")


@contextlib.contextmanager
def _display() -> "Iterator[Observer]":
    """The progress of trainings on standard error; on the first rank only."""
    from understudy.events import SILENT
    from understudy.terminal.progress import RunDisplay

    if not is_first_rank():
        yield SILENT
        return
    with RunDisplay() as display:
        yield display
