"""Caches of teacher outputs for a run: label ahead of its trainings, compare with its teacher."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from understudy.config.schema import RunConfig
from understudy.data.loader import TrainBatches
from understudy.data.prepare import prepare_data
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer, Progress, Silent
from understudy.runs.folder import RunFolder, load_run
from understudy.runs.networks import load_teacher
from understudy.runs.plan import RunPlan, resolve_plan
from understudy.teachers.cache_admin import inspect_cache
from understudy.teachers.cached import CachedTeacher, cached_teacher, caches_embedding
from understudy.teachers.output_store import decode_rows, valid_rows
from understudy.training.device import make_fabric, resolve_device


def build_cache(
    run: Path,
    *,
    epochs: int | None = None,
    all_views: bool = False,
    cache: Path | None = None,
    device: str = "auto",
    observer: Observer = SILENT,
) -> dict[str, Any]:
    """Label the views of a run's seeds ahead, so that its trainings find everything there.

    Args:
        run: a run directory with a trained teacher.
        epochs: how many epochs' views; by default those of all epochs that are trained.
        all_views: every view of a finite policy instead (162 per image for crop and flip).
        cache: folder of all caches.
        device: where the teacher runs.
        observer: follows the labelling; ``detail`` names the views.

    Returns:
        ``labelled`` views and the ``folders`` they are in.

    Raises:
        UnderstudyError: without a trained teacher, or with ``all_views`` for a policy that has no end.
    """
    resolve_device(device)  # refused before anything is read or written
    config = load_run(run)
    run_plan = resolve_plan(config)
    labelled, folders = 0, []
    for seed in config.seeds if _seeds_matter(config) else config.seeds[:1]:
        teacher = _cached_teacher(run_plan, RunFolder(run), seed, cache, device)
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
            plan = [
                (
                    f"view {v + 1}/{policy.num_views}",
                    0,
                    policy.views_of(torch.full((policy.num_images,), v)),
                )
                for v in range(policy.num_views)
            ]
        else:
            number = config.train.epochs_run if epochs is None else epochs
            plan = [
                (f"seed {seed}, epoch {e + 1}/{number}", e, policy.epoch(e)) for e in range(number)
            ]
        for what, epoch, views in plan:
            teacher.prepare(
                epoch,
                views,
                _Detailed(what, observer),
            )
        labelled += teacher.labelled
        folders.append(str(teacher.store.folder))
    return {"labelled": labelled, "folders": sorted(set(folders))}


class _Detailed(Silent):
    """Adds the name of the views that are labelled."""

    def __init__(self, detail: str, observer: Observer) -> None:
        self.detail, self.observer = detail, observer

    def progress(self, progress: Progress, training: str = "") -> None:
        """See :class:`~understudy.events.Observer`."""
        self.observer.progress(replace(progress, epoch=None, detail=self.detail))


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
    embedding = caches_embedding(student.arm.needs, teacher)
    location = str(cache) if cache else None
    return cached_teacher(teacher, data, batches, location, embedding=embedding)


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
        decode_rows(kept[there]).float(),
    )
    batch = teacher.batches.render(
        rows.to(teacher.batches.device), views.to(teacher.batches.device)
    )
    live = teacher.row_values(teacher.teacher.outputs(batch)).cpu()
    worst = float((values - live).abs().max())
    if worst > 1e-2 * float(live.abs().max()) + 1e-3:
        raise UnderstudyError(
            f"the teacher's outputs differ from the cache's by up to {worst:.3g}: delete the cache"
        )
    return {"compared": len(rows), "largest_difference": worst}
