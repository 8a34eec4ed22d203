"""From a run's folder to its diagnosis, and to the files of that diagnosis."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

from understudy.config.schema import RunConfig
from understudy.data.prepare import TrainingData, prepare_data
from understudy.diagnose.diagnosis import Diagnosis
from understudy.diagnose.evidence import Evidence
from understudy.diagnose.figures import draw_diagnosis
from understudy.diagnose.measure import has_weights, measure
from understudy.diagnose.page import render_page
from understudy.diagnose.record import read_record
from understudy.errors import UnderstudyError
from understudy.files import write_bytes
from understudy.runs.folder import RunFolder, load_run
from understudy.runs.plan import resolve_plan
from understudy.runs.recompute import recomputed
from understudy.runs.results import RunResults, load_results, read_results
from understudy.sweep.results import read_sweep
from understudy.training.device import resolve_device


def diagnose_run(run: Path, *, data: str | None = None, device: str = "auto") -> Diagnosis:
    """Diagnose a finished run from its files and, if they are there, its weights and images.

    No test image is opened.

    Args:
        run: the run's folder.
        data: a local copy of the images, if they have moved since the run.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UnderstudyError: if it is not a finished run, an arm or some of the weights are missing, or
            the images are not those of the run.
    """
    target = resolve_device(device)
    config = load_run(run)
    _refuse_sweep(run)
    results = recomputed(run, read_results(run))
    folder, plan = RunFolder(run), resolve_plan(config)
    record = read_record(run, plan, results)
    measured = None
    if has_weights(folder, plan):
        if data is not None:
            config = replace(config, data=replace(config.data, path=data))
            plan = resolve_plan(config)
        measured = measure(folder, plan, _images_of(run, config, results), target)
    return Diagnosis.of(results.name or run.name, Evidence(config, record, measured))


def _images_of(run: Path, config: RunConfig, results: RunResults) -> TrainingData:
    """The run's images, checked by their fingerprint."""
    images, _ = prepare_data(config.data)
    if images.fingerprint != results.data.fingerprint:
        raise UnderstudyError(
            f"the images of {config.data.path or config.data.source} are not those {run} was "
            "trained on: give --data PATH"
        )
    return images


def _refuse_sweep(run: Path) -> None:
    """Raise for a sweep's folder: it has no teacher, baseline and distilled student by seed."""
    is_finished = (run / "results.json").exists() and "kind" in load_results(run)
    if not is_finished and not (run / "sweep.json").exists():
        return
    best = read_sweep(run).best if is_finished else None
    values = {} if best is None else best.values
    overrides = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    winner = shlex.join(overrides) or "KEY=VALUE"
    command = f"understudy run {shlex.quote(str(run / 'config.yaml'))} {winner} --out FOLDER"
    raise UnderstudyError(
        f"{run} is a sweep's folder, and diagnose takes a run's: train its winner as one by "
        f"`{command}`, then diagnose FOLDER"
    )


def write_diagnosis(diagnosis: Diagnosis, run: Path) -> Path:
    """Write ``diagnosis.json``, ``diagnosis.html`` and ``figures/diagnosis_*`` into a run's folder.

    Returns:
        path of the page.
    """
    write_bytes(run / "diagnosis.json", diagnosis.to_json_text().encode())
    drawings = draw_diagnosis(diagnosis.evidence, run / "figures")
    page = run / "diagnosis.html"
    write_bytes(page, render_page(diagnosis, drawings).encode())
    return page


def read_diagnosis(run: Path) -> Diagnosis:
    """The diagnosis that this version makes of the evidence in ``run/diagnosis.json``.

    Raises:
        UnderstudyError: if the file is missing or damaged.
    """
    path = run / "diagnosis.json"
    try:
        content = json.loads(path.read_bytes())
        name, evidence = str(content["name"]), content["evidence"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UnderstudyError(
            f"{path} is not a diagnosis ({type(error).__name__}): run understudy diagnose again"
        ) from None
    return Diagnosis.of(name, Evidence.from_mapping(evidence, str(path)))
