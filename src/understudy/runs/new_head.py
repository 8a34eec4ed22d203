"""A given network with a new last layer: solved on cached features, or fine-tuned from there."""

import copy
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from understudy.config.schema import TrainConfig
from understudy.data.loader import TrainBatches
from understudy.data.prepare import TrainingData
from understudy.data.sampling import balanced_weights
from understudy.events import SILENT, Observer
from understudy.models.base import Classifier
from understudy.models.heads import Head, find_head, set_head
from understudy.runs.arms import Arm, ArmRun
from understudy.runs.networks import build_arm, load_given
from understudy.teachers.features import Features
from understudy.training.device import resolve_precision
from understudy.training.logistic import Examples, LogisticFit, fit_logistic
from understudy.training.optim import make_optimizer
from understudy.training.setup import Teaching, Trained, fit, make_batches
from understudy.training.state import NO_FILES, TrainingFiles

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_TIMED_STEPS = 3
"""After an untimed one, which allocates memory."""


@dataclass(frozen=True)
class HeadOptions:
    """Where files are, and who follows.

    Attributes:
        views: of each training image that the head is solved on.
        cache: folder of teacher outputs, which has the features as well.
        files: the checkpoint of fine-tuning.
        observer: follows both.
    """

    views: int
    cache: str | None = None
    files: TrainingFiles = NO_FILES
    observer: Observer = SILENT


def learn_head(run: ArmRun, data: TrainingData, fabric: "Fabric", options: HeadOptions) -> Trained:
    """Build the network of an arm, load its weights, and learn a head for the images' classes.

    With the same images, weights and seed the result has the same bits.

    Args:
        run: of an arm whose head is not its own.
        data: training and validation images, as the network is fed them.
        fabric: device and precision.
        options: views, cache, files, observer.

    Raises:
        UnderstudyError: if the network has no linear head, or the file does not fit it.
    """
    arm = run.arm
    network = build_arm(arm, data)
    head = find_head(network, data.image, arm.model.name)
    load_given(network, arm, head.path)
    network.to(fabric.device).eval()
    solved = _solve(network, head, arm, data, fabric, options)
    set_head(network, head, solved.weight, solved.bias)
    options.observer.message(
        f"{run.name}: the new head of {arm.model.name} reaches {100 * solved.val_accuracy:.1f} % "
        f"on validation (linear probe, regularisation {solved.strength:g})"
    )
    if arm.head == "linear-probe":
        return Trained(network, ())
    batches = make_batches(data, arm.train, run.seed, fabric)
    seconds = arm.epochs * _seconds_per_epoch(network, batches, arm.train, fabric)
    options.observer.message(
        f"{run.name}: fine-tuning, {arm.epochs} epochs of {len(data.train):,} images: about "
        f"{_duration(seconds)}"
    )
    return fit(
        network,
        data,
        Teaching(arm.method),
        arm.train,
        fabric,
        seed=run.seed,
        files=options.files,
        observer=options.observer,
    )


def _solve(
    network: Classifier,
    head: Head,
    arm: Arm,
    data: TrainingData,
    fabric: "Fabric",
    options: HeadOptions,
) -> LogisticFit:
    """The head of the smallest loss on validation, and how good it is there."""
    augment = replace(data.config.augment, mix="none")  # a mixed image has two labels
    if augment.view_seed is None:
        augment = replace(augment, view_seed=0)  # one cache for all seeds
    plain = replace(data, config=replace(data.config, augment=augment))
    features = Features(
        network,
        head,
        plain,
        precision=resolve_precision(arm.train.precision, fabric.device),
        description=f"{arm.model}",
        cache=options.cache,
        observer=options.observer,
    )
    batches = make_batches(plain, arm.train, 0, fabric)
    views = list(features.train(batches, options.views))
    val = Examples(features.val(fabric.device), data.val.labels)
    train = Examples(torch.cat(views), data.train.labels.repeat(len(views)))
    is_balanced = "balanced" in (arm.train.class_weights, arm.train.sampling)
    return fit_logistic(
        train,
        val,
        data.num_classes,
        class_weights=(
            balanced_weights(data.train.labels, data.num_classes) if is_balanced else None
        ),
        intercept=head.has_bias,
    )


def _seconds_per_epoch(
    network: Classifier, batches: TrainBatches, config: TrainConfig, fabric: "Fabric"
) -> float:
    """Wall time of an epoch of training, from a few steps of a copy of the network, images rendered
    and weights updated as in training."""
    student = copy.deepcopy(network).train()
    precision = resolve_precision(config.precision, fabric.device)
    if config.channels_last:
        student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer, times = make_optimizer(student, config), []
    epoch = batches.epoch(0, batches.policy.epoch(0))
    with torch.random.fork_rng(devices=_cuda(fabric)):
        start = time.perf_counter()
        for _, batch in zip(range(1 + _TIMED_STEPS), epoch, strict=False):
            is_bf16 = precision == "bf16"
            with torch.autocast(fabric.device.type, torch.bfloat16, enabled=is_bf16):
                logits = student(batch.images)
            loss = F.cross_entropy(logits.float(), batch.labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            loss.detach().item()  # waits for the device
            times.append(time.perf_counter() - start)
            start = time.perf_counter()
    timed = times[1:] or times  # the first step allocates memory; an epoch may have one alone
    return sum(timed) / len(timed) * len(batches)


def _cuda(fabric: "Fabric") -> list[torch.device]:
    return [fabric.device] if fabric.device.type == "cuda" else []


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
