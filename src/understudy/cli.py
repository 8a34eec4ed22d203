"""The command line: parse, call, print. Everything heavy is imported inside the command that needs it."""

import contextlib
import difflib
import errno
import json
import os
import shlex
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from understudy.errors import UnderstudyError
from understudy.version import __version__

if TYPE_CHECKING:
    from rich.table import Table

    from understudy.config.schema import RunConfig
    from understudy.events import Observer
    from understudy.runs.results import RunResults
    from understudy.sweep.results import SweepResults

app = App(
    name="understudy",
    help="Teach a small image classifier to stand in for a large one, and measure whether it can.",
    help_epilogue="--debug, with any command, adds the traceback to an error.",
    help_format="plaintext",
    version=__version__,
    default_parameter=Parameter(negative=()),
)

CommandLine = Annotated[str, Parameter(parse=False)]
"""The command as it was typed; :func:`main` fills it in."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0, 2 for what the user can repair (one line on stderr), 130 after Ctrl-C.

    Args:
        argv: the arguments without the program's name; ``sys.argv[1:]`` by default.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    resumable = words[:1] in (["run"], ["train"], ["sweep"])
    try:
        command, bound, left_to_us = app.parse_args(words, exit_on_error=False, print_error=False)
        if "command_line" in left_to_us:
            bound.arguments["command_line"] = shlex.join(["understudy", *words])
        command(*bound.args, **bound.kwargs)
        sys.stdout.flush()
    except KeyboardInterrupt:
        hint = (
            "; the same command with --resume goes on from the last finished epoch"
            if resumable
            else ""
        )
        print(f"interrupted{hint}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of `understudy methods | head` has what it wanted. Python would complain again while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (UnderstudyError, CycloptsError, OSError) as error:
        if debug:
            traceback.print_exc()
        print(f"error: {_one_line(error, resumable)}", file=sys.stderr)
        return 2
    return 0


@contextlib.contextmanager
def _display() -> "Iterator[Observer]":
    """The progress of trainings on standard error; on the first rank only."""
    from understudy.events import SILENT
    from understudy.terminal.progress import RunDisplay

    if os.environ.get("RANK", "0") != "0":
        yield SILENT
        return
    with RunDisplay() as display:
        yield display


def _one_line(error: Exception, resumable: bool) -> str:
    if isinstance(error, OSError) and error.strerror:
        place = f": {error.filename}" if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "; free some, then repeat the command with --resume" if full and resumable else ""
        return f"{error.strerror}{place}{hint}"
    hint = " (see understudy --help)" if isinstance(error, CycloptsError) else ""
    return (" ".join(str(error).split()) or type(error).__name__) + hint


@app.command
def run(
    recipe: str,
    /,
    *overrides: str,
    out: Path | None = None,
    data: str | None = None,
    seeds: str | None = None,
    device: str = "auto",
    workers: Literal["auto"] | int = "auto",
    resume: bool = False,
    together: bool = False,
    command_line: CommandLine,
) -> None:
    """Train a teacher, a plain and a distilled student over several seeds; measure, compare and report.

    Args:
        recipe: a name from `understudy recipes`, or a YAML file.
        overrides: key=value pairs that change the recipe, such as method.temperature=2 train.epochs=30.
        out: the run's folder; runs/NAME by default.
        data: a local copy of the images.
        seeds: the seeds to train with, such as 0,1,2.
        device: auto, cpu, cuda or cuda:N.
        workers: how many trainings run at once; auto is one for each CPU core.
        resume: go on with the run in that folder.
        together: students of a seed take turns, sharing batches and the teacher's features: for many feature-based arms.
    """
    if workers != "auto" and workers < 1:
        raise UnderstudyError(f"--workers must be auto or at least 1, not {workers}")
    config = _load(recipe, overrides, data, seeds)
    folder = out or Path("runs", config.name)
    _check_free(folder, folder, resume)

    from understudy.experiment import run_experiment

    with _display() as display:
        results = run_experiment(
            config,
            folder,
            device=device,
            workers=None if workers == "auto" else workers,
            resume=resume,
            command=command_line,
            together=together,
            observer=display,
        )
    if results is not None:
        _show_results(results, folder)


@app.command
def train(
    recipe: str,
    /,
    *overrides: str,
    arm: str = "distilled",
    seed: int = 0,
    out: Path | None = None,
    data: str | None = None,
    device: str = "auto",
    resume: bool = False,
) -> None:
    """Train one network of a recipe: its teacher, or one student.

    Args:
        recipe: a name from `understudy recipes`, or a YAML file.
        overrides: key=value pairs that change the recipe, such as method.temperature=2 train.epochs=30.
        arm: teacher, baseline, distilled, assistant1, or any other of the recipe's arms.
        seed: the seed of its initial weights and data order.
        out: the run's folder; runs/NAME by default.
        data: a local copy of the images.
        device: auto, cpu, cuda or cuda:N.
        resume: go on from the last finished epoch.
    """
    from understudy.runs.folder import RunFolder, training_name
    from understudy.runs.plan import resolve_plan

    config = _load(recipe, overrides, data, None)
    arms = list(resolve_plan(config).arms)
    if arm not in arms:
        raise UnderstudyError(_unknown("arm", arm, arms))
    folder = out or Path("runs", config.name)
    paths, name = RunFolder(folder), training_name(arm, seed)
    _check_free(paths.arm(name), folder, resume)

    from understudy.experiment import train_arm

    with _display() as display:
        result = train_arm(
            config, arm, seed, folder, device=device, resume=resume, observer=display
        )
    if os.environ.get("RANK", "0") != "0":
        return
    print(f"{arm}, seed {seed}: {result.val.accuracy:.2%} on validation")
    print(f"Weights: {paths.weights(name)}")


@app.command
def sweep(
    recipe: str,
    /,
    *overrides: str,
    out: Path | None = None,
    data: str | None = None,
    seeds: str | None = None,
    final_seeds: str | None = None,
    search: Literal["grid", "random", "tpe"] = "grid",
    trials: int | None = None,
    pruner: Literal["none", "median", "hyperband"] = "none",
    backend: Literal["auto", "sequential", "fused", "processes", "ray"] = "auto",
    storage: str | None = None,
    device: str = "auto",
    workers: Literal["auto"] | int = "auto",
    resume: bool = False,
    command_line: CommandLine,
) -> None:
    """Try many settings of a recipe with one teacher, choose by validation, and test the best on fresh seeds.

    Args:
        recipe: a name from `understudy recipes`, or a YAML file.
        overrides: what to sweep, such as method.temperature=1,2,3 or train.lr=log:1e-4..1e-2; one value changes the recipe.
        out: the sweep's folder; runs/NAME-sweep by default.
        data: a local copy of the images.
        seeds: the seeds of each trial, such as 0,1,2.
        final_seeds: the seeds of the final comparison; fresh ones by default.
        search: how to choose trials.
        trials: how many, for random and tpe.
        pruner: end trials early that do badly.
        backend: what runs the trainings; auto measures which is fastest.
        storage: database URL of the study, which several machines may share; SQLite in the sweep's folder by default.
        device: auto, cpu, cuda or cuda:N.
        workers: how many trainings run at once; auto is one for each CPU core.
        resume: go on with the sweep in that folder.
    """
    if workers != "auto" and workers < 1:
        raise UnderstudyError(f"--workers must be auto or at least 1, not {workers}")

    from understudy.sweep.space import split_overrides

    space, plain = split_overrides(overrides)
    config = _load(recipe, plain, data, seeds)
    if not space:
        raise UnderstudyError(
            "nothing to sweep: give several values for a key, such as method.temperature=1,2,3"
        )
    folder = out or Path("runs", f"{config.name}-sweep")
    _check_free(folder, folder, resume)

    from understudy.sweep.driver import run_sweep
    from understudy.terminal.sweep_progress import SweepDisplay

    with SweepDisplay() as display:
        results = run_sweep(
            config,
            space,
            folder,
            search=search,
            trials=trials,
            pruner=pruner,
            backend=backend,
            storage=storage,
            final_seeds=None if final_seeds is None else _numbers(final_seeds, "--final-seeds"),
            device=device,
            workers=None if workers == "auto" else workers,
            resume=resume,
            command=command_line,
            observer=display,
        )
    _show_sweep(results, folder)


@app.command
def evaluate(
    path: Path,
    /,
    *,
    data: str | None = None,
    device: str = "auto",
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Measure trained weights on the test images.

    Args:
        path: a run's folder, or one safetensors file in it.
        data: a local copy of the images.
        device: auto, cpu, cuda or cuda:N.
        as_json: print JSON.
    """
    _check_exists(path)

    from understudy.files import to_json
    from understudy.runs.remeasure import evaluate_run

    _show_measures(to_json(evaluate_run(path, data=data, device=device)), as_json)


@app.command
def benchmark(
    path: Path, /, *, threads: int = 1, as_json: Annotated[bool, Parameter(name="--json")] = False
) -> None:
    """Measure size, arithmetic and latency of a run's models, the models taking turns.

    Args:
        path: a run's folder.
        threads: CPU threads for each model.
        as_json: print JSON.
    """
    if threads < 1:
        raise UnderstudyError(f"--threads must be at least 1, not {threads}")
    _check_exists(path)

    from understudy.files import to_json
    from understudy.runs.remeasure import benchmark_run

    _show_measures(to_json(benchmark_run(path, threads=threads)), as_json)


@app.command
def report(path: Path, /) -> None:
    """Write a run's figures and report.html again.

    Args:
        path: a run's folder.
    """
    _check_exists(path)

    from understudy.report import write_report

    print(f"Report: {write_report(path)}")


@app.command
def diagnose(
    run: Path,
    /,
    *,
    data: str | None = None,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
    device: str = "auto",
) -> None:
    """Say why distillation did not help in a finished run, with evidence and the settings to change.

    Writes diagnosis.html, diagnosis.json and figures/diagnosis_* into the run's folder. Opens no test image.

    Args:
        run: a run's folder.
        data: a local copy of the images, where they are not where the run found them.
        json_file: write the findings and every number behind them here as well.
        device: auto, cpu, cuda or cuda:N.
    """
    _check_exists(run)

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


@app.command
def recipes(
    name: str | None = None, /, *, as_json: Annotated[bool, Parameter(name="--json")] = False
) -> None:
    """List the recipes, or show one.

    Args:
        name: show this recipe.
        as_json: print JSON.
    """
    from understudy.config.recipe import load_config, recipe_names, recipe_text, to_mapping

    if name is None:
        _show_list(
            [{"name": each, "summary": _summary(recipe_text(each))} for each in recipe_names()],
            as_json,
        )
    elif as_json:
        _print_json(
            {
                "name": name,
                "summary": _summary(recipe_text(name)),
                "config": to_mapping(load_config(name)),
            }
        )
    else:
        print(recipe_text(name), end="")


cache = App(
    name="cache",
    help="Manage cached teacher outputs: build, inspect, verify, delete.",
    help_format="plaintext",
)
app.command(cache)


@cache.command(name="build")
def cache_build(
    run: Path, /, *, epochs: int | None = None, all_views: bool = False, device: str = "auto"
) -> None:
    """Compute a trained teacher's outputs for all views of a run, before its students are trained.

    Args:
        run: a run's folder.
        epochs: how many epochs' views; the recipe's number by default.
        all_views: every view there is, where the augmentation has finitely many.
        device: auto, cpu, cuda or cuda:N.
    """
    _check_exists(run)

    from understudy.runs.warm_cache import build_cache
    from understudy.terminal.progress import CountDisplay

    with CountDisplay("labelling") as display:
        built = build_cache(
            run, epochs=epochs, all_views=all_views, device=device, observer=display
        )
    print(f"{built['labelled']:,} views labelled")
    for folder in built["folders"]:
        print(f"Cache: {folder}")


@cache.command(name="inspect")
def cache_inspect(
    name: str | None = None, /, *, as_json: Annotated[bool, Parameter(name="--json")] = False
) -> None:
    """List the caches, or show what one was made of and how full it is.

    Args:
        name: a cache's folder, or the beginning of its name.
        as_json: print JSON.
    """
    from understudy.teachers.cache_admin import find_cache, inspect_cache, list_caches

    if name is not None:
        _show_measures(inspect_cache(find_cache(name)), as_json)
        return
    entries = list_caches()
    if as_json or entries:
        _show_list([{k: v for k, v in entry.items() if k != "parts"} for entry in entries], as_json)
    else:
        print("no teacher outputs are cached yet")


@cache.command(name="verify")
def cache_verify(name: str, /, *, run: Path | None = None, device: str = "auto") -> None:
    """Check every cached row's checksum and, given its run, a sample of rows against the live teacher.

    Args:
        name: a cache's folder, or the beginning of its name.
        run: the folder of a run that uses it.
        device: auto, cpu, cuda or cuda:N.
    """
    from understudy.runs.warm_cache import verify_cache
    from understudy.teachers.cache_admin import find_cache

    found = verify_cache(find_cache(name), run, device=device)
    print(f"{found['filled']:,} rows are sound, {found['empty']:,} are still empty")
    if found.get("compared"):
        print(
            f"{found['compared']:,} rows compared with the live teacher: largest difference {found['largest_difference']:.2g}"
        )


@cache.command(name="delete")
def cache_delete(name: str, /) -> None:
    """Delete a cache; it can be made again.

    Args:
        name: a cache's folder, or the beginning of its name.
    """
    from understudy.teachers.cache_admin import delete_cache, find_cache

    folder = find_cache(name)
    print(f"{folder} deleted, {delete_cache(folder) / 2**20:,.1f} MB freed")


@app.command
def models(
    name: str | None = None, /, *, as_json: Annotated[bool, Parameter(name="--json")] = False
) -> None:
    """List the networks, or explain one.

    Args:
        name: explain this network.
        as_json: print JSON.
    """
    from understudy.models import describe_model, describe_models

    if name is None:
        _show_list(describe_models(), as_json)
    else:
        _show_card(describe_model(name), as_json)


@app.command
def methods(
    name: str | None = None, /, *, as_json: Annotated[bool, Parameter(name="--json")] = False
) -> None:
    """List the distillation methods, or explain one.

    Args:
        name: explain this method.
        as_json: print JSON.
    """
    from understudy.methods import describe_methods

    entries = {entry["name"]: entry for entry in describe_methods()}
    if name is None and not as_json:
        _show_list(
            [
                {key: value for key, value in entry.items() if key != "summary"}
                for entry in entries.values()
            ],
            False,
        )
        print(
            "Parameters for the founding student and a teacher of 2.5 MB; cost of a step over that of plain training, measured."
        )
    elif name is None:
        _show_list(list(entries.values()), as_json)
    elif name in entries:
        _show_card(entries[name], as_json)
    else:
        raise UnderstudyError(_unknown("method", name, list(entries)))


def _load(
    recipe: str, overrides: Iterable[str], data: str | None, seeds: str | None
) -> "RunConfig":
    from understudy.config.recipe import load_config

    options = []
    if data is not None:
        options.append(
            f"data.path={json.dumps(data)}"
        )  # quoted: a path such as 2024 is not a number
    if seeds is not None:
        options.append(f"seeds=[{seeds}]")
    return load_config(recipe, [*overrides, *options])


def _check_free(target: Path, folder: Path, resume: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UnderstudyError(f"{folder} is a file: choose another --out")
    if os.environ.get("RANK", "0") != "0":
        return  # the first rank looks, and may have begun to write
    if not resume and target.is_dir() and any(target.iterdir()):
        raise UnderstudyError(
            f"{target} already holds a run: go on with it by --resume, or choose another --out"
        )


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise UnderstudyError(
            f"there is no {path}: give a folder that `understudy run` has written"
        )


def _unknown(kind: str, name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"unknown {kind} {name!r}: " + (
        f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
    )


def _summary(recipe: str) -> str:
    """The first paragraph of the comment that opens a recipe."""
    lines: list[str] = []
    for line in recipe.splitlines():
        text = line.removeprefix("#").strip()
        if not line.startswith("#") or (lines and not text):
            break
        lines.append(text)
    return " ".join(lines)


def _show_results(results: "RunResults", folder: Path) -> None:
    from rich.console import Console

    from understudy.report import write_report
    from understudy.report.run.table import terminal_table

    path = write_report(folder)
    Console().print(terminal_table(results))
    for comparison in results.comparisons:
        print(comparison.verdict)
    print(f"Report: {path}")


def _numbers(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UnderstudyError(
            f"{option} takes whole numbers with commas between them, such as 3,4,5, not {text}"
        ) from error


def _show_sweep(results: "SweepResults", folder: Path) -> None:
    """The best trials, what they mean, and where the report is."""
    from understudy.report import show_sweep, write_report

    path = write_report(folder)
    show_sweep(results)
    print(f"Report: {path}")


def _show_measures(measures: Mapping[str, Any], as_json: bool) -> None:
    """One row for each model of ``{model: {measure: value}}``, or one row for a single model's ``{measure: value}``."""
    if as_json:
        _print_json(measures)
        return
    several = all(isinstance(value, Mapping) for value in measures.values())
    rows = (
        [{"name": name, **_flat(value)} for name, value in measures.items()]
        if several
        else [_flat(measures)]
    )
    _print_table(rows)


def _show_list(entries: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    if as_json:
        _print_json(entries)
    else:
        _print_table([_facts(entry) for entry in entries])


def _show_card(entry: Mapping[str, Any], as_json: bool) -> None:
    """One network or method in full: short facts, the text of its card, a table of its options."""
    if as_json:
        _print_json(entry)
        return
    for key, value in _facts(entry).items():
        print(f"{key}: {_cell(value)}")
    text = entry.get("card") or entry.get("doc")
    if text:
        print(f"\n{text}")
    options = entry.get("options")
    if isinstance(options, Mapping):
        options = [{"name": option, "default": default} for option, default in options.items()]
    if options:
        print("\nOptions")
        _print_table(options)


def _facts(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in ("card", "doc", "options")}


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console

    Console().print(_table(rows))


def _table(rows: Sequence[Mapping[str, Any]]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        numeric = all(isinstance(row.get(column), (int, float, type(None))) for row in rows)
        table.add_column(
            column.replace("_", " "), justify="right" if numeric else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    return table


def _cell(value: Any) -> str:
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


def _flat(measures: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by a space; long lists (per class, per bin) are left to ``--json``."""
    flat: dict[str, Any] = {}
    for key, value in measures.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key} ")
        elif not (isinstance(value, (list, tuple)) and len(value) > 8):
            flat[f"{prefix}{key}"] = value
    return flat
