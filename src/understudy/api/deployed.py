"""Trained students in folders: of the hub, and of a run."""

from pathlib import Path

from understudy.errors import UnderstudyError
from understudy.events import EpochResult
from understudy.export.deployable import Deployable
from understudy.models.foreign import ForeignClassifier
from understudy.models.normalisation import Normalisation
from understudy.runs.folder import RunFolder
from understudy.runs.history import read_history


def read_deployed(path: Path) -> tuple[Deployable, tuple[EpochResult, ...]]:
    """The student in a folder, and its epochs if they are known.

    Raises:
        UnderstudyError: if the folder is neither of a run nor of the hub, or incomplete.
    """
    from understudy.export import hub

    if hub.is_hub_folder(path):
        return _of_hub(path), ()
    folder = RunFolder(path)
    if folder.config.is_file():
        return _of_run(path)
    raise UnderstudyError(
        f"{path} holds no student: give a run's folder, one of understudy export --to hub, or a "
        "file that Student.save wrote"
    )


def _of_run(path: Path) -> tuple[Deployable, tuple[EpochResult, ...]]:
    from understudy.export.source import open_source

    source = open_source(path, images=False)
    rows = read_history(source.folder.arm(source.run.name))
    return source.deployable, tuple(row.epoch for row in rows)


def _of_hub(path: Path) -> Deployable:
    from understudy.export import hub

    card, graph = hub.read(path)
    image = card.image
    network = ForeignClassifier(
        graph, len(card.classes), name=str(path), in_channels=image.channels, image_size=image.size
    )
    return Deployable(
        network=network.eval(),
        classes=card.classes,
        preprocessing=card.preprocessing,
        normalisation=Normalisation(card.mean, card.std),
        origin=card.origin,
        measured=card.measured,
    )
