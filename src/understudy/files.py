"""Files: written atomically, and records (frozen dataclasses) that round-trip through JSON.

Inside the package results are frozen dataclasses. Only this file turns them into JSON and back:
the names of the fields are the keys in the file.
"""

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from understudy.errors import UnderstudyError, one_line

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Record = TypeVar("Record")

_LEFT_OUT = "left out if None"
LEFT_OUT_IF_NONE = {_LEFT_OUT: True}
"""``metadata`` of a dataclass field whose key is left out of the JSON if its value is ``None``."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file next to ``path`` that replaces it once it is complete and on disk.

    After an exception the temporary file is deleted and ``path`` is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        # Temporary files are private; the file that replaces the path need not be.
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """``content`` as the whole of ``path``, atomically."""
    with replacing(path) as file:
        file.write(content)


def write_json(path: Path, content: Any) -> None:
    """``content`` (see :func:`to_json`) as a JSON file, atomically."""
    write_bytes(path, json.dumps(to_json(content), indent=1).encode())


def to_json(value: Any) -> Any:
    """Plain JSON values of a record, or of mappings and sequences with records inside.

    NaN (the accuracy of a class without images) becomes ``None``: JSON has no NaN.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {field: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {
            field.name: to_json(part)
            for field, part in found.items()
            if part is not None or _LEFT_OUT not in field.metadata
        }
    if isinstance(value, Mapping):
        return {key: to_json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(part) for part in value]
    return None if isinstance(value, float) and value != value else value


def from_json(kind: type[Record], content: Any, where: str, advice: str) -> Record:
    """The record that plain JSON values describe; the reverse of :func:`to_json`.

    Keys that ``kind`` does not have are ignored: another version of the package may have written
    them. Numbers must be finite.

    Args:
        kind: a frozen dataclass, nested as deep as needed.
        content: what ``json.loads`` gave.
        where: the file, for the message.
        advice: what to do about a damaged file, for the message.

    Raises:
        UnderstudyError: naming file and key, if a key is missing or a value is of another type.
    """
    from pydantic import TypeAdapter, ValidationError

    # The tuple is there because pydantic takes no settings next to a dataclass itself.
    adapter = TypeAdapter(tuple[kind], config={"allow_inf_nan": False})  # type: ignore[valid-type]
    try:
        record: Record = adapter.validate_python((content,))[0]
    except ValidationError as error:
        raise UnderstudyError(
            f"{where} is incomplete: {_problem(error.errors()[0])}; {advice}"
        ) from None
    return record


def read_record(kind: type[Record], path: Path, schema: int, advice: str) -> Record | None:
    """The record in a JSON file with a schema number; ``None`` if there is no such file.

    Args:
        kind: a frozen dataclass.
        path: the file.
        schema: the number that this version reads.
        advice: what to do about a damaged file, for the message.

    Raises:
        UnderstudyError: if the file is damaged or of another schema.
    """
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UnderstudyError(f"{path} cannot be read ({one_line(error)}): {advice}") from None
    found = content.get("schema") if isinstance(content, dict) else None
    if found != schema:
        raise UnderstudyError(f"{path} has schema {found!r}, this version reads {schema}: {advice}")
    return from_json(kind, content, str(path), advice)


def _problem(error: "ErrorDetails") -> str:
    key = ".".join(str(part) for part in error["loc"][1:])
    if error["type"] == "missing":
        return f"{key} is missing"
    message = error["msg"].removeprefix("Value error, ")
    return (
        f"{key}: {message[:1].lower()}{message[1:]}" if key else f"it holds no mapping ({message})"
    )
