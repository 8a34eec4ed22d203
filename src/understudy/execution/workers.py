"""Jobs side by side: on a CPU one process per core with one thread each, on a GPU one after the other.

Two threads that share a busy core can make one convolution a thousand times slower than one thread (docs/performance.md),
so independent trainings never share cores, and a training that runs alone binds its threads to them.
"""

import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from understudy.errors import UnderstudyError


@dataclass(frozen=True)
class Job:
    """One call in a worker: ``function(*arguments, report)``; ``name`` is for messages."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


Tell = Callable[[str, tuple[Any, ...]], None]
"""What the parent does with a job's news: called with the job's name and what it reported."""


def available_cores() -> list[int]:
    """The cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def run_jobs(
    jobs: Sequence[Job], workers: int, tell: Tell, *, bind_all: bool = False
) -> dict[str, Any]:
    """Run jobs, ``workers`` at a time, passing on their news as it comes.

    Args:
        jobs: independent of each other.
        workers: 0 runs them one after the other in this process; otherwise that many processes, one thread and one core each.
        tell: called in this process with each piece of news.
        bind_all: a single job gets all cores, its threads bound to them.

    Returns:
        each job's result by name.

    Raises:
        UnderstudyError: from a job; the others are stopped, and keep their checkpoints.
    """
    if workers == 0 or not jobs:
        return {
            job.name: job.function(*job.arguments, functools.partial(_tell_from, job.name, tell))
            for job in jobs
        }
    context = multiprocessing.get_context("spawn")
    cores = available_cores()
    free = None if bind_all or workers > len(cores) else context.SimpleQueue()
    for core in cores if free is not None else ():
        assert free is not None
        free.put(core)
    news, theirs = context.Pipe(duplex=False)
    with thread_environment(len(cores) if bind_all else 1, bind_all), news:
        pool = ProcessPoolExecutor(workers, context, _start_worker, (free, theirs, context.Lock()))
        try:
            with (
                theirs
            ):  # closed when all workers have it: the pipe ends when the last of them does
                futures = {pool.submit(_call, job): job.name for job in jobs}
            results = _collect(futures, news, tell)
        except BaseException:
            for process in list(pool._processes.values()):
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        pool.shutdown()
    return results


def _tell_from(name: str, tell: Tell, *message: Any) -> None:
    tell(name, message)


def _collect(
    futures: "dict[Future[Any], str]", news: multiprocessing.connection.Connection, tell: Tell
) -> dict[str, Any]:
    results: dict[str, Any] = {}
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
        for message in _arrived(news):
            tell(*message)
        for future in done:
            name = futures[future]
            try:
                results[name] = future.result()
            except BrokenProcessPool as error:
                raise UnderstudyError(
                    f"{name}: a worker process died (out of memory?): run again with --resume, perhaps with --workers 1"
                ) from error
    return {name: results[name] for name in futures.values()}


def _arrived(news: multiprocessing.connection.Connection) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """What workers have said since it was last asked."""
    while True:
        try:
            if not news.poll():
                return
            message = news.recv()
        except (EOFError, OSError):  # all have ended, the last one perhaps in the middle of a word
            return
        yield message


# What runs in a worker.

_say: Callable[[Any], None]
"""Sends a piece of news to the parent; set when the worker starts."""


def _start_worker(cores: Any, news: multiprocessing.connection.Connection, turn: Any) -> None:
    """Args: queue of free cores or ``None``, the workers' end of the pipe, the lock that lets one at a time write to it."""
    global _say
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; workers end by SIGTERM
    end_with_parent()
    if cores is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cores.get()})

    def say(message: Any) -> None:
        with turn:
            news.send(message)  # in the pipe when this returns, so that it outlives the worker

    _say = say


def _call(job: Job) -> Any:
    return job.function(*job.arguments, lambda *message: _say((job.name, message)))


def end_with_parent() -> None:
    """Let this worker end when its parent has, however that came: else it would go on writing where a resumed run writes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextlib.contextmanager
def thread_environment(threads: int, bind: bool = False) -> Iterator[None]:
    """Environment variables for processes started inside: OpenMP reads them once, when it is loaded.

    Args:
        threads: of each process.
        bind: keep each thread on a core of its own; only for a process that has the machine to itself.
    """
    settings = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if bind and threads > 1:
        settings |= {"OMP_PROC_BIND": "true", "OMP_PLACES": "cores"}
    before = {key: os.environ.get(key) for key in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
