"""A teacher that sees its own copy of the images, under the views of the student."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.worlds import TinyNet, tiny_data, tiny_net
from torch import Tensor

from understudy.config.schema import DataConfig, TrainConfig
from understudy.data.loader import TrainBatches
from understudy.data.own_size import own_copy
from understudy.data.prepare import TrainingData
from understudy.models.base import Outputs
from understudy.teachers.base import UNAUGMENTED
from understudy.teachers.cached import cached_teacher
from understudy.teachers.frozen import FrozenTeacher, freeze
from understudy.training.curriculum import hardness
from understudy.training.setup import make_context

CPU = torch.device("cpu")
OWN = {"mean": (0.4, 0.5, 0.6), "std": (0.3, 0.2, 0.1)}


class Watched(TinyNet):
    """Keeps the images of its last forward pass."""

    seen: Tensor

    def outputs(self, images: Tensor) -> Outputs:
        self.seen = images
        return super().outputs(images)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path))


def large_inputs(data: TrainingData, size: int = 16) -> DataConfig:
    return replace(data.config, image_size=size, **OWN)


def watched(data: TrainingData, inputs: DataConfig) -> tuple[Watched, FrozenTeacher]:
    network = Watched()
    network.load_state_dict(tiny_net().state_dict())
    return network, freeze(network, data, inputs, CPU, description="watched")


def make_batches(data: TrainingData, seed: int = 0) -> TrainBatches:
    return TrainBatches(data.train, data.config, 8, seed, CPU)


@pytest.mark.parametrize("augment", [{}, {"mix": "cutmix"}, {"resized_crop": (0.5, 1.0)}], ids=str)
def test_live_teacher_is_fed_its_copy_under_the_students_views(augment) -> None:
    data = tiny_data(24, 8, **augment)
    inputs = large_inputs(data)
    network, teacher = watched(data, inputs)
    copy = own_copy(data, inputs)
    expected = TrainBatches(copy.train, inputs, 8, 0, CPU, grid=data.image)
    batches = make_batches(data)
    views = batches.policy.epoch(3)
    teacher.prepare(3, views)
    pairs = zip(batches.epoch(3, views), expected.epoch(3, views), strict=True)
    for batch, wanted in pairs:
        found = teacher.outputs(batch)
        assert network.seen.shape == (8, 3, 16, 16)
        assert torch.equal(network.seen, wanted.images)
        assert torch.equal(found.logits, network.eval()(wanted.images))


def test_example_and_hardness_are_of_the_copy_without_augmentation() -> None:
    data = tiny_data(24, 8)
    inputs = large_inputs(data)
    network, teacher = watched(data, inputs)
    context = make_context(tiny_net(1), data, TrainConfig(), teacher, CPU)
    assert context.student_example.features[0].shape[2:] == (8, 8)
    assert context.teacher_example.features[0].shape[2:] == (16, 16)
    hardness(teacher, make_batches(data), "loss")
    copy = own_copy(data, inputs)
    mean, std = (torch.tensor(OWN[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    plain = (copy.train.images.float() / 255 - mean) / std
    torch.testing.assert_close(network.seen, plain, rtol=1e-5, atol=1e-5)


def test_cached_outputs_are_those_of_the_live_teacher_and_need_no_copy_once_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = tiny_data(24, 8, mix="mixup")
    inputs, batches = large_inputs(data), make_batches(data)
    views = batches.policy.epoch(0)
    _, live = watched(data, inputs)
    live.prepare(0, views)
    cached = cached_teacher(watched(data, inputs)[1], data, batches)
    cached.prepare(0, views)
    for batch in batches.epoch(0, views):
        wanted = live.outputs(batch).logits
        torch.testing.assert_close(cached.outputs(batch).logits, wanted, rtol=1e-2, atol=1e-2)

    def refuse(*_: object) -> None:
        raise AssertionError("the teacher's images are rendered again")

    monkeypatch.setattr("understudy.teachers.own_images.own_copy", refuse)
    again = cached_teacher(watched(data, inputs)[1], data, make_batches(data))
    again.prepare(0, views)
    assert again.labelled == 0 and again.epoch_rows is not None


def test_the_key_of_a_cache_holds_what_the_teacher_sees() -> None:
    data = tiny_data(24, 8)
    batches = make_batches(data)
    plain = cached_teacher(watched(data, data.config)[1], data, batches).store
    assert "images" not in plain.parts, "the key of a teacher at the student's size is unchanged"
    folders = {plain.folder}
    for inputs in (large_inputs(data), large_inputs(data, 24), large_inputs(tiny_data(24, 8, 3))):
        folders.add(cached_teacher(watched(data, inputs)[1], data, batches).store.folder)
    assert len(folders) == 3


def test_a_frozen_teacher_cannot_be_put_in_train_mode_by_training_a_student() -> None:
    data = tiny_data(24, 8)
    network, teacher = watched(data, large_inputs(data))
    network.train()
    _, teacher = network, FrozenTeacher(network, own=teacher.own)
    batches = make_batches(data)
    views = batches.policy.identity_views()
    teacher.prepare(UNAUGMENTED, views)
    first, second = (teacher.outputs(batches.render(torch.arange(8), views)) for _ in range(2))
    assert not any(module.training for module in network.modules())
    assert torch.equal(first.logits, second.logits)
