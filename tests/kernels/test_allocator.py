"""Freed memory stays with the process: page faults of allocating the same block repeatedly."""

import platform
import subprocess
import sys

import pytest

from understudy.kernels.allocator import keep_freed_memory

PAGE_FAULTS = """
import resource, sys, torch
from understudy.kernels.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
for _ in range(12):  # the heap grows to its size within a few rounds
    torch.zeros(64 << 20, dtype=torch.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.zeros(64 << 20, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the allocator settings are glibc's"
)


def page_faults(how: str) -> int:
    """Minor page faults of five times 64 MiB in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", PAGE_FAULTS, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@glibc
def test_reused_block_is_not_cleared_again() -> None:
    assert (
        page_faults("given back") > 100
    )  # 16,384 pages a time, fewer where the kernel hands out huge ones
    assert page_faults("kept") == 0


@pytest.mark.parametrize(
    "name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"]
)
def test_settings_of_the_user_are_respected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "glibc.malloc.check=0" if name == "GLIBC_TUNABLES" else "131072")
    assert not keep_freed_memory()


def test_other_c_libraries_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.kernels.allocator._c_library", object)
    assert not keep_freed_memory()
