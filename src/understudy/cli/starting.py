"""The command ``init``: from pictures to a recipe."""

from pathlib import Path

from understudy.cli.options import PICTURES, Pictures
from understudy.errors import UnderstudyError


def init(
    path: str,
    /,
    *,
    out: Path | None = None,
    student: str | None = None,
    teacher: str | None = None,
    minutes: float = 30,
    image_size: int | None = None,
    seeds: str = "0,1,2,3,4",
    pictures: Pictures = PICTURES,
) -> None:
    """Look at your pictures and write a recipe that trains a student on them.

    Everything is measured or counted: image size, epochs, and the strongest teacher that trains in
    the time given. The recipe is short and commented: read it, change it, run it.

    Args:
        path: a folder with one folder of pictures for each class, a zip or tar of it, or a table.
        out: the recipe's file; NAME.yaml in this folder by default.
        student: a network from understudy models; chosen for the image size by default.
        teacher: a network from understudy models; chosen for the time by default.
        minutes: how long the whole run may take on this machine.
        image_size: pixels of a side; chosen from the pictures by default.
        seeds: the seeds of the students, such as 0,1,2.
    """
    from understudy.proposal.propose import Wishes, default_name

    name = default_name(path)
    target = out or Path(f"{name}.yaml")
    if target.suffix not in (".yaml", ".yml"):
        raise UnderstudyError(f"--out {target} must end in .yaml")
    if target.exists():
        raise UnderstudyError(f"{target} exists already: choose another --out, or delete it")
    wishes = Wishes(
        name=target.stem,
        student=student,
        teacher=teacher,
        image_size=image_size,
        minutes=minutes,
        seeds=seed_numbers("--seeds", seeds),
    )
