"""Threads and cores of worker processes.

Two threads that share a busy core can make one convolution a thousand times slower than one thread
(docs/performance.md), so trainings side by side never share cores, and the threads of one that runs
alone are bound to them.
"""

import contextlib
import multiprocessing
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout


@contextlib.contextmanager
def thread_environment(threads: int) -> Iterator[None]:
    """Environment variables for processes started inside: OpenMP reads them when it is loaded.

    Args:
        threads: of each process; several are bound to a core each, which only a process that runs
        alone may do.
    """
    settings = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if threads > 1:
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


def pin_to(core: int | None) -> None:
    """Bind this process to a core; ``None``, or a system without affinity, leaves it unbound."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


@contextlib.contextmanager
def own_core() -> Iterator[None]:
    """Bind this thread to a core that no other worker has; to none if all are taken."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    folder = Path(tempfile.gettempdir()) / f"understudy-cores-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for core in sorted(before):
        lock = FileLock(folder / f"{core}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        try:
            os.sched_setaffinity(0, {core})
            yield
        finally:
            os.sched_setaffinity(0, before)
            lock.release()
        return
    yield


def end_with_parent() -> None:
    """End this worker as soon as its parent has ended, even by SIGKILL.

    It would go on writing where a resumed run writes.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
