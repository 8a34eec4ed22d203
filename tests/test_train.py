"""The ten-line interface: any module as teacher or student, the same functions that the command line uses."""

from pathlib import Path

import pytest
import torch
from tests.tiny_data import tiny_data
from torch import nn

import understudy
from understudy.data.dataset import Dataset, SealedSplit
from understudy.errors import UnderstudyError
from understudy.train import Trained, described

QUICK = {"epochs": 2, "batch_size": 16, "lr": 1e-2, "precision": "fp32"}


def plain_module(width: int) -> nn.Sequential:
    """Somebody's network: no class of ours."""
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))


def test_any_module_teaches_any_module_and_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path))
    data = tiny_data(num_images=48, size=16, num_classes=3)
    teacher = plain_module(12)
    taught = understudy.train(teacher, data, device="cpu", **QUICK)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    seen = []
    student = plain_module(6)
    result = understudy.distill(teacher, student, data, "kd", device="cpu", on_epoch=seen.append, **QUICK)
    assert isinstance(taught, Trained) and len(result.history) == 2 and tuple(seen) == result.history
    assert set(result.history[0].losses) == {"ce", "kd", "loss"}
    assert not result.network.training
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert list(tmp_path.glob("teacher-outputs/*/views.bin"))  # asked once, kept


def test_live_and_kept_teacher_train_the_same_student_to_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path))
    data = tiny_data(num_images=48, size=16, num_classes=3)
    torch.manual_seed(0)
    teacher = plain_module(12)
    losses = []
    for outputs in ("live", "cached"):
        torch.manual_seed(1)
        result = understudy.distill(teacher, plain_module(6), data, "kd", device="cpu", outputs=outputs, **QUICK)
        losses.append([epoch.losses["loss"] for epoch in result.history])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_names_and_data_sets_are_taken_as_they_are():
    data = tiny_data(num_images=48, size=16, num_classes=3)
    dataset = Dataset("tiny", data.train, SealedSplit(data.val), ("a", "b", "c"), "0" * 64)
    result = understudy.train("founding_student", dataset, device="cpu", **QUICK)
    measured = understudy.evaluate(result.network, dataset.test.open_for_final_evaluation())
    assert 0 <= measured["accuracy"] <= 1 and measured["agreement"] is None


def test_options_are_checked_like_a_recipe():
    data = tiny_data(num_images=48, size=16, num_classes=3)
    with pytest.raises(UnderstudyError, match=r"train\.epoch: did you mean train\.epochs"):
        understudy.train(plain_module(4), data, epoch=3)
    with pytest.raises(UnderstudyError, match="method kd needs a teacher"):
        understudy.distill(None, plain_module(4), data, "kd", device="cpu", **QUICK)
    with pytest.raises(UnderstudyError, match=r"set student\.stages"):
        understudy.distill(plain_module(4), plain_module(4), data, "at", device="cpu", **QUICK)


class Scaled(nn.Module):
    """Two of these with other factors have equal weights and say different things."""

    def __init__(self, inner: nn.Module, factor: float) -> None:
        super().__init__()
        self.inner, self.factor = inner, factor

    def extra_repr(self) -> str:
        return f"factor={self.factor}"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.factor * self.inner(images)


def test_teachers_of_equal_weights_and_other_structure_share_no_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path))
    data, inner = tiny_data(num_images=24, size=16, num_classes=3), plain_module(8)
    for factor in (1.0, 2.0, 1.0):
        understudy.distill(Scaled(inner, factor), plain_module(4), data, "kd", device="cpu", **QUICK)
    assert len(list(tmp_path.glob("teacher-outputs/*/views.bin"))) == 2
    assert described(Scaled(inner, 1.0)) != described(Scaled(inner, 2.0))
    hooked = Scaled(inner, print)  # type: ignore[arg-type]
    assert " at 0x" not in described(hooked)


def test_several_modules_teach_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path))
    data = tiny_data(num_images=24, size=16, num_classes=3)
    torch.manual_seed(0)
    teachers = [plain_module(8), plain_module(6)]
    losses = []
    for outputs in ("live", "cached"):
        torch.manual_seed(1)
        result = understudy.distill(
            teachers, plain_module(4), data, "dkd+kd", device="cpu", outputs=outputs, weights=[1, 3], **QUICK
        )
        losses.append([epoch.losses["loss"] for epoch in result.history])
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    assert len(list(tmp_path.glob("teacher-outputs/*/views.bin"))) == 1
