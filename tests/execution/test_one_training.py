"""What a worker makes of one training: its epochs as events, and its end, whatever it is."""

import logging
from pathlib import Path

import pytest
from tests.sweep.small_sweep import small_config
from tests.worlds import write_colours

from understudy.execution.backend import Epoch, Event, Failed, Finished, Stopped, Training
from understudy.execution.one_training import run_to_event
from understudy.runs.folder import RunFolder
from understudy.runs.plan import resolve_plan
from understudy.training.device import make_fabric


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("images") / "colours.npz", contrast=60)


def baseline(images: Path, folder: Path, **changes: object) -> Training:
    plan, home = resolve_plan(small_config(images, **changes)), RunFolder(folder)
    return Training("name", plan, plan.arm_run("baseline", 0), home, home)


def test_training_posts_its_epochs_and_ends_with_its_result(images: Path, tmp_path: Path):
    posted: list[Event] = []
    event = run_to_event(baseline(images, tmp_path), "cpu", 1, posted.append)  # type: ignore[arg-type]
    assert [(type(e), e.training, e.result.epoch) for e in posted] == [  # type: ignore[union-attr]
        (Epoch, "name", 0),
        (Epoch, "name", 1),
    ]
    assert isinstance(event, Finished) and event.result.epochs == 2


def test_training_stops_after_the_epoch_whose_post_says_so(images: Path, tmp_path: Path):
    training = baseline(images, tmp_path)
    assert run_to_event(training, "cpu", 1, lambda event: True) == Stopped("name")
    assert training.folder.checkpoint(training.run.name).exists()
    assert not training.folder.result(training.run.name).exists()


def test_training_that_fails_is_an_event_with_its_reason(images: Path, tmp_path: Path):
    training = baseline(images, tmp_path, train={"lr": 1e30, "batch_size": 8})
    event = run_to_event(training, "cpu", 1, lambda event: False)
    assert isinstance(event, Failed) and event.cause == "training" and event.trace == ""
    assert "not finite in epoch" in event.reason and "\n" not in event.reason


def test_fabric_has_no_line_for_people_about_its_precision(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        make_fabric("cpu", "bf16")
    assert [record for record in caplog.records if "lightning" in record.name] == []
