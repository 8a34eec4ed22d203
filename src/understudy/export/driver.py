"""An export: every format is written to a scratch folder, measured, and moved or set aside."""

import functools
import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from understudy.data.dataset import Split
from understudy.errors import UnderstudyError, one_line
from understudy.evaluation.deploy_results import FILE as BENCHMARK_FILE
from understudy.evaluation.deploy_results import read_benchmark
from understudy.evaluation.deployment import (
    Attempt,
    ExportedFile,
    ExportResults,
    Parity,
)
from understudy.evaluation.environment import this_machine
from understudy.events import SILENT, Observer
from understudy.export import ladder
from understudy.export.artefact import is_artefact
from understudy.export.deployable import Deployable, Examples
from understudy.export.formats import FORMATS, Format
from understudy.export.gate import DEFAULT_LIMITS, Judgement, Limits, judge, measure, probabilities
from understudy.export.ladder import Step
from understudy.export.module import GraphModule
from understudy.export.qat import tune
from understudy.export.source import TorchRuntime, TrainedSource
from understudy.export.web.samples import Sample, differing
from understudy.files import write_json
from understudy.models.onnx_network import OnnxNetwork
from understudy.models.registry import deployed
from understudy.runs.exported import read_export_file

REJECTED = "REJECTED-"
RESULTS = "export.json"


@dataclass(frozen=True, eq=False, kw_only=True)
class ExportRequest:
    """A trained network with what its export needs.

    Attributes:
        name: of the training, such as ``distilled-seed0``.
        deployable: the network.
        examples: calibration and validation images.
        tune: quantisation-aware distillation, used if int8 loses too much; ``None`` for none.
        teacher: the network that is compared with on a page, and the validation images as it sees
            them; ``None`` without one.
    """

    name: str
    deployable: Deployable
    examples: Examples
    tune: Callable[[Observer], Deployable] | None = None
    teacher: Callable[[], tuple[Deployable, Split]] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class _Export:
    """What the formats of one export have in common.

    Attributes:
        request: what is exported.
        expected: the network's probabilities in fp32 of the validation images.
        tuned: the network after quantisation-aware distillation, made once for all formats;
            ``None`` if that is not possible.
        samples: validation images for a page, chosen once for all pages.
        out: the folder.
        limits: of the gate.
        observer: follows the work.
    """

    request: ExportRequest
    expected: np.ndarray
    tuned: Callable[[], Deployable | None]
    samples: Callable[[], tuple[Sample, ...]]
    out: Path
    limits: Limits
    observer: Observer

    @property
    def val(self) -> Split:
        return self.request.examples.val


def export_training(
    source: TrainedSource,
    formats: Sequence[Format],
    out: Path,
    *,
    limits: Limits = DEFAULT_LIMITS,
    command: str = "",
    observer: Observer = SILENT,
) -> ExportResults:
    """Write the network of a run's training; arguments, result and errors as for
    :func:`export_network`."""
    given = source.run.arm.path
    if isinstance(deployed(source.deployable.network), OnnxNetwork):
        raise UnderstudyError(f"{source.run.name} is an ONNX file already: take {given}")
    request = ExportRequest(
        name=source.run.name,
        deployable=source.deployable,
        examples=Examples(train=source.data.train, val=source.data.val),
        tune=lambda follower: _tuned(source, follower),
        teacher=None if source.run.teacher_seed is None else lambda: _teacher_of(source),
    )
    return export_network(request, formats, out, limits=limits, command=command, observer=observer)


def _teacher_of(source: TrainedSource) -> tuple[Deployable, Split]:
    return source.teacher_deployable(), source.teacher_val()


def export_network(
    request: ExportRequest,
    formats: Sequence[Format],
    out: Path,
    *,
    limits: Limits = DEFAULT_LIMITS,
    command: str = "",
    observer: Observer = SILENT,
) -> ExportResults:
    """Write a network in several formats, each through the parity gate.

    Every package that a format needs is looked for before the first file is written.

    Args:
        request: the network and its images.
        formats: what to write.
        out: the folder; ``export.json`` is written there, too.
        limits: of the gate.
        command: as typed.
        observer: follows the work.

    Returns:
        What was written and measured, in this export and in earlier ones of the same weights into
        the same folder. A file that the gate did not accept is named ``REJECTED-...``.

    Raises:
        UnderstudyError: if a package is missing, the network cannot be written in a format, or
            something else than an earlier export is in the way.
    """
    request.deployable.require_usual_images()
    modules = {entry.name: entry.load() for entry in formats}
    _check_free(out, formats)
    runtime = TorchRuntime(request.deployable)
    expected = probabilities(runtime, request.examples.val, observer, "torch")
    export = _Export(
        request=request,
        expected=expected,
        tuned=functools.cache(lambda: _fine_tuned(request, observer)),
        samples=functools.cache(lambda: _samples(request, expected, observer)),
        out=out,
        limits=limits,
        observer=observer,
    )
    files = _earlier(export, formats)
    for entry in formats:
        observer.message(f"{entry.name}: writing")
        written = _write(export, entry, modules[entry.name], list(files.values()))
        observer.message(f"{entry.name}: {written.verdict}, {written.reason}")
        files[entry.name] = written
    results = ExportResults(
        network=request.name,
        weights_sha256=request.deployable.origin.weights_sha256,
        bound=limits.bound,
        max_drop=limits.max_drop,
        files=tuple(sorted(files.values(), key=_position)),
        environment=this_machine(),
        command=command,
    )
    write_json(out / RESULTS, results)
    return results


def _check_free(out: Path, formats: Sequence[Format]) -> None:
    """Earlier exports are replaced, nothing else is.

    Raises:
        UnderstudyError: naming what is in the way.
    """
    if out.exists() and not out.is_dir():
        raise UnderstudyError(f"{out} is a file: choose another --out")
    for entry in formats:
        place = out / entry.file
        if place.is_dir() and any(place.iterdir()) and not is_artefact(place):
            raise UnderstudyError(
                f"{place} holds something else than an export: move it, or choose another --out"
            )


def _position(file: ExportedFile) -> int:
    """Of its format in the table."""
    names = list(FORMATS)
    return names.index(file.format) if file.format in names else len(names)


def _earlier(export: _Export, formats: Sequence[Format]) -> dict[str, ExportedFile]:
    """What earlier exports of the same weights left in the folder, in other formats: by format."""
    before = read_export_file(export.out / RESULTS)
    if before is None or before.weights_sha256 != export.request.deployable.origin.weights_sha256:
        return {}
    again = {entry.name for entry in formats}
    return {
        file.format: file
        for file in before.files
        if file.format not in again and (export.out / file.file).exists()
    }


def _write(
    export: _Export, entry: Format, module: ModuleType, files: Sequence[ExportedFile]
) -> ExportedFile:
    start = time.perf_counter()
    with _beside(export.out) as scratch:
        if entry.dtype == "int8":
            best, attempts = _write_int8(export, entry, module, scratch)
        else:
            accepted = [export.out / f.file for f in files if f.verdict == "accepted"]
            best = _write_float(export, entry, module, scratch, accepted)
            attempts = ()
        name = entry.file if best.judgement.verdict == "accepted" else REJECTED + entry.file
        _move(best.path, export.out / name)
    for other in {entry.file, REJECTED + entry.file} - {name}:
        _delete(export.out / other)
    placed = export.out / name
    return ExportedFile(
        format=entry.name,
        file=name,
        dtype=entry.dtype,
        bytes=size_of(placed),
        sha256="" if placed.is_dir() else hashlib.sha256(placed.read_bytes()).hexdigest(),
        seconds=time.perf_counter() - start,
        verdict=best.judgement.verdict,
        reason=best.judgement.reason,
        parity=best.parity,
        attempts=attempts,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class _Tried:
    """A file in the scratch folder and what the gate decided."""

    path: Path
    parity: Parity | None
    judgement: Judgement


def _write_float(
    export: _Export,
    entry: Format,
    module: ModuleType,
    scratch: Path,
    accepted: Sequence[Path],
) -> _Tried:
    path = scratch / entry.file
    deployable = export.request.deployable
    if entry.name == "hub":
        benchmark = read_benchmark(export.out / BENCHMARK_FILE)
        module.write(deployable, path, accepted, benchmark=benchmark)
    elif entry.name.startswith("web"):
        module.write(deployable, path, export.samples())
    else:
        module.write(deployable, path)
    return _measured(export, entry, path)


def _samples(
    request: ExportRequest, expected: np.ndarray, observer: Observer
) -> tuple[Sample, ...]:
    """The validation images for a page: those on which student and teacher differ."""
    if request.teacher is None:
        return ()
    val = request.examples.val
    network, seen = request.teacher()
    teacher = probabilities(TorchRuntime(network), seen)
    images = val.gather(torch.arange(len(val))).permute(0, 3, 1, 2).numpy()
    samples = differing(images, val.labels.numpy(), expected, teacher)
    if samples:
        observer.message(f"the page shows {len(samples)} validation images")
    return samples


def _write_int8(
    export: _Export, entry: Format, module: ModuleType, scratch: Path
) -> tuple[_Tried, tuple[Attempt, ...]]:
    """Climb the ladder until a file is accepted; else the best of all attempts."""
    tried: list[tuple[Step, _Tried, Attempt]] = []
    best: tuple[Step, _Tried, Attempt] | None = None
    request = export.request

    def best_step() -> Step:
        assert best is not None
        return best[0]

    examples = request.examples
    for step in ladder.steps(module, request.deployable, examples, export.tuned, best_step):
        path = scratch / str(len(tried)) / entry.file
        path.parent.mkdir()
        texts = (*(earlier[0].text for earlier in tried), step.text)
        module.write(ladder.carded(step.deployable, texts), path, examples, step.settings)
        found = _measured(export, entry, path)
        if found.parity is None:
            return found, ()
        attempt = Attempt(
            step=step.text,
            verdict=found.judgement.verdict,
            change=found.parity.change,
            agreement=found.parity.agreement.value,
        )
        tried.append((step, found, attempt))
        export.observer.message(f"{entry.name}: {step.text}: {found.judgement.reason}")
        if ladder.better(attempt, best[2] if best else None):
            best = tried[-1]
        few = ladder.hopeless(len(export.val), export.limits)
        if attempt.verdict == "accepted" or (few and attempt.verdict == "unproven"):
            best = tried[-1]
            break
    assert best is not None
    return best[1], tuple(attempt for _, _, attempt in tried)


def _measured(export: _Export, entry: Format, path: Path) -> _Tried:
    """The gate's decision on a file."""
    try:
        runtime = entry.load_runtime().open_file(path)
    except UnderstudyError as error:
        judgement = Judgement(verdict="unproven", reason=f"not measured: {one_line(error)}")
        if export.limits.accept_unproven:
            judgement = replace(judgement, verdict="accepted")
        return _Tried(path=path, parity=None, judgement=judgement)
    parity = measure(runtime, export.expected, export.val, export.observer, entry.name)
    return _Tried(path=path, parity=parity, judgement=judge(parity, entry.dtype, export.limits))


def _tuned(source: TrainedSource, observer: Observer) -> Deployable:
    """The network of a run's training after quantisation-aware distillation."""
    graph = tune(
        source.deployable.network,
        source.data,
        source.teacher(),
        source.run.arm.method,
        source.run.arm.train,
        seed=source.run.seed,
        observer=observer,
    )
    return replace(source.deployable, network=GraphModule(graph).eval())


def _fine_tuned(request: ExportRequest, observer: Observer) -> Deployable | None:
    """The network after the request's fine-tuning; ``None``, with a line, if it cannot have one."""
    if request.tune is None:
        return None
    observer.message("quantisation-aware distillation: training")
    try:
        return request.tune(observer)
    except UnderstudyError as error:
        observer.message(f"no quantisation-aware distillation: {one_line(error)}")
        return None


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A scratch folder on the disk of ``out``, gone afterwards."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".writing-") as folder:
        yield Path(folder)


def _move(source: Path, target: Path) -> None:
    """Put a finished file or folder in its place; an old one there is replaced."""
    if target.is_dir():
        shutil.rmtree(target)
    source.replace(target)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
