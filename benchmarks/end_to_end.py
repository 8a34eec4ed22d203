"""From nothing to the finished founding experiment: seconds by stage, one run with all cores.

The founding recipe on the digits, or with ``--data`` on CIFAR-10; nothing is decoded or labelled
before. The ratio is the whole time over the time in training steps alone (the teacher's, plus the
students' divided by the processes side by side).
"""

import os
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness

QUICK = ["train.epochs=2", "seeds=[0,1]", "benchmark.repeats=10"]
TINY = [
    "teacher.model.name=founding_student",
    "train.epochs=1",
    "seeds=[0]",
    "train.batch_size=16",
    "benchmark.repeats=1",
    "benchmark.warmup=0",
    "benchmark.batch_sizes=[1]",
]


def tiny_images(folder: Path) -> list[str]:
    """A data set that even a test has time for, as overrides."""
    import numpy as np

    rng = np.random.default_rng(0)
    labels = np.arange(64) % 2
    np.savez(
        folder / "tiny.npz",
        images=rng.integers(0, 256, (64, 32, 32, 3), dtype=np.uint8),
        labels=labels,
    )
    return ["data.source=npz", f"data.path={folder / 'tiny.npz'}"]


def stages(
    overrides: list[str], folder: Path, *, workers: int | None, figures: bool
) -> tuple[dict[str, float], float]:
    """Seconds by stage, and the seconds of training steps alone."""
    began = time.perf_counter()
    from understudy.config.recipe import load_config
    from understudy.data.prepare import prepare_data
    from understudy.experiment import run_experiment
    from understudy.report import write_report

    config = load_config("cifar10-founding", overrides)
    imported = time.perf_counter()
    prepare_data(config.data)
    decoded = time.perf_counter()
    cache = str(folder / "outputs")
    results = run_experiment(config, folder / "run", workers=workers, cache=cache)
    assert results is not None, "this is the first and only rank"
    finished = time.perf_counter()
    write_report(folder / "run", figures=figures)
    reported = time.perf_counter()

    arms, seconds = results.arms, results.seconds
    side_by_side = min(results.environment.workers, 2 * len(config.seeds))
    trained = {name: _training_seconds(folder / "run", name) for name in arms}
    teacher = trained.pop("teacher")
    students = sum(trained.values()) / side_by_side
    labels = sum(run.label_seconds for arm in arms.values() for run in arm.runs) / side_by_side
    measured = {
        "import": imported - began,
        "decode": decoded - imported,
        "teacher": teacher,
        "labels": labels,
        "students": students,
        "evaluation": seconds["teacher"] + seconds["students"] - teacher - labels - students,
        "benchmark": finished - decoded - seconds["teacher"] - seconds["students"],
        "report": reported - finished,
    }
    return measured, teacher + students


def _training_seconds(run: Path, arm: str) -> float:
    import csv

    with (run / "history.csv").open() as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file) if row["arm"] == arm)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    args = harness.arguments("end_to_end", __doc__, argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before = os.environ.get("UNDERSTUDY_CACHE")
        os.environ["UNDERSTUDY_CACHE"] = str(folder / "cache")  # empty: everything is decoded anew
        try:
            images = (
                ["data.source=cifar10", f"data.path={args.data}"]
                if args.data
                else ["data.source=digits"]
            )
            overrides = [
                *(tiny_images(folder) if args.tiny else images),
                *harness.pick(args, tiny=TINY, quick=QUICK, full=[]),
            ]
            measured, pure = stages(
                overrides, folder, workers=1 if args.tiny else None, figures=not args.tiny
            )
        finally:
            if before is None:
                del os.environ["UNDERSTUDY_CACHE"]
            else:
                os.environ["UNDERSTUDY_CACHE"] = before
    total = sum(measured.values())
    peaks = {who: resource.getrusage(which).ru_maxrss / 1024 for who, which in _PROCESSES.items()}
    rows = [
        [stage, f"{seconds:.2f}", f"{100 * seconds / total:.0f} %"]
        for stage, seconds in measured.items()
    ]
    rows.append(["total", f"{total:.2f}", "100 %"])
    rows += [[f"peak memory, {who}", f"{peak:,.0f} MB", ""] for who, peak in peaks.items()]
    return harness.finish(
        args,
        ratios=total / pure,
        meaning="whole time over time in training steps, lower is better",
        samples={
            stage: [seconds]
            for stage, seconds in (measured | {"total": total, "steps alone": pure}).items()
        },
        settings={
            "overrides": overrides,
            "peak_mb": peaks,
            "evaluation": "validation, final evaluation, checkpoints, start",
        },
        columns=["stage", "seconds", "share"],
        rows=rows,
    )


_PROCESSES = {"this process": resource.RUSAGE_SELF, "largest worker": resource.RUSAGE_CHILDREN}

if __name__ == "__main__":
    main()
