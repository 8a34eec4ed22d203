"""Arrays, data sets of torch and Hugging Face, lists and tables: the same images whichever way."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.worlds import SeenEvents
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

from understudy.api.inputs import default_config
from understudy.data import in_memory
from understudy.data.in_memory import DataOptions, measured_split, training_images
from understudy.data.prepare import TrainingData
from understudy.errors import UnderstudyError
from understudy.events import SILENT

NAMES = ("ant", "bee", "cow")


def arrays(count: int = 30, size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (count, size, size, 3), dtype=np.uint8), np.arange(count) % 3


def read(data: Any, channels: int = 3, observer: Any = SILENT, **options: Any) -> TrainingData:
    return training_images(data, DataOptions(**options), default_config(channels), observer)


class Items:
    """A data set as a user writes it: no base class, a list of names."""

    def __init__(self, make: Callable[[np.ndarray, int], Any], count: int = 30) -> None:
        self.images, self.labels = arrays(count)
        self.make, self.classes = make, list(NAMES)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> Any:
        if row >= len(self):
            raise IndexError(row)
        return self.make(self.images[row], int(self.labels[row]))


def picture(image: np.ndarray, label: int) -> Any:
    return Image.fromarray(image), label


def floats(image: np.ndarray, label: int) -> Any:
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255, label


def mapping(image: np.ndarray, label: int) -> Any:
    return {"img": Image.fromarray(image), "fine_label": torch.tensor(label)}


class Stream(IterableDataset):
    def __init__(self, length: int | None) -> None:
        self.length = length

    def __iter__(self) -> Iterator[Any]:
        return iter(Items(picture)[row] for row in range(30))


class Bounded(Stream):
    def __len__(self) -> int:
        assert self.length is not None
        return self.length


def table() -> Any:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))}
    )
    rows = [{"image": Image.fromarray(i), "label": int(k)} for i, k in zip(*arrays(), strict=True)]
    return datasets.Dataset.from_list(rows, features=features)


def frame(folder: Path) -> Any:
    pandas = pytest.importorskip("pandas")
    images, labels = arrays()
    for row, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{row}.png")
    files = [str(folder / f"{row}.png") for row in range(len(images))]
    return pandas.DataFrame({"file": files, "class": [NAMES[label] for label in labels]})


SHAPES: dict[str, Callable[[Path], Any]] = {
    "arrays": lambda _: arrays(),
    "lists": lambda _: (list(map(Image.fromarray, arrays()[0])), arrays()[1].tolist()),
    "a dict of images and labels": lambda _: dict(zip(("images", "labels"), arrays(), strict=True)),
    "a TensorDataset": lambda _: TensorDataset(*map(torch.from_numpy, arrays())),
    "a data set of pictures": lambda _: Items(picture),
    "of floats": lambda _: Items(floats),
    "of mappings": lambda _: Items(mapping),
    "of names": lambda _: Items(lambda image, label: (image, NAMES[label])),
    "a loader": lambda _: DataLoader(Items(floats), batch_size=7, shuffle=True),  # type: ignore[arg-type]
    "a concatenation": lambda _: ConcatDataset(
        [Subset(Items(picture), range(10)), Subset(Items(picture), range(10, 30))]  # type: ignore[arg-type]
    ),
    "a bounded stream": lambda _: Bounded(30),
    "a list of dicts": lambda _: [
        {"image": image, "label": int(label)} for image, label in zip(*arrays(), strict=True)
    ],
    "a list of pairs": lambda _: list(zip(*arrays(), strict=True)),
    "a datasets.Dataset": lambda _: table(),
    "a frame of files": frame,
    "a split": lambda _: {"train": arrays()},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_data_is_the_same_images(shape: str, tmp_path: Path) -> None:
    expected = read(arrays())
    found = read(SHAPES[shape](tmp_path))
    assert torch.equal(found.train.images, expected.train.images)
    assert torch.equal(found.val.images, expected.val.images)
    assert torch.equal(found.val.labels, expected.val.labels)
    assert found.class_names in (NAMES, ("0", "1", "2"))
    assert len(found.train) == 27 and found.rows.tolist() == expected.rows.tolist()
    assert (found.fingerprint == expected.fingerprint) == (found.class_names == ("0", "1", "2"))


def test_given_validation_is_used_whole() -> None:
    val = arrays(9)
    for data, options in (
        ({"train": arrays(), "validation": val, "test": arrays(3)}, {}),
        (arrays(), {"val": val}),
        (arrays(), {"val": TensorDataset(*map(torch.from_numpy, val))}),
    ):
        found = read(data, **options)
        assert len(found.train) == 30 and torch.equal(found.rows, torch.arange(30))
        assert np.array_equal(found.val.images.permute(0, 2, 3, 1).numpy(), val[0])
    with pytest.raises(UnderstudyError, match="has a part val already"):
        read({"train": arrays(), "val": val}, val=val)
    with pytest.raises(UnderstudyError, match="val= takes images of one split, not train, test"):
        read(arrays(), val={"train": val, "test": val})


def test_parts_that_are_not_read_are_named() -> None:
    seen = SeenEvents()
    read({"train": arrays(), "unsupervised": arrays(3)}, observer=seen)
    assert seen.lines == ["not read: unsupervised"]


def test_validation_of_other_classes_is_matched_by_name() -> None:
    data, val = Items(picture), Items(lambda image, label: (image, label // 2), 9)
    val.classes = ["ant", "cow"]  # as a folder in which one class has no images
    found = read({"train": data, "val": val})
    assert set(found.val.labels.tolist()) == {0, 2}
    val.classes = ["ant", "dog"]
    with pytest.raises(UnderstudyError, match="does not know: dog"):
        read({"train": data, "val": val})
    with pytest.raises(UnderstudyError, match="have different lists of classes"):
        read(ConcatDataset([data, val]))  # type: ignore[list-item]


def test_test_images_are_not_read() -> None:
    def fail(image: np.ndarray, label: int) -> Any:
        pytest.fail("a test image was read")

    assert len(read({"train": arrays(), "test": Items(fail)}).train) == 27


def test_options_reach_the_training() -> None:
    found = read(
        arrays(),
        class_names=["x", "y", "z", "w"],
        image_size=(16, 20),
        val_fraction=0.5,
        augment={"flip": False},
        resize="squash",
    )
    assert found.class_names == ("x", "y", "z", "w")
    assert found.image.size == (16, 20) and len(found.val) == 15
    assert not found.config.augment.flip and found.config.resize == "squash"


def test_grey_images_stay_grey_for_a_network_that_takes_them() -> None:
    images, labels = arrays()
    assert read((images[..., 0], labels)).image.shape == (3, 8, 8)
    assert read((images[..., 0], labels), channels=1).image.shape == (1, 8, 8)


def test_images_of_several_sizes_need_a_size() -> None:
    pictures = [Image.new("RGB", (20 + row, 16)) for row in range(12)]
    labels = [row % 2 for row in range(12)]
    with pytest.raises(UnderstudyError, match=r"image 1 of train is 21x16 .* give image_size="):
        read((pictures, labels))
    assert read((pictures, labels), image_size=16).image.size == (16, 16)


def test_transform_that_draws_at_random_is_reported() -> None:
    class RandomCrop:
        pass

    data, seen = Items(picture), SeenEvents()
    data.transform = RandomCrop()  # type: ignore[attr-defined]
    read(Subset(data, range(12)), observer=seen)  # type: ignore[arg-type]
    assert "draws at random: each image is read once" in seen.lines[0]


def test_loader_of_a_part_is_that_part() -> None:
    sampler = SubsetRandomSampler([*range(12, 0, -1)])
    loader = DataLoader(Items(picture), sampler=sampler)  # type: ignore[arg-type]
    seen = SeenEvents()
    found = read(loader, observer=seen, val_fraction=0.25)
    assert len(found.train) + len(found.val) == 12
    assert any("read once, in order" in line for line in seen.lines)
    assert seen.counts()[-1] == ("train images read", 12, 12)


def test_large_data_is_in_a_file_that_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_memory, "LARGEST_COPY", 100)
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path))
    found = read(Items(picture))
    assert torch.equal(found.train.images, read(arrays()).train.images)
    assert list((tmp_path / "datasets").iterdir()) == []


def test_measured_part_is_test_then_val_then_all() -> None:
    def count(data: Any) -> int:
        return len(measured_split(data, DataOptions(), 3, NAMES))

    parts = {"train": arrays(), "val": arrays(6), "test": arrays(9)}
    assert count(parts) == 9
    del parts["test"]
    assert count(parts) == 6
    assert count(arrays(12)) == 12
    with pytest.raises(UnderstudyError, match=r"such as data\['train'\]"):
        count({"train": arrays()})


def test_measured_labels_are_those_of_the_network() -> None:
    images, labels = arrays(6)
    named = (images, [NAMES[label] for label in labels])
    split = measured_split(named, DataOptions(), 3, ("cow", "bee", "ant"))
    assert split.labels.tolist() == [2, 1, 0, 2, 1, 0]
    with pytest.raises(UnderstudyError, match="does not know: cow"):
        measured_split(named, DataOptions(), 3, ("ant", "bee"))
    with pytest.raises(UnderstudyError, match="knows 2 classes"):
        measured_split((images, labels), DataOptions(), 3, ("ant", "bee"))
    assert len(measured_split((images, labels), DataOptions(), 3, ())) == 6


class Broken(Items):
    def __getitem__(self, row: int) -> Any:
        if row == 4:
            raise OSError("truncated")
        return super().__getitem__(row)


X, Y = arrays()
WRONG: dict[str, tuple[Any, str]] = {
    "lengths": ((X, Y[:-1]), "X has 30 images and y 29 labels"),
    "no labels": (X, r"of shape \[30, 8, 8, 3\] without labels: give \(X, y\)"),
    "nothing": ((X[:0], Y[:0]), "the train split is empty"),
    "an empty list": ([], "the train split is empty"),
    "a number": (3, r"data cannot be int: give a folder"),
    "none": (None, "data cannot be NoneType"),
    "a function": (arrays, "data cannot be function"),
    "keys": ({"a": X}, "keys train and perhaps val and test.*this one has a"),
    "no train": ({"test": (X, Y)}, "has no train images: it has test"),
    "one class": ((X, Y * 0), "of class 0 alone|single"),
    "NaN": ((X * np.nan, Y), "not finite"),
    "normalised": (Items(lambda i, k: (floats(i, k)[0] * 4 - 2, k)), "they are normalised"),
    "unlabelled": (Items(lambda i, k: i), r"item 0 is numpy\.ndarray: it must be"),
    "other keys": (Items(lambda i, k: {"a": i}), "item 0 has the keys a"),
    "an endless stream": (Stream(None), r"list\(itertools\.islice"),
    "a short stream": (Bounded(31), "has the length 31, but gives 30 items"),
    "a broken item": (Broken(picture), r"item 4 of Broken cannot be read \(OSError: truncated\)"),
    "a tuple of three": ((X, Y, Y), "data cannot be tuple"),
}


@pytest.mark.parametrize("case", WRONG)
def test_other_data_is_refused_in_one_line(case: str) -> None:
    data, message = WRONG[case]
    with pytest.raises(UnderstudyError, match=message) as caught:
        read(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resize": "stretch"}, "unknown resize rule 'stretch'"),
        ({"class_names": "abc"}, "give a list of them"),
        ({"val_fraction": 2}, "must lie between 0 and 1, not 2"),
        ({"augment": {"flipp": False}}, r"augment\.flipp: did you mean augment\.flip"),
        ({"augment": 3}, "takes fields of data.augment"),
        ({"normalised": 0.5}, r"takes \(mean, std\)"),
        ({"image_size": 0}, "must be at least 1"),
    ],
)
def test_bad_options_are_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UnderstudyError, match=message):
        DataOptions(**options)


def test_names_of_a_data_set_decide_over_its_numbers() -> None:
    with pytest.raises(UnderstudyError, match="label 2 in the train split is out of range"):
        read(arrays(), class_names=["a", "b"])


def test_pairs_of_keras_are_train_and_test() -> None:
    assert len(read((arrays(), arrays(6))).train) == 27
    assert len(measured_split((arrays(), arrays(6)), DataOptions(), 3, ())) == 6
