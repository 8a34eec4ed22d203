"""What a trained arm leaves behind: weights, history, predictions and ``result.json``."""

import io
import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn

from understudy.data.dataset import SealedSplit, Split
from understudy.data.prepare import TrainingData
from understudy.evaluation.metrics import metrics, predict
from understudy.events import EpochResult
from understudy.files import write_bytes, write_json
from understudy.models import deployed
from understudy.models.base import Classifier
from understudy.runs.folder import RunFolder, training_name
from understudy.runs.plan import ArmRun, RunPlan
from understudy.training.device import resolve_precision
from understudy.training.history import write_history
from understudy.training.weights import save_weights

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def finish_arm(
    plan: RunPlan,
    run: ArmRun,
    folder: RunFolder,
    network: Classifier,
    history: Sequence[EpochResult],
    data: TrainingData,
    test: SealedSplit | None,
    fabric: "Fabric",
    seconds: float,
    *,
    teachers: RunFolder,
) -> dict[str, Any]:
    """Write what a trained arm leaves behind: weights, history, predictions and, last of all, ``result.json``.

    Args:
        plan, run, folder: as for :func:`run_arm`.
        network: with the kept weights.
        history: one entry per epoch; none for a given teacher.
        data, test: what to evaluate on; ``None`` leaves the test split sealed.
        fabric: that it was trained with.
        seconds: that the training took; those of the evaluation are added.
        teachers: run directory whose teacher's predictions are compared with.

    Returns:
        the contents of ``result.json``.
    """
    began = time.perf_counter()
    arm = run.arm
    precision = resolve_precision(arm.train.precision, fabric.device)
    save_weights(folder.weights(run.name), deployed(network))
    write_history(folder.arm_history(run.name), [(arm.name, run.seed, e) for e in history])
    rates = [e.images_per_second for e in history if e.seconds > 0]
    result = _evaluate(run, folder, network, data, test, fabric.device, precision, teachers) | {
        "arm": arm.name,
        "seed": run.seed,
        "model": " + ".join(plan.arm(name).model.name for name in arm.members) or arm.model.name,
        "method": "given" if arm.path else "ensemble" if arm.members else arm.method.name,
        "taught_by": arm.teacher if arm.uses_teacher else None,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "ranks": fabric.world_size,
        "seconds": seconds + time.perf_counter() - began,
        "epochs": len(history),
        "images_per_second": float(np.median(rates)) if rates else None,
        "label_seconds": sum(e.label_seconds for e in history),
        "best_epoch": max(history, key=lambda e: e.val_accuracy).epoch if history else None,
        "best_val_accuracy": max((e.val_accuracy for e in history), default=None),
    }
    path = folder.result(run.name)
    write_json(path, result)
    return dict(json.loads(path.read_text()))


def _evaluate(
    run: ArmRun,
    folder: RunFolder,
    network: nn.Module,
    data: TrainingData,
    test: SealedSplit | None,
    device: torch.device,
    precision: str,
    teachers: RunFolder,
) -> dict[str, Any]:
    """Metrics on validation and, for the final evaluation, on the test split; logits are kept beside them."""
    view = run.arm.inputs
    result: dict[str, Any] = {}
    splits: list[tuple[Literal["val", "test"], Split]] = [("val", data.val)]
    if test:
        splits.append(("test", test.open_for_final_evaluation()))
    for name, split in splits:
        logits = predict(network, split, view, device, precision=precision)
        taught_by = None
        if run.teacher_seed is not None:
            stored = teachers.predictions(training_name("teacher", run.teacher_seed), name)
            if stored.exists():
                with np.load(stored, allow_pickle=False) as file:
                    taught_by = torch.from_numpy(file["logits"].astype(np.float32))
        result[name] = metrics(logits, split.labels, taught_by)
        saved = {"logits": logits.half().numpy(), "labels": split.labels.numpy()}
        write_bytes(folder.predictions(run.name, name), _npz(saved))
    return result


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
