"""What every source has in common: a reader, one shape of arrays, identity of files."""

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np

from understudy.data.annotations import NO_ANNOTATIONS, Annotations
from understudy.data.decoding import Decoding
from understudy.data.inspection import Inspection
from understudy.data.splits import stratified_rows
from understudy.errors import UnderstudyError

TEST_FRACTION = 0.2
"""Share of the images cut off as a test split if the files have none."""
TEST_SEED = 0
"""Seed of that cut; fixed, so that everybody tests on the same images."""

_SMALL = 64 * 2**20
"""Bytes: files up to this sum are identified by their content, larger ones by size and time."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """Both splits: images uint8 ``[N, H, W, 3]``, labels int64 ``[N]`` in ``[0, K)``, K names.

    Attributes:
        annotations: facts for each image beyond its class.
        inspection: what was found while the files were read; ``None`` for sources without image
            files.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    annotations: Annotations = NO_ANNOTATIONS
    inspection: Inspection | None = None


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How a source reads its files; each source takes those that it can use and refuses others.

    Attributes:
        columns: role -> name in the files: of a table ``image``, ``label``, ``split``, ``group``,
            of an .npz file ``train_images``, ``train_labels``, ``test_images``, ...
        group_by: regular expression on an image's path: images with the same match (of the first
            group in parentheses, if there is one) are one group.
        report_by: the same for slices, by which results are reported.
        skip_bad: go on without images that cannot be read.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    group_by: str | None = None
    report_by: str | None = None
    skip_bad: bool = False

    def key(self) -> str:
        """What of the options changes the arrays, for the name of a cache entry."""
        return json.dumps(asdict(self), sort_keys=True) if self != NO_OPTIONS else ""


NO_OPTIONS = SourceOptions()
"""The usual columns, no groups, no slices, and every image must be readable."""


class SourceReader(ABC):
    """A data set that has been found but not yet read. Each source is a subclass called ``Reader``.

    Attributes:
        name: what to write next to every number.
        identity: changes when the content of the files changes; cheap to compute.
    """

    name: str
    identity: str

    @classmethod
    @abstractmethod
    def find(
        cls, path: Path | None, cache: Path, options: SourceOptions = NO_OPTIONS
    ) -> "SourceReader":
        """The data set at ``path``; ``cache`` is the folder for downloads.

        Raises:
            UnderstudyError: if nothing of this kind is there, or the source cannot use an option.
        """

    @abstractmethod
    def read(self, decoding: Decoding) -> Arrays:
        """Read and decode everything.

        Raises:
            UnderstudyError: naming what cannot be read.
        """


def cut_test(
    labels: np.ndarray, groups: np.ndarray | None = None, class_names: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and a stratified fifth to test on, for files without a test split.

    Groups and class names are those of :func:`~understudy.data.splits.stratified_rows`.
    """
    return stratified_rows(labels, TEST_FRACTION, TEST_SEED, groups=groups, class_names=class_names)


def refuse_options(source: str, options: SourceOptions, *used: str) -> None:
    """Raises UnderstudyError if an option is set that the source does not use.

    Args:
        source: its name.
        options: as given.
        used: names of the options that it uses.
    """
    for part in fields(options):
        if part.name not in used and getattr(options, part.name) != getattr(NO_OPTIONS, part.name):
            raise UnderstudyError(
                f"data.{part.name} is not for the source {source}: leave it out, or choose another "
                "data.source"
            )


def existing(path: Path) -> Path:
    """The path, made absolute. Raises UnderstudyError if nothing is there."""
    if not path.exists():
        raise UnderstudyError(
            f"no such file or folder: {path}; give the path of the data with --data or "
            "UNDERSTUDY_DATA"
        )
    return path.resolve()


def identity(root: Path, files: Sequence[Path]) -> str:
    """A hex digest that changes when any of the files does, see :func:`identity_of`."""
    names = [file.relative_to(root).as_posix() for file in files]
    return identity_of(root, names, [file.stat() for file in files])


def identity_of(root: Path, names: Sequence[str], stats: Sequence[os.stat_result]) -> str:
    """A hex digest that changes when any of the files below ``root`` does.

    Files of up to 64 MiB in all are identified by their path below ``root``, which may hold the
    label, and their bytes, whatever folder they are in. Larger ones, because reading them at each
    start would take longer than starting, by path, size, inode, and times of modification and of
    change in nanoseconds: the latter is that of the system, which no program sets back.

    Args:
        root: the folder of the data set.
        names: paths inside of it, with slashes, in a fixed order.
        stats: the state of each file.
    """
    by_content = sum(stat.st_size for stat in stats) <= _SMALL
    digest = hashlib.sha256(b"" if by_content else os.fsencode(root))
    for name, stat in zip(names, stats, strict=True):
        if by_content:
            with open(os.path.join(root, name), "rb") as file:
                state = hashlib.sha256(file.read()).hexdigest()
        else:
            times = f"{stat.st_mtime_ns}\0{stat.st_ctime_ns}"
            state = f"{stat.st_size}\0{stat.st_ino}\0{times}"
        digest.update(f"{name}\0{state}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
