"""A contact sheet: some images of each class as the student will see them, in several views each.

The first column is the image as it is read, at the size of the run; the others are views that the
augmentation makes of it. The same images and settings give the same bytes.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from understudy.config.images import MOST_PIXELS, AugmentConfig
from understudy.data.dataset import Split
from understudy.data.listing import Listing
from understudy.data.names import shown
from understudy.data.preprocess import Resize, decode
from understudy.data.views import Normalise, ViewPolicy, render
from understudy.errors import UnderstudyError

_INK, _MUTED, _PAPER = "#1f2328", "#6b7280", "#ffffff"
_MOST_CLASSES = 100
_FEW_CLASSES = 12
"""Up to which there is room for more and larger views."""
_MOST_PICTURES = 4
"""Of a class."""
_GAP = 3
"""Pixels between two views."""
_MARGIN = 14
_FONT_SIZE = 13
_WIDEST_NAME = 150
_TALLEST = 1500
"""Pixels of height, above which the rows go on in a further panel at the right."""


@dataclass(frozen=True)
class _Layout:
    """How many views there are, and how large they are drawn.

    Attributes:
        pictures: of each class, one below the other.
        views: of each picture, next to the picture itself.
        cell: (width, height) of each in pixels.
        rows: of a panel.
        name: width of the names' column.
    """

    pictures: int
    views: int
    cell: tuple[int, int]
    rows: int
    name: int

    @property
    def panel(self) -> int:
        """The width of a panel."""
        return self.name + (1 + self.views) * (self.cell[0] + _GAP) + 2 * _GAP + _MARGIN

    @property
    def top(self) -> int:
        """The height of the headings."""
        return _MARGIN + _FONT_SIZE + 8

    def place(self, row: int, column: int) -> tuple[int, int]:
        """The left upper corner of a view; column 0 is the picture itself."""
        panel, row = divmod(row, self.rows)
        between = 2 * _GAP if column else 0
        left = _MARGIN + panel * self.panel + self.name + column * (self.cell[0] + _GAP) + between
        return left, self.top + row * (self.cell[1] + _GAP)


def contact_sheet(
    split: Split, class_names: Sequence[str], augment: AugmentConfig, seed: int = 0
) -> bytes:
    """The sheet as a PNG file.

    Args:
        split: training images.
        class_names: index = label; of more than a hundred classes the first hundred are shown.
        augment: how training images are augmented.
        seed: of the views.
    """
    labels = split.labels.numpy()
    classes = np.unique(labels)[:_MOST_CLASSES]
    layout = _layout(split.image.size, [shown(class_names[label]) for label in classes])
    chosen = [_spread(np.flatnonzero(labels == label), layout.pictures) for label in classes]
    columns = _columns(split.take(torch.from_numpy(np.concatenate(chosen))), augment, seed, layout)
    panels = math.ceil(len(classes) * layout.pictures / layout.rows)
    height = layout.top + layout.rows * (layout.cell[1] + _GAP) + _MARGIN
    sheet = Image.new("RGB", (_MARGIN + panels * layout.panel, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for panel in range(panels):
        for column, heading in enumerate(("as read", "as trained on")):
            left, top = layout.place(panel * layout.rows, column)
            pen.text((left, top - 5), heading, _MUTED, _font(), "ls")
    row = start = 0
    for label, rows in zip(classes, chosen, strict=True):
        left, top = layout.place(row, 0)
        name = _fitting(shown(class_names[label]), layout.name - 8)
        pen.text((left - layout.name, top + layout.cell[1] // 2), name, _INK, _font(), "lm")
        pictures = [images[start : start + len(rows)] for images in columns]
        _paste(sheet, pictures, row, layout)
        start += len(rows)
        row += layout.pictures  # of which a class with few images leaves some empty
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def some_images(
    listing: Listing,
    is_read: np.ndarray,
    size: tuple[int, int],
    resize: Resize = "crop",
    max_pixels: int = MOST_PIXELS,
) -> Split:
    """A few training images of each class, decoded for a contact sheet.

    Args:
        listing: all images.
        is_read: bool ``[N]``, which of them can be read.
        size: (height, width) of the result.
        resize: the rule by which images are brought to it.
        max_pixels: as for the look at them.

    Raises:
        UnderstudyError: if no training image can be read.
    """
    rows = listing.rows_of("train")
    rows = rows[is_read[rows]]
    if not len(rows):
        raise UnderstudyError("there is no contact sheet: no training image can be read")
    labels = listing.labels[rows]
    chosen = [
        _spread(rows[labels == label], _MOST_PICTURES)
        for label in np.unique(labels)[:_MOST_CLASSES]
    ]
    taken = np.concatenate(chosen)
    encoded = listing.encoded(taken.tolist())
    images = np.stack([decode(data, where, size, resize, max_pixels) for where, data in encoded])
    return Split.from_arrays(images, listing.labels[taken])


def _layout(size: tuple[int, int], names: Sequence[str]) -> _Layout:
    few = len(names) <= _FEW_CLASSES
    pictures = max(1, min(_MOST_PICTURES, _FEW_CLASSES * 2 // len(names))) if few else 1
    height, width = size
    target = 96 if few else 64
    longest = max(size)
    factor = max(1, target // longest) if longest <= target else target / longest
    cell = max(1, round(width * factor)), max(1, round(height * factor))
    rows = len(names) * pictures
    panels = math.ceil(rows * (cell[1] + _GAP) / _TALLEST)
    # Whole classes in a panel.
    per_panel = math.ceil(len(names) / panels) * pictures
    widest = max(_font().getlength(name) for name in names)
    return _Layout(pictures, 5 if few else 3, cell, per_panel, int(min(widest, _WIDEST_NAME)) + 10)


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """At most so many of the rows, evenly spread."""
    count = min(count, len(rows))
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]


def _columns(split: Split, augment: AugmentConfig, seed: int, layout: _Layout) -> list[np.ndarray]:
    """uint8 ``[N, H, W, C]`` for each column: the images, then one view of each."""
    everything = torch.arange(len(split))
    images = split.gather(everything)
    small = Split(images.permute(0, 3, 1, 2), split.labels)
    policy = ViewPolicy(augment, seed, len(split), split.image)
    channels = split.image.channels
    plain = Normalise((0.0,) * channels, (1.0,) * channels, split.image.width, torch.device("cpu"))
    columns = [images.numpy()]
    for epoch in range(layout.views):
        floats = render(small.images, everything, policy.epoch(epoch), policy, plain)
        pixels = (255 * floats).round().clamp(0, 255).to(torch.uint8)
        columns.append(pixels.permute(0, 2, 3, 1).contiguous().numpy())
    return columns


def _paste(sheet: Image.Image, columns: Sequence[np.ndarray], row: int, layout: _Layout) -> None:
    """The pictures of a class, one below the other from ``row`` on."""
    for column, images in enumerate(columns):
        for number, pixels in enumerate(images):
            is_grey = pixels.shape[2] == 1
            picture = Image.fromarray(pixels[..., 0] if is_grey else pixels)
            drawn = _enlarged(picture, layout.cell)
            sheet.paste(drawn, layout.place(row + number, column))


def _enlarged(image: Image.Image, cell: tuple[int, int]) -> Image.Image:
    """Whole pixels if it is enlarged, so that they can be seen."""
    smaller = cell[0] < image.width
    return image.resize(cell, Image.Resampling.BOX if smaller else Image.Resampling.NEAREST)


def _fitting(name: str, width: int) -> str:
    """The name, or as much of its beginning as fits."""
    if _font().getlength(name) <= width:
        return name
    while name and _font().getlength(name + "…") > width:
        name = name[:-1]
    return name + "…"


@cache
def _font() -> ImageFont.FreeTypeFont:
    """The font of the report's figures."""
    import matplotlib

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), _FONT_SIZE)
