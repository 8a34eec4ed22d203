"""One arm of a run on one seed: build, train, keep the weights, evaluate once at the end."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from understudy.config.schema import RunConfig
from understudy.data.prepare import prepare_data
from understudy.errors import UnderstudyError
from understudy.events import SILENT, EpochResult, Progress, Silent
from understudy.methods import method_config, needs_of
from understudy.methods.born_again import generation_seed
from understudy.runs.finish import TrainedArm, finish_arm
from understudy.runs.folder import arm_folder, kept_weights
from understudy.runs.networks import build, load_teacher, put_together, reuse_teacher
from understudy.runs.plan import ArmSpec, link_of
from understudy.runs.results import ArmResult, read_result
from understudy.training.device import make_fabric, resolve_precision
from understudy.training.setup import Teaching, fit
from understudy.training.state import TrainingFiles

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def run_arm(
    config: RunConfig,
    spec: ArmSpec,
    run: Path,
    device: str = "auto",
    threads: int | None = None,
    resume: bool = False,
    cache: str | None = None,
    final: bool = True,
    report: Any = None,
    *,
    teachers: Path | None = None,
) -> ArmResult:
    """Train one arm (or go on, or read its result), and evaluate it.

    Args:
        config: of the run.
        spec: which arm and seed.
        run: the run's directory; ``arms/NAME`` and ``models/NAME.safetensors`` are written.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads; ``None`` leaves them as they are.
        resume: read a finished result, or go on from the checkpoint.
        cache: folder of teacher outputs; by default ``teacher-outputs`` in the user's cache.
        final: open the test split at the end; a search never does.
        teachers: run directory that holds the trained teacher (members, assistants); ``run`` itself by default.
        report: called with ``("progress", phase, epoch, done, total)`` and ``("epoch", EpochResult)``.

    Returns:
        the contents of ``result.json``.
    """
    folder = arm_folder(run, spec.name)
    result_path = folder / "result.json"
    link = link_of(config, spec.arm)
    if resume and result_path.exists():
        if link.teaches_all and not link.members:
            kept_weights(run, spec.name)  # said before a student is trained that could not hear it
        return read_result(result_path)
    if threads is not None:
        torch.set_num_threads(threads)
    began = time.perf_counter()
    train_config = link.train
    data, test = prepare_data(config.data)
    fabric = make_fabric(device, train_config.precision)
    _check_shared(folder, fabric)
    precision = resolve_precision(train_config.precision, fabric.device)

    torch.manual_seed(generation_seed(spec.seed, link.generation))
    history: tuple[EpochResult, ...] = ()
    network = (
        put_together(config, link, run, data)
        if link.members
        else build(link.model, data, link.stages)
    )
    options = method_config(link.method)
    if link.path is not None:
        reuse_teacher(network, config, link, data, fabric.device, precision)
    elif not link.members:
        teacher = (
            None
            if needs_of(options) == "nothing"
            else load_teacher(config, spec, run, data, fabric.device, teachers)
        )
        trained = fit(
            network,
            data,
            Teaching(options, teacher, config.teacher.outputs, cache),
            train_config,
            fabric,
            seed=spec.seed,
            files=TrainingFiles(folder / "checkpoint.pt", resume),
            observer=SILENT if report is None else _Reporter(report),
        )
        network, history = trained.network, trained.history
    written: Any = None
    if fabric.is_global_zero:
        seconds = time.perf_counter() - began
        written = finish_arm(
            config,
            spec,
            run,
            TrainedArm(network, history, seconds),
            data,
            test if final else None,
            fabric,
            teachers=teachers or run,
        )
    result: ArmResult = fabric.broadcast(written)
    return result


def _check_shared(folder: Path, fabric: "Fabric") -> None:
    """Refuse ranks that do not see the run's folder: they read the teacher's weights that the first one writes there.

    Raises:
        UnderstudyError: on every rank.
    """
    if fabric.world_size == 1:
        return
    if fabric.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
    fabric.barrier()
    missing: Any = torch.tensor(float(not folder.is_dir()), device=fabric.device)
    blind = float(fabric.all_reduce(missing, reduce_op="sum"))  # type: ignore[arg-type]
    if blind:
        raise UnderstudyError(
            f"{blind:.0f} ranks do not see {folder}: give --out on storage that all nodes share"
        )


class _Reporter(Silent):
    """Passes a training's events to ``report``, progress at most twice a second."""

    def __init__(self, report: Any) -> None:
        self.report, self.last = report, 0.0

    def progress(self, progress: Progress, training: str = "") -> None:
        """See :class:`~understudy.events.Observer`."""
        now = time.monotonic()
        if progress.done == progress.total or now - self.last > 0.5:
            self.last = now
            self.report("progress", progress.phase, progress.epoch, progress.done, progress.total)

    def epoch(self, result: EpochResult, training: str = "") -> None:
        """See :class:`~understudy.events.Observer`."""
        self.report("epoch", result)
