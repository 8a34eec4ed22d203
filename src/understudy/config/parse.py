"""Mappings of plain values, as YAML and JSON give them, become validated frozen dataclasses."""

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from understudy.errors import UnderstudyError, suggest

Config = TypeVar("Config")

STRICT = {"extra": "forbid"}
"""``__pydantic_config__`` of every configuration: an unknown key is an error."""
_LONGEST_VALUE = 80
"""Characters of a refused value that a message shows."""


def require(condition: bool, message: str) -> None:
    """Raises ValueError, which :func:`parse` shows with its key, unless the condition holds."""
    if not condition:
        raise ValueError(message)


def require_pattern(where: str, pattern: str | None) -> None:
    """Raises ValueError unless the pattern is a regular expression, or None."""
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ValueError(f"{where} is not a regular expression: {error}") from None


def parse(kind: type[Config], values: Mapping[str, Any], where: str = "") -> Config:
    """Validate a mapping against a (nested) frozen dataclass.

    A dataclass may have a class variable ``RENAMED``, former name -> name of a field: both names
    are accepted. ``NULL_IS_EMPTY`` names tuples for which null stands for no entries. With a static
    method ``of_text`` it may be given as a text (``student: tiny_res``).

    Args:
        kind: the dataclass.
        values: keys and values, as YAML or JSON would give them.
        where: dotted path of this mapping, for messages.

    Raises:
        UnderstudyError: for an unknown key (naming the nearest known one) or a value that does not
            fit.
    """
    values = written_out(kind, values)
    check_keys(kind, values, where)
    return _parse_checked(kind, values, where)


def written_out(kind: type, value: Any) -> Any:
    """The value with every text in it that stands for a section written out, at any depth."""
    if isinstance(value, str) and hasattr(kind, "of_text"):
        value = kind.of_text(value)
    if isinstance(value, (list, tuple)):
        return [written_out(kind, item) for item in value]
    if not isinstance(value, Mapping):
        return value
    annotations = typing.get_type_hints(kind)
    content = {}
    for key, item in value.items():
        inner = _section_type(annotations[key]) if key in annotations else None
        content[key] = item if inner is None else written_out(inner, item)
    return content


def _parse_checked(kind: type[Config], values: Mapping[str, Any], where: str) -> Config:
    from pydantic import ValidationError

    annotations = typing.get_type_hints(kind)
    content: dict[str, Any] = {}
    for key, value in _current_names(kind, values, where).items():
        if value is None and key in getattr(kind, "NULL_IS_EMPTY", ()):
            value = ()
        content[key] = _parse_sections(_section_type(annotations[key]), value, _join(where, key))
    try:
        return typing.cast(Config, _adapter(typing.cast(Any, kind)).validate_python(content))
    except ValidationError as error:
        raise UnderstudyError(_problem(error, content, where)) from error


def _parse_sections(kind: type | None, value: Any, where: str) -> Any:
    """The value with every mapping in it that stands for a dataclass of ``kind`` parsed."""
    if kind is None:
        return value
    if isinstance(value, Mapping):
        return _parse_checked(kind, value, where)
    if isinstance(value, (list, tuple)):
        return [_parse_sections(kind, v, f"{where}.{number}") for number, v in enumerate(value)]
    return value


@functools.cache
def _adapter(kind: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _problem(error: Any, values: Mapping[str, Any], where: str) -> str:
    """The first problem that pydantic found, in one line: the key, the problem, the value given."""
    first = error.errors()[0]
    path = where
    for part in _keys(first["loc"], values, is_missing=first["type"] == "missing"):
        path = _join(path, part)
    message = first["msg"].removeprefix("Value error, ")
    given = first["input"]
    shown = "" if isinstance(given, (dict, list)) else f", not {shorten(repr(given))}"
    return f"{path or 'configuration'}: {message}{shown}"


def _keys(location: Sequence[Any], values: Any, *, is_missing: bool) -> list[Any]:
    """The keys and indices in a location; pydantic adds names of the union variants it tried."""
    keys = []
    for part in location:
        is_index = isinstance(values, (list, tuple)) and isinstance(part, int)
        if (is_index and part < len(values)) or (isinstance(values, Mapping) and part in values):
            keys.append(part)
            values = values[part]
        elif is_missing:
            keys.append(part)
    return keys


def check_keys(kind: type, values: Mapping[str, Any], where: str = "") -> None:
    """Refuse a key that the dataclass ``kind`` does not have, at any depth.

    Raises:
        UnderstudyError: naming the nearest key that exists.
    """
    annotations = typing.get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]
    for key, value in _current_names(kind, values, where).items():
        path = _join(where, key)
        if key not in known:
            raise UnderstudyError(unknown_key(path, key, known))
        inner = _section_type(annotations[key])
        if inner is None:
            continue
        if isinstance(value, Mapping):
            check_keys(inner, value, path)
        for number, item in enumerate(value if isinstance(value, (list, tuple)) else ()):
            if isinstance(item, Mapping):
                check_keys(inner, item, f"{path}.{number}")


def unknown_key(path: str, key: str, known: Iterable[str]) -> str:
    """One line that names an unknown key and the nearest known one, or all of them."""
    section = path.rpartition(".")[0]
    hint = suggest(
        str(key),
        sorted(known),
        prefix=f"{section}." if section else "",
        cutoff=0.5,
        otherwise="known:",
    )
    return f"unknown key {shorten(' '.join(path.split()))}: {hint}"


def shorten(text: str, longest: int = _LONGEST_VALUE) -> str:
    """The text, or its start and its end around an ellipsis if it is longer."""
    half = (longest - 3) // 2
    return text if len(text) <= longest else f"{text[:half]}...{text[-half:]}"


def _current_names(kind: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The mapping with former names of keys replaced by the current ones."""
    renamed: Mapping[str, str] = getattr(kind, "RENAMED", {})
    for former, name in renamed.items():
        if former in values and name in values:
            raise UnderstudyError(
                f"{_join(where, former)} is the former name of {_join(where, name)}: "
                "give one of the two"
            )
    return {renamed.get(key, key): value for key, value in values.items()}


def _section_type(annotation: Any) -> type | None:
    """The dataclass in an annotation: alone, in a union, or as the items of a tuple."""
    several = isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is tuple
    options = typing.get_args(annotation) if several else (annotation,)
    return next((o for o in options if dataclasses.is_dataclass(o) and isinstance(o, type)), None)


def _join(where: str, key: Any) -> str:
    return f"{where}.{key}" if where else str(key)
