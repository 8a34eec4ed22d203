"""What to export: a training of a run's folder, or a file of :meth:`understudy.Student.save`."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from understudy.config.schema import DataConfig, RunConfig
from understudy.data.dataset import Split
from understudy.data.options import NO_OPTIONS
from understudy.data.own_size import image_of, own_copy
from understudy.data.prepare import TrainingData, prepare_data, rule_of, source_options
from understudy.errors import UnderstudyError, suggest
from understudy.evaluation.proportions import Proportion
from understudy.export.card import Card, Fold, Measured, Origin
from understudy.export.deployable import Deployable
from understudy.models import deployed
from understudy.models.base import Classifier
from understudy.models.normalisation import Normalisation
from understudy.runs.folder import RunFolder, load_run, split_training_name, training_name
from understudy.runs.networks import load_teacher, trained_network
from understudy.runs.plan import ArmRun, RunPlan, resolve_plan
from understudy.runs.results import ArmResult, RunResults, read_result, read_results
from understudy.teachers.frozen import FrozenTeacher
from understudy.version import __version__


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainedSource:
    """A training of a run, ready to be exported.

    Attributes:
        plan, run, folder: which training.
        data: training and validation images, as its network sees them.
        deployable: its network.
    """

    plan: RunPlan
    run: ArmRun
    folder: RunFolder
    data: TrainingData
    deployable: Deployable

    def teacher(self) -> FrozenTeacher | None:
        """The network that taught it; ``None`` if none did."""
        if self.plan.teacher_of(self.run.arm) is None:
            return None
        cpu = torch.device("cpu")
        return load_teacher(self.plan, self.run, self.folder, self.data, cpu)

    def teacher_deployable(self) -> Deployable:
        """The run's teacher, as what is deployed in the student's place; its images may be of
        another size.

        Raises:
            UnderstudyError: if this training is the teacher's own.
        """
        if self.run.teacher_seed is None:
            raise UnderstudyError(f"{self.run.name} is the teacher itself: name a student by --arm")
        run = self.plan.arm_run("teacher", self.run.teacher_seed)
        return _deployable(self.plan, run, self.folder, self.data)

    def teacher_val(self) -> Split:
        """The validation images as the run's teacher sees them."""
        return own_copy(self.data, self.plan.arm("teacher").inputs).val


def find_training(
    path: Path, arm: str | None = None, seed: str = "best-val"
) -> tuple[RunFolder, str]:
    """The training that a run's folder or one of its weights files stands for.

    Args:
        path: a run's folder, or a weights file in it.
        arm: by default ``distilled``, or the only trained one.
        seed: a number, or ``best-val`` for the best on validation.

    Returns:
        The folder and the training's name.

    Raises:
        UnderstudyError: if the run has no such weights.
    """
    if path.is_file():
        return RunFolder(path.parent.parent), path.stem
    folder = RunFolder(path)
    load_run(path)
    trained = [split_training_name(file.stem) for file in folder.all_weights()]
    if not trained:
        raise UnderstudyError(
            f"{path} has no trained weights: finish it by understudy run --resume, or put its "
            "models folder back"
        )
    arms = list(dict.fromkeys(name for name, _ in trained))
    chosen = arm or ("distilled" if "distilled" in arms else arms[0])
    if chosen not in arms:
        raise UnderstudyError(f"{path} has no weights of {chosen!r}: {suggest(chosen, arms)}")
    seeds = [number for name, number in trained if name == chosen]
    if seed != "best-val":
        if not seed.isdigit() or int(seed) not in seeds:
            listed = ", ".join(map(str, seeds))
            raise UnderstudyError(
                f"--seed takes best-val or one of the trained seeds, {listed}, not {seed}"
            )
        return folder, training_name(chosen, int(seed))
    results = {number: _result(folder, training_name(chosen, number)) for number in seeds}
    best = max(seeds, key=lambda number: (results[number].val.accuracy, -number))
    return folder, training_name(chosen, best)


def open_source(
    path: Path,
    arm: str | None = None,
    seed: str = "best-val",
    data: str | None = None,
    *,
    images: bool = True,
) -> TrainedSource:
    """Load a training with its data.

    Args:
        path, arm, seed: as for :func:`find_training`.
        data: a local copy of the images.
        images: ``False`` does without them if the run is finished: its ``results.json`` has classes
            and size. ``data`` of the result then holds two black images.

    Raises:
        UnderstudyError: if weights or images are missing or do not fit each other.
    """
    folder, name = find_training(path, arm, seed)
    config = _with_data(load_run(folder.path), data)
    plan = resolve_plan(config)
    arm_name, number = split_training_name(name)
    run = replace(plan.arm_run(arm_name, number), seed=number)
    if images or not folder.results.exists():
        training_data, _ = prepare_data(config.data)
    else:
        training_data = _without_images(read_results(folder.path), config)
    training_data = own_copy(training_data, run.arm.inputs)
    deployable = _deployable(plan, run, folder, training_data)
    return TrainedSource(
        plan=plan, run=run, folder=folder, data=training_data, deployable=deployable
    )


def _without_images(results: RunResults, config: RunConfig) -> TrainingData:
    """Classes and shape of a finished run's data, with black images in place of its own."""
    facts = results.data
    black = Split(torch.zeros(2, *facts.image_shape, dtype=torch.uint8), torch.arange(2))
    return TrainingData(
        name=facts.name,
        train=black,
        val=black,
        rows=torch.arange(2),
        class_names=facts.class_names,
        config=config.data,
        fingerprint=facts.fingerprint,
    )


def _with_data(config: RunConfig, data: str | None) -> RunConfig:
    return config if data is None else replace(config, data=replace(config.data, path=data))


def _deployable(plan: RunPlan, run: ArmRun, folder: RunFolder, data: TrainingData) -> Deployable:
    network = trained_network(plan, run, folder, data)
    inputs = run.arm.inputs
    _check_classes(network, data, inputs, folder.weights(run.name))
    return Deployable(
        network=network,
        classes=data.class_names,
        preprocessing=rule_of(inputs, image_of(data, inputs)),
        normalisation=Normalisation(inputs.mean, inputs.std),
        origin=_origin(plan, run, folder, data, network),
        measured=_measured(folder, run.name),
    )


def _check_classes(
    network: Classifier, data: TrainingData, inputs: DataConfig, where: Path
) -> None:
    with torch.inference_mode():
        found = network(torch.zeros(2, *image_of(data, inputs).shape)).shape[1]
    if found != data.num_classes:
        raise UnderstudyError(
            f"{where} tells {found} classes apart, but {data.name} has {data.num_classes}: "
            "give the images that the run was trained on"
        )


def _origin(
    plan: RunPlan, run: ArmRun, folder: RunFolder, data: TrainingData, network: Classifier
) -> Origin:
    teacher = None
    if run.arm.name != "teacher" and run.teacher_seed is not None:
        teacher_run = plan.arm_run("teacher", run.teacher_seed)
        if folder.weights(teacher_run.name).exists() or teacher_run.arm.members:
            teacher = parameters_of(trained_network(plan, teacher_run, folder, data))
    weights = folder.weights(run.name)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else ""
    reading = source_options(plan.config.data)
    return Origin(
        run=plan.config.name,
        arm=run.arm.name,
        seed=run.seed,
        model=run.arm.model.name,
        parameters=parameters_of(network),
        data=data.name,
        source=plan.config.data.source,
        reading=None if reading == NO_OPTIONS else reading,
        fold=_fold(plan.config.data),
        data_fingerprint=data.fingerprint,
        weights_sha256=digest,
        teacher_parameters=teacher,
        understudy=__version__,
    )


def _fold(data: DataConfig) -> Fold | None:
    if data.fold is None or data.folds is None:
        return None
    return Fold(fold=data.fold, folds=data.folds, seed=data.split_seed)


def parameters_of(network: nn.Module) -> int:
    """How many trained elements a network has, without what wraps it."""
    return sum(p.numel() for p in deployed(network).parameters())


def _result(folder: RunFolder, name: str) -> ArmResult:
    path = folder.result(name)
    if not path.exists():
        raise UnderstudyError(
            f"{path} is missing, so the best seed is not known: give --seed, or run --resume"
        )
    return read_result(path)


def _measured(folder: RunFolder, name: str) -> tuple[Measured, ...]:
    """What the run's own evaluation found, from its stored predictions' sizes."""
    if not folder.result(name).exists():
        return ()
    result = _result(folder, name)
    found = []
    for split, metrics in (("test", result.test), ("val", result.val)):
        file = folder.predictions(name, "test" if split == "test" else "val")
        if metrics is None or not file.exists():
            continue
        with np.load(file) as arrays:
            count = len(arrays["labels"])
        share = Proportion.of(round(metrics.accuracy * count), count)
        found.append(
            Measured(split=split, accuracy=share.value, low=share.low, high=share.high, count=count)
        )
    return tuple(found)


class TorchRuntime:
    """The network itself in torch, as a :class:`~understudy.export.runtime.Runtime`.

    Args:
        deployable: what runs.
        threads: CPU threads of torch, for the whole process; ``None`` leaves them unchanged.
    """

    def __init__(self, deployable: Deployable, threads: int | None = None) -> None:
        self.card: Card = deployable.card("torch", "fp32")
        self._module = deployable.module()
        if threads is not None:
            torch.set_num_threads(threads)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """See :class:`~understudy.export.runtime.Runtime`."""
        with torch.inference_mode():
            parts = torch.from_numpy(np.ascontiguousarray(images)).split(512)
            found: np.ndarray = torch.cat([self._module(part) for part in parts]).numpy()
        return found


def open_run(
    path: Path,
    arm: str | None = None,
    seed: str = "best-val",
    teacher: bool = False,
    threads: int | None = None,
) -> TorchRuntime:
    """The network of a run's folder in torch; with ``teacher`` that of its teacher.

    A finished run needs no images for that.

    Raises:
        UnderstudyError: as :func:`open_source`.
    """
    source = open_source(path, arm, seed, images=False)
    deployable = source.teacher_deployable() if teacher else source.deployable
    return TorchRuntime(deployable, threads)
