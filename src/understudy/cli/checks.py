"""What several commands prepare or check before they start."""

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.cli.options import Inputs, Reading
from understudy.errors import UnderstudyError

if TYPE_CHECKING:
    from understudy.config.schema import DataConfig, RunConfig


def all_overrides(overrides: Iterable[str], inputs: Inputs, seeds: str | None = None) -> list[str]:
    """``key=value`` pairs for a recipe: those of the command line, and its options as such pairs.

    Args:
        overrides: as typed.
        inputs: images and a teacher's weights.
        seeds: numbers with commas between them.
    """
    changes = list(overrides)
    # Quoted: a path such as 2024 is not a number.
    if inputs.data is not None:
        changes.append(f"data.path={json.dumps(inputs.data)}")
    if inputs.skip_bad:
        changes.append("data.skip_bad=true")
    if inputs.weights is not None:
        changes.append(f"teacher.path={json.dumps(inputs.weights)}")
    if seeds is not None:
        changes.append(f"seeds=[{seeds}]")
    return changes


def data_config(path: str, reading: Reading, image_size: int | None = None) -> "DataConfig":
    """The images of a path, as the options say how to read them.

    Args:
        path: a folder, an archive, a table of images, or hf:NAME.
        reading: the options.
        image_size: pixels of a side.

    Raises:
        UnderstudyError: for a path that no source reads, or a bad value.
    """
    from understudy.config.schema import DataConfig, parse
    from understudy.data.detect import HUB, detect_source

    values = {
        "source": reading.source or detect_source(path),
        "path": path if path.startswith(HUB) else str(Path(path).expanduser().resolve()),
        "image_size": image_size,
        "columns": reading.column_names,
        "group_by": reading.group_by,
        "report_by": reading.report_by,
        "skip_bad": reading.skip_bad,
    }
    if reading.max_pixels is not None:
        values["max_pixels"] = reading.max_pixels
    return parse(DataConfig, values)


def show_data_note(recipe: str, config: "RunConfig") -> None:
    """Print a line on standard error if the images are not those of the recipe."""
    from understudy.config.recipe import data_note

    line = data_note(recipe, config)
    if line and is_first_rank():
        print(line, file=sys.stderr)


def check_free(target: Path, folder: Path, resume: bool) -> None:
    """Refuse to write over an earlier run.

    Args:
        target: the folder that must be empty or missing.
        folder: the run's folder.
        resume: go on with what is there.

    Raises:
        UnderstudyError: if ``target`` holds files, or ``folder`` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UnderstudyError(f"{folder} is a file: choose another --out")
    if not is_first_rank():
        return  # the first rank checks, and may have begun to write
    if not resume and target.is_dir() and any(target.iterdir()):
        raise UnderstudyError(
            f"{target} already holds a run: go on with it by --resume, or choose another --out"
        )


def check_exists(path: Path) -> None:
    """Refuse a path that does not exist.

    Raises:
        UnderstudyError: naming it.
    """
    if not path.exists():
        raise UnderstudyError(
            f"there is no {path}: give a folder that `understudy run` has written"
        )


def is_first_rank() -> bool:
    """Whether this process prints: the only one, or the first rank of a distributed run."""
    return os.environ.get("RANK", "0") == "0"
