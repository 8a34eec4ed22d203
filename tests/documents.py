"""What the documentation teaches, found and checked: command lines, settings, names, Python.

Nothing is trained: a command is parsed by the command line itself, and its recipe and settings are
resolved to the plan of a run or the space of a sweep.
"""

import ast
import functools
import importlib
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from understudy.cli import app
from understudy.config.recipe import load_config, recipe_names
from understudy.config.schema import RunConfig
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.methods import list_methods
from understudy.models import build_model, list_models
from understudy.runs.plan import resolve_plan
from understudy.sweep.space import check_space, make_space, split_overrides

ROOT = Path(__file__).parents[1]
SECTIONS = {field.name for field in fields(RunConfig)}
OMITTED = ("...", "…")
"""Stand for words that a text does not repeat."""
COMMANDS = {name for names in app for name in ([names] if isinstance(names, str) else names)}
NAMES = {"models": list_models, "methods": list_methods, "recipes": recipe_names}
"""Commands whose argument is one of these names."""
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)*)`(?!`)")
_SHELL = re.compile(r"([A-Z_]+=\S+ )*(understudy|torchrun .*-m understudy)( |$)")
_SETTING = re.compile(r"([a-z_]+)(\.\w+)*=\S")
_YAML_SETTING = re.compile(r"([a-z_]+)(?:\.\w+)*: .+")
_OPEN, _CLOSED = "[{", "]}"


def documents() -> list[Path]:
    """Every page that teaches how the package is used."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    return sorted([*pages, *(ROOT / "results").rglob("README.md")])


def recipe_heads() -> dict[str, str]:
    """The opening comment of each recipe that comes with the package, by file name."""
    heads = {}
    for path in sorted((ROOT / "src" / "understudy" / "recipes").glob("*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        comments = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
        heads[path.name] = "\n".join(comments)
    return heads


def python_blocks(text: str) -> list[str]:
    """The bodies of the blocks that are marked as Python."""
    return [body for language, body in _FENCE.findall(text) if language == "python"]


def spans(text: str) -> list[str]:
    """Inline code, with line breaks in it read as spaces."""
    return [" ".join(span.split()) for span in _SPAN.findall(_FENCE.sub("", text))]


def commands_in(text: str) -> Iterator[str]:
    """Command lines of understudy in the blocks and in the sentences of a Markdown text."""
    for language, body in _FENCE.findall(text):
        if language != "python":
            yield from commands_in_shell(body)
    for span in spans(text):
        if _SHELL.match(span):
            yield span


def commands_in_shell(body: str) -> Iterator[str]:
    """Lines that call understudy, continued lines joined."""
    for line in body.replace("\\\n", " ").splitlines():
        command = " ".join(line.removeprefix("$ ").split())
        if _SHELL.match(command):
            yield command


OWN_RECIPES = ("photos.yaml", "solar-cells.yaml")
"""Recipes that `understudy init` has written for the reader."""


def why_refused(command: str) -> str | None:
    """Why a command line would be refused; ``None`` if it would not.

    ``RECIPE`` (an omission, the reader's own recipe) in place of a recipe stands for every recipe
    of the package.
    """
    words = shlex.split(command, comments=True)
    words = words[words.index("understudy") + 1 :]
    if set(words) <= COMMANDS:
        return None  # the name of a command, in a sentence
    placeholder = len(words) > 1 and (
        words[1] in OMITTED or words[1].isupper() or words[1] in OWN_RECIPES
    )
    if not (placeholder and words[0] in ("run", "train", "sweep")):
        return _reason(words)
    reasons = [_reason([words[0], recipe, *words[2:]]) for recipe in recipe_names()]
    return next(filter(None, reasons), None)


def _reason(words: Sequence[str]) -> str | None:
    complete = not set(words) & set(OMITTED)
    words = [word for word in words if word not in (*OMITTED, "--debug")]
    try:
        _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
        if words[0] in ("run", "train", "sweep"):
            _check_training(words[0], bound.arguments, complete)
        named = words[1] if len(words) > 1 and words[0] in NAMES else ""
        is_name = named.islower() and not named.startswith("-")
        if is_name and named not in NAMES[words[0]]():
            return f"unknown name {named}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _check_training(command: str, given: dict[str, Any], complete: bool) -> None:
    """What ``run``, ``train`` and ``sweep`` check before they train."""
    settings = [*given.get("overrides", ())]
    space, plain = split_overrides(settings) if command == "sweep" else ([], settings)
    if "seeds" in given:
        plain.append(f"seeds=[{given['seeds']}]")
    inputs = given.get("inputs")
    if inputs is not None and inputs.weights is not None:
        plain.append(f"teacher.path={inputs.weights}")
    config = load_config(given["recipe"], plain)
    plan = resolve_plan(config)
    for arm in plan.arms.values():
        _check_network(arm.model.name, repr(dict(arm.model.options)))
    if command == "train":
        plan.arm(given.get("arm", "distilled"))
    if space:
        check_space(config, make_space(space))
    elif command == "sweep" and complete:
        raise UnderstudyError("nothing to sweep")


@functools.cache
def _check_network(name: str, options: str) -> None:
    """Build a network of ours without memory; those of other libraries may not be installed."""
    if ":" not in name:
        with torch.device("meta"):
            build_model(name, 10, ImageSpec(), options=ast.literal_eval(options))


def settings_in(text: str) -> Iterator[tuple[str, ...]]:
    """Inline code that changes a recipe: ``train.lr=1e-3``, or ``arms: {colder: {name: kd}}``."""
    for span in spans(text):
        yaml = _YAML_SETTING.fullmatch(span)
        if yaml is not None and yaml[1] in SECTIONS:
            key, _, value = span.partition(": ")
            yield (f"{key}={value.replace(', ...', '')}",)
            continue
        words = tuple(_words(span))
        matches = [_SETTING.match(word) for word in words]
        if words and all(match is not None and match[1] in SECTIONS for match in matches):
            yield words


def _words(text: str) -> list[str]:
    """Split at the spaces that are outside of brackets."""
    words, depth = [""], 0
    for letter in text:
        depth += (letter in _OPEN) - (letter in _CLOSED)
        if letter == " " and depth == 0:
            words.append("")
        else:
            words[-1] += letter
    return [word for word in words if word]


def why_no_setting(words: Sequence[str]) -> str | None:
    """Why a recipe of ours refuses these settings, in a run or a sweep; ``None`` if none does."""
    words = [word.replace("=NAME", "=kd") for word in words]
    for recipe in recipe_names():
        try:
            space, plain = split_overrides(words)
            config = load_config(recipe, plain)
            resolve_plan(config)
            if space:
                check_space(config, make_space(space))
        except UnderstudyError as error:
            return f"{recipe}: {error}"
    return None


def files_in(text: str) -> Iterator[str]:
    """Paths of this project in inline code and after ``python``."""
    for span in spans(text):
        if re.fullmatch(r"[\w./-]+\.py|(src|docs|tests|benchmarks|mutation)/[\w./-]*", span):
            yield span.replace("NAME", "kd")
    yield from re.findall(r"python ((?:[\w-]+/)+\w+\.py)", text)


def exists(name: str, document: Path) -> bool:
    """Whether a path is there: seen from the document, the project, or the package."""
    places = (document.parent, ROOT, ROOT / "src" / "understudy")
    return any((place / name).exists() for place in places)


def dotted_names_in(text: str) -> Iterator[str]:
    """Names of the package in inline code: ``understudy.data.spec.ImageSpec``."""
    for span in spans(text):
        found = re.match(r"understudy(\.\w+)+", span)
        if found is not None:
            yield found[0]


def is_defined(name: str) -> bool:
    """Whether a dotted name is a module or something in one."""
    parts = name.split(".")
    for number in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:number]))
        except ModuleNotFoundError:
            continue
        for part in parts[number:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False
