"""The backend of a sweep: given or measured, opened once, and measured once over all sessions."""

from pathlib import Path
from typing import Any

import pytest
from tests.sweep.small_sweep import small_config
from tests.worlds import SeenEvents, write_colours

pytest.importorskip("optuna")

from understudy.config.schema import RunConfig
from understudy.events import SILENT
from understudy.sweep import backend_choice
from understudy.sweep.backend_choice import SweepBackend
from understudy.sweep.folder import SweepFolder
from understudy.sweep.results import BackendChoice
from understudy.sweep.spec import SweepOptions, SweepSpec, make_sweep_spec

SPACE = {"method.name": ["kd", "at", "dist"]}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("images") / "colours.npz")


def made(images: Path, folder: Path, backend: str) -> SweepSpec:
    config = small_config(images, train={"epochs": 1, "batch_size": 4}, seeds=[0])
    options = SweepOptions(device="cpu", workers=1, backend=backend)
    return make_sweep_spec(config, SPACE, SweepFolder(folder), options)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Replaces the measurement; holds the method and the number of trainings of each."""
    seen = []

    def measure(config: RunConfig, *rest: Any, planned: int) -> dict[str, float]:
        seen.append((config.method["name"], planned))
        return {"processes": 10.0, "sequential": 20.0, "fused": 5.0}

    monkeypatch.setattr(backend_choice, "measure_backends", measure)
    return seen


def test_given_backend_is_opened_without_a_measurement(
    images: Path, tmp_path: Path, measured: list[tuple[str, int]]
):
    spec = made(images, tmp_path, "sequential")
    backend = SweepBackend(spec, SILENT, None)
    assert not backend.is_open and backend.capacity == 1
    assert backend.choice == BackendChoice(name="sequential", capacity=0, chosen="given")
    backend.open(spec.plan, 3)
    assert backend.is_open and backend.choice.capacity == 1 and measured == []
    backend.close()


def test_fastest_backend_is_chosen_with_the_costliest_method(
    images: Path, tmp_path: Path, measured: list[tuple[str, int]]
):
    spec = made(images, tmp_path, "auto")
    backend = SweepBackend(spec, SILENT, None)
    backend.open(spec.plan, 3)
    assert measured == [("at", 3)]
    assert (backend.choice.name, backend.choice.chosen) == ("sequential", "measured")
    assert backend.choice.measured["sequential"] == 20.0
    backend.close()


def test_figures_and_choice_of_a_measurement_are_shown(
    images: Path, tmp_path: Path, measured: list[tuple[str, int]]
):
    spec, seen = made(images, tmp_path, "auto"), SeenEvents()
    backend = SweepBackend(spec, seen, None)
    backend.open(spec.plan, 3)
    assert "processes 10, sequential 20, fused 5; taking sequential" in seen.lines[-1]
    backend.close()


@pytest.mark.parametrize(("chosen", "number"), [("measured", 0), ("given", 1)])
def test_only_a_measured_choice_of_an_earlier_session_is_used_again(
    images: Path, tmp_path: Path, measured: list[tuple[str, int]], chosen: Any, number: int
):
    spec = made(images, tmp_path, "auto")
    backend = SweepBackend(spec, SILENT, BackendChoice(name="sequential", chosen=chosen))
    backend.open(spec.plan, 0)
    assert len(measured) == number and all(planned == 1 for _, planned in measured)
    backend.close()


def test_backend_that_is_missing_is_left_out_of_the_measurement(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(backend_choice, "MEASURED", ("sequential", "missing"))
    spec = made(images, tmp_path, "auto")
    backend = SweepBackend(spec, SILENT, None)
    backend.open(spec.plan, 3)
    assert list(backend.choice.measured) == ["sequential"]
    assert backend.choice.measured["sequential"] > 0
    backend.close()
