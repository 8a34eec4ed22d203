"""The cores that a process may use."""

import os

import pytest

from understudy.cores import available_cores


def test_there_is_at_least_one_core_and_each_counts_once():
    cores = available_cores()
    assert cores == sorted(set(cores)) and len(cores) >= 1


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no CPU affinity")
def test_cores_that_the_process_may_not_use_do_not_count():
    before = os.sched_getaffinity(0)
    one = min(before)
    os.sched_setaffinity(0, {one})
    try:
        assert available_cores() == [one]
    finally:
        os.sched_setaffinity(0, before)
