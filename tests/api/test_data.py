"""From arrays, folders and data sets to a student that is measured, saved and used."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.worlds import tiny_net, untrained
from torch import nn

import understudy
from understudy.errors import UnderstudyError
from understudy.runs.history import read_history

QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 8, "precision": "fp32", "device": "cpu"}
NAMES = ("ant", "bee", "cow")


def colours(count: int = 30, size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Dim noise in which class k is bright in channel k."""
    labels = np.arange(count) % 3
    images = np.random.default_rng(0).integers(0, 90, (count, size, size, 3), dtype=np.uint8)
    images[np.arange(count), :, :, labels] += 120
    return images, labels


def write_folder(folder: Path, size: int = 16) -> Path:
    images, labels = colours(60, size)
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / NAMES[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{row}.png")
    return folder


def test_arrays_train_and_measure_a_student() -> None:
    images, labels = colours()
    named = np.array(NAMES)[labels]
    data = {"train": (images, named), "test": (images[:9], named[:9])}
    student = understudy.distill(untrained(tiny_net(1)), tiny_net(0), data, lr=1e-2, **QUICK)
    assert student.class_names == NAMES and student.image.shape == (3, 16, 16)
    measured = student.evaluate(data)
    assert measured.class_counts == (3, 3, 3)
    assert understudy.evaluate(student, data) == measured
    assert student.evaluate({"test": data["test"]}, teacher=tiny_net(1)).agreement is not None
    right = student.predict(images[:9]).numpy() == labels[:9]
    assert measured.accuracy == pytest.approx(right.mean())


def test_classes_in_another_order_are_matched_by_name() -> None:
    images, labels = colours()
    student = understudy.train(tiny_net(0), (images, labels), class_names=NAMES, lr=1e-2, **QUICK)
    expected = student.evaluate((images, labels))
    other = student.evaluate((images, 2 - labels), class_names=("cow", "bee", "ant"))
    assert other == expected
    with pytest.raises(UnderstudyError, match="does not know: dog"):
        student.evaluate((images, labels), class_names=("ant", "bee", "dog"))


def test_images_are_brought_to_the_size_of_the_student() -> None:
    images, labels = colours()
    student = understudy.train(tiny_net(0), (images, labels), lr=1e-2, **QUICK)
    larger, _ = colours(size=24)
    assert student.evaluate((larger, labels)).accuracy > 0.3
    pictures = [Image.fromarray(image) for image in larger[:4]]
    assert student.predict(pictures).shape == (4,)
    assert torch.equal(student.predict(pictures[0]), student.predict(pictures[:1]))
    assert torch.equal(student.predict(list(images[:2])), student.predict(images[:2]))


def test_grey_images_and_a_network_that_takes_them(tmp_path: Path) -> None:
    images, labels = colours()
    grey = (images[..., 0] // 3 * (1 + labels[:, None, None])).clip(0, 255).astype(np.uint8)

    def network() -> nn.Module:
        layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(4, 3))

    student = understudy.train(network(), (grey, labels), **QUICK)
    assert student.image.channels == 1 and student.mean == (0.5,)
    Image.fromarray(grey[0]).save(tmp_path / "grey.png")
    student.save(tmp_path / "student")
    loaded = understudy.Student.load(tmp_path / "student", network=network())
    expected = student.predict(grey[:1], probabilities=True)
    for found in (grey[:1, None], grey[:1, ..., None], [tmp_path / "grey.png"]):
        assert torch.equal(loaded.predict(found, probabilities=True), expected)
    assert loaded.evaluate((grey, labels)) == student.evaluate((grey, labels))


def test_folder_is_trained_on_and_its_last_fifth_measured(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos")
    student = understudy.train(tiny_net(0), folder, lr=1e-2, **QUICK)
    assert student.class_names == NAMES
    assert sum(student.evaluate(str(folder)).class_counts or ()) == 12
    with pytest.raises(UnderstudyError, match="class_names is not for the data set photos"):
        understudy.train(tiny_net(0), folder, class_names=NAMES, **QUICK)


def test_resize_rule_of_the_data_is_that_of_the_student(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos")
    options: dict[str, Any] = {"image_size": (16, 20), "resize": "pad", "epochs": 1}
    student = understudy.train(tiny_net(0), folder, **QUICK | options)
    assert student.preprocessing.resize == "pad" and student.image.size == (16, 20)


def test_wrapped_network_is_trained_in_place() -> None:
    network = tiny_net(0)
    before = network.fc.weight.detach().clone()
    student = understudy.train(nn.DataParallel(network), colours(), **QUICK)
    assert student.network is network and not torch.equal(network.fc.weight, before)


def test_lines_of_progress_and_numbers_for_trackers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    understudy.train(
        tiny_net(0), colours(), progress=True, track="csv", track_folder=tmp_path, **QUICK
    )
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[:2] for line in lines] == [
        ["ce TinyNet", "epoch 1/2"],
        ["ce TinyNet", "epoch 2/2"],
    ]
    (written,) = (tmp_path / "csv").iterdir()
    assert written.name.startswith("ce-TinyNet-")
    written.rename(tmp_path / "history.csv")
    assert len(read_history(tmp_path)) == 2


def test_notebook_gets_a_table_and_curves() -> None:
    student = understudy.distill(
        untrained(tiny_net(1)), tiny_net(0), colours(), class_names=["<b>", "b", "c"], **QUICK
    )
    html = student._repr_html_()
    assert "&lt;b&gt;, b, c" in html and "after 2 epochs" in html and "teacher TinyNet" in html
    figure = student.plot()
    losses, accuracies = figure.axes
    assert {line.get_label() for line in losses.lines} == {"ce", "kd", "loss"}
    teacher = next(line for line in accuracies.lines if "teacher" in str(line.get_label()))
    assert teacher.get_ydata()[0] == pytest.approx(100 * student.teachers[0].accuracy)
    assert figure._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(UnderstudyError, match="there are no epochs to plot"):
        understudy.Student(tiny_net(0), (), NAMES, (0.5,) * 3, (0.5,) * 3, student.image).plot()
