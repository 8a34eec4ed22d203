"""The shape of the package: imports point one way, files are named after ideas, the public names explain themselves."""

import ast
import inspect
import subprocess
from pathlib import Path

import pytest

import understudy

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "understudy"

RANKS = {
    "errors": 0,
    "files": 0,
    "config": 1,
    "allocator": 2,
    "chain": 2,
    "conv": 2,
    "data": 2,
    "kernels": 1,
    "models": 2,
    "optim": 2,
    "statistics": 2,
    "workers": 2,
    "methods": 3,
    "teacher_cache": 3,
    "teachers": 3,
    "checkpoint": 4,
    "compiling": 4,
    "curriculum": 4,
    "display": 4,
    "evaluate": 4,
    "loop": 4,
    "train": 4,
    "arm": 5,
    "benchmark": 5,
    "caches": 5,
    "diagnose": 5,
    "experiment": 5,
    "export": 5,
    "report": 5,
    "sweep": 5,
    "cli": 6,
    "__main__": 7,
}
"""Room -> its floor. Code imports from its own floor or from below it."""


def source_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    """The top-level module or subpackage that a file belongs to; ``__init__`` for the package itself."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> set[str]:
    """Dotted names under ``understudy`` that a file imports, at the top or inside a function, for types or for real."""
    package = ("understudy", *path.relative_to(PACKAGE).parent.parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= (
                {f"{base}.{alias.name}" for alias in node.names} if base == "understudy" else {base}
            )
    return {name for name in found if name.split(".")[0] == "understudy"}


def test_every_room_has_a_floor() -> None:
    assert {room(path) for path in source_files()} - {"__init__"} <= set(RANKS), (
        "name the new module in RANKS"
    )


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    own = room(path)
    if own not in RANKS:
        return  # the package's own __init__, see below; or a new module, for which the test above fails
    for name in imported_modules(path):
        other = [*name.split("."), "errors"][1]
        if other in RANKS:  # else a plain name of the package, such as __version__
            assert RANKS[other] <= RANKS[own], (
                f"{own} (floor {RANKS[own]}) must not import {name} (floor {RANKS[other]})"
            )


def test_the_package_itself_imports_only_its_errors_at_once() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    at_once = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert {name for name in at_once if name and name.startswith("understudy")} == {
        "understudy.errors"
    }


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
