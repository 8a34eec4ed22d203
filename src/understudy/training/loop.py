"""THE loop: one explicit generator that yields once per epoch."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from understudy.config.schema import TrainConfig
from understudy.data.dataset import Split
from understudy.data.loader import TrainBatches
from understudy.data.prepare import TrainingData
from understudy.errors import UnderstudyError
from understudy.evaluation.metrics import predict
from understudy.events import EpochResult
from understudy.kernels.conv_grad import use_small_map_gradients
from understudy.methods.base import Method
from understudy.models.base import Outputs
from understudy.teachers.frozen import Teacher
from understudy.training.checkpoint import (
    load_checkpoint,
    rng_state,
    save_checkpoint,
    set_rng_state,
)
from understudy.training.compile import compile_step, worth_compiling
from understudy.training.optim import lr_factor, make_optimizer

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_CHECKPOINT_FORMAT = 2
"""Counts up whenever what a checkpoint holds changes: one of another version is refused like one of another run."""

Progress = Callable[[str, int, int, int], None]
"""Called with (``"train"`` or ``"label"``, epoch, done, total) as work goes on; counts only, never a tensor."""


def train_epochs(
    method: Method, data: TrainingData, config: TrainConfig, fabric: "Fabric", **options: Any
) -> Iterator[EpochResult]:
    """Train a method's student, yielding after every epoch; arguments as for :func:`train_steps`."""
    return (
        result
        for result in train_steps(method, data, config, fabric, **options)
        if result is not None
    )


def train_steps(
    method: Method,
    data: TrainingData,
    config: TrainConfig,
    fabric: "Fabric",
    *,
    teacher: Teacher | None = None,
    batches: TrainBatches | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Iterator[EpochResult | None]:
    """Train a method's student, yielding after every epoch; afterwards the student holds the kept weights, in eval mode.

    Yields ``None`` as well, before each epoch and after each step: there another student may take its turn, as long as the
    generators of :func:`~understudy.training.checkpoint.rng_state` are put back. Its time is not charged to this one.

    Between two steps nothing leaves the device: order and views are made before the epoch, totals stay tensors until
    its end, the teacher's outputs come from memory where they are cached.

    Args:
        method: student and loss; trained in place.
        data: training and validation split.
        config: optimizer, schedule, length.
        fabric: device, precision and ranks (:func:`make_fabric`).
        teacher: asked for outputs on every batch; ``None`` for methods that need nothing.
        batches: made from ``data`` where not given (a cached teacher shares them).
        seed: of data order, views and dropout.
        checkpoint: written after each epoch; with ``resume`` read first, if it is there.
        progress: told how far the epoch is.

    Raises:
        UnderstudyError: if the loss is not finite (the checkpoint then still holds the last good epoch), or the checkpoint
            is of another run.
    """
    device = fabric.device
    batches = batches or TrainBatches(
        data.train,
        data.config,
        config.batch_size,
        seed,
        device,
        drop_last=config.drop_last,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
    )
    precision = "bf16" if "bf16" in str(fabric._precision.precision) else "fp32"
    if config.channels_last:
        method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if precision == "fp32":
        use_small_map_gradients(method)
    fingerprint = run_fingerprint(method, data, config, batches, seed)
    optimizer = make_optimizer(method, config)
    run, optimizer = fabric.setup(method, optimizer)
    ema = {k: v.clone() for k, v in method.state_dict().items()} if config.ema_decay else None
    start, best, history = 0, None, []
    compiled: bool | None = {"on": True, "off": False}.get(config.compile)  # None: to be measured
    torch.manual_seed(seed)
    if resume and checkpoint is not None and checkpoint.exists():
        state = load_checkpoint(checkpoint, fingerprint)
        method.load_state_dict(state["method"])
        optimizer.load_state_dict(state["optimizer"])
        if ema is not None:
            ema = {k: v.to(device) for k, v in state["ema"].items()}
        set_rng_state(state["rng"], device)
        start, best, compiled = state["epoch"] + 1, state["best"], state["compiled"]
        if (
            batches.sampler is not None
        ):  # the order it began with: the teacher may round otherwise on another machine
            batches.sampler = replace(batches.sampler, ranked_images=state["easy_first"])
        history = [EpochResult(**entry) for entry in state["history"]]
        yield from history

    for epoch in range(start, config.epochs_run):
        yield None
        method.epoch = epoch
        views = batches.policy.epoch(epoch)
        label_start = time.perf_counter()
        if teacher is not None:
            teacher.prepare(
                epoch,
                views,
                progress and (lambda done, total, e=epoch: progress("label", e, done, total)),
            )
        if compiled is None:
            first = next(iter(batches.epoch(epoch, views)))
            answer = None if teacher is None else teacher.outputs(first)
            compiled = worth_compiling(
                method, first, answer, (config.epochs_run - epoch) * len(batches)
            )
        if compiled and epoch == start:
            compile_step(method)
        began = time.perf_counter()
        label_seconds = began - label_start
        run.train()
        totals, names, seen = torch.zeros(0), ["hits"], 0
        for number, batch in enumerate(batches.epoch(epoch, views)):
            lr = config.lr * lr_factor(config, epoch * len(batches) + number, len(batches))
            for group in optimizer.param_groups:
                group["lr"] = lr
            outputs = teacher.outputs(batch) if teacher is not None else None
            if fabric.world_size > 1 or (outputs is not None and _live(outputs)):
                losses, logits = run(batch, outputs)
            else:  # without ranks to meet or bf16 features to convert, Fabric's wrapper only looks through its arguments
                with fabric.autocast():
                    losses, logits = method(batch, outputs)
            terms = list(losses.values())
            loss = terms[0] if len(terms) == 1 else torch.stack(terms).sum()
            fabric.backward(
                loss
                if batches.world_size == 1
                else loss * _share(batches, number, len(batch.labels))
            )
            if config.grad_clip:
                torch.nn.utils.clip_grad_norm_(method.parameters(), config.grad_clip, foreach=True)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if ema is not None:
                _follow(ema, method, config.ema_decay)
            with torch.no_grad():
                if number == 0:
                    names = ["hits", *losses]
                    totals = torch.zeros(len(names), dtype=torch.float64, device=device)
                seen += len(batch.labels)
                right = (logits.argmax(1) == batch.labels).sum()
                totals.add_(
                    torch.stack([right, *(term.detach() * len(batch.labels) for term in terms)])
                )
            if progress:
                progress("train", epoch, number + 1, len(batches))
            paused = time.perf_counter()
            yield None
            began += time.perf_counter() - paused
        # The epoch's one wait for the device: sums over all images of all ranks.
        totals, names = torch.cat((totals, totals.new_full((1,), seen))), [*names, "images"]
        measured = {name: value.detach().double() for name, value in method.measures().items()}
        if measured:
            totals = torch.cat((totals, torch.stack(list(measured.values()))))
        sums = dict(zip([*names, *measured], _reduce(fabric, totals), strict=True))
        seconds = time.perf_counter() - began
        images, hits = sums.pop("images"), sums.pop("hits")
        measures = {name: sums.pop(name) / fabric.world_size for name in measured}
        means = {name: value / images for name, value in sums.items()}
        check_finite(means, epoch)
        last = (
            {k: v.detach().clone() for k, v in method.state_dict().items()}
            if ema is not None
            else None
        )
        if ema is not None:
            method.load_state_dict(ema)
        val_loss, val_accuracy = _validate(method.deployed(), data.val, data, device, precision)
        result = EpochResult(
            epoch,
            lr,
            {**means, "loss": sum(means.values())},
            hits / images,
            val_loss,
            val_accuracy,
            seconds,
            images / seconds,
            label_seconds,
            measures,
        )
        history.append(result)
        if config.keep == "best" and (best is None or val_accuracy > best["accuracy"]):
            best = {
                "accuracy": val_accuracy,
                "epoch": epoch,
                "method": {k: v.detach().cpu().clone() for k, v in method.state_dict().items()},
            }
        if last is not None:
            method.load_state_dict(last)
        if checkpoint is not None and fabric.is_global_zero:
            state = {
                "fingerprint": fingerprint,
                "epoch": epoch,
                "method": method.state_dict(),
                "optimizer": optimizer.state_dict(),
            }
            state |= {"ema": ema, "best": best, "compiled": compiled, "rng": rng_state(device)}
            state["easy_first"] = None if batches.sampler is None else batches.sampler.ranked_images
            save_checkpoint(checkpoint, state | {"history": [asdict(entry) for entry in history]})
        fabric.barrier()
        yield result

    if config.keep == "best" and best is not None:
        method.load_state_dict(best["method"])
    elif ema is not None:
        method.load_state_dict(ema)
    method.eval()


def run_fingerprint(
    method: Method, data: TrainingData, config: TrainConfig, batches: TrainBatches, seed: int
) -> str:
    """Everything that determines a training's numbers: a checkpoint goes on only under the same."""
    own = f"{_CHECKPOINT_FORMAT} {data.fingerprint} {asdict(config)} {method.config} {seed} "
    return own + f"{batches.policy.fingerprint} {batches.policy.seed}"


def check_finite(means: Mapping[str, float], epoch: int) -> None:
    """Refuse an epoch's mean losses if one is not finite.

    Raises:
        UnderstudyError: naming the loss.
    """
    bad = next((name for name, value in means.items() if not math.isfinite(value)), None)
    if bad is not None:
        raise UnderstudyError(
            f"the loss ({bad}) is not finite in epoch {epoch}: lower train.lr or set train.grad_clip; "
            "the checkpoint still holds the last good epoch"
        )


def _live(outputs: Outputs) -> bool:
    """Whether a network has just said so, in the precision of its autocast; what is kept is in fp32."""
    embedding = outputs.embedding
    return bool(outputs.features) or (
        embedding is not None and embedding.dtype is not torch.float32
    )


def _share(batches: TrainBatches, number: int, here: int) -> float:
    """What makes the ranks' averaged gradients equal one process's, also when the last batch splits unevenly."""
    if batches.world_size == 1:
        return 1.0
    left = batches.policy.num_images - number * batches.batch_size
    return here * batches.world_size / min(batches.batch_size, left)


@torch.no_grad()
def _follow(ema: dict[str, Tensor], method: nn.Module, decay: float) -> None:
    floats = [(ema[k], v) for k, v in method.state_dict().items() if v.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - decay)
    for key, value in method.state_dict().items():
        if not value.is_floating_point():
            ema[key].copy_(value)


def _reduce(fabric: "Fabric", totals: Tensor) -> list[float]:
    summed: Any = fabric.all_reduce(totals, reduce_op="sum") if fabric.world_size > 1 else totals
    return list(summed.tolist())


def _validate(
    model: nn.Module, val: Split, data: TrainingData, device: torch.device, precision: str
) -> tuple[float, float]:
    logits = predict(model, val, data.config, device, precision=precision)
    loss = nn.functional.cross_entropy(logits, val.labels)
    return float(loss), float((logits.argmax(1) == val.labels).double().mean())
