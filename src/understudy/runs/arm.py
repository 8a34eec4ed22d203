"""One arm of a run on one seed: build, train, keep the weights, evaluate once at the end."""

import io
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from understudy.config.schema import DataConfig, ModelConfig, RunConfig
from understudy.data.dataset import SealedSplit
from understudy.data.prepare import TrainingData, prepare_data
from understudy.errors import UnderstudyError
from understudy.evaluation.metrics import metrics, predict
from understudy.files import write_bytes, write_json
from understudy.methods import build_method, method_class, method_config, needs_of
from understudy.models import build_model, deployed
from understudy.models.base import Classifier
from understudy.models.ensemble import Ensemble
from understudy.runs.folder import ArmSpec, arm_folder, kept_weights, weights_path
from understudy.runs.plan import Link, chain_of
from understudy.teachers.frozen import FrozenTeacher, renormalisation
from understudy.training.device import make_fabric, resolve_precision
from understudy.training.history import EpochResult, write_history
from understudy.training.loop import Progress
from understudy.training.setup import fit, generation_seed, make_context
from understudy.training.weights import load_weights, save_weights

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def link_of(config: RunConfig, arm: str) -> Link:
    """An arm's place in the run's chain: its network, training, method and teacher.

    Raises:
        UnderstudyError: if the run has no such arm.
    """
    links = chain_of(config)
    if arm not in links:
        raise UnderstudyError(f"there is no arm {arm!r}: this run has {', '.join(links)}")
    return links[arm]


def method_of(config: RunConfig, arm: str) -> dict[str, Any]:
    """The method and options of an arm.

    Raises:
        UnderstudyError: if the run has no such arm.
    """
    return dict(link_of(config, arm).method)


def spec_of(config: RunConfig, arm: str, seed: int) -> ArmSpec:
    """The training of an arm that belongs to a seed of the run: its own, or the one that all seeds share."""
    links = chain_of(config)
    compared = None if links[arm].role in ("teacher", "member") else links["teacher"].seed_for(seed)
    return ArmSpec(arm, links[arm].seed_for(seed), compared)


def shown_to(config: RunConfig, arm: str) -> DataConfig:
    """How images are normalised for an arm's network: the data's way, but the teacher's own for a teacher that has one."""
    link = link_of(config, arm)
    return (
        config.data
        if link.mean is None or link.std is None
        else replace(config.data, mean=link.mean, std=link.std)
    )


def build(model: ModelConfig, data: TrainingData, stages: tuple[str, ...] = ()) -> Classifier:
    """The configured network for this data's classes and images."""
    channels, height, _ = data.image_shape
    return build_model(
        model.name,
        data.num_classes,
        in_channels=channels,
        image_size=height,
        stages=stages,
        options=model.options,
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
        return dict(json.loads(result_path.read_text()))
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
    written: Any = None
    if fabric.is_global_zero:
        seconds = time.perf_counter() - began
        written = finish_arm(
            config,
            spec,
            run,
            network,
            history,
            data,
            test if final else None,
            fabric,
            seconds,
            teachers=teachers or run,
        )
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
    missing: Any = torch.tensor(float(not folder.is_dir()), device=fabric.device)
    blind = float(fabric.all_reduce(missing, reduce_op="sum"))  # type: ignore[arg-type]
    if blind:
        raise UnderstudyError(
            f"{blind:.0f} ranks do not see {folder}: give --out on storage that all nodes share"
        )


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


def load_teacher(
    config: RunConfig,
    spec: ArmSpec,
    run: Path,
    data: TrainingData,
    device: torch.device,
    teachers: Path | None = None,
) -> FrozenTeacher:
    """The trained network that an arm listens to, frozen, with its own normalisation where it has one.

    Args:
        config, spec: the run and the arm that listens.
        run: directory of the arm; ``teachers`` that of teacher, members and assistants, where it is another.
        data: of the run.
        device: where it shall run.
    """
    links = chain_of(config)
    name = links[spec.arm].teacher or "teacher"
    link = links[name]
    network = trained_network(
        config, spec_of(config, name, _seed_in(link, spec)), _home(link, run, teachers), data
    ).to(device)
    if link.train.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    own = shown_to(config, name)
    parts = [links[member] for member in link.members] or [link]
    return FrozenTeacher(
        network,
        renormalise=renormalisation(config.data.mean, config.data.std, own.mean, own.std, device),
        precision=resolve_precision(link.train.precision, device),
        description=" + ".join(
            f"{part.model} mean {shown_to(config, part.arm).mean} std {shown_to(config, part.arm).std}"
            for part in parts
        ),
    )


def _seed_in(link: Link, spec: ArmSpec) -> int:
    """The seed of the run to which the teacher of an arm belongs: an arm of its own seed, unless all seeds share it."""
    return spec.seed if spec.teacher_seed is None or not link.teaches_all else spec.teacher_seed


def _home(link: Link, run: Path, teachers: Path | None) -> Path:
    return teachers if teachers is not None and link.teaches_all else run


def put_together(config: RunConfig, link: Link, run: Path, data: TrainingData) -> Ensemble:
    """The ensemble of a link's trained members, on the CPU in eval mode."""
    networks, changes = [], []
    for name in link.members:
        member = spec_of(config, name, 0)
        own = shown_to(config, name)
        networks.append(trained_network(config, member, run, data))
        changes.append(
            renormalisation(
                config.data.mean, config.data.std, own.mean, own.std, torch.device("cpu")
            )
        )
    return Ensemble(networks, link.weights, changes)


def trained_network(config: RunConfig, spec: ArmSpec, run: Path, data: TrainingData) -> Classifier:
    """The network that an arm of a run left behind, with its weights, on the CPU in eval mode.

    Raises:
        UnderstudyError: if the weights are missing or of another network.
    """
    device = torch.device("cpu")
    link = link_of(config, spec.arm)
    if link.members:
        return put_together(config, link, run, data).eval()
    network = build(link.model, data, link.stages)
    options = method_config(link.method)
    if "+" not in options.name and method_class(options.name).keeps_adapter:
        teacher = load_teacher(config, spec, run, data, device)
        network = build_method(
            options, network, make_context(network, data, link.train, teacher, device)
        ).deployed()
    load_weights(kept_weights(run, spec.name), deployed(network))
    return network.eval()


def reuse_teacher(
    network: Classifier,
    config: RunConfig,
    link: Link,
    data: TrainingData,
    device: torch.device,
    precision: str,
) -> None:
    """Load a given teacher's weights and measure them on validation before anything leans on them.

    Raises:
        UnderstudyError: if the file does not fit, or the teacher knows too little.
    """
    assert link.path is not None
    load_weights(Path(link.path), deployed(network))
    network.to(device)
    logits = predict(network, data.val, shown_to(config, link.arm), device, precision=precision)
    reached = float((logits.argmax(1) == data.val.labels).double().mean())
    least = (
        2 / data.num_classes if config.teacher.min_accuracy is None else config.teacher.min_accuracy
    )
    if reached < least:
        raise UnderstudyError(
            f"the teacher {link.path} has {100 * reached:.1f} % on validation, below {100 * least:.1f} %: "
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
