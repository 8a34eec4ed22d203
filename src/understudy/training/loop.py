"""THE loop: one explicit generator that yields once per epoch."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from understudy.config.schema import TrainConfig
from understudy.data.loader import TrainBatches
from understudy.data.prepare import TrainingData
from understudy.evaluation.metrics import predict
from understudy.events import SILENT, EpochResult, Observer, Progress
from understudy.kernels.optimize import optimize_for_cpu
from understudy.methods.base import Method
from understudy.teachers.base import Teacher
from understudy.training.compile import compile_step, compiling_pays
from understudy.training.device import resolve_precision
from understudy.training.optim import learning_rate
from understudy.training.state import (
    NO_FILES,
    GlobalGenerators,
    TrainingFiles,
    TrainState,
    run_fingerprint,
)
from understudy.training.step import Step, rank_weight
from understudy.training.totals import EpochTotals, check_finite, steady_rate

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def train_epochs(
    method: Method, data: TrainingData, config: TrainConfig, fabric: "Fabric", **options: Any
) -> Iterator[EpochResult]:
    """Train a method's student, yielding after every epoch; arguments: :func:`train_steps`."""
    for result in train_steps(method, data, config, fabric, **options):
        if result is not None:
            yield result


def train_steps(
    method: Method,
    data: TrainingData,
    config: TrainConfig,
    fabric: "Fabric",
    *,
    batches: TrainBatches,
    teacher: Teacher | None = None,
    files: TrainingFiles = NO_FILES,
    observer: Observer = SILENT,
) -> Iterator[EpochResult | None]:
    """Train a method's student and yield its result after every epoch.

    Afterwards the student holds the weights to keep, in eval mode. A resumed training first yields
    the epochs of its checkpoint.

    Also yields ``None``, before each epoch and after each step: other trainings may run there if
    they restore the global generators (:func:`understudy.training.state.rng_state`). That time is
    excluded from ``seconds``.

    Between two steps nothing waits for the device: order and views are drawn before the epoch,
    totals stay tensors until its end, cached teacher outputs are read from memory.

    Args:
        method: student and loss; trained in place.
        data: training and validation split.
        config: optimizer, schedule, length, precision.
        fabric: device and ranks, made with the config's precision
            (:func:`~understudy.training.device.make_fabric`).
        batches: of the training split; their seed is also the seed of dropout.
        teacher: computes or reads outputs for every batch; ``None`` without one.
        files: the checkpoint.
        observer: follows steps and labelling.

    Raises:
        UnderstudyError: if a loss is not finite (the checkpoint then still holds the last good
            epoch), or the checkpoint belongs to another training.
    """
    precision = resolve_precision(config.precision, fabric.device)
    if config.channels_last:
        method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimize_for_cpu(method, precision)
    fingerprint = run_fingerprint(method, data, config, batches)
    step = Step(method, config, fabric)
    generators = GlobalGenerators(fabric.device)
    state = TrainState(method, step.optimizer, config, batches, fingerprint, files, generators)
    torch.manual_seed(batches.seed)
    yield from state.load()
    start = state.next_epoch

    for epoch in range(start, config.epochs_run):
        yield None
        method.epoch = epoch
        views = batches.policy.epoch(epoch)
        label_start = time.perf_counter()
        if teacher is not None:
            teacher.prepare(epoch, views, observer)
        if state.compiled is None:
            epochs_left = config.epochs_run - epoch
            state.compiled = compiling_pays(method, batches, epoch, views, teacher, epochs_left)
        if state.compiled and epoch == start:
            compile_step(method)

        epoch_start = time.perf_counter()
        label_seconds = epoch_start - label_start
        step.wrapped.train()
        totals, lr, first_step = EpochTotals(), 0.0, 0.0
        for number, batch in enumerate(batches.epoch(epoch, views)):
            lr = learning_rate(config, epoch * len(batches) + number, len(batches))
            outputs = None if teacher is None else teacher.outputs(batch)
            weight = rank_weight(batches, number, len(batch.labels))
            losses, logits = step(batch, outputs, lr, weight)
            state.update_ema()
            totals.add(losses, logits, batch.labels)
            if observer is not SILENT:
                observer.progress(Progress("train", number + 1, len(batches), epoch))
            paused = time.perf_counter()
            if number == 0 and epoch == start:
                first_step = paused - epoch_start
            yield None
            epoch_start += time.perf_counter() - paused
        means = totals.means(fabric, method.measures())
        seconds = time.perf_counter() - epoch_start

        check_finite(means.losses, epoch)
        with state.evaluated_weights():
            val_loss, val_accuracy = validate(method.deployed(), data, fabric.device, precision)
            result = EpochResult(
                epoch=epoch,
                lr=lr,
                losses={**means.losses, "loss": sum(means.losses.values())},
                train_accuracy=means.accuracy,
                val_loss=val_loss,
                val_accuracy=val_accuracy,
                seconds=seconds,
                images_per_second=steady_rate(batches, means.images, seconds, first_step),
                label_seconds=label_seconds,
                measures=means.measures,
            )
            state.end_epoch(result, method.state_dict())
        if fabric.is_global_zero:
            state.save()
        fabric.barrier()
        yield result
    state.finish()


def validate(
    model: nn.Module, data: TrainingData, device: torch.device, precision: str
) -> tuple[float, float]:
    """Mean cross-entropy (nats) and accuracy (in [0, 1]) on the validation split."""
    logits = predict(model, data.val, data.config, device, precision=precision)
    loss = nn.functional.cross_entropy(logits, data.val.labels)
    return float(loss), float((logits.argmax(1) == data.val.labels).double().mean())
