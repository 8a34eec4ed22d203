"""The machine that is written into every result."""

import io
import json
import math

import pytest
import torch

from understudy import __version__
from understudy.evaluation.environment import Machine, _cpu_name, this_machine
from understudy.files import from_json, to_json


def test_machine_is_named() -> None:
    machine = this_machine()
    assert (machine.understudy, machine.torch) == (__version__, torch.__version__)
    assert machine.cores is not None and machine.cores >= 1
    assert machine.cpu and machine.os and machine.packages["numpy"]
    assert machine.device == "cpu" and machine.accelerator is None
    memory = machine.memory_gb
    assert memory is None or (memory > 0 and math.isfinite(memory))


def test_memory_is_in_gib_to_a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 6_160_000}
    monkeypatch.setattr("os.sysconf", sizes.__getitem__)
    assert this_machine().memory_gb == 23.5


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ("processor : 0\nmodel name :\nmodel name : Fast 9000\nmodel name : B\n", "Fast 9000"),
        ("processor : 0\n", "what the platform says"),
        (None, "what the platform says"),
    ],
)
def test_processor_is_the_first_that_is_named(
    monkeypatch: pytest.MonkeyPatch, lines: str | None, name: str
) -> None:
    def cpuinfo(*args: object, **options: object) -> io.StringIO:
        if lines is None:
            raise FileNotFoundError
        return io.StringIO(lines)

    monkeypatch.setattr("builtins.open", cpuinfo)
    monkeypatch.setattr("platform.processor", lambda: "what the platform says")
    assert _cpu_name() == name


def test_machine_round_trips_through_json() -> None:
    machine = this_machine()
    written = json.loads(json.dumps(to_json(machine)))
    assert from_json(Machine, written, "here", "measure again") == machine
