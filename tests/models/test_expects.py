"""What networks of other libraries record about their images and classes."""

import json
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from understudy.errors import UnderstudyError
from understudy.models.expects import Expects, expects, named, record_expects
from understudy.models.library_configs import hugging_face_expects, torchvision_expects
from understudy.models.normalisation import Normalisation, known_normalisation

IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def timm_like(**config: Any) -> nn.Module:
    network = nn.Linear(1, 1)
    network.pretrained_cfg = config  # type: ignore[assignment]
    network.num_classes = config.get("num_classes", 3)  # type: ignore[assignment]
    return network


def test_nothing_is_recorded_on_a_plain_network() -> None:
    assert expects(nn.Linear(1, 1)) == Expects()


def test_a_pretrained_cfg_is_read() -> None:
    network = timm_like(
        input_size=(3, 224, 192),
        interpolation="bicubic",
        crop_pct=0.9,
        mean=IMAGENET.mean,
        std=IMAGENET.std,
    )
    found = expects(network)
    assert (found.size, found.interpolation, found.crop) == ((224, 192), "bicubic", 0.9)
    assert (found.normalisation, found.source) == (IMAGENET, "pretrained_cfg")
    assert expects(network, channels=1).normalisation is None
    assert expects(timm_like(interpolation="random")).interpolation is None


def test_class_names_of_a_pretrained_cfg_need_its_head() -> None:
    own = timm_like(
        num_classes=2, label_names=["n1", "n2"], label_descriptions={"n1": "ant", "n2": "bee"}
    )
    assert expects(own).class_names == ("n1", "n2")
    assert expects(own).aliases == (("ant",), ("bee",))
    own.num_classes = 5  # type: ignore[assignment]
    assert expects(own).class_names == ()


def test_a_note_wins_and_is_copied_to_the_normalisation() -> None:
    network = timm_like(input_size=(3, 224, 224), mean=IMAGENET.mean, std=IMAGENET.std)
    own = Expects(size=(8, 8), normalisation=Normalisation((0.5,) * 3, (0.5,) * 3))
    record_expects(network, own)
    assert expects(network).size == (8, 8)
    assert known_normalisation(network) == (own.normalisation, "weights")
    assert expects(network).source == "weights"


def test_synonyms_become_a_name_and_aliases() -> None:
    names, aliases = named(["tench, Tinca tinca", "crane", "crane, hoist", "goldfish"])
    assert names == ("tench", "crane", "crane, hoist", "goldfish")
    assert aliases == (("Tinca tinca",), (), ("crane", "hoist"), ())
    assert named(["a", "b"]) == (("a", "b"), ())
    assert named([]) == ((), ())


def test_weights_of_torchvision_have_transforms_and_categories() -> None:
    transforms = types.SimpleNamespace(
        crop_size=[224],
        resize_size=[256],
        interpolation=types.SimpleNamespace(value="bilinear"),
        mean=list(IMAGENET.mean),
        std=list(IMAGENET.std),
    )
    weights = types.SimpleNamespace(
        transforms=lambda: transforms, meta={"categories": ["ant", "bee"]}
    )
    found = torchvision_expects(weights, with_classes=True)
    assert found == Expects((224, 224), "bilinear", 0.875, IMAGENET, "weights", ("ant", "bee"))
    assert torchvision_expects(weights, with_classes=False).class_names == ()


PROCESSORS: list[tuple[dict[str, Any], Any, Any]] = [
    ({"size": {"height": 384, "width": 256}}, (384, 256), 1.0),
    ({"size": 224}, (224, 224), 1.0),
    ({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 224}, (224, 224), 0.875),
    (
        {"size": 256, "do_center_crop": True, "crop_size": {"height": 192, "width": 192}},
        (192, 192),
        0.75,
    ),
    ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, (224, 224), 0.875),
    ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, (384, 384), 1.0),
    ({"size": [224, 160]}, (224, 160), 1.0),
    ({"size": {"longest_edge": 800}}, None, None),
    ({"do_resize": False, "size": 224}, None, None),
    ({}, None, None),
]


@pytest.mark.parametrize(("settings", "size", "crop"), PROCESSORS)
def test_sizes_of_hugging_face_are_read_in_every_shape(
    tmp_path: Path, settings: dict[str, Any], size: Any, crop: Any
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    found = hugging_face_expects(str(tmp_path), types.SimpleNamespace(), download=False)
    assert (found.size, found.crop) == (size, crop)


@pytest.mark.parametrize(("number", "name"), [(2, "bilinear"), (3, "bicubic"), (1, None)])
def test_filters_of_hugging_face_are_pillows(tmp_path: Path, number: int, name: Any) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"resample": number}))
    found = hugging_face_expects(str(tmp_path), types.SimpleNamespace(), download=False)
    assert found.interpolation == name


@pytest.mark.parametrize(
    "settings",
    [
        {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.1, 0.2, 0.3]},
        {"image_mean": 0.5, "image_std": 0.25, "rescale_factor": 1 / 255},
        {"do_rescale": False, "image_mean": [120.0, 110, 100], "image_std": [60.0, 50, 40]},
        {"do_normalize": False, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.1, 0.2, 0.3]},
        {"do_normalize": False, "do_rescale": False},
        {"rescale_factor": 1 / 127.5, "rescale_offset": True, "image_mean": 0.1, "image_std": 0.7},
    ],
)
def test_scaling_and_normalising_become_one(tmp_path: Path, settings: dict[str, Any]) -> None:
    """The steps of ``transformers``, by hand, on bytes; and ours on the same image in [0, 1]."""
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    found = hugging_face_expects(str(tmp_path), types.SimpleNamespace(), download=False)
    assert found.normalisation is not None and found.source == "weights"
    values = torch.randint(256, (3, 4, 4), dtype=torch.float64)
    theirs = values.clone()
    if settings.get("do_rescale", True):
        theirs = theirs * settings.get("rescale_factor", 1 / 255)
        theirs = theirs - (1 if settings.get("rescale_offset") else 0)
    if settings.get("do_normalize", True):
        mean, std = (
            torch.tensor(settings[k], dtype=torch.float64) for k in ("image_mean", "image_std")
        )
        theirs = (theirs - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
    own = torch.tensor([found.normalisation.mean, found.normalisation.std], dtype=torch.float64)
    ours = (values / 255 - own[0].view(-1, 1, 1)) / own[1].view(-1, 1, 1)
    torch.testing.assert_close(ours, theirs)


def test_class_names_of_hugging_face_are_those_that_were_given(tmp_path: Path) -> None:
    def names(labels: dict[Any, str]) -> tuple[str, ...]:
        config = types.SimpleNamespace(id2label=labels, image_size=48)
        return hugging_face_expects(str(tmp_path), config, download=False).class_names

    assert names({10: "k", 0: "tench, Tinca tinca", 2: "c"}) == ("tench", "c", "k")
    assert names({"10": "k", "2": "c"}) == ("c", "k")
    assert names({0: "LABEL_0", 1: "LABEL_1"}) == ()


def test_the_size_is_in_the_configuration_too(tmp_path: Path) -> None:
    config = types.SimpleNamespace(image_size=48)
    assert hugging_face_expects(str(tmp_path), config, download=False).size == (48, 48)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"size": {"height": "x", "width": 2}}'):
        (tmp_path / "preprocessor_config.json").write_text(text)
        with pytest.raises(UnderstudyError, match=r"preprocessor_config.json cannot be read"):
            hugging_face_expects(str(tmp_path), types.SimpleNamespace(), download=False)
