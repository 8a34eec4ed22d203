"""The command line in-process: what it parses, calls and prints, and how it fails."""

import errno
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from understudy import cli
from understudy.cli.catalogue import recipe_summary
from understudy.config import recipe as recipe_module
from understudy.config.recipe import load_config, recipe_names
from understudy.config.schema import RunConfig
from understudy.errors import UnderstudyError
from understudy.evaluation.results import Metrics
from understudy.version import __version__

RECIPE = """\
# A tiny recipe
# for these tests.
#
# Not this paragraph.
name: tiny
data: {source: digits}
seeds: [0]
method: {name: kd}
"""
RESULTS = SimpleNamespace(
    name="tiny",
    comparisons=[
        SimpleNamespace(verdict="distillation helped by +1.5 points [0.9, 2.1] over 3 seeds")
    ],
    slices=[],
    chance_notes=[],
    data=SimpleNamespace(num_skipped=0),
)


class Calls:
    """Stands in for what the commands call, and records the arguments."""

    def __init__(self) -> None:
        self.seen: dict[str, dict[str, Any]] = {}

    def run_experiment(self, run_config: RunConfig, out: Path, **options: Any) -> SimpleNamespace:
        self.seen["run"] = {"config": run_config, "out": out, **options}
        return RESULTS

    def run_sweep(
        self, run_config: RunConfig, space: list[Any], out: Path, **options: Any
    ) -> SimpleNamespace:
        self.seen["sweep"] = {"config": run_config, "space": space, "out": out, **options}
        return SimpleNamespace(final=SimpleNamespace(verdict="distillation helped"))

    def train_arm(
        self, run_config: RunConfig, arm: str, seed: int, out: Path, **options: Any
    ) -> SimpleNamespace:
        self.seen["train"] = {"config": run_config, "arm": arm, "seed": seed, "out": out, **options}
        return SimpleNamespace(val=SimpleNamespace(accuracy=0.875))

    def evaluate_run(self, path: Path, **options: Any) -> dict[str, Metrics]:
        self.seen["evaluate"] = {"path": path, **options}
        return {
            "baseline-seed0": Metrics(
                accuracy=0.75, per_class=(0.70123456789012345,) * 3, correct="4:4A=="
            ),
            "distilled-seed0": Metrics(accuracy=0.8125, per_class=(0.5, 1.0, None), ece=0.0625),
        }

    def benchmark_run(self, path: Path, **options: Any) -> dict[str, Any]:
        self.seen["benchmark"] = {"path": path, **options}
        return {"teacher": {"parameters": 4664970, "latency": {"1": {"median_ms": 2.5}}}}

    def show_sweep(self, results: SimpleNamespace) -> None:
        print(f"table of a sweep: {results.final.verdict}")

    def run_table(self, results: SimpleNamespace) -> str:
        return f"table of {results.name}"

    def write_report(self, run: Path) -> Path:
        self.seen["report"] = {"run": run}
        return run / "report.html"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    modules = {
        "understudy.experiment": ["run_experiment", "train_arm"],
        "understudy.runs.remeasure": ["evaluate_run", "benchmark_run"],
        "understudy.report": ["write_report"],
        "understudy.sweep.driver": ["run_sweep"],
        "understudy.terminal.results": ["run_table", "show_sweep"],
    }
    for module, functions in modules.items():
        for function in functions:
            monkeypatch.setattr(f"{module}.{function}", getattr(calls, function))
    return calls


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A recipe file in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(RECIPE, encoding="utf-8")
    return "tiny.yaml"


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def failing_recipe_names() -> list[str]:
        raise error

    monkeypatch.setattr(recipe_module, "recipe_names", failing_recipe_names)


def error_of(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line that a failing command prints."""
    assert cli.main(argv) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    return printed.err


def test_run_passes_everything_on(
    calls: Calls, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [
        "run",
        recipe,
        "train.lr=1e-3",
        "--seeds",
        "4,2",
        "--data",
        "2024",
        "method.temperature=2",
        "--out",
        "my run",
        "--workers",
        "3",
    ]
    assert cli.main([*argv, "--device", "cpu"]) == 0
    seen = calls.seen["run"]
    assert seen["config"].train.lr == 1e-3
    assert seen["config"].method == {"name": "kd", "temperature": 2}
    assert seen["config"].seeds == (4, 2)
    assert seen["config"].data.path == "2024"  # a path, although it looks like a number
    assert (seen["out"], seen["device"], seen["workers"], seen["resume"]) == (
        Path("my run"),
        "cpu",
        3,
        False,
    )
    assert seen["command"].startswith("understudy run tiny.yaml train.lr=1e-3 --seeds 4,2")
    assert "--out 'my run'" in seen["command"]
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "table of tiny",
        RESULTS.comparisons[0].verdict,
        "Report: my run/report.html",
    ]


def test_run_defaults(calls: Calls, recipe: str) -> None:
    assert cli.main(["run", recipe]) == 0
    seen = calls.seen["run"]
    assert (seen["out"], seen["device"], seen["workers"], seen["resume"]) == (
        Path("runs/tiny"),
        "auto",
        None,
        False,
    )
    assert seen["config"] == load_config(recipe)


def test_a_run_is_not_overwritten(
    calls: Calls, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("runs/tiny").mkdir(parents=True)
    assert cli.main(["run", recipe]) == 0, "an empty folder is free"
    capsys.readouterr()
    Path("runs/tiny/config.yaml").touch()
    message = error_of(capsys, "run", recipe)
    assert "--resume" in message
    assert "--out" in message
    assert cli.main(["run", recipe, "--resume"]) == 0
    assert calls.seen["run"]["resume"] is True
    capsys.readouterr()
    assert "is a file" in error_of(capsys, "run", recipe, "--out", recipe)


def test_train_one_arm(calls: Calls, recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs/tiny/arms/teacher-seed0").mkdir(parents=True)
    Path("runs/tiny/arms/teacher-seed0/checkpoint.pt").touch()
    assert cli.main(["train", recipe, "--arm", "baseline", "--seed", "3"]) == 0, (
        "another arm of the same run may exist"
    )
    seen = calls.seen["train"]
    assert (seen["arm"], seen["seed"], seen["out"], seen["resume"]) == (
        "baseline",
        3,
        Path("runs/tiny"),
        False,
    )
    assert "87.50%" in capsys.readouterr().out
    assert "already holds" in error_of(capsys, "train", recipe, "--arm", "teacher")
    assert "did you mean baseline?" in error_of(capsys, "train", recipe, "--arm", "basline")


def test_sweep_separates_dimensions_from_single_values(
    calls: Calls, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [
        "sweep",
        recipe,
        "method.temperature=1,2",
        "train.lr=log:1e-4..1e-2",
        "train.epochs=3",
        "--seeds",
        "0,1",
    ]
    assert (
        cli.main(
            [
                *argv,
                "--search",
                "tpe",
                "--trials",
                "9",
                "--pruner",
                "median",
                "--final-seeds",
                "7,8",
            ]
        )
        == 0
    )
    seen = calls.seen["sweep"]
    assert [d.key for d in seen["space"]] == ["method.temperature", "train.lr"]
    assert (seen["config"].train.epochs, seen["config"].seeds, seen["out"]) == (
        3,
        (0, 1),
        Path("runs/tiny-sweep"),
    )
    assert (seen["search"], seen["trials"], seen["pruner"], seen["final_seeds"]) == (
        "tpe",
        9,
        "median",
        [7, 8],
    )
    assert (seen["backend"], seen["storage"], seen["workers"], seen["resume"]) == (
        "auto",
        None,
        None,
        False,
    )
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "table of a sweep: distillation helped",
        "Report: runs/tiny-sweep/report.html",
    ]
    assert calls.seen["report"] == {"run": Path("runs/tiny-sweep")}


def test_evaluate_and_benchmark_print_tables_and_json(
    calls: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path)
    assert cli.main(["evaluate", run, "--data", "images"]) == 0
    table = capsys.readouterr().out
    assert "0.8125" in table
    assert "per class" not in table, "long lists are for --json"
    assert "0.7012" not in table
    assert calls.seen["evaluate"] == {"path": tmp_path, "data": "images", "device": "auto"}
    assert cli.main(["evaluate", run, "--per-class"]) == 0
    with_classes = capsys.readouterr().out
    assert with_classes.startswith(table)
    assert ["0", "0.7012", "0.5"] in [line.split() for line in with_classes.splitlines()]
    assert cli.main(["evaluate", run, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["distilled-seed0"]["per_class"] == [0.5, 1.0, None]
    assert cli.main(["benchmark", run, "--threads", "2"]) == 0
    assert "4,664,970" in capsys.readouterr().out
    assert calls.seen["benchmark"]["threads"] == 2
    assert cli.main(["benchmark", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["teacher"]["latency"]["1"]["median_ms"] == 2.5
    assert cli.main(["report", run]) == 0
    assert capsys.readouterr().out == f"Report: {tmp_path / 'report.html'}\n"


@pytest.mark.parametrize("command", ["evaluate", "benchmark", "report"])
def test_a_missing_run_is_named(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no nowhere" in error_of(capsys, command, "nowhere")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["runn", "x"], 'Did you mean "run"?'),
        (["run"], "RECIPE requires an argument"),
        (["run", "tiny.yaml", "--sedes", "1"], "--seeds"),
        (["run", "tiny.yaml", "train.epocs=3"], "did you mean train.epochs?"),
        (["run", "tiny.yaml", "epochs"], "key=value"),
        (["run", "tiny.yaml", "--seeds", "0,x"], "seeds"),
        (["run", "tiny.yaml", "--workers", "0"], "--workers must be auto or at least 1"),
        (["run", "tiny.yaml", "--workers", "some"], "--workers"),
        (["run", "absent.yaml"], "absent.yaml"),
        (["run", "--data", "my photos"], "`understudy init 'my photos'`"),
        (["sweep", "--data=photos"], "`understudy init photos`"),
        (["run"], "`understudy recipes`"),
        (["run", "."], ". is a folder, not a recipe: `understudy init .` writes"),
        (["run", "no-such-recipe"], "unknown recipe 'no-such-recipe'"),
        (["train", "tiny.yaml", "--seed", "x"], "--seed"),
        (["sweep", "tiny.yaml", "train.lr=1e-3"], "nothing to sweep"),
        (["sweep", "tiny.yaml", "train.lr=1,2", "--search", "gird"], "--search"),
        (
            ["sweep", "tiny.yaml", "train.lr=1,2", "--final-seeds", "a"],
            "--final-seeds takes whole numbers",
        ),
        (["benchmark", ".", "--threads", "0"], "--threads must be at least 1"),
        (["benchmark", ".", "--threads", "1,2"], "need --runtimes"),
        (["benchmark", ".", "--batch", "1"], "--batch and --data need --runtimes"),
        (["benchmark", ".", "--data", "x"], "--batch and --data need --runtimes"),
        (["benchmark", ".", "--runtimes", "onx"], "did you mean onnx?"),
        (
            ["benchmark", ".", "--runtimes", "torch", "--batch", "1;2"],
            "--batch takes whole numbers",
        ),
        (["benchmark", ".", "--runtimes", "torch", "--threads", "999"], "is more than the"),
        (["benchmark", "nowhere", "--runtimes", "torch"], "there is no nowhere"),
        (["methods", "kdd"], "did you mean kd?"),
        (["models", "resnet2"], "did you mean resnet"),
        (["recipes", "no-such-recipe"], "unknown recipe"),
    ],
)
def test_mistakes_get_one_line(
    argv: list[str], says: str, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in error_of(capsys, *argv)


def test_debug_adds_the_traceback_at_any_place(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--debug", "report", "nowhere"], ["report", "nowhere", "--debug"]):
        assert cli.main(argv) == 2
        printed = capsys.readouterr().err
        assert "Traceback" in printed
        assert printed.splitlines()[-1].startswith("error: there is no nowhere")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/out"),
            "error: Permission denied: /out\n",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "/out/x"),
            "error: No space left on device: /out/x; "
            "free some, then repeat the command with --resume\n",
        ),
        (OSError("bare"), "error: bare\n"),
        (UnderstudyError("two\n  lines"), "error: two lines\n"),
    ],
)
def test_errors_from_outside_get_one_line(
    error: Exception, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, error)
    assert cli.main(["run", "any.yaml"]) == 2
    assert capsys.readouterr().err == line


def test_our_own_mistakes_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["recipes"])


def test_interrupt(
    calls: Calls, recipe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("understudy.experiment.run_experiment", interrupted)
    assert cli.main(["run", recipe]) == 130
    assert (
        capsys.readouterr().err
        == "interrupted; the same command with --resume goes on from the last finished epoch\n"
    )
    failing(monkeypatch, KeyboardInterrupt())
    assert cli.main(["recipes"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__
    assert cli.main([]) == 0
    overview = capsys.readouterr().out
    for command in (
        "run",
        "train",
        "sweep",
        "evaluate",
        "benchmark",
        "report",
        "recipes",
        "models",
        "methods",
    ):
        assert f"│ {command} " in overview
        assert cli.main([command, "--help"]) == 0
        assert "Usage: understudy" in capsys.readouterr().out


def test_recipe_summary_is_its_first_comment_paragraph() -> None:
    assert recipe_summary(RECIPE) == "A tiny recipe for these tests."
    assert recipe_summary("name: x\n# later\n") == ""


def test_recipes(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["recipes", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in listed] == recipe_names()
    assert all(each["summary"] for each in listed), "a recipe opens with a comment"
    assert cli.main(["recipes", recipe]) == 0
    assert capsys.readouterr().out == RECIPE
    assert cli.main(["recipes", recipe, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["config"]["seeds"] == [0]
    assert shown["config"]["train"]["batch_size"] == 128, "resolved: defaults are written out"


def test_methods(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["methods", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"ce", "kd"} <= {each["name"] for each in listed}
    assert all({"name", "reference", "needs"} <= set(each) for each in listed)
    assert cli.main(["methods"]) == 0
    assert "Hinton" in capsys.readouterr().out
    assert cli.main(["methods", "kd"]) == 0
    card = capsys.readouterr().out
    assert "needs: logits" in card
    assert "temperature" in card
    assert "Options" in card


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == 0
    assert "106,826" in capsys.readouterr().out
    assert cli.main(["models", "resnet20", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == 272_474
    assert cli.main(["models", "founding_student"]) == 0
    assert "parameters: 106,826" in capsys.readouterr().out
