"""The commands that look before anything is trained: inspect data, teacher, student."""

from pathlib import Path

from cyclopts import App

from understudy.cli.checks import data_config
from understudy.cli.options import READING, AsJson, Reading
from understudy.errors import UnderstudyError

inspect = App(
    name="inspect", help="Look at a data set or a network before training.", help_format="plaintext"
)


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


@inspect.command
def teacher(
    name: str,
    /,
    *,
    weights: Path | None = None,
    classes: int | None = None,
    image_size: int | None = None,
    as_json: AsJson = False,
) -> None:
    """Show a network's layers, stages, expected images, classes and costs.

    Args:
        name: a network from understudy models, timm:NAME, torchvision:NAME, hf:NAME, onnx:FILE or
            package.module:callable.
        weights: file of its weights, as teacher.path.
        classes: number of classes; by default that of the file, or the network's own.
        image_size: pixels of a side; by default what the file or the network records.
        as_json: print JSON.
    """
    _look("teacher", name, weights, classes, image_size, as_json)


@inspect.command
def student(
    name: str,
    /,
    *,
    weights: Path | None = None,
    classes: int | None = None,
    image_size: int | None = None,
    as_json: AsJson = False,
) -> None:
    """Show the same of a network that is to be a student.

    Args:
        name: a network from understudy models, timm:NAME, torchvision:NAME, hf:NAME or
            package.module:callable.
        weights: file of its weights.
        classes: number of classes; by default that of the file, or the network's own.
        image_size: pixels of a side; by default what the file or the network records.
        as_json: print JSON.
    """
    if name.startswith("onnx:"):
        raise UnderstudyError(f"{name} has no parameters to train: it can only be a teacher")
    _look("student", name, weights, classes, image_size, as_json)


def _look(
    role: str,
    name: str,
    weights: Path | None,
    classes: int | None,
    image_size: int | None,
    as_json: bool,
) -> None:
    from understudy.files import to_json
    from understudy.runs.anatomy import look_at_network
    from understudy.terminal.network import show_network
    from understudy.terminal.tables import print_json

    for option, value, least in (("--classes", classes, 2), ("--image-size", image_size, 1)):
        if value is not None and value < least:
            raise UnderstudyError(f"{option} must be at least {least}, not {value}")
    found = look_at_network(name, weights=weights, num_classes=classes, image_size=image_size)
    if as_json:
        print_json(to_json(found))
    else:
        show_network(found, role)
