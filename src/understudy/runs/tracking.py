"""The numbers of trainings for other tools: CSV files, TensorBoard, MLflow.

Trackers get each epoch of each training in the process that follows them, on whatever machine they
run, and the final measurements at the end. Nothing that they meet ends a training: one that fails
is reported in a line and left out from then on.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from understudy.errors import UnderstudyError, one_line, suggest
from understudy.events import EpochResult, Observer, Silent
from understudy.runs.history import write_history

TRACKERS = {"csv": "", "tensorboard": "tensorboard", "mlflow": "mlflow"}
"""Name -> the package that it needs, which is an extra of the same name."""


class Tracker(Protocol):
    """Writes numbers somewhere."""

    def epoch(self, training: str, result: EpochResult, numbers: Mapping[str, float]) -> None:
        """An epoch of a training has ended; a resumed training repeats its earlier ones first."""

    def finish(self, training: str, numbers: Mapping[str, float]) -> None:
        """A training was measured at its end."""

    def close(self) -> None:
        """Nothing more comes."""


def tracker_names(given: str | Sequence[str]) -> tuple[str, ...]:
    """The names in a list such as ``csv,mlflow``, whose packages are installed.

    Raises:
        UnderstudyError: for an unknown name, or a package that is missing.
    """
    parts = given.split(",") if isinstance(given, str) else given
    names = tuple(dict.fromkeys(str(part).strip() for part in parts if str(part).strip()))
    for name in names:
        if name not in TRACKERS:
            hint = suggest(name, TRACKERS, otherwise="there are")
            raise UnderstudyError(f"unknown tracker {name!r}: {hint}")
        package = TRACKERS[name]
        if package and not _is_installed(package):
            raise UnderstudyError(
                f"tracking to {name} needs {package}: pip install 'understudy[{name}]'"
            )
    return names


def _is_installed(package: str) -> bool:
    """Whether a package can be imported; a folder of its name does not count."""
    found = find_spec(package)
    return found is not None and found.origin is not None


def epoch_numbers(result: EpochResult) -> dict[str, float]:
    """What is tracked of an epoch: name -> number."""
    numbers = {f"train/{name}": value for name, value in result.losses.items()}
    numbers |= {
        "train/accuracy": result.train_accuracy,
        "val/loss": result.val_loss,
        "val/accuracy": result.val_accuracy,
        "lr": result.lr,
        "images_per_second": result.images_per_second,
        "seconds": result.seconds,
    }
    return numbers | {f"measures/{name}": value for name, value in result.measures.items()}


class Tracking(Silent):
    """The observer of all trackers.

    Args:
        trackers: name -> tracker.
        report: gets a line if one fails.
    """

    def __init__(self, trackers: Mapping[str, Tracker], report: Observer) -> None:
        self.trackers, self.report = dict(trackers), report

    def epoch(self, result: EpochResult, training: str = "") -> None:
        """See :class:`~understudy.events.Observer`."""
        self._each("epoch", training, result, epoch_numbers(result))

    def finish(self, training: str, numbers: Mapping[str, float]) -> None:
        """Write the final measurements of a training: name -> number."""
        self._each("finish", training, numbers)

    def close(self) -> None:
        """Nothing more comes."""
        self._each("close")

    def _each(self, what: str, *args: Any) -> None:
        for name, tracker in list(self.trackers.items()):
            try:
                getattr(tracker, what)(*args)
            except Exception as error:  # of other libraries, their servers and disks
                del self.trackers[name]
                reason = one_line(error, with_type=True)
                self.report.message(f"tracking to {name} has ended: {reason}")


@contextlib.contextmanager
def tracking(
    names: Sequence[str], folder: Path, experiment: str, report: Observer
) -> Iterator[Tracking | None]:
    """Trackers that are closed at the end; ``None`` without a name.

    Args:
        names: of the trackers, see :func:`tracker_names`.
        folder: what they write lies in it.
        experiment: what the trainings belong to.
        report: gets a line if a tracker fails.

    Raises:
        UnderstudyError: if one cannot be opened, such as a server that is not there.
    """
    if not names:
        yield None
        return
    trackers: dict[str, Tracker] = {}
    for name in names:
        try:
            trackers[name] = _OPEN[name](folder, experiment)
        except Exception as error:  # of other libraries
            reason = one_line(error, with_type=True)
            raise UnderstudyError(f"cannot track to {name} ({reason})") from error
    opened = Tracking(trackers, report)
    try:
        yield opened
    finally:
        opened.close()


class CsvTracker:
    """A file for each training, as ``history.csv`` of a run, written again after every epoch."""

    def __init__(self, folder: Path, experiment: str) -> None:
        self.folder = folder / "csv"
        self.epochs: dict[str, dict[int, EpochResult]] = {}

    def epoch(self, training: str, result: EpochResult, numbers: Mapping[str, float]) -> None:
        """See :class:`Tracker`."""
        held = self.epochs.setdefault(training, {})
        held[result.epoch] = result
        path = self.folder / f"{training}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        arm, _, seed = training.rpartition("-seed")
        name, number = (arm, int(seed)) if arm and seed.isdecimal() else (training, 0)
        write_history(path, [(name, number, held[epoch]) for epoch in sorted(held)])

    def finish(self, training: str, numbers: Mapping[str, float]) -> None:
        """The final numbers are in ``results.csv`` of a run."""

    def close(self) -> None:
        """See :class:`Tracker`."""


class TensorboardTracker:
    """Event files in a folder for each training, which TensorBoard shows as its runs."""

    def __init__(self, folder: Path, experiment: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.open, self.folder = SummaryWriter, folder / "tensorboard"
        self.writers: dict[str, Any] = {}
        self.last_epoch: dict[str, int] = {}

    def epoch(self, training: str, result: EpochResult, numbers: Mapping[str, float]) -> None:
        """See :class:`Tracker`."""
        writer = self._writer(training, result.epoch)
        for name, value in numbers.items():
            writer.add_scalar(name, value, result.epoch)
        writer.flush()
        self.last_epoch[training] = result.epoch

    def finish(self, training: str, numbers: Mapping[str, float]) -> None:
        """See :class:`Tracker`."""
        step = self.last_epoch.get(training, 0)
        writer = self._writer(training, step)
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)

    def close(self) -> None:
        """See :class:`Tracker`."""
        for writer in self.writers.values():
            writer.close()

    def _writer(self, training: str, first: int) -> Any:
        if training not in self.writers:
            place = str(self.folder / training)
            # What an interrupted training wrote from this epoch on is hidden.
            self.writers[training] = self.open(place, purge_step=first)
        return self.writers[training]


class MlflowTracker:
    """An MLflow run for each training, in an experiment of the run's name.

    In a database in the folder, unless ``MLFLOW_TRACKING_URI`` names a server. The client is used,
    not MLflow's current run, since several trainings may be under way.
    """

    def __init__(self, folder: Path, experiment: str) -> None:
        self.folder, self.name = folder, experiment
        self.client: Any = None
        self.experiment = ""
        self.runs: dict[str, str] = {}
        self.last_epoch: dict[str, int] = {}
        if os.environ.get("MLFLOW_TRACKING_URI"):
            self._connect()  # a server that is not there is refused before the first training

    def _connect(self) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        place, artifacts = os.environ.get("MLFLOW_TRACKING_URI"), None
        if not place:  # MLflow's own default, a folder of files, is refused by its newer versions
            self.folder.mkdir(parents=True, exist_ok=True)
            place = f"sqlite:///{(self.folder / 'mlflow.db').resolve()}"
            artifacts = (self.folder / "mlflow-artifacts").resolve().as_uri()
            logging.getLogger("mlflow.store").setLevel(logging.WARNING)  # it lists its migrations
        self.client = MlflowClient(tracking_uri=place)
        found = self.client.get_experiment_by_name(self.name)
        self.experiment = (
            self.client.create_experiment(self.name, artifact_location=artifacts)
            if found is None
            else found.experiment_id
        )

    def epoch(self, training: str, result: EpochResult, numbers: Mapping[str, float]) -> None:
        """See :class:`Tracker`."""
        self._log(training, numbers, result.epoch)
        self.last_epoch[training] = result.epoch

    def finish(self, training: str, numbers: Mapping[str, float]) -> None:
        """See :class:`Tracker`."""
        self._log(training, numbers, self.last_epoch.get(training, 0))

    def close(self) -> None:
        """See :class:`Tracker`."""
        for run in self.runs.values():
            self.client.set_terminated(run)

    def _log(self, training: str, numbers: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        if self.client is None:
            self._connect()
        if training not in self.runs:
            run = self.client.create_run(self.experiment, run_name=training or None)
            self.runs[training] = run.info.run_id
        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, step) for name, value in numbers.items()]
        self.client.log_batch(self.runs[training], metrics=metrics)


_OPEN: dict[str, type[Any]] = {
    "csv": CsvTracker,
    "tensorboard": TensorboardTracker,
    "mlflow": MlflowTracker,
}
