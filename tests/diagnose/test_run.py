"""Diagnoses of whole runs: planted causes in tiny runs, committed runs, and refusals."""

import html
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.report.page_checks import Elements

from understudy import cli
from understudy.config.parse import parse
from understudy.config.schema import RunConfig
from understudy.diagnose import Diagnosis, diagnose_run, read_diagnosis, write_diagnosis
from understudy.errors import UnderstudyError
from understudy.experiment import run_experiment, train_arm
from understudy.models import build_model
from understudy.report import write_report
from understudy.runs.folder import RunFolder
from understudy.training.weights import load_weights, save_weights

RESULTS = Path(__file__).parents[2] / "results"
TEACHER = {"name": "fast_teacher", "options": {"widths": [16, 32, 64], "logit_scale": 1.0}}
TRAIN = {
    "batch_size": 8,
    "optimizer": "adamw",
    "lr": 3e-3,
    "weight_decay": 1e-2,
    "schedule": "cosine",
    "precision": "fp32",
}


def config_for(
    teacher: Path | None = None,
    *,
    labelled: float = 0.1,
    epochs: int = 3,
    seeds: tuple[int, ...] = (0,),
    dropout: float = 0.0,
    **method: Any,
) -> RunConfig:
    """A student on digits of 16 x 16 pixels with few labels; its teacher was trained on more."""
    values: dict[str, Any] = {
        "name": "digits",
        "data": {
            "source": "digits",
            "image_size": 16,
            "val_fraction": 1 - labelled,
            "mean": [0.3] * 3,
            "std": [0.35] * 3,
            "augment": {"padding": 2, "flip": False, "view_seed": 0},
        },
        "teacher": {
            "model": TEACHER,
            "path": teacher and str(teacher),
            "min_accuracy": 0.0,
            "go_on": True,
            "train": {"epochs": 4, "batch_size": 32},
        },
        "student": {
            "model": {"name": "founding_student", "options": {"dropout1": dropout, "dropout2": 0.0}}
        },
        "train": TRAIN | {"epochs": epochs},
        "method": {"name": "kd", "temperature": 4, "alpha": 0.7} | method,
        "seeds": list(seeds),
        "benchmark": {"batch_sizes": [1], "repeats": 1, "warmup": 0},
    }
    return parse(RunConfig, values)


def run_of(config: RunConfig, folder: Path) -> Path:
    run_experiment(config, folder, device="cpu", workers=1, cache=str(folder.parent / "cache"))
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good teacher's weights."""
    folder = tmp_path_factory.mktemp("teacher")
    train_arm(config_for(labelled=0.9), "teacher", 0, folder, device="cpu")
    return RunFolder(folder).weights("teacher-seed0")


@pytest.fixture(scope="module")
def broken_teacher(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same teacher, with every prediction moved to the next class."""
    network = build_model(TEACHER["name"], 10, image_size=16, options=TEACHER["options"])  # type: ignore[arg-type]
    load_weights(teacher, network)
    network.fc.weight.data = network.fc.weight.data.roll(1, 0)  # type: ignore[union-attr, operator]
    path = tmp_path_factory.mktemp("broken") / "teacher.safetensors"
    save_weights(path, network)
    return path


@pytest.fixture(scope="module")
def healthy(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Diagnosis]:
    """Two seeds long enough to learn from a good teacher, and their diagnosis."""
    run = run_of(
        config_for(teacher, epochs=6, seeds=(0, 1)), tmp_path_factory.mktemp("healthy") / "run"
    )
    return run, diagnose_run(run, device="cpu")


def causes(diagnosis: Diagnosis) -> set[str]:
    return {f.key for f in diagnosis.findings if f.severity == "cause"}


@pytest.mark.slow
def test_healthy_run_has_no_cause(healthy: tuple[Path, Diagnosis]):
    _, diagnosis = healthy
    assert causes(diagnosis) <= {"noise"}, (
        "two seeds of a tiny run may be too few; nothing else is wrong"
    )
    assert diagnosis.needs_weights == {}
    measured = diagnosis.evidence.measured
    assert measured is not None and measured.gradients is not None
    assert set(measured.gradients.shares) == {"ce", "kd"} and sum(
        measured.gradients.shares.values()
    ) == pytest.approx(1)
    assert measured.gradients.num_batches == 2 * 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("planted", "severity", "options"),
    [
        ("dropout", "contributing", {"dropout": 0.9}),
        ("targets", "cause", {"temperature": 50}),
        ("gradient", "cause", {"alpha": 0}),
    ],
)
def test_planted_problem_is_found_in_a_real_run(
    planted: str, severity: str, options: dict[str, Any], teacher: Path, tmp_path: Path
):
    diagnosis = diagnose_run(run_of(config_for(teacher, **options), tmp_path / "run"), device="cpu")
    assert planted in {
        finding.key for finding in diagnosis.findings if finding.severity == severity
    }


@pytest.mark.slow
def test_broken_teacher_is_a_cause(broken_teacher: Path, tmp_path: Path):
    diagnosis = diagnose_run(run_of(config_for(broken_teacher), tmp_path / "run"), device="cpu")
    assert {"teacher_lead", "teacher_quality"} <= causes(diagnosis)


def test_diagnosis_is_deterministic_and_opens_no_test_image(
    healthy: tuple[Path, Diagnosis], monkeypatch: pytest.MonkeyPatch
):
    from understudy.data.dataset import SealedSplit

    def opened(_: SealedSplit) -> None:
        raise AssertionError("the test split was opened")

    monkeypatch.setattr(SealedSplit, "open_for_final_evaluation", opened)
    run, diagnosis = healthy
    assert diagnose_run(run, device="cpu").to_mapping() == diagnosis.to_mapping()


def test_page_json_and_report_agree(healthy: tuple[Path, Diagnosis], tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(healthy[0], run)
    diagnosis = replace(healthy[1], name="<script>alert(1)</script>")
    page = write_diagnosis(diagnosis, run).read_text()
    elements = Elements(page)
    assert elements.open == [], "every tag is closed"
    assert "<script" not in page and "&lt;script&gt;" in page
    loaded = [
        value
        for _, attributes in elements.found
        for key, value in attributes.items()
        if key.endswith(("src", "href"))
    ]
    assert all(str(value).startswith(("#", "data:")) for value in loaded), (
        "one file that needs nothing else"
    )
    saved = json.loads((run / "diagnosis.json").read_text())
    assert saved["headline"] == diagnosis.headline and len(saved["findings"]) == len(
        diagnosis.findings
    )
    assert all(finding.title in html.unescape(page) for finding in diagnosis.findings)
    drawn = sorted(path.stem for path in (run / "figures").glob("diagnosis_*.png"))
    assert drawn == ["diagnosis_end", "diagnosis_fits", "diagnosis_gradients", "diagnosis_targets"]
    assert page.count("<svg") == len(drawn) and page.count("<figcaption>") == len(drawn)
    report = write_report(run, figures=False).read_text()
    assert 'href="diagnosis.html"' in report and saved["headline"].split(":")[0] in report


def test_founding_run_has_the_cause_that_single_changes_have_shown():
    """results/founding-causes: a better teacher brings the gain; the schedule does not."""
    diagnosis = diagnose_run(RESULTS / "cifar10-founding")
    assert causes(diagnosis) == {"teacher_quality"}
    contributing = {f.key for f in diagnosis.findings if f.severity == "contributing"}
    assert {"dropout", "fit", "length", "agreement", "capacity", "noise"} <= contributing
    (dropout,) = [f for f in diagnosis.findings if f.key == "dropout"]
    assert dropout.change == (
        "student.model.options.dropout1=0",
        "student.model.options.dropout2=0",
    )
    assert "targets" in diagnosis.needs_weights


def test_better_recipe_has_no_cause():
    diagnosis = diagnose_run(RESULTS / "cifar10")
    assert causes(diagnosis) == set()


def test_committed_diagnosis_is_what_the_code_writes():
    """Its evidence was measured on weights that are not committed; the rest follows from it."""
    committed = RESULTS / "founding-diagnosis"
    diagnosis = read_diagnosis(committed)
    saved = json.loads((committed / "diagnosis.json").read_text(encoding="utf-8"))
    written = json.loads(diagnosis.to_json_text())
    for content in (saved, written):
        del content["evidence"]["config"]  # as resolved by the version that ran it
    page = html.unescape((committed / "diagnosis.html").read_text(encoding="utf-8"))
    again = "write_diagnosis(read_diagnosis(folder), folder) writes it again"
    assert written == saved, again
    for finding in diagnosis.findings:
        assert finding.title in page and finding.evidence[1:] in page, again
    assert causes(diagnosis) == {"teacher_quality"}


def test_damaged_diagnosis_is_refused(tmp_path: Path):
    saved = json.loads((RESULTS / "founding-diagnosis" / "diagnosis.json").read_text())
    del saved["evidence"]["recorded"]["num_val"]
    (tmp_path / "diagnosis.json").write_text(json.dumps(saved))
    with pytest.raises(UnderstudyError, match="num_val is missing; run understudy diagnose again"):
        read_diagnosis(tmp_path)
    (tmp_path / "diagnosis.json").write_text("[]")
    with pytest.raises(UnderstudyError, match="is not a diagnosis"):
        read_diagnosis(tmp_path)


def copy_of_founding(folder: Path) -> Path:
    shutil.copytree(RESULTS / "cifar10-founding", folder, ignore=shutil.ignore_patterns("figures"))
    return folder


def test_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = copy_of_founding(tmp_path / "run")
    assert cli.main(["diagnose", str(run), "--json", str(tmp_path / "copy.json")]) == 0
    printed = capsys.readouterr().out
    assert (
        "CAUSE" in printed
        and "This run has no weights" in printed
        and "diagnosis.html" in printed.replace("\n", "")
    )
    assert json.loads((tmp_path / "copy.json").read_text()) == json.loads(
        (run / "diagnosis.json").read_text()
    )


def refused(run: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["diagnose", str(run)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_unfinished_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert "there is no" in refused(tmp_path / "nowhere", capsys)
    assert "is not a run directory" in refused(tmp_path, capsys)
    run = copy_of_founding(tmp_path / "run")
    results = json.loads((run / "results.json").read_text())
    del results["arms"]["distilled"]
    (run / "results.json").write_text(json.dumps(results))
    assert "has no distilled arm" in refused(run, capsys)
    (run / "results.json").unlink()
    assert "results.json does not exist" in refused(run, capsys)


def test_a_sweep_folder_is_refused_and_its_winners_command_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "sweep"
    shutil.copytree(RESULTS / "sweep-grid", folder, ignore=shutil.ignore_patterns("figures"))
    winner = (
        f"`understudy run {folder}/config.yaml method.temperature=4 method.alpha=0.7 --out FOLDER`"
    )
    assert (
        f"is a sweep's folder, and diagnose takes a run's: train its winner as one by {winner}"
        in refused(folder, capsys)
    )
    (folder / "results.json").unlink()
    (folder / "sweep.json").touch()
    assert f"`understudy run {folder}/config.yaml KEY=VALUE --out FOLDER`" in refused(
        folder, capsys
    ), "one that is under way"


def test_missing_weights_and_other_images_are_refused(
    healthy: tuple[Path, Diagnosis], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = tmp_path / "run"
    shutil.copytree(healthy[0], run)
    results = json.loads((run / "results.json").read_text())
    results["data"]["fingerprint"] = "another"
    (run / "results.json").write_text(json.dumps(results))
    assert "give --data" in refused(run, capsys)
    RunFolder(run).weights("distilled-seed1").unlink()
    assert "distilled-seed1.safetensors is missing" in refused(run, capsys)
