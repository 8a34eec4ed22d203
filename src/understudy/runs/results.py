"""Typed results of a run: ``result.json`` and ``results.json``.

Field names are the keys in the files. Fields with a default are missing in files of some earlier
version. Accuracies are in [0, 1], sizes in MB of 2^20 bytes, latencies in milliseconds.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy.errors import UnderstudyError, one_line
from understudy.evaluation.chance import chance_note, is_skewed
from understudy.evaluation.environment import Machine
from understudy.evaluation.latency import Efficiency, Latency, ModelSize
from understudy.evaluation.results import Metrics
from understudy.evaluation.statistics import Summary
from understudy.files import LEFT_OUT_IF_NONE, from_json
from understudy.runs.comparison import Comparison
from understudy.runs.folder import RunFolder
from understudy.runs.slices import SliceResult

SCHEMA = 1
AGAIN = "run again with --resume to write it again"
"""What to do about a damaged file of a run."""


# -- one training ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """One arm on one seed, as in ``arms/NAME/result.json``.

    Attributes:
        val: metrics on the validation split.
        test: metrics on the test split; ``None`` (no key) while it is sealed.
        arm: name of the arm.
        seed: of the training.
        model: the network's name; an ensemble's names with plus signs between them.
        method: ``given`` for a network from a file, ``ensemble``, or the method's name.
        taught_by: the arm that is its teacher; ``None`` if it has none.
        precision: ``fp32`` or ``bf16``.
        threads: CPU threads of torch.
        ranks: processes that trained it together.
        seconds: wall time of training and evaluation.
        epochs: that were trained; 0 for a network from a file.
        images_per_second: median over epochs; ``None`` without epochs.
        label_seconds: wall time of labelling ahead of the epochs, summed.
        best_epoch: with the highest validation accuracy, from 0; ``None`` without epochs.
        best_val_accuracy: the accuracy of that epoch.
    """

    val: Metrics
    test: Metrics | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    arm: str
    seed: int
    model: str
    method: str
    taught_by: str | None = None
    precision: str
    threads: int | None = None
    ranks: int | None = None
    seconds: float
    epochs: int
    images_per_second: float | None
    label_seconds: float
    best_epoch: int | None
    best_val_accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class SeedResult:
    """One seed of an arm in ``results.json``: :class:`ArmResult` without what its seeds share."""

    val: Metrics | None = None
    test: Metrics
    seed: int
    precision: str | None = None
    threads: int | None = None
    ranks: int | None = None
    seconds: float | None = None
    epochs: int | None = None
    images_per_second: float | None = None
    label_seconds: float | None = None
    best_epoch: int | None = None
    best_val_accuracy: float | None = None

    @classmethod
    def of(cls, result: ArmResult) -> "SeedResult":
        """The part of a finished and tested training that belongs to its seed."""
        assert result.test is not None, "a run evaluates every arm on the test split"
        return cls(**{part.name: getattr(result, part.name) for part in dataclasses.fields(cls)})


def read_result(path: Path) -> ArmResult:
    """The contents of a ``result.json``.

    Raises:
        UnderstudyError: if the file is damaged.
    """
    advice = "delete it, and --resume evaluates that training again"
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        raise UnderstudyError(f"{path} is damaged: {advice}") from None
    return from_json(ArmResult, content, str(path), advice)


# -- all arms of a run -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RunEnvironment(Machine):
    """The machine and how the run used it.

    Attributes:
        workers: trainings that run at the same time.
        threads_per_worker: CPU threads of each; ``None`` on a GPU.
        precision: of the training.
    """

    workers: int | None = None
    threads_per_worker: int | None = None
    precision: str | None = None


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """The images of a run or sweep.

    Attributes:
        name: of the data set.
        num_train, num_val, num_test: numbers of images.
        num_classes: number of classes.
        class_names: one per class, index = label.
        image_shape: ``(C, H, W)``.
        fingerprint: hex digest of the content.
        num_skipped: images that cannot be read and were left out; ``None`` (no key) if none was.
    """

    name: str
    num_train: int
    num_val: int
    num_test: int
    num_classes: int
    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]
    fingerprint: str
    num_skipped: int | None = field(default=None, metadata=LEFT_OUT_IF_NONE)


@dataclass(frozen=True, kw_only=True)
class StoredSize(ModelSize):
    """Size in memory and on disk, and the work of one image.

    Attributes:
        file_bytes: size of the weights file.
        macs: multiply-accumulates of one image.
    """

    file_bytes: int | None = None
    macs: int | None = None


@dataclass(frozen=True)
class ArmCost:
    """What an arm's network costs.

    Attributes:
        size: in memory and on disk.
        latency: batch size as text -> time of a forward pass.
    """

    size: StoredSize
    latency: Mapping[str, Latency]


@dataclass(frozen=True, kw_only=True)
class MetricSummaries:
    """Test metrics over the seeds of an arm; ``None`` where a seed has none."""

    accuracy: Summary
    nll: Summary | None = None
    ece: Summary | None = None
    agreement: Summary | None = None
    teacher_kl: Summary | None = None
    balanced_accuracy: Summary | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    macro_f1: Summary | None = field(default=None, metadata=LEFT_OUT_IF_NONE)


@dataclass(frozen=True, kw_only=True)
class ArmSummary:
    """One arm over all its seeds, as under ``arms`` in ``results.json``.

    Attributes:
        role: ``teacher``, ``baseline``, ``distilled`` or ``extra``.
        part: its role in the plan: ``member``, ``assistant``, ``generation``, ...
        taught_by: the arm that is its teacher; ``None`` if it has none.
        model, method: as in :class:`ArmResult`.
        runs: one entry for each seed.
        summary: test metrics over the seeds.
        size: of its network.
        latency: batch size as text -> time of a forward pass.
        compression: size of the teacher / size of this network.
        efficiency: mean accuracy for its cost at the largest batch size.
    """

    role: str
    part: str | None = None
    taught_by: str | None = None
    model: str
    method: str
    runs: tuple[SeedResult, ...]
    summary: MetricSummaries | None = None
    size: StoredSize | None = None
    latency: Mapping[str, Latency] = field(default_factory=dict)
    compression: float | None = None
    efficiency: Efficiency | None = None

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy of each seed."""
        return [run.test.accuracy for run in self.runs]

    def latency_of(self, batch_size: int) -> Latency | None:
        """Time of a batch of this size, if it was measured."""
        return self.latency.get(str(batch_size))


@dataclass(frozen=True, kw_only=True)
class LatencyConditions:
    """How latencies were measured."""

    threads: int
    repeats: int
    warmup: int
    runtime: str = "torch eager"
    precision: str = "fp32"
    memory_format: str = "channels_last"


@dataclass(frozen=True, kw_only=True)
class Published:
    """Published numbers of an arm, in the units of the measured ones; ``None`` if not published."""

    accuracy: float | None = None
    nll: float | None = None
    ece: float | None = None
    agreement: float | None = None
    parameters: float | None = None
    size_mb: float | None = None
    compression: float | None = None
    macs: float | None = None
    latency_ms: float | None = None

    @classmethod
    def of(cls, reference: Mapping[str, float]) -> "Published":
        """Those entries of a recipe's ``reference`` that a report can show."""
        known = {part.name for part in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in reference.items() if key in known})


@dataclass(frozen=True, kw_only=True)
class RunResults:
    """Everything that a run measured, as in ``results.json``.

    Attributes:
        schema: version of the file's layout.
        name: of the recipe.
        command: as typed.
        created: time in UTC, ISO 8601.
        seconds: phase -> wall time.
        environment: the machine.
        data: the images.
        config: the resolved configuration.
        arms: in the order of the plan.
        latency_conditions: how latencies were measured.
        comparisons: paired gains.
        slices: the same for parts of the test images, if the data set has some.
        reference: published numbers, arm -> {accuracy, latency_ms, ...}.
    """

    schema: int
    name: str
    command: str = ""
    created: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    environment: RunEnvironment | None = None
    data: DataFacts
    config: Mapping[str, Any] = field(default_factory=dict)
    arms: Mapping[str, ArmSummary]
    latency_conditions: LatencyConditions | None = None
    comparisons: tuple[Comparison, ...] = ()
    slices: tuple[SliceResult, ...] = ()
    reference: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.arms:
            raise ValueError("there is no arm")
        for name, arm in self.arms.items():
            if not arm.runs:
                raise ValueError(f"arm {name} has no runs")
            lengths = {len(run.test.per_class) for run in arm.runs}
            if not lengths <= {0, len(self.data.class_names)}:
                raise ValueError(f"arm {name} has another number of classes than the data")

    def arm_of_role(self, role: str) -> str | None:
        """Name of the first arm of this role."""
        return next((name for name, arm in self.arms.items() if arm.role == role), None)

    @property
    def has_skewed_classes(self) -> bool:
        """Whether the classes of the test images differ in size; ``False`` if it is not known."""
        return any(is_skewed(arm.runs[0].test.class_counts) for arm in self.arms.values())

    @property
    def chance_notes(self) -> tuple[str, ...]:
        """One sentence for each arm that does no better than one class for every image."""
        notes = [chance_note(n, [r.test for r in arm.runs]) for n, arm in self.arms.items()]
        return tuple(note for note in notes if note)

    def published(self, arm: str) -> Published:
        """The published numbers of an arm."""
        return Published.of(self.reference.get(arm, {}))


def load_results(folder: Path) -> dict[str, Any]:
    """The JSON mapping in ``folder/results.json`` of a run or a sweep; only its schema is checked.

    Raises:
        UnderstudyError: if the file is missing, damaged or of another schema.
    """
    path = RunFolder(Path(folder)).results
    results = _read(path)
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        found = results.get("schema") if isinstance(results, dict) else None
        raise UnderstudyError(
            f"{path} has schema {found!r}, this version reads {SCHEMA}; "
            "report with the version that ran it"
        )
    return results


def read_results(run: Path) -> RunResults:
    """The contents of ``run/results.json``.

    Raises:
        UnderstudyError: if the file is missing, damaged or of another schema.
    """
    return from_json(RunResults, load_results(run), str(RunFolder(Path(run)).results), AGAIN)


def is_sweep(folder: Path) -> bool:
    """Whether a folder's ``results.json`` is that of a sweep; raises as :func:`load_results`."""
    return load_results(folder).get("kind") == "sweep"


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UnderstudyError(
            f"{path} does not exist; give the directory of a finished run"
        ) from None
    except (OSError, ValueError) as error:
        raise UnderstudyError(f"{path} cannot be read ({one_line(error)}); {AGAIN}") from None
