"""The command ``init``: from pictures to a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING

from understudy.cli.checks import data_config
from understudy.cli.options import READING, Reading, whole_numbers
from understudy.data.names import counted
from understudy.errors import UnderstudyError

if TYPE_CHECKING:
    from understudy.config.images import DataConfig
    from understudy.data.inspection import Inspection
    from understudy.proposal.propose import Wishes


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
    reading: Reading = READING,
) -> None:
    """Look at your pictures and write a recipe that trains a student on them.

    What can be measured or counted needs no option: image size, epochs, and the strongest teacher
    that trains in the time given. The recipe is short and commented: read it, change it, run it.

    Args:
        path: a folder with a folder of pictures for each class, an archive of it, a table.
        out: the recipe's file; NAME.yaml here by default.
        student: a network from understudy models, or a budget; auto:110k by default.
        teacher: a network from understudy models; chosen for the time by default.
        minutes: how long the whole run may take on this machine.
        image_size: pixels of a side; chosen from the pictures by default.
        seeds: the seeds of the students, such as 0,1,2.
    """
    target = _target(path, out)

    from understudy.proposal.propose import Wishes, refuse_impossible

    wishes = Wishes(
        name=target.stem,
        student=student,
        teacher=teacher,
        image_size=image_size,
        minutes=minutes,
        seeds=whole_numbers("--seeds", seeds),
    )
    refuse_impossible(wishes)
    data = data_config(path, reading, image_size)
    found = _inspected(data)
    if found.unreadable and not reading.skip_bad:
        raise UnderstudyError(
            f"{counted(len(found.unreadable), 'image')} cannot be read (listed above): replace or "
            "remove them, or go on without them by --skip-bad"
        )
    _write(target, data, found, wishes)


def _target(path: str, out: Path | None) -> Path:
    """The recipe's file, which must not exist yet."""
    from understudy.proposal.propose import default_name

    target = out or Path(f"{default_name(path)}.yaml")
    if target.suffix not in (".yaml", ".yml"):
        raise UnderstudyError(f"--out {target} must end in .yaml")
    if target.exists():
        raise UnderstudyError(f"{target} exists already: choose another --out, or delete it")
    if not target.parent.is_dir():
        raise UnderstudyError(f"there is no folder {target.parent}: make it, or choose another")
    return target


def _inspected(data: "DataConfig") -> "Inspection":
    """What the pictures are, shown."""
    from understudy.proposal.looking import look_at
    from understudy.terminal.inspection import show_inspection
    from understudy.terminal.progress import CountDisplay

    with CountDisplay("scan") as display:
        found = look_at(data, display).inspection
    show_inspection(found)
    return found


def _write(target: Path, data: "DataConfig", found: "Inspection", wishes: "Wishes") -> None:
    from understudy.data.names import counted
    from understudy.files import write_bytes
    from understudy.proposal.propose import propose
    from understudy.proposal.recipe_text import recipe_text, run_command
    from understudy.terminal.progress import CountDisplay

    with CountDisplay("decoding") as display:
        proposal = propose(data, found, wishes, display)
    assert data.path is not None
    write_bytes(target, recipe_text(proposal, data.path, str(target)).encode())
    minutes, epochs = proposal.minutes, proposal.config.train.epochs
    print(
        f"{target} written: teacher with {proposal.teacher_parameters:,} parameters, student with "
        f"{proposal.student_parameters:,}, {len(wishes.seeds)} seeds, {epochs} "
        f"epochs; about {counted(round(minutes.total), 'minute')} on this machine."
    )
    if proposal.has_weak_teacher:
        print(
            "Note: a teacher so close to the student in size seldom has much to teach: with more "
            "--minutes there is time for a stronger one."
        )
    print(f"Next: {run_command(str(target))}")
