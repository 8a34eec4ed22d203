"""The command that looks at a data set before anything is trained: inspect data."""

from pathlib import Path

from cyclopts import App

from understudy.cli.checks import data_config
from understudy.cli.options import READING, AsJson, Reading
from understudy.errors import UnderstudyError

inspect = App(name="inspect", help="Look at a data set before training.", help_format="plaintext")


@inspect.command
def data(
    path: str,
    /,
    *,
    image_size: int | None = None,
    contact_sheet: Path | None = None,
    as_json: AsJson = False,
    reading: Reading = READING,
) -> int:
    """Open every image once: classes, sizes, bad files, duplicates, and what to repair.

    Ends with exit code 1 if something must be repaired first: images that cannot be read (unless
    they are left out), test images that are in train, a picture in several classes, a class too
    small to be split.

    Args:
        path: a folder, an archive, a table of images, or hf:NAME.
        image_size: in pixels, as data.image_size of a run.
        contact_sheet: a PNG file to write, with images of each class as a student sees them.
        as_json: print JSON.
    """
    if contact_sheet is not None and (
        contact_sheet.suffix.lower() != ".png" or contact_sheet.is_dir()
    ):
        raise UnderstudyError(f"--contact-sheet {contact_sheet} must be a file that ends in .png")
    config = data_config(path, reading, image_size)

    from understudy.config.images import AugmentConfig
    from understudy.data.contact_sheet import contact_sheet as draw
    from understudy.files import to_json, write_bytes
    from understudy.proposal.looking import look_at
    from understudy.terminal.inspection import show_inspection
    from understudy.terminal.progress import CountDisplay
    from understudy.terminal.tables import print_json

    with CountDisplay("scan") as display:
        look = look_at(config, display)
    found = look.inspection
    if contact_sheet is not None:
        names = [entry.name for entry in found.classes]
        write_bytes(contact_sheet, draw(look.some_images(), names, AugmentConfig()))
    if as_json:
        print_json(to_json(found))
    else:
        show_inspection(found)
        if contact_sheet is not None:
            print(f"Contact sheet: {contact_sheet}")
    return int(found.needs_repair)
