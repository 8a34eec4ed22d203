"""The names of a network's outputs, in their order, from a file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.data.names import shown
from understudy.errors import UnderstudyError, one_line

_FORMS = (
    "expected one name a line, or JSON: a list of names, or a mapping of numbers from 0 to names "
    "or of names to such numbers"
)


def read_class_list(path: Path) -> tuple[str, ...]:
    """The names in a file, in the order of a network's outputs.

    Args:
        path: a text file with one name a line; or JSON: a list, a mapping ``{"0": "cat"}`` or
            ``{"cat": 0}``, or the ``config.json`` of a Hugging Face model (``id2label``). Several
            names of one class may be a list.

    Raises:
        UnderstudyError: if the file cannot be read, or holds none of these.
    """
    try:
        text = path.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UnderstudyError(
            f"teacher.classes: {shown(str(path))} cannot be read ({one_line(error)}): {_FORMS}"
        ) from error
    names = _from_json(text, path) if text.lstrip()[:1] in ("[", "{") else text.splitlines()
    found = tuple(name.strip() for name in names)
    while found and not found[-1]:
        found = found[:-1]
    if not found or not all(found):
        raise _unreadable(path)
    return found


def _from_json(text: str, path: Path) -> list[str]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise _unreadable(path) from error
    if isinstance(content, Mapping):
        content = content.get("id2label", content)
    if isinstance(content, Mapping):
        content = _in_order(content, path)
    if not isinstance(content, Sequence):
        raise _unreadable(path)
    return [_name(entry, path) for entry in content]


def _in_order(content: Mapping[str, Any], path: Path) -> list[Any]:
    """The names of a mapping by number, or of numbers by name."""
    if all(type(value) is int for value in content.values()):
        by_number = {number: name for name, number in content.items()}
    elif all(key.isdecimal() for key in content):
        by_number = {int(key): value for key, value in content.items()}
    else:
        raise _unreadable(path)
    if sorted(by_number) != list(range(len(content))):
        raise _unreadable(path)
    return [by_number[number] for number in range(len(content))]


def _name(entry: Any, path: Path) -> str:
    """A name, or a list of synonyms as one: ``tench, Tinca tinca``."""
    if isinstance(entry, list) and entry and all(isinstance(part, str) for part in entry):
        return ", ".join(entry)
    if isinstance(entry, str) or type(entry) is int:
        return str(entry)
    raise _unreadable(path)


def _unreadable(path: Path) -> UnderstudyError:
    return UnderstudyError(f"teacher.classes: {shown(str(path))} is no list of classes: {_FORMS}")
