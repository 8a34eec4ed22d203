"""Caches of teacher outputs for a run: label ahead of its trainings, compare with its teacher."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from understudy.config.schema import RunConfig
from understudy.data.loader import TrainBatches
from understudy.data.prepare import prepare_data
from understudy.data.views import Views
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer, Progress, Silent
from understudy.runs.folder import RunFolder, load_run
from understudy.runs.networks import arm_data, load_teacher
from understudy.runs.plan import RunPlan, resolve_plan
from understudy.teachers.cache_admin import inspect_cache
from understudy.teachers.cached import CachedTeacher, cached_teacher, what_is_cached
from understudy.teachers.output_store import decode_rows, valid_rows
from understudy.training.device import make_fabric, resolve_device


@dataclass(frozen=True)
class _Views:
    """Views that are labelled in one go.

    Attributes:
        name: for people.
        epoch: under which the cache stores them.
        views: one per image.
    """

    name: str
    epoch: int
    views: Views


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
        UnderstudyError: without a trained teacher, or with ``all_views`` for a policy without end.
    """
    resolve_device(device)  # refused before anything is read or written
    plan = resolve_plan(load_run(run))
    labelled, folders = 0, set()
    for seed in _seeds_with_views(plan.config):
        teacher = _cached_teacher(plan, RunFolder(run), seed, cache, device)
        number = plan.config.train.epochs_run if epochs is None else epochs
        number = min(number, plan.config.data.augment.view_epochs or number)
        groups: Iterable[_Views] = _views_of_epochs(teacher, seed, number)
        if all_views:
            groups = _all_views(plan, teacher)
        for group in groups:
            teacher.prepare(group.epoch, group.views, _Detailed(group.name, observer))
        labelled += teacher.labelled
        folders.add(str(teacher.store.folder))
    return {"labelled": labelled, "folders": sorted(folders)}


def _views_of_epochs(teacher: CachedTeacher, seed: int, number: int) -> Iterator[_Views]:
    policy = teacher.batches.policy
    for epoch in range(number):
        yield _Views(f"seed {seed}, epoch {epoch + 1}/{number}", epoch, policy.epoch(epoch))


def _all_views(plan: RunPlan, teacher: CachedTeacher) -> list[_Views]:
    """Every view of the policy.

    Raises:
        UnderstudyError: if there is no end of them, or the cache stores its rows by epoch.
    """
    policy = teacher.batches.policy
    number = policy.num_views
    if number is None:
        raise UnderstudyError(
            "this augmentation has endlessly many views: label a number of epochs instead of all "
            "views"
        )
    if teacher.store.embedding_dim:
        raise UnderstudyError(
            f"{plan.arm('distilled').method.name} reads more than logits, and that is stored by "
            "epoch: label a number of epochs"
        )
    groups = []
    for view in range(number):
        views = policy.views_of(torch.full((policy.num_images,), view))
        groups.append(_Views(f"view {view + 1}/{number}", 0, views))
    return groups


class _Detailed(Silent):
    """Adds the name of the views that are labelled."""

    def __init__(self, detail: str, observer: Observer) -> None:
        self.detail, self.observer = detail, observer

    def progress(self, progress: Progress, training: str = "") -> None:
        """See :class:`~understudy.events.Observer`."""
        self.observer.progress(replace(progress, epoch=None, detail=self.detail))


def _seeds_with_views(config: RunConfig) -> tuple[int, ...]:
    """The seeds that differ in their views or their teacher; the first alone if none do."""
    if config.data.augment.view_seed is None or config.teacher.per_seed:
        return config.seeds
    return config.seeds[:1]


def _cached_teacher(
    plan: RunPlan, folder: RunFolder, seed: int, cache: Path | None, device: str
) -> CachedTeacher:
    """The cached outputs of the teacher of the distilled student of a seed."""
    student = plan.arm_run("distilled", seed)
    data, _ = arm_data(*prepare_data(plan.config.data), student.arm)
    fabric = make_fabric(device, plan.arm("teacher").train.precision)
    teacher = load_teacher(plan, student, folder, data, fabric.device)
    batch_size = plan.config.train.batch_size
    batches = TrainBatches(data.train, data.config, batch_size, seed, fabric.device, grid=data.grid)
    cached = what_is_cached(teacher, student.arm.needs, "auto", data.config.augment)
    location = str(cache) if cache else None
    return cached_teacher(teacher, data, batches, location, cached or "logits")


def verify_cache(
    folder: Path, run: Path | None = None, *, sample: int = 512, device: str = "auto"
) -> dict[str, Any]:
    """Check every row's checksum and, with the run it belongs to, a sample of rows against the live
    teacher.

    Args:
        folder: the cache.
        run: a run directory whose trained teacher made it.
        sample: how many images of the first epoch the teacher labels again.
        device: where the teacher runs.

    Returns:
        :func:`inspect_cache`'s entry, and with ``run`` the ``largest_difference`` of a value and
        the number ``compared``.

    Raises:
        UnderstudyError: if rows are damaged, the cache is another's, or the teacher's outputs
            differ.
    """
    resolve_device(device)
    found = inspect_cache(folder)
    if found["damaged"]:
        raise UnderstudyError(
            f"{folder} has {found['damaged']} damaged rows: the next run labels them again, "
            "or delete the cache"
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
    """Differences between cached rows, spread evenly over the images, and the live teacher."""
    batches = teacher.batches
    views, num_images = batches.policy.epoch(0), batches.policy.num_images
    rows = torch.linspace(0, num_images - 1, min(sample, num_images)).long()
    cached_rows = teacher.read(0, views, rows.numpy())
    filled = valid_rows(cached_rows)
    if not filled.any():
        return {"compared": 0, "largest_difference": None}
    rows, values = rows[torch.from_numpy(filled)], decode_rows(cached_rows[filled]).float()
    batch = batches.render(rows.to(batches.device), views.to(batches.device))
    teacher.teacher.prepare(0, views)
    live = teacher.row_values(teacher.teacher.outputs(batch)).cpu()
    largest = float((values - live).abs().max())
    if largest > 1e-2 * float(live.abs().max()) + 1e-3:
        raise UnderstudyError(
            f"the teacher's outputs differ from the cache's by up to {largest:.3g}: "
            "delete the cache"
        )
    return {"compared": len(rows), "largest_difference": largest}
