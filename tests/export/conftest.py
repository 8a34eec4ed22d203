"""A trained run that the tests of an export share."""

from pathlib import Path

import pytest
from tests.worlds import config_for, write_colours

from understudy.experiment import train_arm


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher and two distilled students of the colours; nothing writes into it."""
    folder = tmp_path_factory.mktemp("trained")
    images = write_colours(folder / "colours.npz")
    config = config_for(images, train={"epochs": 12, "batch_size": 16, "lr": 1e-2})
    train_arm(config, "teacher", 0, folder / "run")
    for seed in (0, 1):
        train_arm(config, "distilled", seed, folder / "run")
    return folder / "run"
