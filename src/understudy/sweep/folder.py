"""The directory of a sweep: its paths, whose sweep it holds, and that one sweep at a time works in
it."""

import contextlib
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from understudy.config.recipe import from_yaml, to_yaml
from understudy.config.schema import RunConfig
from understudy.errors import UnderstudyError
from understudy.files import write_bytes, write_json
from understudy.runs.folder import RunFolder, record_config, require_same_config

_LOCK = ".sweep.lock"


@dataclass(frozen=True)
class SweepFolder:
    """A sweep's directory.

    Attributes:
        path: the directory.
    """

    path: Path

    @property
    def run(self) -> RunFolder:
        """The directory as that of a run: config.yaml, results.json, and the files of the
        teacher."""
        return RunFolder(self.path)

    @property
    def identity(self) -> Path:
        """The driver's id and the settings it was started with, JSON."""
        return self.path / "sweep.json"

    @property
    def trials_csv(self) -> Path:
        """One row per trial."""
        return self.path / "trials.csv"

    def training(self, name: str) -> RunFolder:
        """Where one training of a trial, a baseline or the final comparison is: ``0003-seed1``."""
        return RunFolder(self.path / "trials" / name)


@contextlib.contextmanager
def exclusive(folder: SweepFolder) -> Iterator[None]:
    """Hold the directory's lock, which ends with the process; a directory that stays empty is
    removed.

    Raises:
        UnderstudyError: if another sweep holds it.
    """
    path = folder.path
    if path.exists() and not path.is_dir():
        raise UnderstudyError(f"{path} is a file: choose another --out")
    is_new = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UnderstudyError(
            f"another sweep is at work in {path}: wait for it, or choose another --out"
        ) from error
    try:
        yield
    finally:
        lock.release()
        if is_new and [file.name for file in path.iterdir()] == [_LOCK]:
            shutil.rmtree(path)


@contextlib.contextmanager
def removed_if_refused(folder: SweepFolder) -> Iterator[None]:
    """Delete the files that were written inside, should an :class:`UnderstudyError` end it."""
    present = set(folder.path.iterdir())
    try:
        yield
    except UnderstudyError:
        for path in set(folder.path.iterdir()) - present:
            path.unlink()
        raise


def record_sweep(
    config: RunConfig,
    folder: SweepFolder,
    settings: Mapping[str, Any],
    resume: bool,
    images: str = "",
) -> str:
    """Write config.yaml and sweep.json, or check that those in the directory are of this sweep.

    Args:
        config: the recipe.
        folder: the sweep's directory.
        settings: what a resumed sweep must share with the one that was begun, as plain values.
        resume: continue the sweep in the directory.
        images: hex digest of the images that it trains on; empty if they are not recorded.

    Returns:
        the driver's id.

    Raises:
        UnderstudyError: if the directory holds another sweep, or a run, or its images have changed.
    """
    if folder.identity.exists():
        driver = _recorded_driver(config, folder, settings, resume)
        record_config(config, folder.run, resume, images)  # a refused resume has changed nothing
        return driver
    if folder.run.config.exists():
        raise UnderstudyError(f"{folder.path} already holds a run: choose another --out")
    driver = uuid.uuid4().hex
    write_json(folder.identity, {"driver": driver, "asked": settings})
    record_config(config, folder.run, resume=False, images=images)
    return driver


def _recorded_driver(
    config: RunConfig, folder: SweepFolder, settings: Mapping[str, Any], resume: bool
) -> str:
    if not resume:
        raise UnderstudyError(
            f"{folder.path} already holds a sweep: go on with it by --resume, "
            "or choose another --out"
        )
    before = read_or_empty(folder.identity)
    if not before:
        raise UnderstudyError(
            f"{folder.identity} is damaged, so that the sweep cannot be identified: "
            "give another --out"
        )
    require_same_config(config, folder.run)
    now = json.loads(json.dumps(settings))
    differing = [key for key, value in now.items() if before["asked"].get(key) != value]
    if differing:
        raise UnderstudyError(
            f"cannot resume {folder.path}: its {', '.join(differing)} differ; give another --out"
        )
    return str(before["driver"])


def claim_folder(folder: RunFolder, config: RunConfig) -> None:
    """Write a training's configuration into its directory.

    Raises:
        UnderstudyError: if the directory holds a training of another configuration.
    """
    path = folder.config
    if not path.exists():
        write_bytes(path, to_yaml(config).encode())
        return
    present = from_yaml(path.read_text(), str(path))
    if replace(present, data=replace(present.data, path=config.data.path)) != config:
        raise UnderstudyError(
            f"{folder.path} holds a training of another configuration, which the study does not "
            "know: give another --out"
        )


def read_or_empty(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; empty if the file is missing or damaged."""
    try:
        return dict(json.loads(path.read_text()))
    except (FileNotFoundError, ValueError):
        return {}
