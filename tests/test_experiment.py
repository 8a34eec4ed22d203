"""Whole runs on a made-up data set: numbers, resuming, workers, given teachers, refusals."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.data.picture_folders import write_pictures
from tests.worlds import config_for, numbers

from understudy import experiment
from understudy.cli import main
from understudy.config.recipe import to_yaml
from understudy.errors import UnderstudyError
from understudy.events import EpochResult, Silent
from understudy.experiment import run_experiment, train_arm
from understudy.files import to_json
from understudy.models import build_model
from understudy.runs.folder import load_run
from understudy.runs.remeasure import benchmark_run, class_names, evaluate_run
from understudy.runs.results import RunResults, read_results
from understudy.runs.warm_cache import build_cache

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def finished(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResults]:
    """One run, one training after the other."""
    out = tmp_path_factory.mktemp("runs") / "colours"
    return out, run_experiment(
        config_for(images),
        out,
        device="cpu",
        workers=1,
        cache=str(out.parent / "cache"),
    )


def test_run_writes_results_history_and_plain_weights(
    finished: tuple[Path, RunResults],
):
    out, results = finished
    assert json.loads((out / "results.json").read_text()) == to_json(results)
    assert read_results(out) == results
    assert list(results.arms) == ["teacher", "baseline", "distilled"]
    assert results.data.num_test == 30 and results.data.num_train + results.data.num_val == 60
    assert len((out / "history.csv").read_text().splitlines()) == 1 + 2 * (1 + 2 + 2)
    # The founding table's score: percent over milliseconds at the larger batch.
    for entry in results.arms.values():
        score = 100 * entry.summary.accuracy.mean / entry.latency["2"].median_ms
        assert entry.efficiency.accuracy_per_ms == pytest.approx(score)
    (comparison,) = results.comparisons
    gains = [
        d.test.accuracy - b.test.accuracy
        for d, b in zip(results.arms["distilled"].runs, results.arms["baseline"].runs, strict=True)
    ]
    assert comparison.gains == pytest.approx(gains)
    assert results.arms["teacher"].runs[0].test.agreement is None
    assert 0 <= results.arms["distilled"].runs[0].test.agreement <= 1
    state = load_file(out / "models" / "distilled-seed0.safetensors")
    assert set(state) == set(build_model("founding_student", 3).state_dict())


def test_run_on_image_files_shows_and_records_what_it_read_before_it_trains(tmp_path: Path) -> None:
    """The case of three training images that are test images, too, and one that is no image."""
    pictures = tmp_path / "pets"
    write_pictures(pictures, {"train/cat": 12, "train/dog": 12, "test/cat": 4, "test/dog": 4})
    for number in range(3):
        shutil.copy(pictures / f"train/cat/{number}.png", pictures / f"test/cat/copy{number}.png")
    (pictures / "train/dog/bad.jpg").write_bytes(b"")
    seen: list[str] = []

    class Lines(Silent):
        def message(self, line: str) -> None:
            seen.append(line)

        def epoch(self, result: EpochResult, training: str = "") -> None:
            seen.append(training)

    data = {"source": "imagefolder", "path": str(pictures), "image_size": 16, "skip_bad": True}
    config = config_for(pictures, data=data, seeds=[0], train={"epochs": 1, "batch_size": 16})
    out = tmp_path / "run"
    results = run_experiment(
        config, out, device="cpu", workers=1, cache=str(tmp_path / "cache"), observer=Lines()
    )
    first = seen.index("teacher-seed0")
    assert any("1 image cannot be read and is left out" in line for line in seen[:first])
    assert any("3 test images are in train" in line for line in seen[:first])
    assert results is not None and results.data.num_skipped == 1
    assert json.loads((out / "data.json").read_text())["num_duplicates"] == {
        "exact across splits": 6
    }
    assert (out / "figures" / "contact-sheet.png").stat().st_size > 1000
    seen.clear()
    train_arm(config, "baseline", 0, tmp_path / "one", device="cpu", observer=Lines())
    assert any(
        "3 test images are in train" in line for line in seen[: seen.index("baseline-seed0")]
    )
    assert (tmp_path / "one" / "data.json").exists()


def test_sizes_costs_and_compression_are_those_of_the_networks(
    finished: tuple[Path, RunResults],
):
    """MB are of 2^20 bytes, as on disk; compression is the teacher's size over the arm's."""
    out, results = finished
    sizes = {}
    for arm, entry in results.arms.items():
        state = load_file(out / "models" / f"{arm}-seed0.safetensors")
        sizes[arm] = (
            sum(tensor.numel() * tensor.element_size() for tensor in state.values()) / 2**20
        )
        assert entry.size.size_mb == pytest.approx(sizes[arm])
        assert entry.compression == pytest.approx(sizes["teacher"] / sizes[arm])
        per_mb = entry.efficiency.accuracy_per_ms / sizes[arm]
        assert entry.efficiency.accuracy_per_ms_mb == pytest.approx(per_mb)
    assert (
        sizes["teacher"] != pytest.approx(sizes["baseline"])
        and sizes["baseline"] == sizes["distilled"]
    )
    # On 16 x 16 images: output pixels x 9 x channels in x channels out for each stage, then the
    # two matrices of the head.
    by_stage = [
        16 * 16 * 9 * 3 * 16,
        8 * 8 * 9 * 16 * 32,
        4 * 4 * 9 * 32 * 64,
        2 * 2 * 9 * 64 * 128,
        128 * 64,
        64 * 3,
    ]
    assert (
        results.arms["baseline"].size.macs == results.arms["distilled"].size.macs == sum(by_stage)
    )


def test_a_whole_run_on_any_device(images: Path, tmp_path: Path, device: torch.device):
    config = config_for(images, seeds=[0], train={"epochs": 1, "batch_size": 16, "lr": 3e-3})
    results = run_experiment(
        config,
        tmp_path / "run",
        device=device.type,
        workers=1,
        cache=str(tmp_path / "cache"),
    )
    assert (
        list(results.arms) == ["teacher", "baseline", "distilled"] and len(results.comparisons) == 1
    )
    assert results.environment.device == device.type


def test_arms_of_one_seed_share_initial_weights_and_batches(images: Path, tmp_path: Path):
    """With the soft term switched off, the distilled arm is the baseline, bit for bit."""
    config = config_for(images, method={"name": "kd", "alpha": 0.0}, seeds=[3])
    run_experiment(
        config,
        tmp_path / "run",
        device="cpu",
        workers=1,
        cache=str(tmp_path / "cache"),
    )
    one, other = (
        load_file(tmp_path / "run" / "models" / f"{arm}-seed3.safetensors")
        for arm in ("baseline", "distilled")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_parallel_workers_give_the_numbers_of_sequential_training(
    finished: tuple[Path, RunResults], images: Path, tmp_path: Path
):
    together = run_experiment(
        config_for(images),
        tmp_path / "run",
        device="cpu",
        workers=2,
        cache=str(tmp_path / "cache"),
    )
    assert numbers(together) == numbers(finished[1])


@pytest.mark.parametrize("workers", [1, 2])
def test_students_trained_together_equal_those_trained_alone(
    images: Path, tmp_path: Path, workers: int
):
    config = config_for(images, arms={"at": {"name": "at"}, "vid": {"name": "vid"}})
    alone, together = tmp_path / "alone", tmp_path / "together"
    cache = str(tmp_path / "cache")
    expected = run_experiment(config, alone, device="cpu", workers=1, cache=cache)
    found = run_experiment(
        config, together, device="cpu", workers=workers, cache=cache, together=True
    )
    assert numbers(found) == numbers(expected)
    for path in sorted((alone / "models").iterdir()):
        assert path.read_bytes() == (together / "models" / path.name).read_bytes()


@pytest.mark.slow
def test_killed_run_resumes_to_the_same_bits(
    finished: tuple[Path, RunResults], images: Path, tmp_path: Path
):
    """SIGKILL in mid-training, then --resume: the weights are those of an undisturbed run."""
    out, whole = finished
    code = f"""
import sys, time; sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from tests.worlds import config_for
import understudy.data.loader as batches, understudy.experiment as experiment
render = batches.TrainBatches.render
def slowly(self, rows, views):
    time.sleep(0.1)  # long enough to be killed between two steps
    return render(self, rows, views)
batches.TrainBatches.render = slowly
experiment.run_experiment(
    config_for(Path({str(images)!r})), Path({str(tmp_path / "run")!r}),
    device="cpu", workers=1, cache={str(tmp_path / "cache")!r},
)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    checkpoint = tmp_path / "run" / "arms" / "baseline-seed0" / "checkpoint.pt"
    deadline = time.monotonic() + 300
    while not checkpoint.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists() and not (checkpoint.parent / "result.json").exists(), (
        "killed at the wrong moment"
    )
    results = run_experiment(
        config_for(images),
        tmp_path / "run",
        device="cpu",
        workers=1,
        resume=True,
        cache=str(tmp_path / "cache"),
    )
    assert numbers(results) == numbers(whole)
    for file in sorted((out / "models").glob("*.safetensors")):
        ours, theirs = load_file(tmp_path / "run" / "models" / file.name), load_file(file)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs), file.name


def test_resuming_with_another_configuration_names_what_differs(
    finished: tuple[Path, RunResults], images: Path
):
    changed = config_for(images, train={"epochs": 3, "batch_size": 16, "lr": 3e-3})
    with pytest.raises(UnderstudyError, match=r"train\.epochs differ"):
        run_experiment(changed, finished[0], device="cpu", workers=1, resume=True)


def test_resumed_run_trains_only_added_seeds(images: Path, tmp_path: Path):
    quick = {"epochs": 1, "batch_size": 16}
    options = {"device": "cpu", "workers": 1, "cache": str(tmp_path / "cache")}
    run_experiment(config_for(images, seeds=[0], train=quick), tmp_path / "run", **options)
    before = (tmp_path / "run" / "models" / "baseline-seed0.safetensors").stat().st_mtime_ns
    results = run_experiment(
        config_for(images, seeds=[0, 1], train=quick), tmp_path / "run", resume=True, **options
    )
    assert [run.seed for run in results.arms["baseline"].runs] == [0, 1]
    assert (tmp_path / "run" / "models" / "baseline-seed0.safetensors").stat().st_mtime_ns == before
    assert load_run(tmp_path / "run").seeds == (0, 1)


def test_missing_teacher_weights_are_refused_and_rebuilt(
    finished: tuple[Path, RunResults], images: Path, tmp_path: Path
):
    out, whole = finished
    run = tmp_path / "run"
    shutil.copytree(out, run)
    weights, result = (
        run / "models" / "teacher-seed0.safetensors",
        run / "arms" / "teacher-seed0" / "result.json",
    )
    weights.unlink()
    shutil.rmtree(run / "arms" / "baseline-seed0")

    def resumed() -> dict[str, Any]:
        return run_experiment(
            config_for(images),
            run,
            device="cpu",
            workers=1,
            resume=True,
            cache=str(tmp_path / "cache"),
        )

    for command in (
        resumed,
        functools.partial(build_cache, run, device="cpu"),
        functools.partial(benchmark_run, run),
    ):
        with pytest.raises(
            UnderstudyError,
            match=f"^{weights} is gone: put it back, or delete {result} and run again with",
        ):
            command()
    assert not (run / "arms" / "baseline-seed0").exists(), "no student is trained first"
    result.unlink()
    assert numbers(resumed()) == numbers(whole)
    ours, theirs = load_file(weights), load_file(out / "models" / weights.name)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_untrained_arm_has_a_message_of_its_own(images: Path, tmp_path: Path):
    train_arm(
        config_for(images, train={"epochs": 1, "batch_size": 16}),
        "baseline",
        0,
        tmp_path / "run",
        device="cpu",
    )
    with pytest.raises(
        UnderstudyError,
        match=r"^there is no weights file .*teacher-seed0\.safetensors yet: "
        r"run again with --resume to train it$",
    ):
        build_cache(tmp_path / "run", device="cpu")


def test_evaluate_repeats_the_numbers_and_benchmark_replaces_them(
    finished: tuple[Path, RunResults],
):
    out, results = finished
    again = evaluate_run(out, device="cpu")
    for run in results.arms["distilled"].runs:
        assert again[f"distilled-seed{run.seed}"].accuracy == run.test.accuracy
    assert set(evaluate_run(out / "models" / "baseline-seed1.safetensors", device="cpu")) == {
        "baseline-seed1"
    }
    measured = benchmark_run(out)
    assert json.loads((out / "results.json").read_text())["arms"]["teacher"]["latency"] == to_json(
        measured["teacher"].latency
    )


def test_given_teacher_is_not_trained_but_measured_first(
    finished: tuple[Path, RunResults],
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    expected: dict[str, int] = {}

    class Noted(Silent):
        def expect(self, epochs: int, training: str = "") -> None:
            expected[training] = epochs

    weights = finished[0] / "models" / "teacher-seed0.safetensors"
    teacher = {
        "model": {"name": "fast_teacher", "options": {"widths": [8, 8, 8], "stem_width": 4}},
        "path": str(weights),
    }
    good = config_for(
        images,
        teacher=teacher | {"min_accuracy": 0.0},
        seeds=[0],
        train={"epochs": 1, "batch_size": 16},
    )
    results = run_experiment(
        good,
        tmp_path / "good",
        device="cpu",
        workers=1,
        cache=str(tmp_path / "cache"),
        observer=Noted(),
    )
    assert results.arms["teacher"].method == "given" and results.arms["teacher"].runs[0].epochs == 0
    assert expected == {"teacher-seed0": 0, "baseline-seed0": 1, "distilled-seed0": 1}, (
        "no time is planned for its training"
    )
    with pytest.raises(UnderstudyError, match=r"% on validation, below 100\.0 %"):
        run_experiment(
            config_for(images, teacher=teacher | {"min_accuracy": 1.0}),
            tmp_path / "bad",
            device="cpu",
            workers=1,
        )
    other = teacher | {"model": {"name": "founding_teacher"}}
    with pytest.raises(UnderstudyError, match="does not fit the network"):
        run_experiment(
            config_for(images, teacher=other),
            tmp_path / "other",
            device="cpu",
            workers=1,
        )


@pytest.mark.parametrize(("given", "processes"), [(None, 3), (2, 2), (1, 0)])
def test_every_core_trains_unless_a_number_is_given(
    images: Path, tmp_path: Path, monkeypatch, given: int | None, processes: int
):
    def stop(trainings: Any, placement: Any, observer: Any, count: int) -> None:
        raise UnderstudyError(f"{placement.processes} processes")

    monkeypatch.setattr(experiment, "available_cores", lambda: [0, 1, 2])
    monkeypatch.setattr(experiment, "_carry_out", stop)
    with pytest.raises(UnderstudyError, match=f"^{processes} processes"):
        run_experiment(config_for(images), tmp_path / "run", device="cpu", workers=given)


def test_refused_run_leaves_no_folder(images: Path, tmp_path: Path):
    for wrong in (
        {"student": {"model": {"name": "resnet21"}}},
        {"data": {"source": "npz", "path": str(tmp_path / "none.npz")}},
    ):
        with pytest.raises(UnderstudyError):
            run_experiment(
                config_for(images, **wrong),
                tmp_path / "run",
                device="cpu",
                workers=1,
            )
        assert not (tmp_path / "run").exists()
    with pytest.raises(
        UnderstudyError, match=r"teacher\.train\.epoch: did you mean teacher\.train\.epochs"
    ):
        config_for(images, teacher={"model": {"name": "resnet8"}, "train": {"epoch": 3}})


@pytest.mark.parametrize("how", [{"method": {"name": "cc"}}, {"arms": {"b": {"name": "at"}}}])
def test_what_cannot_train_is_refused_before_the_teacher_trains(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
):
    flat = {"student": {"model": {"name": "tests.runs.test_precheck.Flat"}}}
    config, out = config_for(images, **flat, **how), tmp_path / "run"

    def refuse(*_: Any) -> None:
        raise AssertionError("nothing may train")

    monkeypatch.setattr(experiment, "finish_all", refuse)
    with pytest.raises(UnderstudyError, match=r"set student\.stages"):
        run_experiment(config, out, device="cpu", workers=1)
    with pytest.raises(UnderstudyError, match=r"set student\.stages"):
        train_arm(config, next(iter(how.get("arms", {"distilled": 0}))), 0, out, device="cpu")
    assert not out.exists()


def test_measured_normalisation_is_recorded_in_numbers(images: Path, tmp_path: Path):
    config = config_for(images, seeds=[0], train={"epochs": 1, "batch_size": 16})
    config = replace(config, data=replace(config.data, mean=(), std=()))
    result = train_arm(config, "baseline", 0, tmp_path / "run", device="cpu")
    recorded = load_run(tmp_path / "run").data
    assert len(recorded.mean) == 3 and all(0 < value < 1 for value in recorded.mean)
    again = train_arm(config, "baseline", 0, tmp_path / "run", device="cpu", resume=True)
    assert again == result, "measured again, and the same"


@pytest.mark.parametrize(
    "begin", [run_experiment, functools.partial(train_arm, arm="distilled", seed=0)]
)
def test_unknown_device_is_refused_before_anything_is_written(
    begin: Any, images: Path, tmp_path: Path
):
    with pytest.raises(
        UnderstudyError, match="--device must be auto, cpu, cuda or cuda:N, not 'gpu'"
    ):
        begin(config_for(images), out=tmp_path / "run", device="gpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "{run}"],
        ["diagnose", "{run}"],
        ["cache", "build", "{run}"],
        ["cache", "verify", "{run}", "--run", "{run}"],
        ["train", "{run}/config.yaml", "--resume", "--out", "{run}"],
        ["run", "{run}/config.yaml", "--resume", "--out", "{run}"],
    ],
)
def test_every_command_refuses_an_unknown_device(
    command: list[str], finished: tuple[Path, RunResults], capsys: pytest.CaptureFixture[str]
):
    argv = [word.format(run=finished[0]) for word in command]
    assert main([*argv, "--device", "cpu:3"]) == 2
    assert (
        capsys.readouterr().err
        == "error: --device must be auto, cpu, cuda or cuda:N, not 'cpu:3'\n"
    )


def test_training_one_arm_trains_its_teacher_first(images: Path, tmp_path: Path):
    config = config_for(images, train={"epochs": 1, "batch_size": 16})
    result = train_arm(config, "distilled", 0, tmp_path / "run", device="cpu")
    assert (
        result.method == "kd"
        and (tmp_path / "run" / "models" / "teacher-seed0.safetensors").exists()
    )


def test_misspelled_option_of_a_run_is_refused_before_any_work(images: Path, tmp_path: Path):
    with pytest.raises(TypeError, match="resum"):
        run_experiment(config_for(images), tmp_path / "run", device="cpu", resum=True)
    assert not (tmp_path / "run").exists()


def test_evaluate_fits_eighty_columns_and_names_the_classes(
    finished: tuple[Path, RunResults],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    out, results = finished
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["evaluate", str(out), "--device", "cpu", "--per-class"]) == 0
    printed = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in printed]
    assert max(map(len, printed)) <= 80
    run = results.arms["baseline"].runs[0]
    assert ["baseline-seed0", f"{run.test.accuracy:.4g}"] in [row[:2] for row in rows]
    for name, accuracy in zip(results.data.class_names, run.test.per_class, strict=True):
        found = next(row for row in rows if row[:1] == [name])
        assert f"{accuracy:.4g}" in found
    assert class_names(out / "models" / "baseline-seed0.safetensors") == results.data.class_names
    assert class_names(out.parent) == (), "a folder without results"


def test_misspelled_method_option_is_refused_before_any_work(images: Path, tmp_path: Path):
    with pytest.raises(
        UnderstudyError, match=r"method\.temprature: did you mean method\.temperature\?"
    ):
        run_experiment(
            config_for(images, method={"name": "kd", "temprature": 2}),
            tmp_path / "run",
            device="cpu",
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_torchrun_trains_every_arm_on_two_ranks_and_one_reports(images: Path, tmp_path: Path):
    recipe = tmp_path / "colours.yaml"
    recipe.write_text(to_yaml(config_for(images, seeds=[0], train={"epochs": 1, "batch_size": 16})))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "understudy",
        "run",
    ]
    done = subprocess.run(
        [*command, str(recipe), "--device", "cpu", "--out", str(tmp_path / "run")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    results = read_results(tmp_path / "run")
    assert all(entry.runs[0].ranks == 2 for entry in results.arms.values())
    assert done.stdout.count("Report: ") == 1


def no_norms(num_classes: int) -> torch.nn.Module:
    """A network without dropout and batch norm: each rank has statistics of its own images."""
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(128, num_classes),
    )


RANK = """
import json, os, sys, time
from pathlib import Path
import torch
from understudy.experiment import train_arm
from understudy.files import to_json
from understudy.runs.folder import load_run
from understudy.teachers import cached

out, notes = Path(sys.argv[1]), Path(sys.argv[2])
written, labelled = [], 0
replace, label = os.replace, cached.CachedTeacher._label

def noted(source, target):
    written.append(str(target))
    replace(source, target)

def slowly(self, rows, views, on_device, missing):
    global labelled
    labelled += len(missing)
    time.sleep(0.2)  # a real teacher works longer than the other rank needs to get here
    label(self, rows, views, on_device, missing)

os.replace, cached.CachedTeacher._label = noted, slowly
cached._CHUNK = 8
torch.set_num_threads(1)
result = train_arm(load_run(out), "distilled", 0, out, device="cpu")
found = {"result": to_json(result), "written": written, "labelled": labelled}
(notes / f"{os.environ['RANK']}.json").write_text(json.dumps(found))
"""


@pytest.mark.slow
def test_two_ranks_share_labelling_equal_one_process_and_one_writes(
    images: Path, tmp_path: Path, monkeypatch
):
    config = config_for(
        images,
        data={
            "source": "npz",
            "path": str(images),
            "val_fraction": 0.2,
            "augment": {"mix": "cutmix"},
        },
        student={"model": {"name": "tests.test_experiment:no_norms"}},
        train={"epochs": 2, "batch_size": 16, "optimizer": "sgd", "lr": 0.05, "precision": "fp32"},
        seeds=[0],
    )
    one, two, notes = tmp_path / "one", tmp_path / "two", tmp_path / "notes"
    train_arm(config, "teacher", 0, one, device="cpu")
    shutil.copytree(one, two)
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "cache-of-one"))
    alone = train_arm(config, "distilled", 0, one, device="cpu")

    notes.mkdir()
    (tmp_path / "rank.py").write_text(RANK)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(tmp_path / "rank.py"),
    ]
    done = subprocess.run(
        [*command, str(two), str(notes)],
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "UNDERSTUDY_CACHE": str(tmp_path / "cache-of-two")}
        | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    ranks = [json.loads((notes / f"{rank}.json").read_text()) for rank in (0, 1)]

    assert sum(rank["labelled"] for rank in ranks) == 2 * 48, (
        "two epochs of CutMix: every view once, whoever labelled it"
    )
    assert all(rank["labelled"] >= 8 for rank in ranks), "both did some"
    assert [path for path in ranks[1]["written"] if path.startswith(str(two))] == []
    assert any(path.endswith("result.json") for path in ranks[0]["written"])
    assert ranks[0]["result"] == ranks[1]["result"] and ranks[0]["result"]["ranks"] == 2
    assert ranks[0]["result"]["val"]["accuracy"] == alone.val.accuracy
    assert ranks[0]["result"]["val"]["nll"] == pytest.approx(alone.val.nll, rel=1e-4)
    ours, theirs = (load_file(run / "models" / "distilled-seed0.safetensors") for run in (one, two))
    start = no_norms(3).state_dict()
    assert not torch.allclose(ours["4.weight"], start["4.weight"], atol=1e-2), "it has learnt"
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-4, atol=1e-5)


def test_feature_methods_and_an_adapter_that_stays_with_the_student(images: Path, tmp_path: Path):
    """SimKD's student is saved, measured and evaluated with its projector and teacher's head."""
    teacher = {"model": {"name": "resnet8"}}
    config = config_for(
        images,
        teacher=teacher,
        student={"model": {"name": "resnet8"}},
        method={"name": "simkd"},
        arms={"attention": {"name": "at+kd"}},
        seeds=[0],
        train={"epochs": 1, "batch_size": 16},
    )
    results = run_experiment(
        config,
        tmp_path / "run",
        device="cpu",
        workers=1,
        cache=str(tmp_path / "cache"),
    )
    sizes = {arm: entry.size.parameters for arm, entry in results.arms.items()}
    assert sizes["distilled"] > sizes["baseline"] == sizes["attention"]
    assert [c.arm for c in results.comparisons] == ["distilled", "attention"]
    again = evaluate_run(tmp_path / "run", device="cpu")
    assert again["distilled-seed0"].accuracy == results.arms["distilled"].runs[0].test.accuracy
