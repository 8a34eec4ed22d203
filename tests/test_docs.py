"""The documentation teaches what the package does: commands, settings, names, blocks of Python."""

import inspect
import re
import runpy
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.documents import (
    ROOT,
    commands_in,
    commands_in_shell,
    documents,
    dotted_names_in,
    exists,
    files_in,
    is_defined,
    python_blocks,
    recipe_heads,
    settings_in,
    why_no_setting,
    why_refused,
)
from tests.test_layout import ROOMS
from tests.worlds import write_colours

import understudy
from understudy.methods.registry import METHODS
from understudy.runs.results import read_results
from understudy.sweep.results import read_sweep
from understudy.sweep.space import check_space, make_space

PAGES = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in documents()}
COMMANDS = [(page, command) for page, text in PAGES.items() for command in commands_in(text)]
COMMANDS += [
    (n, command) for n, text in recipe_heads().items() for command in commands_in_shell(text)
]
SETTINGS = [(page, words) for page, text in PAGES.items() for words in settings_in(text)]
REFUSED = {
    ("method.temperature=1,2", "method.temperature=3"),
    ("method={name: kd},{name: dkd}", "method.alpha=0.5"),
    ("teacher.path=pretrained",),
    ("teacher.head=linear-probe",),
    ("teacher.head=finetune",),
}
"""Settings that a page shows because they are refused, or that need a network with weights."""
WIDE = {"docs/methods.md", "docs/diagnosis.md", "docs/performance.md"}
"""Pages that programs write, in whole or in part."""
ELSEWHERE = {"utils.py", "helpers.py", "common.py", "student.py"}
"""Files that a page names because they must not exist, or because an export writes them."""


@pytest.fixture(autouse=True)
def margin(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The method of docs/adding-a-method.md, under its dotted path and in the table."""
    package, module = types.ModuleType("my_package"), types.ModuleType("my_package.margin")
    monkeypatch.setitem(sys.modules, "my_package", package)
    monkeypatch.setitem(sys.modules, "my_package.margin", module)
    exec(python_blocks(PAGES["docs/adding-a-method.md"])[0], module.__dict__)
    monkeypatch.setitem(METHODS, "margin", module.Margin)
    return module


@pytest.mark.parametrize(("page", "command"), dict.fromkeys(COMMANDS))
def test_command_is_accepted(page: str, command: str) -> None:
    assert why_refused(command) is None


@pytest.mark.parametrize(("page", "words"), dict.fromkeys(SETTINGS))
def test_settings_are_accepted_by_every_recipe(page: str, words: tuple[str, ...]) -> None:
    assert (why_no_setting(words) is not None) == (words in REFUSED), why_no_setting(words)


def test_every_kind_of_page_teaches_commands() -> None:
    pages = {page for page, _ in COMMANDS}
    assert {"README.md", "CONTRIBUTING.md", "docs/guide.md", "docs/sweeps.md"} <= pages
    assert {"docs/scale.md", "results/sweep-grid/README.md", "cifar10.yaml"} <= pages
    assert len(SETTINGS) > 25


@pytest.mark.parametrize(
    "command",
    [
        "understudy run cifar10 method=dkd method.beta=4",
        "understudy run cifar10 train.epoch=3",
        "understudy run cifar11",
        "understudy run cifar10 --seed 3",
        "understudy run RECIPE student.model.name=resnet21x",
        "understudy walk cifar10",
        "understudy sweep cifar10 method.temperature=3",
        "understudy sweep cifar10 'method.warmup=1,2'",
        "understudy sweep cifar10 ... --search best",
        "understudy train cifar10 --arm assistant1",
        "understudy methods kdd",
        "understudy cache look",
        "RAY_ADDRESS=HEAD:1 understudy sweep RECIPE 'train.lr=1e-3,x' --backend ray",
        "torchrun --nproc-per-node 2 -m understudy run RECIPE --gpu 1",
    ],
)
def test_planted_wrong_command_is_found(command: str) -> None:
    text = f"Try\n\n```\n$ {command}   # a comment\n```\n"
    assert [why_refused(found) is None for found in commands_in(text)] == [False]


def test_planted_wrong_command_in_a_sentence_is_found() -> None:
    found = list(commands_in("Then `understudy run cifar10\nmethod.beta=4`, as `method.x` says."))
    assert found == ["understudy run cifar10 method.beta=4"]
    assert "unknown key method.beta" in (why_refused(found[0]) or "")


def test_planted_wrong_setting_is_found() -> None:
    text = "Use `method.beta=4`, `arms: {a: {name: kdd}}` or `train.lr=log:1..2`; `x=3` is a sum."
    found = list(settings_in(text))
    assert found == [("method.beta=4",), ("arms={a: {name: kdd}}",), ("train.lr=log:1..2",)]
    assert [why_no_setting(words) is None for words in found] == [False, False, True]


def test_settings_that_were_taught_and_refused_are_accepted_now() -> None:
    assert why_refused("understudy run RECIPE method=dkd method.nckd_weight=4") is None
    assert why_refused("understudy run RECIPE student.model.name=resnet20") is None
    assert why_refused("understudy run RECIPE data.augment.randaugment=2") is None
    assert why_refused("understudy run RECIPE train.schedule=onecycle") is None


@pytest.fixture
def small_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Sixty images, small networks, six epochs, runs and sweeps that are only checked.

    Returns how often each function was called.
    """
    torch.manual_seed(0)  # whatever tests ran before, the small teachers learn the same
    images = write_colours(tmp_path / "colours.npz", contrast=120, size=(32, 32))
    load, create_model, calls = understudy.load_dataset, understudy.create_model, {}

    def replace(name: str, change: Any) -> None:
        signature = inspect.signature(getattr(understudy, name))
        original = getattr(understudy, name)

        def called(*args: Any, **options: Any) -> Any:
            bound = signature.bind(*args, **options)
            calls[name] = calls.get(name, 0) + 1
            return change(original, bound)

        monkeypatch.setattr(understudy, name, called)

    def small_network() -> Any:
        return create_model("tiny_wide", 3, widths=[4, 4, 8, 12])

    def build_small(original: Any, bound: inspect.BoundArguments) -> Any:
        original(*bound.args, **bound.kwargs)
        return small_network()

    def briefly(original: Any, bound: inspect.BoundArguments) -> Any:
        options = bound.arguments.pop("options", {})
        config = bound.arguments.pop("config", None)
        for role, given in bound.arguments.items():
            if role in ("network", "student") and isinstance(given, str):
                assert given in understudy.list_models()
                bound.arguments[role] = small_network()
        epochs = min(6, options.pop("epochs", 6) if config is None else config.epochs)
        settings = {} if config is None else {"lr": config.lr}
        small = settings | {"epochs": epochs, "batch_size": 10} | options
        return original(*bound.args, **bound.kwargs, **small)

    def check_sweep(original: Any, bound: inspect.BoundArguments) -> Any:
        check_space(bound.arguments["config"], make_space(bound.arguments["space"]))
        return read_sweep(ROOT / "results" / "sweep-grid")

    replace("load_dataset", lambda original, bound: load("npz", images))
    replace(
        "create_model",
        lambda original, bound: original(*bound.args, **bound.kwargs) and small_network(),
    )
    replace("train", briefly)
    replace("distill", briefly)
    replace("run_sweep", check_sweep)
    replace("run_experiment", lambda *_: read_results(ROOT / "results" / "cifar10"))
    replace("write_report", lambda original, bound: Path("report.html"))
    monkeypatch.chdir(tmp_path)
    return calls


BLOCKS = [
    pytest.param(block, id=f"{page}-{number}")
    for page, text in PAGES.items()
    for number, block in enumerate(python_blocks(text))
]


@pytest.mark.filterwarnings("ignore:the normalisation of the teacher")
@pytest.mark.parametrize("block", BLOCKS)
def test_block_of_python_runs(block: str, small_world: dict[str, int]) -> None:
    module = types.ModuleType("block")
    sys.modules["block"] = module
    try:
        exec(compile(block, "block", "exec"), module.__dict__)
    finally:
        del sys.modules["block"]
    called = [name for name in ("train", "run_experiment", "run_sweep") if f".{name}(" in block]
    assert set(called) <= set(small_world)


def test_planted_wrong_keyword_is_found(small_world: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="unexpected keyword"):
        exec("import understudy\nunderstudy.predict(None, None, batchsize=3)", {})
    with pytest.raises(TypeError, match="missing a required argument"):
        exec("import understudy\nunderstudy.train('resnet8')", {})


def test_the_methods_page_is_what_the_docstrings_say() -> None:
    METHODS.pop("margin")
    written = runpy.run_path(str(ROOT / "docs" / "write_methods.py"))
    assert PAGES["docs/methods.md"] == written["page"](), "run python docs/write_methods.py"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGES[page])
    assert [target for target in targets if not (folder / target).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_files_and_names_of_the_package_exist(page: str) -> None:
    text = PAGES[page]
    files = set(files_in(text)) - ELSEWHERE
    assert [name for name in files if not exists(name, ROOT / page)] == []
    assert [name for name in dotted_names_in(text) if not is_defined(name)] == []


def test_commands_of_make_exist() -> None:
    rules = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = {name for text in PAGES.values() for name in re.findall(r"[`\n]make (\w[\w-]*)", text)}
    assert {"run", "test", "mutants"} <= named <= rules


def test_the_way_of_a_run_is_that_of_the_code() -> None:
    """Every function of docs/concepts.md is in its file, and leads to the next one."""
    rows = re.findall(r"^\| \d+ \| `(.+?)` \| `(.+?)` \|", PAGES["docs/concepts.md"], re.M)
    package = ROOT / "src" / "understudy"
    sources = [(package / file).read_text(encoding="utf-8") for file, _ in rows]
    for (file, function), source in zip(rows, sources, strict=True):
        assert re.search(rf"^ *def {function}\(", source, re.M), f"{file} has no {function}"
    for number, (_, function) in enumerate(rows[1:], start=1):
        folders = (package / "cli", package / "execution")
        others = [path.read_text() for folder in folders for path in folder.glob("*.py")]
        before = "".join([*sources[:number], *others])
        assert re.search(rf"(?<!def ){function}\(", before), f"nothing calls {function}"


def test_the_way_of_a_run_goes_down_through_the_rooms() -> None:
    rows = re.findall(r"^\| \d+ \| `(.+?)` \| `(.+?)` \|", PAGES["docs/concepts.md"], re.M)
    # What reads and resolves the configuration is called on the way, and returns.
    aside = ("load_config", "resolve_plan")
    files = [file for file, function in rows if function not in aside]
    rooms = [file.removesuffix(".py").partition("/")[0] for file in files]
    floors = [ROOMS.index(room) for room in rooms]
    assert floors == sorted(floors, reverse=True)
    assert list(dict.fromkeys(rooms)) == ["cli", "experiment", "execution", "runs", "training"]


def test_rooms_of_the_pages_are_those_of_the_layout() -> None:
    rooms = [room for room in ROOMS if not room.startswith("_")]
    table = PAGES["docs/concepts.md"].partition("| room |")[2].partition("\n\n")[0]
    cells = " ".join(row.split("|")[1] for row in table.splitlines()[2:])
    assert sorted(re.findall(r"`(\w+)`", cells)) == sorted(rooms)
    drawn = re.search(r"```\n(version.*?)```", PAGES["CONTRIBUTING.md"], re.DOTALL)
    assert drawn is not None and drawn[1].split() == rooms


def test_pages_fit_into_a_hundred_columns() -> None:
    """Except tables, pages that programs write, and the records of measurements in results."""
    checked = [page for page in PAGES if page not in WIDE and not page.startswith("results")]
    long = [
        f"{page}:{number}"
        for page in checked
        for number, line in enumerate(PAGES[page].splitlines(), start=1)
        if len(line) > 100 and not line.startswith("|")
    ]
    assert long == []
