"""What every source has in common: a reader and one shape of arrays."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from understudy.data.annotations import NO_ANNOTATIONS, Annotations
from understudy.data.decoding import Decoding
from understudy.data.inspection import Inspection
from understudy.data.listing import Listing
from understudy.data.names import refuse_undecodable, shown
from understudy.data.options import NO_OPTIONS, SourceOptions
from understudy.errors import UnderstudyError


@dataclass(frozen=True, eq=False)
class Arrays:
    """Both splits: images uint8 ``[N, H, W, C]``, labels int64 ``[N]`` in ``[0, K)``, K names.

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

    @property
    def listing(self) -> Listing:
        """Its images as encoded files, found and labelled, nothing decoded.

        Raises:
            UnderstudyError: if the source holds arrays.
        """
        raise UnderstudyError(f"{self.name} holds arrays, no image files that could be listed")

    @abstractmethod
    def read(self, decoding: Decoding) -> Arrays:
        """Read and decode everything.

        Raises:
            UnderstudyError: naming what cannot be read.
        """


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
    """The path, made absolute.

    Raises:
        UnderstudyError: if nothing is there, or no report could name it.
    """
    if not path.exists():
        raise UnderstudyError(
            f"no such file or folder: {shown(str(path))}; give the path of the data with --data or "
            "UNDERSTUDY_DATA"
        )
    place = path.resolve()
    refuse_undecodable([str(place)], "the path of the data")
    return place
