"""Whole sweeps: everything shared is made once, values reach the loss, kills lose nothing, the test
split opens at the end."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("optuna")

from tests.sweep.small_sweep import diary_method, epochs_of, figures, small_config
from tests.worlds import SeenEvents, write_colours

import understudy.execution.one_training as one_training
import understudy.execution.wave as wave
from understudy.data.dataset import SealedSplit
from understudy.errors import UnderstudyError
from understudy.execution.backend import Epoch, Event, Failed
from understudy.execution.fused.backend import FusedBackend
from understudy.execution.fused.stack import Stack
from understudy.execution.sequential import SequentialBackend
from understudy.files import to_json
from understudy.runs.folder import RunFolder
from understudy.runs.plan import ArmRun, RunPlan
from understudy.sweep import backend_choice, driver, teachers
from understudy.sweep.driver import Sweep, run_sweep
from understudy.sweep.results import read_sweep
from understudy.sweep.space import Choice
from understudy.teachers.cached import CachedTeacher
from understudy.terminal.sweep_progress import SweepDisplay

SPACE = {"method.temperature": [1, 4], "method.alpha": [0.5, 0.9]}
QUIET: dict[str, Any] = {"device": "cpu", "workers": 1}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("images") / "colours.npz", contrast=60)


@pytest.fixture(scope="module", autouse=True)
def one_core():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wave, "available_cores", lambda: [0])
        yield


class Expecting(SeenEvents):
    """Adds up the epochs that are announced."""

    expected = 0

    def expect(self, epochs: int, training: str = "") -> None:
        self.expected += epochs


@pytest.fixture(scope="module")
def whole(
    images: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A grid of four trials, two seeds, that nothing disturbed; and what was counted on the way."""
    folder = tmp_path_factory.mktemp("whole")
    counted: dict[str, Any] = {"opened": [], "arms": [], "labelled": 0, "observer": Expecting()}
    open_it, run, label = (
        SealedSplit.open_for_final_evaluation,
        one_training.run_arm,
        CachedTeacher._label,
    )

    def opened(self: SealedSplit) -> Any:
        counted["opened"].append(counted["arms"][-1])
        return open_it(self)

    def ran(plan: RunPlan, arm: ArmRun, out: RunFolder, *rest: Any, **options: Any) -> Any:
        counted["arms"].append(f"{out.path.name}/{arm.name}")
        return run(plan, arm, out, *rest, **options)

    def labelled(self: CachedTeacher, *arguments: Any) -> None:
        before = self.labelled
        label(self, *arguments)
        counted["labelled"] += self.labelled - before

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SealedSplit, "open_for_final_evaluation", opened)
        patch.setattr(one_training, "run_arm", ran)
        patch.setattr(CachedTeacher, "_label", labelled)
        config = small_config(images, method=diary_method(folder / "diary"))
        results = run_sweep(
            config,
            SPACE,
            folder / "sweep",
            backend="sequential",
            cache=str(folder / "cache"),
            observer=counted["observer"],
            **QUIET,
        )
    return folder, results, counted


def test_results_hold_all_trials_and_a_final_comparison(whole):
    folder, results, _ = whole
    assert json.loads((folder / "sweep" / "results.json").read_text()) == to_json(results)
    assert read_sweep(folder / "sweep") == results
    assert (results.kind, results.objective, results.seeds) == (
        "sweep",
        "val.accuracy",
        (0, 1),
    )
    assert results.space[0] == Choice("method.temperature", (1, 4))
    assert [t.values for t in results.trials] == [
        {"method.temperature": t, "method.alpha": a} for t in (1, 4) for a in (0.5, 0.9)
    ]
    (baseline,) = results.baselines
    assert [r.seed for r in baseline.runs] == [0, 1] and baseline.values == {}
    for trial in results.trials:
        accuracies = [r.val.accuracy for r in trial.runs]
        assert (
            trial.summary.mean == pytest.approx(sum(accuracies) / 2) and trial.state == "complete"
        )
        plain = [r.val.accuracy for r in baseline.runs]
        assert trial.gain.gains == pytest.approx(
            [a - b for a, b in zip(accuracies, plain, strict=True)]
        )
    best = max(results.trials, key=lambda t: t.summary.mean)
    assert (results.best.number, results.best.values) == (best.number, best.values)
    assert results.final.seeds == (2, 3)
    assert [r.seed for r in results.final.arms.best.runs] == [2, 3]
    assert len((folder / "sweep" / "trials.csv").read_text().splitlines()) == 5


def test_the_teacher_is_trained_once_and_asked_once_about_each_view(whole):
    _, results, counted = whole
    assert [arm for arm in counted["arms"] if "teacher" in arm] == ["sweep/teacher-seed0"]
    assert len(counted["arms"]) == 1 + 2 + 4 * 2 + 2 * 2 == len(set(counted["arms"]))
    # Views are the same for all seeds here, so all trainings together ask about no more than one of
    # them shows.
    assert 0 < counted["labelled"] <= 2 * results.data.num_train


def test_as_many_epochs_are_announced_as_are_trained(whole):
    observer = whole[2]["observer"]
    assert observer.expected == len(observer.epochs) > 0


def test_the_swept_values_reach_the_loss(whole):
    folder, results, _ = whole
    assert {tuple(line.split()[:2]) for line in epochs_of(folder / "diary")} == {
        (str(float(t)), str(a)) for t in (1, 4) for a in (0.5, 0.9)
    }
    losses = {json.dumps(t.values): [r.val.nll for r in t.runs] for t in results.trials}
    assert len({tuple(values) for values in losses.values()}) == 4, (
        "each setting trains another student"
    )


def test_the_test_split_is_opened_by_the_final_trainings_alone(whole):
    folder, results, counted = whole
    finals = [
        f"final-{side}-seed{s}/{arm}-seed{s}"
        for side, arm in (("baseline", "baseline"), ("best", "distilled"))
        for s in (2, 3)
    ]
    assert sorted(counted["opened"]) == sorted(finals)
    for trial in results.trials + results.baselines:
        assert all(run.test is None for run in trial.runs)
    assert not list((folder / "sweep").glob("trials/0*/arms/*/predictions.npz")), (
        "test logits are of the final trainings only"
    )
    assert not list((folder / "sweep").glob("arms/*/predictions.npz"))


def test_the_study_is_in_sqlite(whole):
    folder, *_ = whole
    with sqlite3.connect(folder / "sweep" / "study.db") as database:
        assert database.execute(
            "SELECT count(*) FROM trials WHERE state = 'COMPLETE'"
        ).fetchone() == (4,)


def test_a_finished_sweep_resumed_runs_nothing(
    whole, images: Path, monkeypatch: pytest.MonkeyPatch
):
    folder, results, _ = whole
    config = small_config(images, method=diary_method(folder / "diary"))
    with pytest.raises(UnderstudyError, match="--resume"):
        run_sweep(config, SPACE, folder / "sweep", backend="sequential", **QUIET)
    before = epochs_of(folder / "diary")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is left to run")

    monkeypatch.setattr(backend_choice, "open_backend", refuse)
    monkeypatch.setattr(teachers, "wave_backend", refuse)
    again = run_sweep(
        config, SPACE, folder / "sweep", resume=True, cache=str(folder / "cache"), **QUIET
    )
    assert figures(again) == figures(results) and again.backend == results.backend
    assert epochs_of(folder / "diary") == before
    with pytest.raises(UnderstudyError, match=r"cannot resume .*final_seeds differ"):
        run_sweep(config, SPACE, folder / "sweep", resume=True, final_seeds=[7], **QUIET)
    other = small_config(
        images, method=config.method, train={"epochs": 2, "batch_size": 21, "lr": 1e-3}
    )
    with pytest.raises(UnderstudyError, match=r"cannot resume .*train.lr differ"):
        run_sweep(other, SPACE, folder / "sweep", resume=True, **QUIET)


def child(folder: Path, work: str) -> "subprocess.Popen[bytes]":
    """Start a process of its own that does this (lines indented by four)."""
    program = f"""
import os
import signal
from pathlib import Path
import understudy.execution.wave as wave
from understudy.sweep import backend_choice
from tests.sweep.small_sweep import diary_method, small_config
from understudy.sweep.driver import run_sweep
if __name__ == "__main__":
    wave.available_cores = lambda: [0]
{work}
"""
    (folder / "child.py").write_text(program)
    root = Path(__file__).parents[2]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    return subprocess.Popen([sys.executable, str(folder / "child.py")], env=environment)


def kept_weights(sweep: Path) -> dict[str, dict[str, torch.Tensor]]:
    """What every training of a sweep's trials and final comparison left behind, by file."""
    return {
        str(path.relative_to(sweep)): load_file(path)
        for path in sorted(sweep.glob("trials/*/models/*.safetensors"))
    }


@pytest.mark.slow
def test_a_killed_sweep_loses_nothing_and_repeats_nothing(whole, images: Path, tmp_path: Path):
    """SIGKILL in the middle, with worker processes; then --resume, one after the other: the same
    figures."""
    folder, results, _ = whole
    diary = tmp_path / "diary"
    process = child(
        tmp_path,
        f"""
    config = small_config(Path({str(images)!r}), method=diary_method(Path({str(diary)!r})))
    run_sweep(config, {SPACE!r}, Path({str(tmp_path / "sweep")!r}), backend="processes",
              device="cpu", workers=2, cache={str(tmp_path / "cache")!r})
""",
    )
    deadline = time.monotonic() + 300
    while len(epochs_of(diary)) < 5:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1)  # its workers notice that it is gone
    done = len(epochs_of(diary))
    assert done < 4 * 2 * 2, "it was killed in the middle"
    config = small_config(images, method=diary_method(diary))
    out = tmp_path / "sweep"
    again = run_sweep(
        config,
        SPACE,
        out,
        backend="sequential",
        resume=True,
        cache=str(tmp_path / "cache"),
        **QUIET,
    )
    assert figures(again) == figures(results)
    # Each epoch was trained once, but for those in which the two workers were when they were
    # killed.
    trained, expected = epochs_of(diary), epochs_of(folder / "diary")
    assert set(trained) == set(expected)
    assert len(expected) <= len(trained) <= len(expected) + 2


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["worker", "sweep"])
def test_a_killed_fused_sweep_ends_with_the_same_bits(
    whole, images: Path, tmp_path: Path, killed: str
):
    """SIGKILL once the trainings of the first seed have ended, with those of the second in the
    middle of their last epoch.

    A worker's death the sweep survives; after its own it is resumed.
    """
    folder, results, _ = whole
    out, diary = tmp_path / "sweep", tmp_path / "diary"
    ended = out / "trials" / "0003-seed0" / "arms" / "distilled-seed0" / "result.json"
    method = diary_method(diary, deaths=1, dies_after=str(ended), takes_parent=killed == "sweep")
    options: dict[str, Any] = {"backend": "fused", "cache": str(tmp_path / "cache"), **QUIET}
    process = child(
        tmp_path,
        f"""
    config = small_config(Path({str(images)!r}), method={method!r})
    run_sweep(config, {SPACE!r}, Path({str(out)!r}), **{options!r})
""",
    )
    assert process.wait(timeout=300) == (-signal.SIGKILL if killed == "sweep" else 0)
    finished = {path: path.read_bytes() for path in out.glob("trials/*/arms/*/result.json")}
    if killed == "sweep":
        assert sorted(path.parents[2].name for path in finished) == sorted(
            ["plain-seed0", *(f"{number:04d}-seed0" for number in range(4))]
        )
    again = run_sweep(small_config(images, method=method), SPACE, out, resume=True, **options)
    assert figures(again) == figures(results) and again.backend.name == "fused"
    ours, theirs = kept_weights(out), kept_weights(folder / "sweep")
    assert ours.keys() == theirs.keys() and len(ours) == 2 * (1 + 4 + 2)
    for name, weights in theirs.items():
        assert all(torch.equal(ours[name][key], value) for key, value in weights.items()), name
    # A result says how long it took: those that were there are the same to the byte. Only the
    # broken-off epoch was begun again.
    assert all(path.read_bytes() == content for path, content in finished.items())
    trained, expected = Counter(epochs_of(diary)), Counter(epochs_of(folder / "diary"))
    assert (
        trained - expected == Counter(f"{float(t)} {a} 1" for t in (1, 4) for a in (0.5, 0.9))
        and not expected - trained
    )


@pytest.mark.slow
def test_a_killed_stacked_sweep_resumes_within_rounding(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """SIGKILL with the first epoch of two of six students kept: the others catch up, then all go on
    together.

    A company of another size sums in another order, so that equal means within rounding (see
    ``test_fused``).
    """
    train = {"epochs": 2, "batch_size": 21, "lr": 1e-2, "optimizer": "sgd", "precision": "fp32"}
    space, out = {"method.temperature": [1, 4]}, tmp_path / "sweep"
    options: dict[str, Any] = {"backend": "fused", "cache": str(tmp_path / "cache"), **QUIET}
    process = child(
        tmp_path,
        f"""
    from understudy.training import state
    from understudy.execution.fused.backend import FusedBackend
    save = state.save_checkpoint
    def save_and_die(path, state):
        save(path, state)
        if path.parents[2].name == "0000-seed0":
            os.kill(os.getpid(), signal.SIGKILL)
    state.save_checkpoint = save_and_die
    backend_choice.open_backend = lambda *_, **__: FusedBackend(device="cpu", engine="stacked")
    config = small_config(Path({str(images)!r}), train={train!r})
    run_sweep(config, {space!r}, Path({str(out)!r}), **{options!r})
""",
    )
    assert process.wait(timeout=300) == -signal.SIGKILL
    kept = {path.parents[2].name for path in out.glob("trials/*/arms/*/checkpoint.pt")}
    assert kept == {"plain-seed0", "0000-seed0"}
    epochs: list[tuple[int, int]] = []
    train_epoch = Stack.train_epoch

    def counted(self: Stack, epoch: int) -> Any:
        epochs.append((epoch, self.count))
        return train_epoch(self, epoch)

    monkeypatch.setattr(Stack, "train_epoch", counted)
    monkeypatch.setattr(
        backend_choice,
        "open_backend",
        lambda *_, **__: FusedBackend(device="cpu", engine="stacked"),
    )
    config = small_config(images, train=train)
    again = run_sweep(config, space, out, resume=True, **options)
    assert epochs == [(0, 4), (1, 6), (0, 4), (1, 4)], (
        "the four that had not been kept, all six, the final four"
    )
    epochs.clear()
    whole = run_sweep(config, space, tmp_path / "whole", **options)
    assert epochs == [(0, 6), (1, 6), (0, 4), (1, 4)]
    assert [trial.state for trial in again.trials] == ["complete"] * 2 and again.best == whole.best
    ours, theirs = kept_weights(out), kept_weights(tmp_path / "whole")
    assert ours.keys() == theirs.keys() and len(ours) == 10
    for name, weights in theirs.items():
        for key, value in weights.items():
            if not key.endswith(
                ("conv.bias", "running_mean")
            ):  # what a batch norm hides has a gradient of rounding alone
                torch.testing.assert_close(ours[name][key], value, rtol=1e-4, atol=1e-4)


def test_a_teacher_that_is_given_is_said_to_be_read(
    whole, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = whole[0] / "sweep" / "models" / "teacher-seed0.safetensors"
    teacher = {"model": {"name": "fast_teacher", "options": {"widths": [4, 4, 4], "stem_width": 4}}}
    given = teacher | {"path": str(file), "min_accuracy": 0.0}
    config = small_config(images, teacher=given, train={"epochs": 1, "batch_size": 42}, seeds=[0])
    run_sweep(
        config,
        {"method.alpha": [0.5, 0.9]},
        tmp_path / "sweep",
        backend="sequential",
        observer=SweepDisplay(),
        **QUIET,
    )
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == [
        "teacher: all of the teacher's 3 classes, in the same order; by name",
        f"reading the teacher from {file}, once for all trials",
    ]
    assert not [
        line for line in said if "training the teacher" in line or line.startswith("teacher-seed0")
    ]


def test_a_failed_trial_is_recorded_and_does_not_end_the_sweep(images: Path, tmp_path: Path):
    config = small_config(images, train={"epochs": 1, "batch_size": 8}, seeds=[0])
    results = run_sweep(
        config, {"train.lr": [1e30, 1e-3]}, tmp_path / "sweep", backend="sequential", **QUIET
    )
    failed, good = results.trials
    assert (
        failed.state == "failed" and "seed 0: the loss" in failed.reason and failed.summary is None
    )
    assert good.state == "complete" and results.best.number == 1
    assert [b.values for b in results.baselines] == [{"train.lr": 1e-3}], (
        "the baseline of the failed setting fails too"
    )
    assert good.gain.n == 1 and results.final.verdict.startswith("no evidence")
    with pytest.raises(UnderstudyError, match="no trial is complete"):
        run_sweep(
            config, {"train.lr": [1e30, 1e29]}, tmp_path / "all", backend="sequential", **QUIET
        )


def test_a_full_disk_ends_the_sweep_and_not_its_trials(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What is no fault of a trial's must not be written down as its end: with room again, --resume
    trains what is missing."""
    config, space, out = (
        small_config(images, train={"epochs": 1, "batch_size": 42}, seeds=[0]),
        {"method.temperature": [1, 3]},
        tmp_path,
    )
    options: dict[str, Any] = {"backend": "sequential", "cache": str(tmp_path / "cache"), **QUIET}
    save = torch.save

    def full(state: Any, file: Any) -> None:
        if "temperature=3" in state["fingerprint"]:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")
        save(state, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(
            UnderstudyError,
            match=r"^0001-seed0: the checkpoint .* is the disk full\?; .* go on by --resume$",
        ):
            run_sweep(config, space, out / "sweep", **options)
    assert [
        trial["state"]
        for trial in json.loads((out / "sweep" / "results.json").read_text())["trials"]
    ] == ["complete"]
    results = run_sweep(config, space, out / "sweep", resume=True, **options)
    assert [trial.state for trial in results.trials] == [
        "complete"
    ] * 2 and results.final is not None


@pytest.mark.parametrize(
    ("damaged", "says"),
    [
        ("results.json", None),
        ("sweep.json", "is damaged, so that the sweep cannot be identified"),
        (
            "trials/0001-seed0/arms/distilled-seed0/result.json",
            "is damaged: delete it, and --resume",
        ),
        ("models/teacher-seed0.safetensors", "is gone: put it back, or delete"),
    ],
)
def test_a_damaged_or_missing_file_is_written_anew_or_named(
    whole, images: Path, tmp_path: Path, damaged: str, says: str | None
):
    out = tmp_path / "sweep"
    shutil.copytree(whole[0] / "sweep", out)
    if "/" in damaged:
        (out / "study.db").unlink()  # else nothing is left to train
    if damaged.endswith(".json"):
        (out / damaged).write_text('{"half')
    else:
        (out / damaged).unlink()
    config = small_config(images, method=diary_method(whole[0] / "diary"))
    if says is None:
        assert figures(run_sweep(config, SPACE, out, resume=True, **QUIET)) == figures(whole[1])
    else:
        with pytest.raises(UnderstudyError, match=says):
            run_sweep(config, SPACE, out, resume=True, **QUIET)


def test_pruning_stops_a_bad_trial_early(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With a pruner the first seed goes ahead: a trial that lags there is stopped, and its other
    seeds are never begun."""
    seen: list[str] = []
    on_event = Sweep._on_event

    def listening(self: Any, event: Any) -> None:
        if isinstance(event, Epoch) and event.training.startswith("0003"):
            event = Epoch(
                event.training,
                event.result.__class__(**{**event.result.__dict__, "val_accuracy": 0.01}),
            )
        seen.append(f"{type(event).__name__} {event.training}")
        assert not isinstance(event, Failed)
        on_event(self, event)

    monkeypatch.setattr(Sweep, "_on_event", listening)
    config = small_config(images, train={"epochs": 3, "batch_size": 42})
    space = {"method.temperature": [1, 2, 3, 4]}
    results = run_sweep(
        config, space, tmp_path / "sweep", pruner="median", backend="sequential", **QUIET
    )
    assert [t.state for t in results.trials] == ["complete"] * 3 + ["pruned"]
    assert (
        results.trials[3].reason == "stopped after epoch 1 of 3 of seed 0, at 1.00 % on validation"
    )
    assert [line for line in seen if "0003" in line] == ["Epoch 0003-seed0", "Stopped 0003-seed0"]


def test_tpe_draws_ten_trials_at_most_before_one_ends(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """However many a backend has room for: what is drawn before anything has ended is drawn
    blindly."""
    under_way: list[int] = []

    class Roomy(SequentialBackend):
        capacity = 64

        def wait(self) -> list[Event]:
            under_way.append(len(self.waiting) + (self.running is not None))
            return super().wait()

    monkeypatch.setattr(backend_choice, "open_backend", lambda *_, **__: Roomy(device="cpu"))
    config = small_config(images, train={"epochs": 1, "batch_size": 42}, seeds=[0])
    space = {"method.temperature": "1.0..9.0"}
    results = run_sweep(
        config, space, tmp_path / "sweep", search="tpe", trials=12, backend="sequential", **QUIET
    )
    assert max(under_way) == 10
    assert [trial.state for trial in results.trials] == ["complete"] * 12


def test_every_seed_counts_for_the_trials_that_tpe_may_draw():
    spec = SimpleNamespace(
        search=SimpleNamespace(search="tpe", trials=80), config=SimpleNamespace(seeds=(0, 1))
    )
    sweep = SimpleNamespace(spec=spec, backend=SimpleNamespace(capacity=64))
    assert Sweep._most_running(sweep) == 40


def test_lost_trials_are_queued_again_once_per_heartbeat(monkeypatch: pytest.MonkeyPatch):
    clock, calls = [0.0], []
    search = SimpleNamespace(heartbeat=10, requeue_lost=lambda: calls.append(clock[0]))
    sweep = SimpleNamespace(search=search, pending=[], groups={}, last_requeue=0.0)
    monkeypatch.setattr(driver, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    for clock[0] in (5.0, 11.0, 12.0, 20.0, 22.0):
        Sweep._handle_events(sweep)
    assert calls == [11.0, 22.0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"backend": "fast"}, "unknown backend"),
        ({"final_seeds": [1]}, "a seed of the search"),
        ({"final_seeds": []}, "at least one seed"),
        ({"final_seeds": [10**30]}, "--final-seeds must lie between"),
        ({"search": "random", "trials": 5}, "about 4 different trials"),
        ({"storage": "sqlite:////nowhere/at/all.db"}, "cannot use the database"),
        ({"search": "tpe"}, "--trials"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    images: Path, tmp_path: Path, options: dict[str, Any], says: str
):
    with pytest.raises(UnderstudyError, match=says):
        run_sweep(small_config(images), SPACE, tmp_path / "sweep", **QUIET | options)
    assert not (tmp_path / "sweep").exists()


def test_a_student_that_cannot_be_built_is_refused_first(images: Path, tmp_path: Path):
    space = {
        "student.model.name": ["founding_student", "founding_pupil"],
        "train.lr": "log:1e-4..1e-2",
    }
    with pytest.raises(UnderstudyError, match="founding_pupil"):
        run_sweep(
            small_config(images), space, tmp_path / "sweep", search="random", trials=3, **QUIET
        )
    assert not (tmp_path / "sweep").exists()
