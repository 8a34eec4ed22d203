"""The command that looks at a data set before anything is trained: inspect data."""

from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from understudy.cli.options import AsJson

if TYPE_CHECKING:
    from understudy.data.listing import Listing
    from understudy.data.scan import Scan

inspect = App(name="inspect", help="Look at a data set before training.", help_format="plaintext")


@inspect.command
def data(
    path: str,
    /,
    *,
    source: str | None = None,
    group_by: str | None = None,
    report_by: str | None = None,
    image_size: int | None = None,
    contact_sheet: Path | None = None,
    as_json: AsJson = False,
) -> int:
    """Open every image once: classes, sizes, bad files, duplicates, and what to repair.

    Ends with exit code 1 if something must be repaired first: images that cannot be read, test
    images that are in train, a picture in several classes, a class of one image.

    Args:
        path: a folder, an archive, a table of images, or hf:NAME.
        source: how to read it; found out by default.
        group_by: regular expression on paths; images with one match stay together in a split.
        report_by: regular expression on paths; results are reported for each match.
        image_size: in pixels, as data.image_size of a run.
        contact_sheet: a PNG file to write, with images of each class as a student sees them.
        as_json: print JSON.
    """
    from understudy.config.schema import DataConfig, parse
    from understudy.data import listing_of
    from understudy.data.detect import detect_source
    from understudy.data.inspecting import inspect_listing
    from understudy.data.options import SourceOptions
    from understudy.data.scan import scan
    from understudy.data.spec import size_of
    from understudy.files import to_json
    from understudy.terminal.inspection import show_inspection
    from understudy.terminal.progress import CountDisplay
    from understudy.terminal.tables import print_json

    given = {"group_by": group_by, "report_by": report_by, "image_size": image_size}
    config = parse(DataConfig, given)
    options = SourceOptions(group_by=config.group_by, report_by=config.report_by)
    listing = listing_of(source or detect_source(path), path, options)
    with CountDisplay("scan") as display:
        read = scan(listing, observer=display)
    found = inspect_listing(listing, read, size=size_of(image_size))
    if contact_sheet is not None:
        _write_sheet(contact_sheet, listing, read, image_size)
    if as_json:
        print_json(to_json(found))
    else:
        show_inspection(found)
        if contact_sheet is not None:
            print(f"Contact sheet: {contact_sheet}")
    return int(found.needs_repair)


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
