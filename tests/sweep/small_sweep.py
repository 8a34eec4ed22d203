"""A recipe small enough to sweep in a test, and a method that keeps a diary of what it trains, and
can be made to die."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from understudy.config.parse import parse
from understudy.config.schema import RunConfig
from understudy.methods.kd import KD, KDConfig
from understudy.sweep.results import SweepResults


def small_config(images: Path, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "name": "colours",
        "data": {
            "source": "npz",
            "path": str(images),
            "val_fraction": 0.3,
            "augment": {"padding": 1, "view_seed": 0},
        },
        "teacher": {
            "model": {"name": "fast_teacher", "options": {"widths": [4, 4, 4], "stem_width": 4}}
        },
        "student": {"model": {"name": "founding_student"}},
        "train": {"epochs": 2, "batch_size": 21, "lr": 3e-3},
        "seeds": [0, 1],
    }
    return parse(RunConfig, values | changes)


def diary_method(diary: Path, **options: Any) -> dict[str, Any]:
    """The founding loss that writes a line to ``diary`` for each epoch it trains."""
    return {"name": "tests.sweep.small_sweep.Diary", "diary": str(diary), **options}


@dataclass(frozen=True)
class DiaryConfig(KDConfig):
    """Options of the founding loss, the diary, and how often to die."""

    diary: str = ""
    """A file."""
    deaths: int = 0
    """How often the process is killed: at the start of its second epoch, or, with ``dies_after``,
    in the middle of one."""
    dies_at: float = -1.0
    """Only at this temperature, where it is above 0."""
    dies_after: str = ""
    """Only once this file is there."""
    takes_parent: bool = False
    """The process that started this one is killed first."""


class Diary(KD):
    """Writes ``temperature alpha epoch`` when an epoch begins."""

    config_class = DiaryConfig
    written = -1

    def losses(self, student: Any, teacher: Any, batch: Any) -> dict[str, Tensor]:
        options = self.config
        assert isinstance(options, DiaryConfig)
        if self.training and len(batch.labels) > 2:  # the check before the sweep has two
            begins, self.written = self.epoch != self.written, self.epoch
            diary = Path(options.diary)
            if begins:
                with diary.open("a") as file:
                    file.write(f"{options.temperature} {options.alpha} {self.epoch}\n")
            if options.dies_after:
                due = not begins and Path(options.dies_after).exists()
            else:
                due = begins and self.epoch == 1 and options.dies_at in (-1.0, options.temperature)
            tombs = diary.with_suffix(".deaths")
            died = len(tombs.read_text()) if tombs.exists() else 0
            if due and died < options.deaths:
                tombs.write_text("x" * (died + 1))
                if options.takes_parent:
                    os.kill(os.getppid(), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
        return super().losses(student, teacher, batch)


def epochs_of(diary: Path) -> list[str]:
    """What was trained, one ``temperature alpha epoch`` each, sorted."""
    return sorted(diary.read_text().splitlines()) if diary.exists() else []


def figures(results: SweepResults) -> dict[str, Any]:
    """What must not depend on how the work was spread, nor on whether it was interrupted."""
    trials = [
        (
            t.number,
            t.values,
            t.state,
            t.summary,
            t.gain,
            [r.val for r in t.runs],
        )
        for t in results.trials
    ]
    plain = [(b.values, b.summary, [r.val for r in b.runs]) for b in results.baselines]
    return {
        "trials": trials,
        "baselines": plain,
        "best": results.best,
        "final": results.final,
    }
