"""Options that several commands share, and groups of options.

A group is a frozen dataclass whose fields are options of their own on the command line. The texts
under ``Attributes`` are those of ``--help``, which breaks a line where they do: one line each.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from understudy.errors import UnderstudyError

CommandLine = Annotated[str, Parameter(parse=False)]
"""The command as it was typed; :func:`understudy.cli.main` fills it in."""
AsJson = Annotated[bool, Parameter(name="--json")]
"""Print JSON instead of a table."""


def whole_numbers(option: str, text: str) -> list[int]:
    """The numbers of a list such as ``3,4,5``.

    Raises:
        UnderstudyError: naming the option, if they are no whole numbers.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UnderstudyError(
            f"{option} takes whole numbers with commas between them, such as 3,4,5, not {text}"
        ) from error


@Parameter(name="*")
@dataclass(frozen=True)
class Inputs:
    """What a training is given: images, and a trained teacher.

    Attributes:
        data: a local copy of the images.
        skip_bad: go on without images that cannot be read.
        weights: file of a trained teacher's weights, as teacher.path; it is not trained again.
    """

    data: str | None = None
    skip_bad: bool = False
    weights: str | None = None


@Parameter(name="*")
@dataclass(frozen=True)
class Execution:
    """Where trainings run.

    Attributes:
        device: auto, cpu, cuda or cuda:N.
        workers: how many trainings run at once; auto is one for each CPU core.
        track: where the numbers of every epoch go: tensorboard, mlflow, csv, or several.
    """

    device: str = "auto"
    workers: Literal["auto"] | int = "auto"
    track: str = ""

    @property
    def most_workers(self) -> int | None:
        """How many trainings run at once; ``None`` if the program chooses.

        Raises:
            UnderstudyError: if it is less than one.
        """
        if self.workers == "auto":
            return None
        if self.workers < 1:
            raise UnderstudyError(f"--workers must be auto or at least 1, not {self.workers}")
        return self.workers


@Parameter(name="*")
@dataclass(frozen=True)
class RunExecution(Execution):
    """How the trainings of a run are carried out.

    Attributes:
        resume: go on with the run in that folder.
        together: students of a seed take turns and share batches and the teacher's features.
        folds: cross-validate in so many parts, such as 5: for a few hundred images.
        go_on: let a teacher teach that is no better than the student without it.
    """

    resume: bool = False
    together: bool = False
    folds: int | None = None
    go_on: bool = False


@Parameter(name="*")
@dataclass(frozen=True)
class SweepExecution(Execution):
    """How the trainings of a sweep are carried out.

    Attributes:
        resume: go on with the sweep in that folder.
    """

    resume: bool = False


@Parameter(name="*")
@dataclass(frozen=True)
class SearchOptions:
    """How a sweep searches.

    Attributes:
        final_seeds: the seeds of the final comparison; fresh ones by default.
        search: how to choose trials.
        trials: how many, for random and tpe.
        pruner: end trials early that do badly.
        backend: what runs the trainings; auto measures which is fastest.
        storage: database URL of the study, for several machines; SQLite in the folder by default.
    """

    final_seeds: str | None = None
    search: Literal["grid", "random", "tpe"] = "grid"
    trials: int | None = None
    pruner: Literal["none", "median", "hyperband"] = "none"
    backend: Literal["auto", "sequential", "fused", "processes", "ray"] = "auto"
    storage: str | None = None

    @property
    def final_seed_numbers(self) -> list[int] | None:
        """The seeds of the final comparison; ``None`` if the program chooses.

        Raises:
            UnderstudyError: if they are no whole numbers.
        """
        if self.final_seeds is None:
            return None
        return whole_numbers("--final-seeds", self.final_seeds)


@Parameter(name="*")
@dataclass(frozen=True)
class Reading:
    """How the images of a path are read, before there is a recipe.

    Attributes:
        source: digits, cifar10, parquet, imagefolder, csv, npz or hf; found out by default.
        columns: what is in which column of a table or key of an .npz: image=file,label=species.
        group_by: regular expression on paths; images with one match stay together in a split.
        report_by: regular expression on paths; results are reported for each match.
        max_pixels: an image of more pixels counts as one that cannot be read.
        skip_bad: go on without images that cannot be read.
    """

    source: str | None = None
    columns: str | None = None
    group_by: str | None = None
    report_by: str | None = None
    max_pixels: int | None = None
    skip_bad: bool = False

    @property
    def column_names(self) -> dict[str, str]:
        """Role -> name of the column or key.

        Raises:
            UnderstudyError: if it is no list of roles and names.
        """
        pairs = [part.partition("=") for part in (self.columns or "").split(",") if part]
        if not all(role and name for role, _, name in pairs):
            raise UnderstudyError(
                "--columns takes roles and names, such as image=file,label=species, not "
                f"{self.columns}"
            )
        return {role.strip(): name.strip() for role, _, name in pairs}


@Parameter(name="*")
@dataclass(frozen=True)
class ExportOptions:
    """Which network is exported, and how much a file may lose.

    Attributes:
        arm: which network of the run; distilled by default.
        seed: of its training, or best-val for the best on validation.
        max_drop: points of accuracy that an int8 file may lose.
        accept_unproven: accept an int8 file although there are too few images for a proof.
    """

    arm: str | None = None
    seed: str = "best-val"
    max_drop: float = 0.5
    accept_unproven: bool = False


INPUTS = Inputs()
EXPORT = ExportOptions()
READING = Reading()
RUN_EXECUTION = RunExecution()
SWEEP_EXECUTION = SweepExecution()
SEARCH = SearchOptions()
