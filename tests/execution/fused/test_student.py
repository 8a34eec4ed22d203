"""A stacked student between two epochs: its checkpoint, and networks that are refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.small_training import SETTINGS, make_data, make_method, start
from tests.worlds import tiny_data, tiny_net

from understudy.data.loader import TrainBatches
from understudy.errors import UnderstudyError
from understudy.execution.fused.interleaved import SharedBatches
from understudy.execution.fused.stack import epoch_stacked
from understudy.execution.fused.student import StackedStudent, why_not_stacked
from understudy.methods import build_method, method_config
from understudy.teachers.frozen import FrozenTeacher
from understudy.training.device import make_fabric
from understudy.training.setup import make_context
from understudy.training.state import TrainingFiles

CPU = torch.device("cpu")
DATA = make_data()


def pair(folder: Path) -> dict[str, StackedStudent]:
    """Two students with dropout and checkpoints: one with an average, one with a best epoch."""
    made = {}
    batches = SharedBatches(DATA.train, DATA.config, SETTINGS.batch_size, 0, CPU)
    for name, settings in (
        ("average", replace(SETTINGS, ema_decay=0.9)),
        ("best", replace(SETTINGS, keep="best", lr=0.01)),
    ):
        files = TrainingFiles(folder / f"{name}.pt", resume=True)
        fabric = make_fabric("cpu", "fp32")
        made[name] = StackedStudent(
            make_method(DATA, 0.3), DATA, settings, fabric, None, batches, files
        )
    return made


def trained(students: dict[str, StackedStudent]) -> dict[str, list[torch.Tensor]]:
    """The kept weights of each, trained to the end."""
    while not all(student.done for student in students.values()):
        assert not [
            result for _, result in epoch_stacked(students) if isinstance(result, Exception)
        ]
    return {name: list(student.method.parameters()) for name, student in students.items()}


def same(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_resumed_students_end_with_the_same_bits(tmp_path: Path):
    whole = trained(pair(tmp_path / "whole"))
    dict(
        epoch_stacked(pair(tmp_path / "left"))
    )  # the next process has the checkpoints and nothing else
    torch.manual_seed(12345)
    students = pair(tmp_path / "left")
    assert all([result.epoch for result in student.start()] == [0] for student in students.values())
    again = trained(students)
    assert all(same(whole[name], again[name]) for name in whole) and not same(
        again["average"], again["best"]
    )


def test_loop_resumes_the_checkpoint_of_a_stacked_student(tmp_path: Path):
    dict(epoch_stacked(students := pair(tmp_path)))
    left, method = students["average"], make_method(DATA, 0.3)
    results = start(method, DATA, left.config, files=left.state.files)
    assert [result.epoch for result in results] == [0, 1, 2]
    ours, theirs = trained(students)["average"], method.parameters()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)  # fp32, sums in another order


def test_dist_with_batches_of_one_image_is_refused():
    data = tiny_data()
    teacher, options = FrozenTeacher(tiny_net(1)), method_config({"name": "dist"})
    for size in (23, 1):  # of 24 images; a last batch of one is left out
        settings, student = replace(SETTINGS, batch_size=size), tiny_net(2)
        method = build_method(options, student, make_context(student, data, settings, teacher, CPU))
        batches = TrainBatches(data.train, data.config, size, 0, CPU)
        one = StackedStudent(method, data, settings, make_fabric("cpu", "fp32"), None, batches)
        if size > 1:
            assert one.start() == []
        else:
            with pytest.raises(UnderstudyError, match=r"at least two images in every batch"):
                one.start()


def test_network_of_another_package_cannot_be_stacked():
    assert (
        why_not_stacked(make_method(DATA))
        == "Little is not a network of this package, and its code may mix channels"
    )
