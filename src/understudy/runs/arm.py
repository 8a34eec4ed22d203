"""One training of a run: build, train, save the weights, evaluate once at the end."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from understudy.data.prepare import TrainingData, prepare_data
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer
from understudy.methods.born_again import generation_seed
from understudy.models.base import Classifier
from understudy.runs.finish import TrainedArm, finish_arm
from understudy.runs.folder import RunFolder
from understudy.runs.networks import (
    arm_data,
    build,
    build_arm,
    build_ensemble,
    load_pretrained_teacher,
    load_teacher,
)
from understudy.runs.new_head import HeadOptions, learn_head
from understudy.runs.plan import ArmRun, RunPlan
from understudy.runs.results import ArmResult, read_result
from understudy.training.device import make_fabric, resolve_precision
from understudy.training.setup import Teaching, Trained, fit
from understudy.training.state import TrainingFiles

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class ArmOptions:
    """How a training is carried out; nothing here changes its numbers, but for the device.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads; ``None`` leaves them unchanged.
        resume: read a finished result, or continue from the checkpoint.
        cache: folder of teacher outputs; by default ``teacher-outputs`` in the user's cache.
    """

    device: str = "auto"
    threads: int | None = None
    resume: bool = False
    cache: str | None = None


def run_arm(
    plan: RunPlan,
    run: ArmRun,
    folder: RunFolder,
    options: ArmOptions = ArmOptions(),
    observer: Observer = SILENT,
    *,
    final: bool = True,
    teachers: RunFolder | None = None,
) -> ArmResult:
    """Train one arm on one seed (or continue, or read its result), and evaluate it.

    Args:
        plan: of the run.
        run: which arm and seed.
        folder: ``arms/NAME`` and ``models/NAME.safetensors`` are written here.
        options: device, threads, resume, cache.
        observer: follows the training and may stop it.
        final: open the test split at the end; a search never does.
        teachers: holds teacher, members and assistants; ``folder`` by default.

    Returns:
        the contents of ``result.json``.
    """
    arm = run.arm
    if options.resume and folder.result(run.name).exists():
        if arm.is_shared and not arm.members:
            folder.require_weights(run.name)  # fail before a student is trained without its teacher
        return read_result(folder.result(run.name))
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    start = time.perf_counter()
    data, test = arm_data(*prepare_data(plan.config.data), arm)
    fabric = make_fabric(options.device, arm.train.precision)
    _check_shared(folder.arm(run.name), fabric)

    torch.manual_seed(generation_seed(run.seed, arm.generation))
    if arm.members:
        trained = Trained(build_ensemble(plan, arm, folder, data), ())
    elif arm.head != "own":
        trained = _learn_head(plan, run, folder, data, fabric, options, observer)
    elif arm.is_given:
        trained = Trained(_given_network(plan, run, data, fabric, observer), ())
    else:
        trained = _train(plan, run, folder, data, fabric, options, observer, teachers)
    written: Any = None
    if fabric.is_global_zero:
        written = finish_arm(
            plan,
            run,
            folder,
            TrainedArm(trained.network, trained.history, time.perf_counter() - start),
            data,
            test if final else None,
            fabric,
            teachers=teachers or folder,
        )
    result: ArmResult = fabric.broadcast(written)
    return result


def _given_network(
    plan: RunPlan, run: ArmRun, data: TrainingData, fabric: "Fabric", observer: Observer
) -> Classifier:
    network = build_arm(run.arm, data)
    precision = resolve_precision(run.arm.train.precision, fabric.device)
    least = plan.config.teacher.min_accuracy
    load_pretrained_teacher(network, run.arm, data, fabric.device, precision, least, observer)
    return network


def _learn_head(
    plan: RunPlan,
    run: ArmRun,
    folder: RunFolder,
    data: TrainingData,
    fabric: "Fabric",
    options: ArmOptions,
    observer: Observer,
) -> Trained:
    files = TrainingFiles(folder.checkpoint(run.name), options.resume)
    views = plan.config.teacher.head_views
    return learn_head(run, data, fabric, HeadOptions(views, options.cache, files, observer))


def _train(
    plan: RunPlan,
    run: ArmRun,
    folder: RunFolder,
    data: TrainingData,
    fabric: "Fabric",
    options: ArmOptions,
    observer: Observer,
    teachers: RunFolder | None,
) -> Trained:
    """Build the network and its teacher, in this order (both draw random numbers), and train it."""
    arm = run.arm
    network = build(arm.model, data, arm.stages, arm.inputs)
    teacher = None
    if arm.uses_teacher:
        teacher = load_teacher(plan, run, folder, data, fabric.device, teachers)
    return fit(
        network,
        data,
        Teaching(arm.method, teacher, plan.config.teacher.outputs, options.cache),
        arm.train,
        fabric,
        seed=run.seed,
        files=TrainingFiles(folder.checkpoint(run.name), options.resume),
        observer=observer,
    )


def _check_shared(folder: Path, fabric: "Fabric") -> None:
    """All ranks must see the run's folder: they read the teacher's weights that the first one
    writes there.

    Raises:
        UnderstudyError: on every rank.
    """
    if fabric.world_size == 1:
        return
    if fabric.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
    fabric.barrier()
    missing: Any = torch.tensor(float(not folder.is_dir()), device=fabric.device)
    number = float(fabric.all_reduce(missing, reduce_op="sum"))  # type: ignore[arg-type]
    if number:
        raise UnderstudyError(
            f"{number:.0f} ranks do not see {folder}: give --out on storage that all nodes share"
        )
