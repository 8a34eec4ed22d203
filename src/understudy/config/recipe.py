"""Recipes: YAML text and dotted overrides become a validated RunConfig. The only file with YAML."""

import dataclasses
import functools
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from understudy.config import data_facts
from understudy.config.networks import is_weights_file, named
from understudy.config.parse import parse, shorten, written_out
from understudy.config.schema import AugmentConfig, RunConfig
from understudy.errors import UnderstudyError, one_line, suggest

_DEEPEST = 40
"""Levels of nesting that a recipe may have; no key of ours needs more than eight."""
_LARGEST_INTEGER = 2**63
"""Whole numbers of this size and above fit no tensor, file or seed."""
_NOT_PLAIN = ("timestamp", "binary", "omap", "pairs", "set", "value")
"""YAML types other than null, booleans, numbers, strings, lists and mappings."""


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
            reason = getattr(error, "strerror", None) or one_line(error)
            raise UnderstudyError(f"cannot read the recipe {recipe}: {reason}") from error
    if path.is_dir():
        raise UnderstudyError(
            f"{recipe} is a folder, not a recipe: `understudy init {recipe}` writes a recipe for "
            "the images in it"
        )
    hint = suggest(recipe, recipe_names())
    if not hint.startswith("did you mean"):
        hint += ", or give a .yaml file"
    raise UnderstudyError(f"unknown recipe {recipe!r}: {hint}")


def parse_yaml(text: str, where: str) -> Any:
    """YAML text as plain Python values: None, bool, int, float, str, list and dict.

    Numbers follow YAML 1.2 (``1e-3`` is one); dates are text.

    Args:
        text: the YAML.
        where: what it is, for messages.

    Raises:
        UnderstudyError: if the text is not YAML, or holds more than plain values.
    """
    import yaml

    try:
        value = yaml.load(text, _loader())  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        raise UnderstudyError(f"{where} is not valid YAML: {one_line(error)}") from error
    except RecursionError as error:
        raise UnderstudyError(f"{where} is nested too deeply") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        # PyYAML's constructors raise these for text that does not fit its tag or its digits.
        raise UnderstudyError(
            f"{where} is not valid YAML: a number or tag in {shorten(repr(text))} cannot be read"
        ) from error
    _check_plain(value, where)
    return value


@functools.cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Plain values only, and YAML 1.2 numbers: PyYAML reads ``1e-3`` as a string."""

    left_out = {f"tag:yaml.org,2002:{name}" for name in _NOT_PLAIN}
    constructors = yaml.SafeLoader.yaml_constructors
    Loader.yaml_constructors = {
        tag: function for tag, function in constructors.items() if tag not in left_out
    }
    Loader.yaml_implicit_resolvers = {
        letter: [(tag, pattern) for tag, pattern in resolvers if tag not in left_out]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
        list("-+0123456789"),
    )
    return Loader


def _check_plain(value: Any, where: str, depth: int = 0) -> None:
    """Refuse what no key takes: integers beyond 64 bits, deep nesting, lists inside themselves."""
    if depth > _DEEPEST:
        raise UnderstudyError(f"{where} is nested too deeply: {_DEEPEST} levels are the limit")
    if isinstance(value, int) and abs(value) >= _LARGEST_INTEGER:
        raise UnderstudyError(
            f"{where} holds a whole number of {value.bit_length()} bits: 63 are the limit"
        )
    if isinstance(value, dict):
        for key, item in value.items():
            _check_plain(key, where, depth + 1)
            _check_plain(item, where, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_plain(item, where, depth + 1)


def load_config(recipe: str, overrides: Iterable[str] = ()) -> RunConfig:
    """A recipe with dotted overrides (``method.temperature=2``) laid over it, validated.

    Names of methods and networks are laid first, since they drop the former one's options. With
    another ``data.source``, the recipe's name, reference figures, mean and std do not go along
    (:mod:`~understudy.config.data_facts`).

    Args:
        recipe: a recipe's name or a YAML file's path.
        overrides: ``key=value`` pairs; values are read as YAML, ``1e-3`` as a number.

    Raises:
        UnderstudyError: for an unknown recipe, a malformed override, an unknown key, a bad value,
            or a recipe that names no data.
    """
    values = _recipe_values(recipe)
    own_source = data_facts.source_of(values)
    values.setdefault("name", Path(recipe).stem)
    # So that method.temperature=2 has something to change.
    values.setdefault("method", {"name": "kd"})
    ordered = sorted(overrides, key=lambda override: not replaces_options(_key_of(override)))
    for override in ordered:
        apply_override(values, override)
    source = data_facts.source_of(values)
    if None not in (own_source, source) and source != own_source:
        data_facts.drop_facts(values, set(map(_key_of, ordered)))
    config = parse(RunConfig, values)
    data_facts.require_source(values, recipe)
    return config


def data_note(recipe: str, config: RunConfig) -> str:
    """One line for people if a run's images are not those of its recipe; empty otherwise."""
    return data_facts.note(recipe, data_facts.source_of(_recipe_values(recipe)), config)


def replaces_options(key: str) -> bool:
    """Whether a new value of this key drops the options next to it."""
    return full_key(key) == "method.name" or full_key(key).endswith(".model.name")


def full_key(key: str, value: str = "") -> str:
    """The key that a text is written to: ``method.name`` for ``method``, ``student.model.name`` for
    ``student`` and ``student.model``, ``arms.mine.name`` for ``arms.mine``; that of a teacher
    depends on the ``value``."""
    if key == "teacher" and is_weights_file(value):
        return "teacher.path"
    if key in ("student", "teacher"):
        return f"{key}.model.name"
    section, _, name = key.partition(".")
    is_arm = section == "arms" and name and "." not in name
    return f"{key}.name" if key == "method" or is_arm or key.endswith(".model") else key


def _recipe_values(recipe: str) -> dict[str, Any]:
    values = parse_yaml(recipe_text(recipe), f"recipe {recipe}") or {}
    if not isinstance(values, dict):
        raise UnderstudyError(f"recipe {recipe} must be a mapping of keys to values")
    if isinstance(values.get("method"), str):
        values["method"] = named(values["method"])
    if isinstance(values.get("arms"), dict):
        arms = values["arms"].items()
        values["arms"] = {name: named(arm) if isinstance(arm, str) else arm for name, arm in arms}
    written: dict[str, Any] = written_out(RunConfig, values)
    return written


def _key_of(override: str) -> str:
    return override.partition("=")[0]


def apply_override(values: dict[str, Any], override: str) -> None:
    """Lay one ``a.b.c=value`` over nested mappings, in place; a number picks an entry of a list.

    Naming another method (``method=dkd``) drops the options of the previous one, which would be
    unknown to it or, worse, known with another meaning; so does naming another network
    (``student.model.name=resnet20``) with the previous one's options and stages. ``method=NAME``
    is short for ``method.name=NAME``, ``student=NAME`` for ``student.model.name=NAME``, and
    ``teacher=FILE`` for ``teacher.path=FILE``.

    Raises:
        UnderstudyError: if it is not of that form, or goes through a value that is no mapping.
    """
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UnderstudyError(f"override {shorten(repr(override))} is not of the form key=value")
    value = parse_yaml(text, f"the value of {shorten(key)}")
    if isinstance(value, str):
        key = full_key(key, value)
    *parents, last = key.split(".")
    if len(parents) > _DEEPEST:
        raise UnderstudyError(f"override {shorten(repr(override))} is nested too deeply")
    sections: list[Any] = [values]
    for depth, parent in enumerate(parents):
        sections.append(_section(sections[-1], parent, ".".join(parents[: depth + 1])))
    _replace_entry(sections, parents, last, value)


def _section(parent: Any, name: str, path: str) -> Any:
    """The section (or list) of this name in a mapping, made if it is missing, or in a list."""
    if isinstance(parent, dict):
        section = parent.setdefault(name, {})
    elif len(name) < 10 and name.isascii() and name.isdigit() and int(name) < len(parent):
        section = parent[int(name)]
    else:
        raise UnderstudyError(
            f"cannot override {shorten(path)}: the list has {len(parent)} entries, from 0"
        )
    if not isinstance(section, (dict, list)):
        raise UnderstudyError(
            f"cannot override inside {shorten(path)}, which is a value, not a section"
        )
    return section


def _replace_entry(sections: list[Any], parents: list[str], last: str, value: Any) -> None:
    """Write the value; a new name of a method or network takes the place of its whole section."""
    section = sections[-1]
    if isinstance(section, list):
        raise UnderstudyError(
            f"{'.'.join([*parents, last])} is an entry of a list: give the whole list, "
            f"or a key inside the entry, such as {'.'.join([*parents, last])}.name=VALUE"
        )
    if last == "model" and isinstance(value, dict):
        former = section.get("model")
        if isinstance(former, dict) and former.get("name") != value.get("name"):
            section.pop("stages", None)
    is_method = parents == ["method"]
    is_model = parents[-1:] == ["model"] and parents[0] in ("student", "teacher", "assistants")
    if last == "name" and (is_method or is_model) and section.get("name", value) != value:
        section.clear()
        if is_model:
            sections[-2].pop("stages", None)
    if parents == ["data", "augment"]:
        last = AugmentConfig.RENAMED.get(last, last)
    section[last] = value


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
    """The config as YAML, every field written out, in the order of the dataclasses."""
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
