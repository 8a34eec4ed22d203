"""A student as a file: weights, classes and normalisation, and nothing that runs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.awkward_images import awkward_images
from tests.export.test_driver import FakeFormat
from tests.worlds import MEAN, STD, tiny_data, tiny_net, untrained
from torch import nn

import understudy
from understudy.api import Student
from understudy.data.preprocess import Preprocessing
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.events import EpochResult
from understudy.models import build_model
from understudy.models.foreign import ForeignClassifier
from understudy.models.normalisation import Normalisation, known_normalisation

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 8, "precision": "fp32", "device": "cpu"}
EPOCH = EpochResult(0, 0.1, {"ce": 1.0, "loss": 1.0}, 0.5, 0.9, 0.6, 1.0, 24.0)


def student_of(network: nn.Module, size: int = 16) -> Student:
    return Student(network, (EPOCH,), ("cat", "dog", "é"), MEAN, STD, ImageSpec(3, size, size))


def plain_module() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def rewritten(path: Path, **changes: Any) -> Path:
    """The file with other metadata."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = json.loads(file.metadata()["understudy"])
    save_file(load_file(path), path, {"understudy": json.dumps(metadata | changes)})
    return path


def test_training_is_saved_and_loaded_whole(tmp_path: Path) -> None:
    data = tiny_data(size=16)
    student = understudy.distill(
        untrained(tiny_net(1)), "founding_student", data, outputs="live", **QUICK
    )
    student.save(tmp_path / "student.safetensors")
    torch.manual_seed(5)
    expected_draw = torch.rand(1)
    torch.manual_seed(5)
    loaded = Student.load(str(tmp_path / "student.safetensors"))
    assert torch.equal(torch.rand(1), expected_draw), "loading draws no random numbers"
    fields = ("history", "class_names", "mean", "std", "image", "teachers", "preprocessing")
    for field in fields:
        assert getattr(loaded, field) == getattr(student, field), field
    assert not loaded.network.training
    expected = student.network.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in loaded.network.state_dict().items())
    assert loaded.evaluate(data.val) == student.evaluate(data.val)
    assert known_normalisation(loaded.network) == (Normalisation(MEAN, STD), "recorded")


def test_options_of_the_network_are_saved(tmp_path: Path) -> None:
    network = build_model("tiny_wide", 3, image_size=16, options={"widths": [4, 4, 8, 8]})
    student_of(network).save(tmp_path / "a")
    assert Student.load(tmp_path / "a").network.feature_channels == (4, 4, 8, 8)


def test_images_of_any_height_and_width_are_kept(tmp_path: Path) -> None:
    student = replace(student_of(build_model("tiny_dw", 3)), image=ImageSpec(3, 16, 40))
    student.save(tmp_path / "a")
    assert Student.load(tmp_path / "a").image == ImageSpec(3, 16, 40)


def test_rule_for_image_files_is_saved_and_follows_the_size(tmp_path: Path) -> None:
    student = student_of(build_model("tiny_dw", 3))
    assert student.preprocessing == Preprocessing(image=student.image, resize="crop")
    padded = replace(student, preprocessing=Preprocessing(image=student.image, resize="pad"))
    padded.save(tmp_path / "a")
    assert Student.load(tmp_path / "a").preprocessing == padded.preprocessing
    larger = replace(padded, image=ImageSpec(3, 20, 40))
    assert larger.preprocessing == Preprocessing(image=ImageSpec(3, 20, 40), resize="pad")


def test_file_without_a_rule_gets_the_default(tmp_path: Path) -> None:
    student_of(build_model("resnet8", 3)).save(tmp_path / "a")
    loaded = Student.load(rewritten(tmp_path / "a", preprocessing=None))
    assert loaded.preprocessing == Preprocessing(image=ImageSpec(3, 16, 16), resize="crop")


@pytest.mark.parametrize(("channels", "kernel"), [(3, "bilinear"), (3, "bicubic"), (1, "bilinear")])
def test_image_files_are_read_by_the_rule(tmp_path: Path, channels: int, kernel: Any) -> None:
    files = awkward_images(tmp_path)
    image = ImageSpec(channels, 16, 16)
    rule = Preprocessing(image=image, resize="squash", filter=kernel)
    network = build_model("resnet8", 3, in_channels=channels)
    student = replace(student_of(network), image=image, preprocessing=rule)
    student = replace(student, mean=MEAN[:channels], std=STD[:channels])
    paths = [files["turned-6"], str(files["palette-alpha"]), files["deep-grey-png"]]
    pixels = np.stack([rule.read(Path(path), "image") for path in paths])
    expected = student.predict(pixels, probabilities=True)
    for batch_size in (1, 2, 512):
        found = student.predict(paths, probabilities=True, batch_size=batch_size)
        assert torch.allclose(found, expected, atol=1e-6)
    assert student.predict(paths[0]).tolist() == student.predict(pixels[:1]).tolist()
    pictures = [Image.open(path) for path in paths]
    assert torch.allclose(student.predict(pictures, probabilities=True), expected, atol=1e-6)


def test_files_that_are_no_images_are_named(tmp_path: Path) -> None:
    student = student_of(build_model("resnet8", 3))
    (tmp_path / "text.jpg").write_text("no image")
    for bad in ("text.jpg", "absent.png"):
        with pytest.raises(UnderstudyError, match=bad):
            student.predict([str(tmp_path / bad)])
    with pytest.raises(UnderstudyError, match="or paths of image files, not list"):
        student.predict([])
    with pytest.raises(UnderstudyError, match="or paths of image files, not list"):
        student.predict([1, 2])  # type: ignore[list-item]
    with pytest.raises(UnderstudyError, match="batch_size must be at least 1"):
        student.predict(["a.png"], batch_size=0)


def test_module_of_the_user_is_loaded_into_a_module_of_the_user(tmp_path: Path) -> None:
    network = plain_module()
    student_of(ForeignClassifier(network, 3, name="net", image_size=16)).save(tmp_path / "a")
    assert set(load_file(tmp_path / "a")) == set(network.state_dict()), "the network's own names"
    with pytest.raises(UnderstudyError, match=r"a Sequential that was not built by name.*network="):
        Student.load(tmp_path / "a")
    other = plain_module()
    loaded = Student.load(tmp_path / "a", network=other)
    assert torch.equal(other[0].weight, network[0].weight)
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(loaded.network(images), network.eval()(images))
    with pytest.raises(UnderstudyError, match="does not fit the network"):
        Student.load(tmp_path / "a", network=nn.Sequential(nn.Flatten(), nn.Linear(768, 3)))
    with pytest.raises(UnderstudyError, match=r"gives logits of shape \[2, 4\]"):
        Student.load(tmp_path / "a", network=nn.Sequential(nn.Flatten(), nn.Linear(768, 4)))


def test_teacher_is_not_in_the_file(tmp_path: Path) -> None:
    data = tiny_data(size=16)
    teacher = untrained(tiny_net(1))
    student = understudy.distill(teacher, tiny_net(0), data, outputs="live", **QUICK)
    student.save(tmp_path / "a")
    saved = {tuple(value.shape) for value in load_file(tmp_path / "a").values()}
    assert len(load_file(tmp_path / "a")) == len(tiny_net(0).state_dict()) and saved


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "tests.api.test_student:plain_module",
        "hf:someone/model",
        "timm:hf-hub:someone/model",
        "timm:local-dir:folder",
        "resnet8:x",
    ],
)
def test_name_in_a_file_runs_no_code_and_downloads_nothing(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    student_of(build_model("resnet8", 3)).save(tmp_path / "a")
    architecture = {"name": name, "options": {}, "stages": []}
    monkeypatch.setattr("understudy.api.saved.build_model", lambda *_, **__: pytest.fail("built"))
    with pytest.raises(UnderstudyError, match="was not built by name"):
        Student.load(rewritten(tmp_path / "a", architecture=architecture))


def test_options_of_other_libraries_are_not_passed_on(tmp_path: Path) -> None:
    """timm's checkpoint_path would unpickle a file."""
    student_of(build_model("resnet8", 3)).save(tmp_path / "a")
    options = {"checkpoint_path": "evil.pth"}
    architecture = {"name": "timm:resnet10t", "options": options, "stages": []}
    with pytest.raises(UnderstudyError, match="was not built by name"):
        Student.load(rewritten(tmp_path / "a", architecture=architecture))


def test_pretrained_weights_are_not_fetched_again(tmp_path: Path) -> None:
    network = build_model("resnet8", 3)
    network.architecture = replace(network.architecture, options={"pretrained": True})
    student_of(network).save(tmp_path / "a")
    assert Student.load(tmp_path / "a").network.architecture.options == {}


def write_pickle(path: Path) -> None:
    torch.save(plain_module().state_dict(), path)


def write_weights(path: Path) -> None:
    save_file(plain_module().state_dict(), path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "there is no file"),
        (lambda path: path.write_bytes(b""), "is not a saved student"),
        (lambda path: path.write_bytes(b"\xff" * 100), "is not a saved student"),
        (write_pickle, "is not a saved student"),
        (write_weights, "holds weights alone, without classes and normalisation"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, write: Any, message: str) -> None:
    write(tmp_path / "file")
    with pytest.raises(UnderstudyError, match=message) as caught:
        Student.load(tmp_path / "file")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "has schema 2, this version reads 1"),
        ({"class_names": None}, "is damaged"),
        ({"history": [{"epoch": 0}]}, "is damaged"),
        ({"image": {"depth": 3}}, "is damaged"),
        ({"std": [0.5, 0.5, 0.0]}, "std must be above 0"),
        ({"preprocessing": {"resize": "stretch"}}, "is incomplete"),
        (
            {"preprocessing": {"image": {"channels": 3}, "version": 99}},
            "for version 99 of the preprocessing",
        ),
        ({"class_names": ["a", "b"]}, "does not fit the network"),
    ],
)
def test_damaged_metadata_is_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    student_of(build_model("resnet8", 3)).save(tmp_path / "a")
    with pytest.raises(UnderstudyError, match=message) as caught:
        Student.load(rewritten(tmp_path / "a", **changes))
    assert "\n" not in str(caught.value)


def test_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = student_of(build_model("resnet8", 3))
    student.save(tmp_path / "a")
    before = (tmp_path / "a").read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="disk full"):
        student.save(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == before


def test_repr_is_one_line_for_people() -> None:
    text = repr(student_of(build_model("resnet8", 3)))
    assert text == (
        "Student(ResNet, 77,587 parameters, 3 classes, 3x16x16, 60.0 % on validation after 1 epoch)"
    )


def test_export_writes_what_the_command_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tiny_data()
    student = understudy.train(tiny_net(), data, **QUICK)
    fake = FakeFormat()
    entry = fake.format(monkeypatch, "onnx", "fp32")
    monkeypatch.setattr("understudy.export.formats.FORMATS", {"onnx": entry})
    results = student.export("onnx", tmp_path, data)
    assert [(file.format, file.verdict) for file in results.files] == [("onnx", "accepted")]
    card = fake.networks[0].card("onnx", "fp32")
    assert (card.classes, card.mean) == (student.class_names, student.mean)
    assert card.origin.parameters == sum(p.numel() for p in student.network.parameters())
    with pytest.raises(UnderstudyError, match="give the data that it was trained on"):
        student.export("onnx", tmp_path, tiny_data(size=10))
