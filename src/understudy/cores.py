"""The CPU cores that this process may use: one count for the whole package."""

import os


def available_cores() -> list[int]:
    """The numbers of the cores that this process may run on, in ascending order; never empty."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
