"""One arm of a run on one seed: build, train, keep the weights, evaluate once at the end."""

import csv
import io
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from understudy.checkpoint import load_weights, save_weights
from understudy.config import DataConfig, ModelConfig, RunConfig
from understudy.data.dataset import SealedSplit
from understudy.data.training import TrainingData, prepare_data
from understudy.errors import UnderstudyError
from understudy.evaluate import metrics, predict
from understudy.files import write_bytes
from understudy.loop import EpochResult, Progress, make_fabric, resolve_precision
from understudy.methods import build_method, method_class, method_config, needs_of
from understudy.models import build_model, deployed
from understudy.models.base import Classifier
from understudy.teachers import FrozenTeacher, renormalisation
from understudy.train import fit, make_context

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class ArmSpec:
    """Which training this is.

    Attributes:
        arm: ``teacher``, ``baseline``, ``distilled`` or the name of a further arm.
        seed: of initial weights, order, views and dropout.
        teacher_seed: whose teacher is asked; ``None`` for the teacher itself.
    """

    arm: str
    seed: int
    teacher_seed: int | None

    @property
    def name(self) -> str:
        """Folder and file name."""
        return f"{self.arm}-seed{self.seed}"


def arm_folder(run: Path, name: str) -> Path:
    """Where an arm keeps its checkpoint, history, predictions and result."""
    return run / "arms" / name


def weights_path(run: Path, name: str) -> Path:
    """The arm's kept weights: a plain state dict as safetensors."""
    return run / "models" / f"{name}.safetensors"


def method_of(config: RunConfig, arm: str) -> dict[str, Any]:
    """The method and options of an arm.

    Raises:
        UnderstudyError: if the run has no such arm.
    """
    known = {"teacher": {"name": "ce"}, "baseline": {"name": "ce"}, "distilled": config.method, **config.arms}
    if arm not in known:
        raise UnderstudyError(f"there is no arm {arm!r}: this run has {', '.join(known)}")
    return dict(known[arm])


def shown_to(config: RunConfig, arm: str) -> DataConfig:
    """How images are normalised for an arm's network: the data's way, but the teacher's own for a teacher that has one."""
    if arm != "teacher" or config.teacher.mean is None or config.teacher.std is None:
        return config.data
    return replace(config.data, mean=config.teacher.mean, std=config.teacher.std)


def build(model: ModelConfig, data: TrainingData, stages: tuple[str, ...] = ()) -> Classifier:
    """The configured network for this data's classes and images."""
    channels, height, _ = data.image_shape
    return build_model(
        model.name, data.num_classes, in_channels=channels, image_size=height, stages=stages, options=model.options
    )


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
) -> dict[str, Any]:
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
        teachers: run directory that holds the trained teacher; ``run`` itself by default.
        report: called with ``("progress", phase, epoch, done, total)`` and ``("epoch", EpochResult)``.

    Returns:
        the contents of ``result.json``.
    """
    folder = arm_folder(run, spec.name)
    result_path = folder / "result.json"
    if resume and result_path.exists():
        return dict(json.loads(result_path.read_text()))
    if threads is not None:
        torch.set_num_threads(threads)
    began = time.perf_counter()
    is_teacher = spec.arm == "teacher"
    train_config = config.teacher_train if is_teacher else config.train
    data, test = prepare_data(config.data)
    fabric = make_fabric(device, train_config.precision)
    _check_shared(folder, fabric)
    precision = resolve_precision(train_config.precision, fabric.device)

    torch.manual_seed(spec.seed)
    model_config, stages = (
        (config.teacher.model, config.teacher.stages) if is_teacher else (config.student.model, config.student.stages)
    )
    student = build(model_config, data, stages)
    history: tuple[EpochResult, ...] = ()
    network: Classifier = student
    options = method_config(method_of(config, spec.arm))
    if is_teacher and config.teacher.path is not None:
        reuse_teacher(student, config, data, fabric.device, precision)
    else:
        teacher = None if needs_of(options) == "nothing" else load_teacher(config, spec, teachers or run, data, fabric.device)
        trained = fit(
            student,
            data,
            options,
            train_config,
            fabric,
            teacher=teacher,
            outputs=config.teacher.outputs,
            cache=cache,
            seed=spec.seed,
            checkpoint=folder / "checkpoint.pt",
            resume=resume,
            progress=_progress(report),
            on_epoch=report and (lambda epoch: report("epoch", epoch)),
        )
        network, history = trained.network, trained.history
    if fabric.is_global_zero:
        save_weights(weights_path(run, spec.name), deployed(network))
        write_history(folder / "history.csv", [(spec.arm, spec.seed, e) for e in history])
        rates = [e.images_per_second for e in history if e.seconds > 0]
        result = _evaluate(
            config, spec, run, network, data, test if final else None, fabric.device, precision, teachers or run
        ) | {
            "arm": spec.arm,
            "seed": spec.seed,
            "model": model_config.name,
            "method": "given" if is_teacher and config.teacher.path else options.name,
            "precision": precision,
            "threads": torch.get_num_threads(),
            "ranks": fabric.world_size,
            "seconds": time.perf_counter() - began,
            "epochs": len(history),
            "images_per_second": float(np.median(rates)) if rates else None,
            "label_seconds": sum(e.label_seconds for e in history),
            "best_epoch": max(history, key=lambda e: e.val_accuracy).epoch if history else None,
            "best_val_accuracy": max((e.val_accuracy for e in history), default=None),
        }
        write_json(result_path, result)
    written: Any = json.loads(result_path.read_text()) if fabric.is_global_zero else None
    return dict(fabric.broadcast(written))


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
    blind = fabric.all_reduce(torch.tensor(float(not folder.is_dir()), device=fabric.device), reduce_op="sum")
    if float(blind):  # type: ignore[arg-type]
        raise UnderstudyError(f"{float(blind):.0f} ranks do not see {folder}: give --out on storage that all nodes share")  # type: ignore[arg-type]


def load_teacher(config: RunConfig, spec: ArmSpec, run: Path, data: TrainingData, device: torch.device) -> FrozenTeacher:
    """The run's trained teacher, frozen, with its own normalisation where it has one."""
    assert spec.teacher_seed is not None
    network = build(config.teacher.model, data, config.teacher.stages)
    load_weights(weights_path(run, f"teacher-seed{spec.teacher_seed}"), deployed(network))
    network.to(device)
    if config.teacher_train.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    own = shown_to(config, "teacher")
    return FrozenTeacher(
        network,
        renormalise=renormalisation(config.data.mean, config.data.std, own.mean, own.std, device),
        precision=resolve_precision(config.teacher_train.precision, device),
        description=f"{config.teacher.model} mean {own.mean} std {own.std}",
    )


def trained_network(config: RunConfig, spec: ArmSpec, run: Path, data: TrainingData) -> Classifier:
    """The network that an arm of a run left behind, with its weights, on the CPU in eval mode.

    Raises:
        UnderstudyError: if the weights are missing or of another network.
    """
    device = torch.device("cpu")
    side = config.teacher if spec.arm == "teacher" else config.student
    network = build(side.model, data, side.stages)
    options = method_config(method_of(config, spec.arm))
    if "+" not in options.name and method_class(options.name).keeps_adapter:
        teacher = load_teacher(config, spec, run, data, device)
        network = build_method(options, network, make_context(network, data, config.train, teacher, device)).deployed()
    load_weights(weights_path(run, spec.name), deployed(network))
    return network.eval()


def reuse_teacher(network: Classifier, config: RunConfig, data: TrainingData, device: torch.device, precision: str) -> None:
    """Load a given teacher's weights and measure them on validation before anything leans on them.

    Raises:
        UnderstudyError: if the file does not fit, or the teacher knows too little.
    """
    assert config.teacher.path is not None
    load_weights(Path(config.teacher.path), deployed(network))
    network.to(device)
    logits = predict(network, data.val, shown_to(config, "teacher"), device, precision=precision)
    reached = float((logits.argmax(1) == data.val.labels).double().mean())
    least = 2 / data.num_classes if config.teacher.min_accuracy is None else config.teacher.min_accuracy
    if reached < least:
        raise UnderstudyError(
            f"the teacher {config.teacher.path} has {100 * reached:.1f} % on validation, below {100 * least:.1f} %: "
            "check teacher.model, teacher.mean and teacher.std, or set teacher.min_accuracy"
        )


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
    for name, split in (("val", data.val), ("test", test.open_for_final_evaluation() if test else None)):
        if split is None:
            continue
        logits = predict(network, split, view, device, precision=precision)
        taught_by = None
        if spec.teacher_seed is not None:
            stored = (
                arm_folder(teachers, f"teacher-seed{spec.teacher_seed}") / f"predictions{'' if name == 'test' else '-val'}.npz"
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


def write_json(path: Path, content: Any) -> None:
    """JSON, atomically; NaN (a class without images) becomes null."""
    write_bytes(path, json.dumps(_no_nan(content), indent=1).encode())


def _no_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _no_nan(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_no_nan(v) for v in value]
    return None if isinstance(value, float) and value != value else value


def write_history(path: Path, entries: list[tuple[str, int, EpochResult]]) -> None:
    """The epochs of one or more arms as CSV, one row each, atomically."""
    terms = sorted({name for _, _, e in entries for name in e.losses} - {"loss", "ce", "kd"})
    columns = ["arm", "seed", "epoch", "lr", "train_loss", "train_ce", "train_kd", *(f"train_{t}" for t in terms)]
    columns += ["train_accuracy", "val_loss", "val_accuracy", "seconds", "images_per_second", "label_seconds"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for arm, seed, e in entries:
        row = {"arm": arm, "seed": seed} | {k: getattr(e, k) for k in columns if hasattr(e, k)}
        writer.writerow(row | {f"train_{name}": value for name, value in e.losses.items()})
    write_bytes(path, text.getvalue().encode())


def _progress(report: Any) -> Progress | None:
    if report is None:
        return None
    last = [0.0]

    def tell(phase: str, epoch: int, done: int, total: int) -> None:
        now = time.monotonic()
        if done == total or now - last[0] > 0.5:
            last[0] = now
            report("progress", phase, epoch, done, total)

    return tell
