"""What a trained arm leaves behind: weights, history, predictions and ``result.json``."""

import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from understudy.config.schema import RunConfig
from understudy.data.dataset import SealedSplit
from understudy.data.prepare import TrainingData
from understudy.evaluation.metrics import metrics, predict
from understudy.events import EpochResult
from understudy.files import write_bytes, write_json
from understudy.methods import method_config, needs_of
from understudy.models import deployed
from understudy.models.base import Classifier
from understudy.runs.folder import arm_folder, weights_path
from understudy.runs.history import write_history
from understudy.runs.plan import ArmSpec, chain_of, link_of, shown_to
from understudy.training.device import resolve_precision
from understudy.training.weights import save_weights

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def finish_arm(
    config: RunConfig,
    spec: ArmSpec,
    run: Path,
    network: Classifier,
    history: Sequence[EpochResult],
    data: TrainingData,
    test: SealedSplit | None,
    fabric: "Fabric",
    seconds: float,
    *,
    teachers: Path,
) -> dict[str, Any]:
    """Write what a trained arm leaves behind: weights, history, predictions and, last of all, ``result.json``.

    Args:
        config, spec, run: as for :func:`run_arm`.
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
    link = link_of(config, spec.arm)
    listens = needs_of(method_config(link.method)) != "nothing"
    precision = resolve_precision(link.train.precision, fabric.device)
    folder = arm_folder(run, spec.name)
    save_weights(weights_path(run, spec.name), deployed(network))
    write_history(folder / "history.csv", [(spec.arm, spec.seed, e) for e in history])
    rates = [e.images_per_second for e in history if e.seconds > 0]
    result = _evaluate(
        config, spec, run, network, data, test, fabric.device, precision, teachers
    ) | {
        "arm": spec.arm,
        "seed": spec.seed,
        "model": " + ".join(chain_of(config)[name].model.name for name in link.members)
        or link.model.name,
        "method": "given"
        if link.path
        else "ensemble"
        if link.members
        else method_config(link.method).name,
        "taught_by": link.teacher if listens else None,
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
    write_json(folder / "result.json", result)
    return dict(json.loads((folder / "result.json").read_text()))


def _evaluate(
    config: RunConfig,
    spec: ArmSpec,
    run: Path,
    network: nn.Module,
    data: TrainingData,
    test: SealedSplit | None,
    device: torch.device,
    precision: str,
    teachers: Path,
) -> dict[str, Any]:
    """Metrics on validation and, for the final evaluation, on the test split; logits are kept beside them."""
    view = shown_to(config, spec.arm)
    result: dict[str, Any] = {}
    for name, split in (
        ("val", data.val),
        ("test", test.open_for_final_evaluation() if test else None),
    ):
        if split is None:
            continue
        logits = predict(network, split, view, device, precision=precision)
        taught_by = None
        if spec.teacher_seed is not None:
            stored = (
                arm_folder(teachers, f"teacher-seed{spec.teacher_seed}")
                / f"predictions{'' if name == 'test' else '-val'}.npz"
            )
            if stored.exists():
                with np.load(stored, allow_pickle=False) as file:
                    taught_by = torch.from_numpy(file["logits"].astype(np.float32))
        result[name] = metrics(logits, split.labels, taught_by)
        suffix = "" if name == "test" else "-val"
        saved = {"logits": logits.half().numpy(), "labels": split.labels.numpy()}
        write_bytes(arm_folder(run, spec.name) / f"predictions{suffix}.npz", _npz(saved))
    return result


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
