"""The table of students: small networks, all trained by one short recipe, on validation images.

``student=auto:100k`` chooses from it. It is written after each training and goes on from what it
holds, so it can be ended at any time; seed by seed, small networks first.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import harness
import torch

import understudy
from understudy.config.recipe import load_config, to_mapping
from understudy.config.schema import TrainConfig
from understudy.data.prepare import TrainingData, prepare_data
from understudy.errors import UnderstudyError
from understudy.evaluation.environment import this_machine
from understudy.evaluation.latency import count_macs, model_size
from understudy.files import from_json, to_json
from understudy.models import build_model
from understudy.models.students import TABLE, KnownStudent, StudentTable

CAVEAT = (
    "Validation accuracy after one short training of each network (a tenth of the images, five "
    "epochs) by one recipe that was tuned for none of them. It shows which networks learn quickly "
    "for their size from small pictures of objects. It does not show what they reach in a long "
    "training, from which deep networks gain most, on other images, at another size, or with a "
    "teacher; differences of two points mean nothing."
)
TRAIN = TrainConfig(epochs=5, batch_size=64, optimizer="adamw", lr=3e-3, weight_decay=1e-2)
IMAGES, VAL_FRACTION = 5_000, 0.05
SEEDS = (0, 1)


def sized(name: str, *widths: tuple[int, ...]) -> list[tuple[str, dict[str, Any]]]:
    """A network with each of these widths; none for its own."""
    return [(name, {"widths": list(each)} if each else {}) for each in widths]


CANDIDATES = [
    # Just below 20,000, 50,000, 100,000, 200,000, 500,000 and 1,000,000 parameters at 10 classes,
    # and some networks without options.
    *sized("tiny_res", (8, 12, 20, 24), (12, 20, 32, 40), (16, 32, 48, 54), ()),
    *sized("tiny_res", (24, 44, 68, 76), (36, 72, 108, 120), (52, 100, 152, 172)),
    *sized("tiny_wide", (16, 16, 24, 56), (24, 24, 40, 88), (32, 32, 56, 128)),
    *sized("tiny_wide", (48, 48, 84, 176), (72, 72, 144, 272), (104, 104, 204, 376)),
    *sized("tiny_dw", (16, 32, 48, 76), (24, 48, 88, 124), (32, 64, 128, 184)),
    *sized("tiny_dw", (48, 96, 184, 264)),
    *sized("founding_student", ()),
    *sized("resnet8", (8, 8, 16, 32), (12, 12, 24, 50), ()),
    *sized("resnet14", (8, 8, 16, 32), ()),
]
"""Names and options."""


def measured(name: str, options: Mapping[str, Any], data: TrainingData) -> KnownStudent:
    """A line of the table, without an accuracy yet."""
    network = build_model(name, data.num_classes, data.image, options=options)
    return KnownStudent(
        name=name,
        options=options,
        parameters=model_size(network).parameters,
        macs=count_macs(network, data.image.shape),
        accuracy={},
    )


def train(student: KnownStudent, seed: int, data: TrainingData, config: TrainConfig) -> float:
    """Validation accuracy after one training, in [0, 1]."""
    torch.manual_seed(seed)
    network = build_model(student.name, data.num_classes, data.image, options=student.options)
    trained = understudy.train(network, data, config, seed=seed, device="cpu")
    return trained.history[-1].val_accuracy


def left(table: StudentTable, seeds: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Position and seed of the trainings that the table lacks, in their order."""

    def order(training: tuple[int, int]) -> tuple[int, int]:
        number, seed = training
        return seed, table.students[number].macs

    for number, seed in sorted(product(range(len(table.students)), seeds), key=order):
        if str(seed) not in table.students[number].accuracy:
            yield number, seed


def with_accuracy(table: StudentTable, number: int, seed: int, accuracy: float) -> StudentTable:
    """The table with one more training."""
    students = list(table.students)
    student = students[number]
    found = {**student.accuracy, str(seed): round(accuracy, 4)}
    students[number] = dataclasses.replace(student, accuracy=found)
    today = datetime.now(UTC).date().isoformat()
    return dataclasses.replace(table, students=tuple(students), created=today)


def begun(
    out: Path, data: TrainingData, config: TrainConfig, candidates: Sequence[Any]
) -> StudentTable:
    """The table of a file, or one without any training.

    Raises:
        UnderstudyError: if the file was measured with another recipe, or on other images.
    """
    fresh = StudentTable(
        caveat=CAVEAT,
        command="python benchmarks/students.py --data PATH",
        created="",
        data=data.name,
        images=len(data.train),
        val_images=len(data.val),
        image=data.image.shape,
        num_classes=data.num_classes,
        train=to_mapping(config),
        seeds=SEEDS,
        environment=to_json(this_machine("cpu")),
        students=tuple(measured(name, options, data) for name, options in candidates),
    )
    if not out.exists():
        return fresh
    former = from_json(StudentTable, json.loads(out.read_bytes()), str(out), "delete it")
    for field in ("data", "images", "val_images", "image", "train"):
        if to_json(getattr(former, field)) != to_json(getattr(fresh, field)):
            raise UnderstudyError(
                f"{out} was measured with another {field}: delete it, or give --out"
            )
    known = {(each.name, json.dumps(each.options)): each.accuracy for each in former.students}
    students = tuple(
        dataclasses.replace(each, accuracy=known.get((each.name, json.dumps(each.options)), {}))
        for each in fresh.students
    )
    return dataclasses.replace(fresh, students=students, created=former.created)


def show(table: StudentTable) -> None:
    """The table, the most accurate first."""
    rows = [
        [
            f"{each.name} {'-'.join(map(str, each.options.get('widths', [])))}",
            f"{each.parameters:,}",
            f"{each.macs / 1e6:.2f}",
            f"{100 * each.mean:.2f}",
            ", ".join(f"{100 * value:.2f}" for value in each.accuracy.values()),
        ]
        for each in sorted(table.trained, key=lambda one: -one.mean)
    ]
    columns = ["student", "parameters", "million MACs", "mean %", "seeds"]
    caption = f"one standard error: {100 * table.standard_error:.2f} points"
    harness.table("Students after a short training", columns, rows, caption)


def main(argv: Sequence[str] | None = None) -> StudentTable:
    """Train what the table lacks, and write it."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="PATH", help="a copy of CIFAR-10")
    parser.add_argument("--out", type=Path, default=TABLE, help="the table's file")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)  # for the tests
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    source = load_config("digits" if args.tiny else "cifar10").data
    images = {} if args.tiny else {"train_images": IMAGES, "val_fraction": VAL_FRACTION}
    data, _ = prepare_data(dataclasses.replace(source, path=args.data, **images))
    config = dataclasses.replace(TRAIN, epochs=1) if args.tiny else TRAIN
    candidates = CANDIDATES[:2] if args.tiny else CANDIDATES
    table = begun(args.out, data, config, candidates)
    for number, seed in left(table, SEEDS):
        student, start = table.students[number], time.perf_counter()
        accuracy = train(student, seed, data, config)
        table = with_accuracy(table, number, seed, accuracy)
        harness.write_json(args.out, to_json(table))
        seconds = time.perf_counter() - start
        print(
            f"{student.name} {student.options} seed {seed}: {accuracy:.2%}, {seconds:.0f} s",
            flush=True,
        )
    show(table)
    return table


if __name__ == "__main__":
    main()
