"""Worker processes: what reaches the parent, what a death leaves, and that no process outlives its
parent."""

import ast
import contextlib
import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.sweep.small_sweep import small_config
from tests.worlds import SeenEvents, write_colours

from understudy.cores import available_cores
from understudy.events import Progress, Silent
from understudy.execution.backend import Epoch, Event, Finished, Training
from understudy.execution.processes import ProcessBackend, _Worker
from understudy.execution.worker import _PipeObserver
from understudy.methods.ce import CE
from understudy.runs.folder import RunFolder
from understudy.runs.plan import resolve_plan


class Witness(CE):
    """Plain cross-entropy that writes where it is trained."""

    def losses(self, student, teacher, batch):
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        threads = [os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")]
        Path(os.environ["WITNESS"]).write_text(repr((os.getpid(), cores, threads)))
        return super().losses(student, teacher, batch)


class Notes(Silent):
    """Keeps the progress of each training."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Progress]] = []

    def progress(self, progress: Progress, training: str = "") -> None:
        self.seen.append((training, progress))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("images") / "colours.npz", contrast=60)


def baseline(images: Path, folder: Path, name: str, **changes: object) -> Training:
    """A training that needs no teacher."""
    config = small_config(images, **{"train": {"epochs": 1, "batch_size": 21}} | changes)
    plan = resolve_plan(config)
    run = plan.arm_run("baseline", 0)
    return Training(name, plan, run, RunFolder(folder / name), RunFolder(folder))


def run(backend: ProcessBackend, trainings: list[Training]) -> list[Event]:
    events: list[Event] = []
    with backend:
        backend.submit(trainings)
        while sum(not isinstance(event, Epoch) for event in events) < len(trainings):
            events += backend.wait()
    return events


def test_process_has_one_core_and_thread_and_sends_progress(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WITNESS", str(tmp_path / "witness"))
    method = {"name": "tests.execution.test_processes.Witness"}
    training = baseline(images, tmp_path, "watched", method=method)
    training = replace(training, run=training.plan.arm_run("distilled", 0))
    notes = Notes()
    events = run(ProcessBackend(device="cpu", workers=1, observer=notes), [training])
    assert [type(event) for event in events] == [Epoch, Finished]
    process, cores, threads = ast.literal_eval((tmp_path / "witness").read_text())
    assert process != os.getpid() and threads == ["1", "1"]
    assert cores == (available_cores()[:1] if hasattr(os, "sched_getaffinity") else [])
    name, last = notes.seen[-1]
    assert (name, last.phase, last.epoch) == ("watched", "train", 0) and last.done == last.total


def test_fresh_training_does_not_use_what_an_earlier_run_left(images: Path, tmp_path: Path):
    first = baseline(images, tmp_path, "again")
    run(ProcessBackend(device="cpu", workers=1), [first])
    result = first.folder.result(first.run.name)
    before = result.stat().st_mtime_ns
    events = run(ProcessBackend(device="cpu", workers=1), [first])
    assert [type(event) for event in events] == [Finished] and result.stat().st_mtime_ns == before
    fresh = replace(first, resume=False)
    events = run(ProcessBackend(device="cpu", workers=1), [fresh])
    assert [type(event) for event in events] == [Epoch, Finished]
    assert result.stat().st_mtime_ns > before


def test_process_that_dies_while_it_sends_costs_that_message_alone(images: Path, tmp_path: Path):
    backend = ProcessBackend(device="cpu", workers=1)
    training = baseline(images, tmp_path, "lost")
    here, there = multiprocessing.Pipe()
    process = SimpleNamespace(is_alive=lambda: True, join=lambda: None, exitcode=-9)
    worker = _Worker(process, here, 0, {training.name: training})
    backend.workers.append(worker)
    there.send(Epoch(training.name, None))  # type: ignore[arg-type]
    os.write(there.fileno(), struct.pack("!i", 100) + b"half")
    there.close()
    backend._receive(worker)
    assert backend.pending == [Epoch(training.name, None)]  # type: ignore[arg-type]
    assert backend.workers == [] and backend.waiting == [training], "it is started again"


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_killed_parent_leaves_no_process_behind(images: Path, tmp_path: Path, how: signal.Signals):
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(
            f"""
            from pathlib import Path
            from tests.execution.test_processes import ProcessBackend, baseline
            if __name__ == "__main__":
                train = {{"epochs": 5000, "batch_size": 21}}
                long = baseline(Path({str(images)!r}), Path({str(tmp_path)!r}), "long", train=train)
                with ProcessBackend(device="cpu", workers=1) as backend:
                    backend.submit([long])
                    while not backend.wait():
                        pass
                    print("at work", flush=True)
                    while True:
                        backend.wait()
            """
        )
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    ) as parent:
        try:
            assert parent.stdout is not None and parent.stdout.readline() == b"at work\n"
            parent.send_signal(how)
            # Every descendant has this end of the pipe as its standard output.
            rest, _ = parent.communicate(timeout=30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(parent.pid, signal.SIGKILL)
    assert rest == b"" and parent.returncode == -how


def test_a_line_for_people_reaches_the_observer_of_the_parent():
    here, there = multiprocessing.Pipe()
    _PipeObserver(there).message("about 34 min")
    seen = SeenEvents()
    with ProcessBackend(device="cpu", workers=1, observer=seen) as backend:
        backend._on_message(_Worker(None, here, 0), here.recv())
    assert seen.lines == ["about 34 min"]
