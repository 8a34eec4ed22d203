"""What a trained arm leaves behind: weights, history, predictions and ``result.json``."""

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from understudy.config.schema import DataConfig, RunConfig
from understudy.data.dataset import SealedSplit, Split
from understudy.data.prepare import TrainingData
from understudy.evaluation.metrics import Metrics, metrics, predict
from understudy.events import EpochResult
from understudy.files import write_bytes, write_json
from understudy.methods import method_config, needs_of
from understudy.models import deployed
from understudy.models.base import Classifier
from understudy.runs.folder import arm_folder, weights_path
from understudy.runs.history import write_history
from understudy.runs.plan import ArmSpec, Link, chain_of, link_of, shown_to
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
    config: RunConfig,
    spec: ArmSpec,
    run: Path,
    trained: TrainedArm,
    data: TrainingData,
    test: SealedSplit | None,
    fabric: "Fabric",
    *,
    teachers: Path,
) -> ArmResult:
    """Evaluate a trained arm and write its files; ``result.json`` last of all.

    Args:
        config: of the run.
        spec: which arm and seed.
        run: the run's directory.
        trained: what to evaluate and to write.
        data: its validation split is evaluated on.
        test: the test split; ``None`` leaves it sealed.
        fabric: that the arm was trained with.
        teachers: run directory with the predictions of its teacher, to compare with.

    Returns:
        the contents of ``result.json``; its seconds include the evaluation.
    """
    start = time.perf_counter()
    folder = arm_folder(run, spec.name)
    save_weights(weights_path(run, spec.name), deployed(trained.network))
    write_history(folder / "history.csv", [(spec.arm, spec.seed, e) for e in trained.history])
    taught = None
    if spec.teacher_seed is not None:
        taught = arm_folder(teachers, f"teacher-seed{spec.teacher_seed}")
    evaluation = _Evaluation(
        view=shown_to(config, spec.arm),
        device=fabric.device,
        precision=resolve_precision(link_of(config, spec.arm).train.precision, fabric.device),
        folder=folder,
        teacher=taught,
    )
    val = evaluation.measure(trained.network, data.val, "predictions-val.npz")
    tested = None
    if test is not None:
        opened = test.open_for_final_evaluation()
        tested = evaluation.measure(trained.network, opened, "predictions.npz")
    seconds = trained.seconds + time.perf_counter() - start
    result = _result(config, spec, trained.history, val, tested, fabric, seconds)
    write_json(folder / "result.json", result)
    return read_result(folder / "result.json")


def _result(
    config: RunConfig,
    spec: ArmSpec,
    history: Sequence[EpochResult],
    val: Metrics,
    test: Metrics | None,
    fabric: "Fabric",
    seconds: float,
) -> ArmResult:
    link = link_of(config, spec.arm)
    members = [chain_of(config)[name].model.name for name in link.members]
    uses_teacher = needs_of(method_config(link.method)) != "nothing"
    rates = [epoch.images_per_second for epoch in history if epoch.seconds > 0]
    best = max(history, key=lambda epoch: epoch.val_accuracy, default=None)
    return ArmResult(
        val=val,
        test=test,
        arm=spec.arm,
        seed=spec.seed,
        model=" + ".join(members) or link.model.name,
        method=_method_name(link),
        taught_by=link.teacher if uses_teacher else None,
        precision=resolve_precision(link.train.precision, fabric.device),
        threads=torch.get_num_threads(),
        ranks=fabric.world_size,
        seconds=seconds,
        epochs=len(history),
        images_per_second=float(np.median(rates)) if rates else None,
        label_seconds=sum(epoch.label_seconds for epoch in history),
        best_epoch=best.epoch if best else None,
        best_val_accuracy=best.val_accuracy if best else None,
    )


def _method_name(link: Link) -> str:
    if link.path:
        return "given"
    return "ensemble" if link.members else method_config(link.method).name


@dataclass(frozen=True)
class _Evaluation:
    """How an arm is evaluated on its splits.

    Attributes:
        view: normalisation of its inputs.
        device: where its network is.
        precision: ``fp32`` or ``bf16``.
        folder: where its predictions are written.
        teacher: folder with the predictions of its teacher; ``None`` without one.
    """

    view: DataConfig
    device: torch.device
    precision: str
    folder: Path
    teacher: Path | None

    def measure(self, network: nn.Module, split: Split, file: str) -> Metrics:
        """Metrics on a split, compared with the teacher's ``file``; the logits are written to it."""
        logits = predict(network, split, self.view, self.device, precision=self.precision)
        teacher_logits = None
        if self.teacher is not None and (self.teacher / file).exists():
            teacher_logits = _read_logits(self.teacher / file)
        found = metrics(logits, split.labels, teacher_logits)
        saved = {"logits": logits.half().numpy(), "labels": split.labels.numpy()}
        write_bytes(self.folder / file, _npz(saved))
        return found


def _read_logits(path: Path) -> Tensor:
    with np.load(path, allow_pickle=False) as file:
        return torch.from_numpy(file["logits"].astype(np.float32))


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
