"""Looking after caches of teacher outputs: label ahead of a run, see what there is, check it, delete it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from understudy.config.schema import RunConfig
from understudy.data.loader import TrainBatches
from understudy.data.prepare import prepare_data
from understudy.errors import UnderstudyError
from understudy.runs.folder import RunFolder, load_run
from understudy.runs.networks import load_teacher
from understudy.runs.plan import RunPlan, resolve_plan
from understudy.teachers.cached import CachedTeacher, cached, keeps_embedding
from understudy.teachers.output_store import default_cache, valid_rows
from understudy.training.device import make_fabric, resolve_device

_BLOCK = 1 << 16
"""Rows checked at a time: a cache may be larger than memory."""


def build_cache(
    run: Path,
    *,
    epochs: int | None = None,
    all_views: bool = False,
    cache: Path | None = None,
    device: str = "auto",
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Label the views of a run's seeds ahead, so that its trainings find everything there.

    Args:
        run: a run directory with a trained teacher.
        epochs: how many epochs' views; by default those of all epochs that are trained.
        all_views: every view of a finite policy instead (162 per image for crop and flip).
        cache: folder of all caches.
        device: where the teacher runs.
        progress: told (what, views done, views to do).

    Returns:
        ``labelled`` views and the ``folders`` they are in.

    Raises:
        UnderstudyError: without a trained teacher, or with ``all_views`` for a policy that has no end.
    """
    resolve_device(device)  # refused before anything is read or written
    config = load_run(run)
    plan = resolve_plan(config)
    labelled, folders = 0, []
    for seed in config.seeds if _seeds_matter(config) else config.seeds[:1]:
        teacher = _cached_teacher(plan, RunFolder(run), seed, cache, device)
        policy = teacher.batches.policy
        if all_views:
            if policy.num_views is None:
                raise UnderstudyError(
                    "this augmentation has endlessly many views: label a number of epochs instead of all views"
                )
            if teacher.store.embedding_dim:
                raise UnderstudyError(
                    f"{config.method['name']} reads embeddings, which are kept by epoch: label a number of epochs"
                )
            todo = [
                (
                    f"view {v + 1}/{policy.num_views}",
                    0,
                    policy.views_of(torch.full((policy.num_images,), v)),
                )
                for v in range(policy.num_views)
            ]
        else:
            number = config.train.epochs_run if epochs is None else epochs
            todo = [
                (f"seed {seed}, epoch {e + 1}/{number}", e, policy.epoch(e)) for e in range(number)
            ]
        for what, epoch, views in todo:
            teacher.prepare(
                epoch,
                views,
                progress and (lambda done, total, what=what: progress(what, done, total)),
            )
        labelled += teacher.labelled
        folders.append(str(teacher.store.folder))
    return {"labelled": labelled, "folders": sorted(set(folders))}


def _seeds_matter(config: RunConfig) -> bool:
    return config.data.augment.view_seed is None or config.teacher.per_seed


def _cached_teacher(
    plan: RunPlan, folder: RunFolder, seed: int, cache: Path | None, device: str
) -> CachedTeacher:
    """The cached outputs of the teacher of the distilled student of a seed."""
    student = plan.arm_run("distilled", seed)
    data, _ = prepare_data(plan.config.data)
    fabric = make_fabric(device, plan.arm("teacher").train.precision)
    teacher = load_teacher(plan, student, folder, data, fabric.device)
    batch_size = plan.config.train.batch_size
    batches = TrainBatches(data.train, data.config, batch_size, seed, fabric.device)
    embedding = keeps_embedding(student.arm.needs, teacher)
    return cached(teacher, data, batches, str(cache) if cache else None, embedding=embedding)


def list_caches(cache: Path | None = None) -> list[dict[str, Any]]:
    """What is in the folder of caches: one entry each, with its size and how much of it is filled."""
    root = cache or default_cache()
    return [
        inspect_cache(folder)
        for folder in sorted(root.glob("*"))
        if (folder / "meta.json").is_file()
    ]


def inspect_cache(folder: Path) -> dict[str, Any]:
    """What a cache was made of, how many rows it has room for, and how many are filled, empty and damaged.

    Raises:
        UnderstudyError: if it is no cache.
    """
    meta = _meta(folder)
    counts = {"filled": 0, "empty": 0, "damaged": 0}
    files = sorted(folder.glob("*.bin"))
    for file in files:
        rows = _rows(file, meta["num_classes"] * meta["num_teachers"] + meta["embedding_dim"])
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            good, blank = valid_rows(block), ~block.any(1)
            counts["filled"] += int(good.sum())
            counts["empty"] += int(blank.sum())
            counts["damaged"] += int((~good & ~blank).sum())
    return {
        "name": folder.name,
        "images": meta["num_images"],
        "classes": meta["num_classes"],
        "teachers": meta["num_teachers"],
        "embedding": meta["embedding_dim"],
        "views": meta["num_views"],
        **counts,
        "bytes_on_disk": sum(file.stat().st_blocks * 512 for file in files),
        "parts": meta["parts"],
        "folder": str(folder),
    }


def verify_cache(
    folder: Path, run: Path | None = None, *, sample: int = 512, device: str = "auto"
) -> dict[str, Any]:
    """Check every row's checksum and, with the run it belongs to, a sample of rows against the live teacher.

    Args:
        folder: the cache.
        run: a run directory whose trained teacher made it.
        sample: how many images of the first epoch to ask the teacher about again.
        device: where the teacher runs.

    Returns:
        :func:`inspect_cache`'s entry, and with ``run`` the ``largest_difference`` of a value and the number ``compared``.

    Raises:
        UnderstudyError: if rows are damaged, the cache is another's, or the teacher now says something else.
    """
    resolve_device(device)
    found = inspect_cache(folder)
    if found["damaged"]:
        raise UnderstudyError(
            f"{folder} has {found['damaged']} damaged rows: the next run labels them again, or delete the cache"
        )
    if run is None:
        return found
    plan = resolve_plan(load_run(run))
    for seed in plan.config.seeds:
        teacher = _cached_teacher(plan, RunFolder(run), seed, folder.parent, device)
        if teacher.store.folder.resolve() == folder.resolve():
            return found | _compare(teacher, sample)
    raise UnderstudyError(
        f"{folder} is not the cache of {run}: its teacher, data, views or precision differ"
    )


def _compare(teacher: CachedTeacher, sample: int) -> dict[str, Any]:
    views = teacher.batches.policy.epoch(0)
    rows = torch.linspace(
        0, teacher.batches.policy.num_images - 1, min(sample, teacher.batches.policy.num_images)
    ).long()
    kept = teacher.read(0, views, rows.numpy())
    there = valid_rows(kept)
    if not there.any():
        return {"compared": 0, "largest_difference": None}
    rows, values = (
        rows[torch.from_numpy(there)],
        torch.from_numpy(kept[there, :-1].copy().view(np.float16)).float(),
    )
    batch = teacher.batches.render(
        rows.to(teacher.batches.device), views.to(teacher.batches.device)
    )
    live = teacher.kept_of(teacher.teacher.outputs(batch)).cpu()
    worst = float((values - live).abs().max())
    if worst > 1e-2 * float(live.abs().max()) + 1e-3:
        raise UnderstudyError(
            f"the teacher's outputs differ from the cache's by up to {worst:.3g}: delete the cache"
        )
    return {"compared": len(rows), "largest_difference": worst}


def delete_cache(folder: Path) -> int:
    """Delete one cache and return the bytes that were on disk.

    Raises:
        UnderstudyError: if it is no cache: nothing else is ever deleted.
    """
    freed = int(inspect_cache(folder)["bytes_on_disk"])
    shutil.rmtree(folder)
    return freed


def find_cache(name: str, cache: Path | None = None) -> Path:
    """The folder of a cache given by its path, its name, or the beginning of its name.

    Raises:
        UnderstudyError: if there is none, or several begin so.
    """
    if Path(name).is_dir():
        return Path(name)
    root = cache or default_cache()
    fitting = [
        folder
        for folder in sorted(root.glob("*"))
        if folder.name.startswith(name) and (folder / "meta.json").is_file()
    ]
    if len(fitting) != 1:
        found = "several caches begin" if fitting else "no cache begins"
        raise UnderstudyError(
            f"{found} with {name!r} in {root}: `understudy cache inspect` lists them"
        )
    return fitting[0]


def _meta(folder: Path) -> dict[str, Any]:
    try:
        meta = json.loads((folder / "meta.json").read_text())
        found = {key: meta[key] for key in ("parts", "num_images", "num_classes", "num_views")}
        # A cache of one teacher's logits may be older than these entries.
        return found | {
            "num_teachers": meta.get("num_teachers", 1),
            "embedding_dim": meta.get("embedding_dim", 0),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnderstudyError(
            f"{folder} is not a cache of teacher outputs: it has no sound meta.json"
        ) from error


def _rows(file: Path, values: int) -> np.ndarray:
    """The file's whole rows; a last one that was cut off does not count."""
    width = values + 1
    whole = file.stat().st_size // (2 * width)
    return (
        np.memmap(file, np.uint16, "r", shape=(whole, width))
        if whole
        else np.empty((0, width), np.uint16)
    )
