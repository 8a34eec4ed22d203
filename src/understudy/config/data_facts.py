"""Facts of a data set go with the data set: name, reference figures, mean and standard deviation.

A recipe's name, its published figures and its normalisation are true of the images it was written
for. An override that names another source leaves them behind.
"""

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from understudy.errors import UnderstudyError


def source_of(values: Mapping[str, Any]) -> Any:
    """The ``data.source`` of a recipe's values; ``None`` if they name none."""
    data = values.get("data")
    return data.get("source") if isinstance(data, Mapping) else None


def require_source(values: Mapping[str, Any], recipe: str) -> None:
    """Refuse a recipe that does not say which images it is about.

    Raises:
        UnderstudyError: with the two ways to name them.
    """
    if source_of(values) is None:
        raise UnderstudyError(
            f"the recipe {recipe} names no data: set data.source, such as data.source=imagefolder "
            "with --data FOLDER, or let `understudy init FOLDER` write a recipe for your images"
        )


def drop_facts(values: dict[str, Any], given: set[str]) -> None:
    """Take out of a recipe's values what was true of its former data set.

    Name, mean and std are those of the new one: its file or folder's name, and measured.

    Args:
        values: of the recipe, with overrides; changed in place.
        given: keys of the overrides, which stay what they were set to.
    """
    data = values["data"]
    if "name" not in given:
        values["name"] = _name_of(data)
    if not any(key.split(".")[0] == "reference" for key in given):
        values.pop("reference", None)
    if not given & {"data", "data.mean", "data.std"}:
        data["mean"] = data["std"] = None  # measured


def note(recipe: str, before: Any, config: Any) -> str:
    """One line for people about a run whose images are not those of its recipe; empty otherwise.

    Args:
        recipe: its name or file.
        before: the recipe's own ``data.source``.
        config: the validated configuration.
    """
    if before in (None, config.data.source):
        return ""
    measured = "" if config.data.mean else ", and data.mean and data.std are measured"
    return (
        f"data.source={config.data.source} is not the data of {recipe} ({before}): "
        f"the run is called {config.name}, without published figures{measured}"
    )


def _name_of(data: Mapping[str, Any]) -> str:
    """The name of the file or folder of the images, as part of a path; else that of the source."""
    path = data.get("path")
    stem = PurePath(path).stem if isinstance(path, str) else ""
    return _as_name(stem) or _as_name(str(data["source"]))


def _as_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")
