"""A distilled epoch, with the teacher's outputs kept or with the teacher live, against a plain
epoch (one thread).

``first`` is an epoch of a first run, bulk labelling and training together: its views are drawn
afresh in every epoch, and no one has labelled them but the run's own earlier epochs.
``first_over_live`` compares the sums over all epochs, a run of 15 as in the founding recipe.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness
import our_loop
import torch

from understudy.teachers import cached as teacher_cache
from understudy.teachers.base import Teacher


def measure(
    pair: tuple[str, str], path: str | None, *, steps: int, batch_size: int, rounds: int
) -> harness.Samples:
    """Seconds per epoch of so many steps for (teacher, student): plain, cached, live and first."""
    teacher_name, student_name = pair
    data = our_loop.training_data(steps * batch_size, path)
    teacher = our_loop.live_teacher(teacher_name)
    with tempfile.TemporaryDirectory() as folder:
        contenders = {
            "plain": our_loop.our_epochs(our_loop.network(student_name), data, batch_size)
        }
        for name in ("cached", "live", "first"):
            batches, student = our_loop.batches_of(data, batch_size), our_loop.network(student_name)
            answers: Teacher = teacher
            if name != "live":
                answers = our_loop.cached_teacher(
                    teacher, batches, Path(folder, name), warm=name == "cached"
                )
            contenders[name] = our_loop.our_epochs(
                student, data, batch_size, method="kd", teacher=answers, batches=batches
            )
        if steps * batch_size % teacher_cache._BATCH:
            del contenders[
                "first"
            ]  # labelling runs in full batches (of 512): a part of one would be charged as a whole
        return harness.alternate(contenders, rounds)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    args = harness.arguments("distilled_epoch", __doc__, argv)
    torch.set_num_threads(1)
    founding = harness.pick(
        args,
        tiny={"steps": 2, "batch_size": 4, "rounds": 1},
        quick={"steps": 4, "batch_size": 128, "rounds": 5},
        full={"steps": 40, "batch_size": 128, "rounds": 15},
    )
    deep = harness.pick(
        args,
        tiny={"steps": 1, "batch_size": 4, "rounds": 1},
        quick={"steps": 2, "batch_size": 32, "rounds": 3},
        full={"steps": 10, "batch_size": 128, "rounds": 5},
    )
    pairs = harness.pick(
        args,
        tiny=[("founding_student", "founding_student"), ("resnet8", "resnet8")],
        quick=[("founding_teacher", "founding_student"), ("resnet110", "resnet20")],
        full=[("founding_teacher", "founding_student"), ("resnet110", "resnet20")],
    )
    samples: harness.Samples = {}
    ratios: dict[str, float] = {}
    rows = []
    for pair, size, suffix in zip(pairs, (founding, deep), ("", "_resnet"), strict=True):
        found = measure(pair, args.data, **size)
        for name, values in found.items():
            over = harness.ratio(found, name, "plain")
            rows.append(
                [f"{pair[1]}, {name}", *harness.spread(values, 1e3 / size["steps"]), f"{over:.3f}"]
            )
        samples |= {name + suffix: values for name, values in found.items()}
        ratios |= {
            name + suffix: harness.ratio(found, name, "plain") for name in ("cached", "live")
        }
        if "first" in found:
            ratios["first_over_live" + suffix] = sum(found["first"]) / sum(found["live"])
    return harness.finish(
        args,
        ratios=ratios,
        meaning="epoch over a plain epoch (first_over_live: a run from an empty cache over a live "
        "one), lower is better",
        samples=samples,
        settings={
            "founding": founding,
            "resnet": deep,
            "pairs": pairs,
            "threads": 1,
            "precision": our_loop.PRECISION,
        },
        columns=["student, outputs of its teacher", "ms a step", "quartiles", "over plain"],
        rows=rows,
    )


if __name__ == "__main__":
    main()
