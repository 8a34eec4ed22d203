"""Jobs side by side: results by name, news while they run, clear words when one fails or dies, one core to each."""

import contextlib
import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from understudy.errors import UnderstudyError
from understudy.execution.workers import Job, _arrived, available_cores, run_jobs

Report = Callable[..., None]


# What runs in a worker. It starts as a fresh process and imports this file: keep it light.


def square(number: int, report: Report) -> int:
    report("progress", number)
    return number * number


def look_around(report: Report) -> dict[str, Any]:
    """Where this runs."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return {
        "pid": os.getpid(),
        "cores": cores,
        "omp": os.environ.get("OMP_NUM_THREADS"),
        "mkl": os.environ.get("MKL_NUM_THREADS"),
    }


def refuse(report: Report) -> None:
    raise UnderstudyError("the loss is not a number: lower train.lr")


def be_killed(report: Report) -> None:
    report("epoch", 3)
    os.kill(os.getpid(), signal.SIGKILL)


def work_long(report: Report) -> None:
    print("at work", flush=True)
    time.sleep(120)


def squares(count: int) -> list[Job]:
    return [Job(f"job-{number}", square, (number,)) for number in range(count)]


def no_news(name: str, message: tuple[Any, ...]) -> None:
    pass


# In this process.


def test_without_workers_jobs_run_here_one_after_the_other() -> None:
    news: list[tuple[str, tuple[Any, ...]]] = []
    results = run_jobs(
        [*squares(3), Job("here", look_around, ())],
        0,
        lambda name, message: news.append((name, message)),
    )
    assert results.pop("here")["pid"] == os.getpid()
    assert list(results.items()) == [("job-0", 0), ("job-1", 1), ("job-2", 4)]
    assert news == [(f"job-{number}", ("progress", number)) for number in range(3)]


def test_without_workers_an_error_stops_the_rest() -> None:
    with pytest.raises(UnderstudyError, match=r"lower train.lr"):
        run_jobs([Job("bad", refuse, ()), Job("never", be_killed, ())], 0, no_news)


@pytest.mark.parametrize("workers", [0, 2])
def test_no_jobs_give_no_results(workers: int) -> None:
    assert run_jobs([], workers, no_news) == {}


def test_there_is_a_core_to_run_on() -> None:
    cores = available_cores()
    assert cores == sorted(set(cores)) and len(cores) >= 1


# In processes of their own: a few seconds each, so few tests that look at several things.


def test_workers_give_the_results_and_news_of_one_process_each_on_its_own_core(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    jobs = [*squares(4), Job("where", look_around, ())]
    news: dict[str, list[tuple[Any, ...]]] = {}
    results = run_jobs(
        jobs,
        min(2, len(available_cores())),
        lambda name, message: news.setdefault(name, []).append(message),
    )

    where = results.pop("where")
    assert results == run_jobs(squares(4), 0, no_news) and list(results) == [
        f"job-{n}" for n in range(4)
    ]
    assert news == {f"job-{number}": [("progress", number)] for number in range(4)}
    assert where["pid"] != os.getpid()
    assert (where["omp"], where["mkl"]) == ("1", "1")
    if hasattr(os, "sched_getaffinity"):
        assert len(where["cores"]) == 1 and set(where["cores"]) <= set(available_cores())
    assert os.environ["OMP_NUM_THREADS"] == "7" and "MKL_NUM_THREADS" not in os.environ, (
        "this process's own are put back"
    )


def test_an_error_in_a_worker_arrives_as_it_was_raised() -> None:
    with pytest.raises(UnderstudyError, match=r"^the loss is not a number: lower train.lr$"):
        run_jobs([Job("bad", refuse, ()), *squares(2)], 1, no_news)


def test_a_worker_that_is_killed_is_reported_and_its_news_are_kept() -> None:
    news: list[tuple[str, tuple[Any, ...]]] = []
    with pytest.raises(UnderstudyError, match=r"a worker process died.*--resume") as caught:
        run_jobs(
            [Job("victim", be_killed, ())], 1, lambda name, message: news.append((name, message))
        )
    assert "\n" not in str(caught.value)
    assert news == [("victim", ("epoch", 3))]


def test_a_worker_that_dies_in_the_middle_of_a_word_costs_that_word_alone() -> None:
    """Its death is told by the pool; a pipe that ends in half a message must not speak first."""
    here, there = multiprocessing.Pipe(duplex=False)
    there.send(("a", ("epoch", 1)))
    os.write(there.fileno(), struct.pack("!i", 100) + b"half")
    there.close()
    assert list(_arrived(here)) == [("a", ("epoch", 1))]
    assert list(_arrived(here)) == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_parent_leaves_no_process_behind(how: signal.Signals) -> None:
    program = "from tests.execution import test_workers as w; w.run_jobs([w.Job('long', w.work_long, ())], 1, w.no_news)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    ) as parent:
        try:
            assert parent.stdout is not None and parent.stdout.readline() == b"at work\n"
            parent.send_signal(how)
            # Every descendant has this end of the pipe as its standard output: it ends with the last of them.
            rest, _ = parent.communicate(timeout=10)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(parent.pid, signal.SIGKILL)
    assert rest == b"" and parent.returncode == -how
