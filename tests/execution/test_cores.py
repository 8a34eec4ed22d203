"""Environment variables that a worker process starts with, and the core that it is bound to."""

import contextlib
import os

import pytest

from understudy.execution.cores import pin_to, thread_environment


def test_processes_side_by_side_start_with_one_unbound_thread(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_PROC_BIND", raising=False)
    with thread_environment(1):
        assert (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == ("1", "1")
        assert "OMP_PROC_BIND" not in os.environ
    assert os.environ["OMP_NUM_THREADS"] == "7" and "MKL_NUM_THREADS" not in os.environ


def test_threads_of_a_process_alone_are_bound_to_cores(monkeypatch: pytest.MonkeyPatch):
    for name in ("OMP_PROC_BIND", "OMP_PLACES"):
        monkeypatch.delenv(name, raising=False)
    with contextlib.suppress(KeyError), thread_environment(4):
        assert os.environ["OMP_NUM_THREADS"] == "4"
        assert (os.environ["OMP_PROC_BIND"], os.environ["OMP_PLACES"]) == ("true", "cores")
        raise KeyError
    assert "OMP_PROC_BIND" not in os.environ and "OMP_PLACES" not in os.environ


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no CPU affinity")
def test_process_is_bound_to_its_core_only():
    before = os.sched_getaffinity(0)
    try:
        pin_to(None)
        assert os.sched_getaffinity(0) == before
        pin_to(max(before))
        assert os.sched_getaffinity(0) == {max(before)}
    finally:
        os.sched_setaffinity(0, before)
