"""What a trained arm leaves behind: weights, history, predictions and ``result.json``."""

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

from understudy.config.schema import DataConfig
from understudy.data.dataset import SealedSplit, Split
from understudy.data.prepare import TrainingData
from understudy.evaluation.metrics import Metrics, metrics, predict
from understudy.events import EpochResult
from understudy.files import write_bytes, write_json
from understudy.models import deployed
from understudy.models.base import Classifier
from understudy.runs.folder import RunFolder, training_name
from understudy.runs.history import write_history
from understudy.runs.plan import Arm, ArmRun, RunPlan
from understudy.runs.results import ArmResult, read_result
from understudy.training.device import resolve_precision
from understudy.training.weights import save_weights

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class TrainedArm:
    """A finished training.

    Attributes:
        network: with its final weights.
        history: one entry per epoch; empty for a network from a file.
        seconds: wall time of the training.
    """

    network: Classifier
    history: Sequence[EpochResult]
    seconds: float


def finish_arm(
    plan: RunPlan,
    run: ArmRun,
    folder: RunFolder,
    trained: TrainedArm,
    data: TrainingData,
    test: SealedSplit | None,
    fabric: "Fabric",
    *,
    teachers: RunFolder,
) -> ArmResult:
    """Evaluate a trained arm and write its files; ``result.json`` last of all.

    Args:
        plan: of the run.
        run: which arm and seed.
        folder: the run's directory.
        trained: what to evaluate and to write.
        data: its validation split is evaluated on.
        test: the test split; ``None`` leaves it sealed.
        fabric: that the arm was trained with.
        teachers: run directory with the predictions of its teacher, to compare with.

    Returns:
        the contents of ``result.json``; its seconds include the evaluation.
    """
    start = time.perf_counter()
    arm = run.arm
    save_weights(folder.weights(run.name), deployed(trained.network))
    rows = [(arm.name, run.seed, epoch) for epoch in trained.history]
    write_history(folder.arm_history(run.name), rows)
    evaluation = _Evaluation(
        view=arm.inputs,
        device=fabric.device,
        precision=resolve_precision(arm.train.precision, fabric.device),
        run=run,
        folder=folder,
        teachers=teachers,
    )
    val = evaluation.measure(trained.network, data.val, "val")
    tested = None
    if test is not None:
        tested = evaluation.measure(trained.network, test.open_for_final_evaluation(), "test")
    seconds = trained.seconds + time.perf_counter() - start
    result = _result(plan, run, trained.history, val, tested, fabric, seconds)
    write_json(folder.result(run.name), result)
    return read_result(folder.result(run.name))


def _result(
    plan: RunPlan,
    run: ArmRun,
    history: Sequence[EpochResult],
    val: Metrics,
    test: Metrics | None,
    fabric: "Fabric",
    seconds: float,
) -> ArmResult:
    arm = run.arm
    members = [plan.arm(name).model.name for name in arm.members]
    rates = [epoch.images_per_second for epoch in history if epoch.seconds > 0]
    best = max(history, key=lambda epoch: epoch.val_accuracy, default=None)
    return ArmResult(
        val=val,
        test=test,
        arm=arm.name,
        seed=run.seed,
        model=" + ".join(members) or arm.model.name,
        method=_method_name(arm),
        taught_by=arm.teacher if arm.uses_teacher else None,
        precision=resolve_precision(arm.train.precision, fabric.device),
        threads=torch.get_num_threads(),
        ranks=fabric.world_size,
        seconds=seconds,
        epochs=len(history),
        images_per_second=float(np.median(rates)) if rates else None,
        label_seconds=sum(epoch.label_seconds for epoch in history),
        best_epoch=best.epoch if best else None,
        best_val_accuracy=best.val_accuracy if best else None,
    )


def _method_name(arm: Arm) -> str:
    if arm.is_given:
        return "given"
    if arm.head != "own":
        return arm.head
    return "ensemble" if arm.members else arm.method.name


@dataclass(frozen=True)
class _Evaluation:
    """How an arm is evaluated on its splits.

    Attributes:
        view: normalisation of its inputs.
        device: where its network is.
        precision: ``fp32`` or ``bf16``.
        run: which training it is.
        folder: where its predictions are written.
        teachers: holds the predictions of its teacher, if it has one.
    """

    view: DataConfig
    device: torch.device
    precision: str
    run: ArmRun
    folder: RunFolder
    teachers: RunFolder

    def measure(self, network: nn.Module, split: Split, name: Literal["val", "test"]) -> Metrics:
        """Metrics on a split, compared with the teacher's on the same; the logits are written."""
        logits = predict(network, split, self.view, self.device, precision=self.precision)
        found = metrics(logits, split.labels, self._teacher_logits(name))
        saved = {"logits": logits.half().numpy(), "labels": split.labels.numpy()}
        write_bytes(self.folder.predictions(self.run.name, name), _npz(saved))
        return found

    def _teacher_logits(self, split: Literal["val", "test"]) -> Tensor | None:
        """float32 ``[N, K]``; ``None`` for the teacher itself, and if it was not evaluated on the
        split."""
        if self.run.teacher_seed is None:
            return None
        path = self.teachers.predictions(training_name("teacher", self.run.teacher_seed), split)
        return _read_logits(path) if path.exists() else None


def _read_logits(path: Path) -> Tensor:
    with np.load(path, allow_pickle=False) as file:
        return torch.from_numpy(file["logits"].astype(np.float32))


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
