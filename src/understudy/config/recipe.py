"""Recipes: YAML text and dotted overrides become a validated RunConfig. The only file that knows YAML."""

import dataclasses
import difflib
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from understudy.config.schema import RunConfig, parse
from understudy.errors import UnderstudyError


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("understudy") / "recipes"
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    )


def recipe_text(recipe: str) -> str:
    """The YAML text of a recipe: a name from :func:`recipe_names`, or a path to a YAML file.

    Raises:
        UnderstudyError: if there is no such recipe or file.
    """
    if recipe in recipe_names():
        return (resources.files("understudy") / "recipes" / f"{recipe}.yaml").read_text(
            encoding="utf-8"
        )
    path = Path(recipe)
    if path.suffix in {".yaml", ".yml"}:
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UnderstudyError(
                f"cannot read the recipe {recipe}: {getattr(error, 'strerror', None) or error}"
            ) from error
    close = difflib.get_close_matches(recipe, recipe_names(), n=1)
    hint = (
        f"did you mean {close[0]}?"
        if close
        else f"there are {', '.join(recipe_names())}, or give a .yaml file"
    )
    raise UnderstudyError(f"unknown recipe {recipe!r}: {hint}")


def parse_yaml(text: str, where: str) -> Any:
    """YAML text as plain Python values, safely.

    Raises:
        UnderstudyError: if the text is not YAML.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML 1.2 numbers: plain PyYAML reads ``1e-3`` as a string."""

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
        list("-+0123456789"),
    )
    try:
        return yaml.load(text, Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise UnderstudyError(f"{where} is not valid YAML: {problem}") from error


def load_config(recipe: str, overrides: Iterable[str] = ()) -> RunConfig:
    """A recipe with dotted overrides (``method.temperature=2``) laid over it, validated.

    Args:
        recipe: a recipe's name or a YAML file's path.
        overrides: ``key=value`` pairs; values are read as YAML, ``1e-3`` as a number.

    Raises:
        UnderstudyError: for an unknown recipe, a malformed override, an unknown key or a bad value.
    """
    values = parse_yaml(recipe_text(recipe), f"recipe {recipe}") or {}
    if not isinstance(values, dict):
        raise UnderstudyError(f"recipe {recipe} must be a mapping of keys to values")
    values.setdefault("name", Path(recipe).stem)
    values.setdefault(
        "method", {"name": "kd"}
    )  # so that method.temperature=2 has something to change
    for override in overrides:
        apply_override(values, override)
    return parse(RunConfig, values)


def apply_override(values: dict[str, Any], override: str) -> None:
    """Lay one ``a.b.c=value`` over nested mappings, in place. Changing ``method.name`` drops the old method's options.

    Raises:
        UnderstudyError: if it is not of that form, or goes through something that is not a mapping.
    """
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UnderstudyError(f"override {override!r} is not of the form key=value")
    value = parse_yaml(text, f"the value of {key}")
    *parents, last = key.split(".")
    node = values
    for depth, parent in enumerate(parents):
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise UnderstudyError(
                f"override {override!r}: {'.'.join(parents[: depth + 1])} is a value, not a section"
            )
        node = child
    if key in ("method", "method.name") and isinstance(value, str):
        # `method=dkd` is short for `method.name=dkd`; another method's options would be unknown keys or, worse, known ones.
        method = values.get("method")
        if not isinstance(method, dict) or method.get("name") != value:
            values["method"] = {"name": value}
        return
    if key == "teacher" and isinstance(value, str):
        # `teacher=FILE` is short for `teacher.path=FILE`: the network it holds is still the recipe's.
        values.setdefault("teacher", {})["path"] = value
        return
    node[last] = value


def to_mapping(config: Any) -> dict[str, Any]:
    """The config as plain dicts and lists, ready for YAML or JSON."""
    return _plain(dataclasses.asdict(config))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def to_yaml(config: Any) -> str:
    """The resolved config as YAML, every field written out, in the order of the dataclasses."""
    import yaml

    return yaml.safe_dump(to_mapping(config), sort_keys=False, allow_unicode=True, width=120)


def from_yaml(text: str, where: str) -> RunConfig:
    """A config written by :func:`to_yaml`.

    Raises:
        UnderstudyError: if the text is not such a config.
    """
    values = parse_yaml(text, where)
    if not isinstance(values, dict):
        raise UnderstudyError(f"{where} is not a run's configuration")
    return parse(RunConfig, values)
