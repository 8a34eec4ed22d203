"""Trainings that one process and two ranks do alike: an ensemble as the teacher, live and from its
cache, and a curriculum."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.small_training import Little, make_data
from tests.worlds import tiny_net

from understudy.config.schema import TrainConfig
from understudy.data.loader import Batch, TrainBatches
from understudy.data.views import Views
from understudy.methods import method_config
from understudy.models.ensemble import Ensemble
from understudy.teachers.frozen import FrozenTeacher
from understudy.training.device import make_fabric
from understudy.training.setup import Teaching, fit

PLAIN = {"name": "kd", "alpha": 0.7}
PACED = {"name": "kd", "alpha": 0.7, "curriculum": {"start": 0.4, "over": 2}}
CASES: dict[str, tuple[int, str, dict[str, Any]]] = {
    "ensemble, live": (2, "live", PLAIN),
    "ensemble, cached": (2, "cached", PLAIN),
    "curriculum, live": (1, "live", PACED),
    "curriculum, ensemble, cached": (2, "cached", PACED),
}
"""Name -> how many teachers, where their answers come from, and the method."""
SETTINGS = TrainConfig(
    epochs=3, batch_size=16, optimizer="sgd", lr=0.1, weight_decay=1e-3, precision="fp32"
)


def train_all(cache: Path) -> dict[str, dict[str, Any]]:
    """Train each case: the student's weights, its losses and accuracies by epoch, and the images of
    each of this rank's steps.

    41 images: the last batch, of 9, does not split evenly. The student has no batch norm, whose
        statistics each rank would
    take of its own images.
    """
    data, fabric = make_data(41), make_fabric("cpu", "fp32")
    found = {}
    for name, (count, outputs, method) in CASES.items():
        networks = [tiny_net(seed) for seed in range(count)]
        teacher = FrozenTeacher(
            Ensemble(networks, (1.0, 3.0)) if count > 1 else networks[0], description=str(count)
        )
        torch.manual_seed(7)
        student = Little()
        with pytest.MonkeyPatch.context() as patch:
            steps = note_steps(patch)
            if (
                fabric.global_rank == 1
            ):  # as if its teacher rounded otherwise: it must go by the first rank's order
                patch.setattr(
                    "understudy.training.curriculum.rank_images",
                    lambda hardness: torch.arange(len(hardness)),
                )
            trained = fit(
                student,
                data,
                Teaching(method_config(method), teacher, outputs, str(cache)),
                SETTINGS,
                fabric,
                seed=3,
            )
        found[name] = {
            "weights": student.state_dict(),
            "losses": [epoch.losses for epoch in trained.history],
            "accuracies": [(epoch.train_accuracy, epoch.val_accuracy) for epoch in trained.history],
            "steps": steps,
        }
    return found


def note_steps(patch: pytest.MonkeyPatch) -> list[list[int]]:
    """From now on gets the images of every training step."""
    steps: list[list[int]] = []
    original = TrainBatches.epoch

    def noted(self: TrainBatches, epoch: int, views: Views) -> Iterator[Batch]:
        for batch in original(self, epoch, views):
            steps.append(batch.index.tolist())
            yield batch

    patch.setattr(TrainBatches, "epoch", noted)
    return steps
