"""The shape of the package: rooms in a strict order, no circle between files, small functions,
public names that explain."""

import ast
import inspect
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import understudy

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "understudy"

ROOMS = (
    "version",
    "errors",
    "files",
    "cores",
    "events",
    "kernels",
    "config",
    "data",
    "models",
    "teachers",
    "methods",
    "evaluation",
    "training",
    "runs",
    "execution",
    "experiment",
    "cross_validation",
    "proposal",
    "sweep",
    "report",
    "diagnose",
    "export",
    "terminal",
    "api",
    "cli",
    "__main__",
    "__init__",
)
"""The modules and folders of the package from the lowest to the highest: each imports only those
before it."""

MOST_LINES = 400
"""Of a file."""
MOST_CODE = 80
"""Lines of a function without its docstring."""
MOST_PARAMETERS = 8
"""Of a function, without ``self`` and ``cls``."""
LONG_FILES: dict[str, str] = {}
"""File -> why it is longer than the limit. This list only gets shorter."""
LONG_FUNCTIONS: dict[str, str] = {
    "data/loader.py:__init__": "nine independent facts of a rank's batches, all given by keyword",
    "models/fast.py:fast_teacher": "a network's options are its parameters: `understudy models`",
    "models/fast.py:__init__": "the same options",
}
"""``file:function`` -> why it is longer, or has more parameters, than the limits. This list only
gets shorter."""


def source_files(package: Path = PACKAGE) -> list[Path]:
    return sorted(package.rglob("*.py"))


def module_name(path: Path, package: Path = PACKAGE) -> str:
    """``understudy.data.loader`` for ``data/loader.py``, ``understudy.data`` for
    ``data/__init__.py``."""
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(("understudy", *(part for part in parts if part != "__init__")))


def room_of(module: str) -> str:
    """The top-level module or folder of a module; ``__init__`` for the package itself."""
    return [*module.split("."), "__init__"][1]


def imported_modules(path: Path, modules: Mapping[str, Path]) -> set[str]:
    """The package's modules that a file imports: at the top or inside a function, for types or for
    real."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {module for module in (nearest(name, modules) for name in names) if module}
    return found


def nearest(name: str, modules: Mapping[str, Path]) -> str | None:
    """The module that an imported name is, or is defined in; ``None`` for other packages."""
    while name not in modules and "." in name:
        name = name.rpartition(".")[0]
    return name if name in modules else None


def import_graph(package: Path = PACKAGE) -> dict[str, set[str]]:
    modules = {module_name(path, package): path for path in source_files(package)}
    graph = {name: imported_modules(path, modules) - {name} for name, path in modules.items()}
    del graph[
        "understudy"
    ]  # the public names: it imports everything, lazily, and nobody imports from it
    return graph


def climbs(graph: Mapping[str, set[str]]) -> list[str]:
    """Imports of a module in a room that is not below the importing one's, and not the same."""
    floor = {room: number for number, room in enumerate(ROOMS)}
    return [
        f"{name} imports {other}"
        for name, others in sorted(graph.items())
        for other in sorted(others)
        if room_of(name) != room_of(other) and floor[room_of(other)] >= floor[room_of(name)]
    ]


def circles(graph: Mapping[str, set[str]]) -> list[str]:
    """Every import that is part of a circle of imports."""
    reached = {name: reachable(graph, name) for name in graph}
    return [
        f"{name} -> {other}"
        for name, others in sorted(graph.items())
        for other in sorted(others)
        if name in reached.get(other, ())
    ]


def reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph.get(name, ())
    return found


def folder_graph(graph: Mapping[str, set[str]], depth: int) -> dict[str, set[str]]:
    """The same between folders ``depth`` levels below the package, for folders that lie side by
    side."""
    found: dict[str, set[str]] = {}
    for name, others in graph.items():
        for other in others:
            here, there = name.split(".")[: depth + 1], other.split(".")[: depth + 1]
            if here[:-1] == there[:-1] and here != there:
                found.setdefault(".".join(here), set()).add(".".join(there))
                found.setdefault(".".join(there), set())
    return found


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {room_of(module_name(path)) for path in source_files()}
    assert rooms <= set(ROOMS), "give the new room its place in ROOMS"


def test_imports_point_one_way() -> None:
    assert climbs(import_graph()) == []


def test_no_circle_between_files() -> None:
    assert circles(import_graph()) == []


@pytest.mark.parametrize("depth", [1, 2])
def test_no_circle_between_folders(depth: int) -> None:
    assert circles(folder_graph(import_graph(), depth)) == []


def write_package(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in ({"__init__.py": ""} | dict(files)).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_planted_climb_is_found(tmp_path: Path) -> None:
    package = write_package(
        tmp_path,
        {
            "data/loader.py": "def load():\n    from understudy.training.loop import train\n",
            "training/loop.py": "",
        },
    )
    assert climbs(import_graph(package)) == [
        "understudy.data.loader imports understudy.training.loop"
    ]


def test_a_planted_circle_is_found(tmp_path: Path) -> None:
    package = write_package(
        tmp_path,
        {
            "report/page.py": "from understudy.report import table",
            "report/table.py": "def show():\n    from understudy.report.page import write",
            "report/apart.py": "import understudy.report.table",
        },
    )
    found = [
        "understudy.report.page -> understudy.report.table",
        "understudy.report.table -> understudy.report.page",
    ]
    assert circles(import_graph(package)) == found


def test_a_planted_circle_of_folders_is_found(tmp_path: Path) -> None:
    package = write_package(
        tmp_path,
        {
            "report/run/page.py": "from understudy.report.sweep.table import cell",
            "report/sweep/table.py": "",
            "report/sweep/page.py": "from understudy.report.run.facts import facts",
            "report/run/facts.py": "",
        },
    )
    graph = import_graph(package)
    assert circles(graph) == []
    assert circles(folder_graph(graph, 2)) == [
        "understudy.report.run -> understudy.report.sweep",
        "understudy.report.sweep -> understudy.report.run",
    ]


def functions(path: Path) -> Iterator[tuple[str, int, int]]:
    """Each function of a file as (file:name, lines of code, parameters)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node) else node.body
        lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = len([one for one in arguments if one.arg not in ("self", "cls")])
        yield f"{path.relative_to(PACKAGE)}:{node.name}", lines, count


def test_functions_are_small() -> None:
    found = [one for path in source_files() for one in functions(path)]
    large = {name for name, lines, count in found if lines > MOST_CODE or count > MOST_PARAMETERS}
    assert large == set(LONG_FUNCTIONS)


def test_files_are_small() -> None:
    lengths = {
        str(path.relative_to(PACKAGE)): len(path.read_text().splitlines())
        for path in source_files()
    }
    assert {name for name, lines in lengths.items() if lines > MOST_LINES} == set(LONG_FILES)


def test_no_line_is_kept_from_the_formatter() -> None:
    mark = "# fmt:" + " skip"
    assert [
        path.name
        for path in [*source_files(), *(ROOT / "tests").rglob("*.py")]
        if mark in path.read_text()
    ] == []


def test_the_package_itself_imports_only_its_errors_at_once() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    at_once = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    own = {name for name in at_once if name and name.startswith("understudy")}
    assert own == {"understudy.errors", "understudy.version"}


def test_files_are_named_after_ideas() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
    assert [str(path) for path in PACKAGE.rglob("*") if path.stem in vague] == []


def test_no_registry_is_named() -> None:
    # In halves, so that this file passes its own test.
    hosts = [
        "pypi" + ".org",
        "python" + "hosted.org",
        "npm" + "js",
        "deb." + "debian.org",
        "download.py" + "torch.org",
    ]
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: which files belong to the project is not known")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    named = []
    for name in filter(None, listed.stdout.split("\0")):
        try:
            text = (ROOT / name).read_text(encoding="utf-8").lower()
        except (UnicodeDecodeError, FileNotFoundError):
            continue  # an image, or a file deleted but not yet committed
        named += [(name, host) for host in hosts if host in text]
    assert named == []


def test_public_names_are_listed_and_reachable_by_dir() -> None:
    assert sorted(understudy.__all__) == list(understudy.__all__) == dir(understudy)
    assert set(understudy._LAZY) <= set(understudy.__all__)


@pytest.mark.parametrize("name", [name for name in understudy.__all__ if not name.startswith("__")])
def test_public_functions_are_documented(name: str) -> None:
    public = getattr(understudy, name)
    assert callable(public)
    assert len(inspect.getdoc(public) or "") > 40


def test_types_travel_with_the_package() -> None:
    assert (PACKAGE / "py.typed").is_file()
