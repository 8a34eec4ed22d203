"""Small fixed runs of every family, recorded with two checkouts: numbers must not move.

    python tests/golden/record.py record --source CHECKOUT --out FOLDER   # run all cases with it
    python tests/golden/record.py compare FOLDER FOLDER                   # bit for bit

Both recordings must be made on the same machine with the same torch: rounding differs between
processors. The cases go through the command line, which stays the same while modules move; only the
stacked engine, which the command line uses on a GPU alone, is called from Python.
"""

import argparse
import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import load_file

HERE = Path(__file__).parent
NET = {"widths": [4, 8, 8], "stem_width": 4}
BASE: dict[str, Any] = {
    "name": "golden",
    "data": {
        "source": "digits",
        "image_size": 16,
        "val_fraction": 0.8,
        "train_images": 150,
        "mean": [0.3, 0.3, 0.3],
        "std": [0.35, 0.35, 0.35],
        "augment": {"padding": 2, "flip": False},
    },
    "teacher": {"model": {"name": "fast_teacher", "options": NET}, "train": {"epochs": 3}},
    "student": {"model": {"name": "resnet8"}},
    "train": {"epochs": 3, "batch_size": 32, "lr": 5e-3, "precision": "fp32"},
    "method": {"name": "kd", "temperature": 3, "alpha": 0.7},
    "seeds": [0],
    "benchmark": {"batch_sizes": [2], "repeats": 1, "warmup": 0},
}
METHODS = [
    "lskd",
    "dkd",
    "dist",
    "fitnets",
    "at",
    "sp",
    "rkd",
    "cc",
    "pkt",
    "vid",
    "nst",
    "ft",
    "reviewkd",
    "simkd",
    "crd",
]
METHODS += ["adversarial", "dml"]
ARMS: dict[str, dict[str, Any]] = {name: {"name": name} for name in METHODS}
ARMS |= {
    "at_kd": {"name": "at+kd", "alpha": 0.9},
    "born": {"name": "born_again", "generations": 2, "teacher": "baseline"},
    "paced": {"name": "kd", "curriculum": {"start": 0.4, "over": 2}},
}
MEMBERS = [{"seed": 3}, {"seed": 4, "weight": 3, "mean": [0.2, 0.2, 0.2], "std": [0.5, 0.5, 0.5]}]
FEW = {"dkd": {"name": "dkd"}, "at": {"name": "at"}, "rkd": {"name": "rkd"}}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "methods": ("run --workers 1", {"arms": ARMS}),
    "live": (
        "run --workers 2",
        {"teacher": {**BASE["teacher"], "outputs": "live"}, "seeds": [0, 1]},
    ),
    "together": ("run --together --workers 1", {"arms": FEW, "seeds": [0, 1]}),
    "ensemble": (
        "run --workers 1",
        {
            "teacher": {**BASE["teacher"], "members": MEMBERS},
            "arms": {"at": {"name": "at"}},
            "assistants": [
                {"model": {"name": "resnet14"}, "train": {"epochs": 2}, "method": {"name": "dkd"}}
            ],
        },
    ),
    "views": (
        "run --workers 1",
        {
            "data": {
                **BASE["data"],
                "augment": {"padding": 1, "mix": "mixup", "mix_alpha": 0.4, "view_seed": 5},
            },
            "teacher": {
                **BASE["teacher"],
                "per_seed": True,
                "mean": [0.1, 0.2, 0.3],
                "std": [0.4, 0.5, 0.6],
            },
            "train": {
                **BASE["train"],
                "ema_decay": 0.8,
                "keep": "best",
                "optimizer": "sgd",
                "schedule": "step",
            },
            "seeds": [0, 1],
        },
    ),
    "cutmix": (
        "run --workers 1",
        {
            "data": {**BASE["data"], "augment": {"mix": "cutmix", "randaugment": 2}},
            "train": {
                **BASE["train"],
                "schedule": "cosine",
                "label_smoothing": 0.1,
                "grad_clip": 1.0,
                "optimizer": "adam",
            },
        },
    ),
    "bf16": ("run --workers 1", {"train": {**BASE["train"], "precision": "bf16"}, "arms": FEW}),
    "ranks": ("ranks", {}),
    "sweep": ("sweep --backend fused --workers 1", {"seeds": [0, 1]}),
    "stacked": ("stacked", {"seeds": [0, 1]}),
}


def record(source: Path, out: Path, names: list[str]) -> None:
    """Run the cases with the package in ``source/src``, each into its own folder of ``out``."""
    environment = os.environ | {
        "PYTHONPATH": str(source / "src"),
        "OMP_NUM_THREADS": "1",
        "UNDERSTUDY_CACHE": str(out / "cache"),
    }
    understudy = [sys.executable, "-m", "understudy"]
    # These teachers are poor; an earlier version lets every teacher teach.
    options_of_run = (source / "src" / "understudy" / "cli" / "options.py").read_text()
    go_on = ["--go-on"] if "go_on" in options_of_run else []
    for name in names:
        command, changes = CASES[name]
        folder = out / name
        folder.mkdir(parents=True)
        recipe = folder / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(BASE | changes))
        verb, *options = command.split()
        target = ["--device", "cpu", "--out", str(folder / "run")]
        if verb == "run":
            words = [*understudy, "run", str(recipe), *options, *go_on, *target]
        elif verb == "sweep":
            space = ["method.temperature=1,4", "train.lr=0.002,0.005"]
            words = [*understudy, "sweep", str(recipe), *space, *options, *target]
        elif verb == "ranks":
            launcher = [
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--nproc-per-node",
                "2",
                "-m",
                "understudy",
            ]
            words = [*launcher, "train", str(recipe), "--arm", "distilled", *target]
        else:
            words = [sys.executable, str(HERE / "stacked.py"), str(recipe), str(folder / "run")]
        print(name, flush=True)
        with (folder / "log.txt").open("w") as log:
            subprocess.run(words, env=environment, stdout=log, stderr=subprocess.STDOUT, check=True)


def compare(before: Path, after: Path) -> list[str]:
    """Everything in which two recordings differ, one line each."""
    differing = []
    names = sorted(path.name for path in before.iterdir() if (path / "recipe.yaml").exists())
    for name in names:
        old, new = before / name / "run", after / name / "run"
        compared = 0
        for path in sorted(old.rglob("*")):
            other = new / path.relative_to(old)
            found = _differences(path, other)
            if found is None:
                continue
            compared += 1
            differing += [f"{name}/{path.relative_to(old)}: {one}" for one in found]
        print(f"{name:10} {compared} files compared")
        if not compared:
            differing.append(f"{name}: nothing to compare")
    return differing


def _differences(path: Path, other: Path) -> list[str] | None:
    """How a file differs from its counterpart; ``None`` for files that hold no numbers of a
    training."""
    if path.suffix not in (".safetensors", ".npz", ".csv") and path.name not in (
        "result.json",
        "results.json",
        "config.yaml",
    ):
        return None
    if not other.exists():
        return ["is missing"]
    if path.suffix in (".safetensors", ".npz"):
        old, new = _arrays(path), _arrays(other)
        same_bits = old.keys() == new.keys() and all(
            old[key].tobytes() == new[key].tobytes() for key in old
        )
        return [] if same_bits else ["other bits"]
    if path.suffix == ".csv":
        return _unequal(list(csv.DictReader(path.open())), list(csv.DictReader(other.open())))
    return _unequal(yaml.safe_load(path.read_text()), yaml.safe_load(other.read_text()))


def _arrays(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        return dict(load_file(path))
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


MEASURED = {
    "seconds",
    "images_per_second",
    "label_seconds",
    "created",
    "command",
    "latency",
    "efficiency",
    "threads",
    "path",
}
MEASURED |= {"environment", "measured", "importance"}
MEASURED |= {"correct", "comparisons", "gain", "gain_low", "gain_high", "verdict"}
"""Keys whose values are times, places or words, and so differ between two runs of the same code;
and how gains are judged: they follow from accuracies, which are compared."""


def _is_measured(key: str) -> bool:
    return key in MEASURED or key.startswith(("latency_", "accuracy_per_ms"))


def _is_added(key: str) -> bool:
    return key.removeprefix("val_").removeprefix("test_") in ADDED


RENAMED = {"randaugment": "photometric", "randaugment_magnitude": "photometric_magnitude"}
"""Key of the compared commit -> the key that holds the same value now."""
ADDED = {"vertical_flip", "resized_crop", "color_jitter", "rand_augment_ops", "erasing"}
ADDED |= {"rand_augment_magnitude", "sampling", "class_weights"}
ADDED |= {"balanced_accuracy", "macro_f1", "class_counts", "per_class_interval", "confusion"}
ADDED |= {"resize", "max_pixels", "columns", "skip_bad", "slices"}
ADDED |= {"classes", "head", "head_views", "go_on"}
"""Keys that the compared commit may not have."""
ALIASES = {"onecycle": "cosine"}
"""Value of the compared commit -> another name of the same thing, which is written now."""


def _unequal(old: Any, new: Any, where: str = "") -> list[str]:
    old = ALIASES.get(old, old) if isinstance(old, str) else old
    if isinstance(old, dict) and isinstance(new, dict):
        old = {RENAMED.get(key, key): value for key, value in old.items()}
        new = {RENAMED.get(key, key): value for key, value in new.items()}
        keys = [key for key in dict.fromkeys([*old, *new]) if not _is_measured(key)]
        keys = [key for key in keys if key in old or not _is_added(key)]
        return [
            line for key in keys for line in _unequal(old.get(key), new.get(key), f"{where}.{key}")
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for number, (a, b) in pairs for line in _unequal(a, b, f"{where}.{number}")]
    return [] if old == new or (old != old and new != new) else [f"{where}: {old!r} became {new!r}"]


def main() -> int:
    """Record, or compare and exit with 1 where something differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    recorder = commands.add_parser("record")
    recorder.add_argument("--source", type=Path, required=True)
    recorder.add_argument("--out", type=Path, required=True)
    recorder.add_argument("cases", nargs="*", default=list(CASES))
    comparer = commands.add_parser("compare")
    comparer.add_argument("folders", type=Path, nargs=2)
    options = parser.parse_args()
    if options.command == "record":
        record(options.source.resolve(), options.out.resolve(), options.cases)
        return 0
    differing = compare(*options.folders)
    print("\n".join(differing) or "no difference")
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main())
