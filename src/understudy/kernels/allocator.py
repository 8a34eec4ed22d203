"""Reuse the memory that a step frees in the next step, instead of returning it to the system.

The C library returns large blocks to the kernel when they are freed. A training step frees and
allocates the same few hundred megabytes every time, and the kernel clears each page again: on a CPU
that costs the founding student a tenth of its step, and a network with large maps a third
(docs/performance.md).
"""

import ctypes
import os

_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_CHOSEN_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Make the C library reuse freed blocks below 1 GiB, in this process, from now on.

    Results do not change; resident memory stays at its peak instead of falling between steps.

    Returns:
        whether it was set: not if the C library is not glibc, or the environment already sets its
        allocator.
    """
    if any(name in os.environ for name in _CHOSEN_BY_USER):
        return False
    mallopt = getattr(_c_library(), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 1 << 30) and mallopt(_TRIM_THRESHOLD, (1 << 31) - 1))


def _c_library() -> object:
    """The C library's functions; an object without any if the system (Windows) has no handle."""
    try:
        return ctypes.CDLL(None)
    except TypeError:
        return object()
