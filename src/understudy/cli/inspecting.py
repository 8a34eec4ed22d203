"""The command that looks at a data set before anything is trained: inspect data."""

from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from understudy.cli.options import PICTURES, AsJson, Pictures
from understudy.errors import UnderstudyError

if TYPE_CHECKING:
    from understudy.data.listing import Listing
    from understudy.data.scan import Scan

inspect = App(name="inspect", help="Look at a data set before training.", help_format="plaintext")


@inspect.command
def data(
    path: str,
    /,
    *,
    pictures: Pictures = PICTURES,
    image_size: int | None = None,
    contact_sheet: Path | None = None,
    as_json: AsJson = False,
) -> int:
    """Open every image once: classes, sizes, bad files, duplicates, and what to repair.

    Ends with exit code 1 if something must be repaired first: images that cannot be read, test
    images that are in train, a picture in several classes, a class too small to be split.

    Args:
        path: a folder, an archive, a table of images, or hf:NAME.
        image_size: in pixels, as data.image_size of a run.
        contact_sheet: a PNG file to write, with images of each class as a student sees them.
        as_json: print JSON.
    """
    from understudy.data import listing_of
    from understudy.data.detect import FILE_SOURCES
    from understudy.data.inspecting import inspect_listing
    from understudy.data.options import source_options
    from understudy.data.scan import scan
    from understudy.data.spec import size_of
    from understudy.files import to_json
    from understudy.terminal.inspection import show_inspection
    from understudy.terminal.progress import CountDisplay
    from understudy.terminal.tables import print_json

    config = pictures.config(path, image_size)
    if contact_sheet is not None:
        _refuse_sheet(contact_sheet, config.source in FILE_SOURCES)
    listing = read = None
    with CountDisplay("scan") as display:
        if config.source in FILE_SOURCES:
            listing = listing_of(config.source, config.path, source_options(config))
            read = scan(listing, observer=display)
            size = size_of(image_size)
            found = inspect_listing(listing, read, size=size, skipped_bad=config.skip_bad)
        else:
            from understudy.proposal.looking import look_at

            found = look_at(config, display)
    if as_json:
        print_json(to_json(found))
    else:
        show_inspection(found)
    if contact_sheet is not None and listing is not None and read is not None:
        _write_sheet(contact_sheet, listing, read, image_size)
        if not as_json:
            print(f"Contact sheet: {contact_sheet}")
    return int(found.needs_repair)


def _refuse_sheet(file: Path, has_files: bool) -> None:
    """Raises UnderstudyError if a contact sheet cannot be written there, before any scan."""
    if file.suffix.lower() != ".png" or file.is_dir():
        raise UnderstudyError(f"--contact-sheet {file} must be a file that ends in .png")
    if not has_files:
        raise UnderstudyError(
            "--contact-sheet shows image files, and these images are stored in arrays or tables: "
            "leave it out"
        )


def _write_sheet(file: Path, listing: "Listing", read: "Scan", image_size: int | None) -> None:
    """By default at the size of the smaller images, at most 224 pixels."""
    import numpy as np

    from understudy.config.images import AugmentConfig
    from understudy.data.contact_sheet import contact_sheet, some_images
    from understudy.files import write_bytes

    facts = read.facts
    sides = np.minimum(facts.width, facts.height)[facts.is_read]
    side = image_size or (min(224, int(np.median(sides))) if len(sides) else 224)
    split = some_images(listing, facts.is_read, (side, side))
    write_bytes(file, contact_sheet(split, listing.class_names, AugmentConfig()))
