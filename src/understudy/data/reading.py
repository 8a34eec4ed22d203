"""How a data set is read: enough to read the same files again, at another size too."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.config.images import MOST_PIXELS, Interpolation
from understudy.data.options import NO_OPTIONS, SourceOptions

if TYPE_CHECKING:
    from understudy.data.preprocess import Resize


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The arguments of :func:`understudy.data.read_dataset`.

    Attributes:
        source: a name from ``understudy.data.SOURCES``.
        path: the local copy; None takes UNDERSTUDY_DATA.
        size: (height, width) in pixels to bring all images to; None keeps their own.
        resize: how images of other proportions are brought to it.
        interpolation: filter of that resizing.
        channels: 3 for RGB, 1 for grey.
        max_pixels: a file of more pixels counts as one that cannot be read.
        options: how the source reads its files.
        cache_dir: folder for decoded images and downloads; None takes the user's.
    """

    source: str
    path: Path | None = None
    size: tuple[int, int] | None = None
    resize: "Resize" = "crop"
    interpolation: Interpolation = "bilinear"
    channels: int = 3
    max_pixels: int = MOST_PIXELS
    options: SourceOptions = NO_OPTIONS
    cache_dir: Path | None = None
