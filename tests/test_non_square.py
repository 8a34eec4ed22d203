"""Images of 24 x 40 pixels from the file to the report: nothing assumes squares."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.worlds import write_colours
from torch import nn

from understudy.cli import main
from understudy.config.parse import parse
from understudy.config.recipe import load_config, to_yaml
from understudy.config.schema import RunConfig
from understudy.data import load_dataset
from understudy.data.spec import ImageSpec
from understudy.diagnose import diagnose_run
from understudy.errors import UnderstudyError
from understudy.models import MODELS, build_model
from understudy.models.foreign import ForeignClassifier
from understudy.report import write_report

WIDE = ImageSpec(3, 24, 40)
FEW = {"fast_teacher": {"widths": [4, 4, 4], "stem_width": 4}, "tiny_wide": {"widths": [4] * 4}}


def wide_config(path: Path, **augment: object) -> RunConfig:
    return parse(
        RunConfig,
        {
            "name": "wide",
            "data": {"source": "npz", "path": str(path), "val_fraction": 0.2, "augment": augment},
            "teacher": {"model": {"name": "fast_teacher", "options": FEW["fast_teacher"]}},
            "student": {"model": {"name": "tiny_wide", "options": FEW["tiny_wide"]}},
            "train": {"epochs": 1, "batch_size": 16, "precision": "fp32"},
            "method": {"name": "kd"},
            "arms": {"at": {"name": "at"}, "reviewkd": {"name": "reviewkd"}},
            "seeds": [0, 1],
            "benchmark": {"batch_sizes": [2], "repeats": 1, "warmup": 0},
        },
    )


@pytest.fixture(scope="module")
def wide_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wide")
    images = write_colours(folder / "wide.npz", size=WIDE.size)
    config = wide_config(images, padding=2, mix="cutmix", photometric=1)
    recipe = folder / "wide.yaml"
    recipe.write_text(to_yaml(config))
    words = ["run", str(recipe), "--workers", "1", "--device", "cpu", "--out", str(folder / "run")]
    assert main(words) == 0
    return folder / "run"


def test_a_run_on_wide_images_is_measured_and_reported(wide_run: Path) -> None:
    results = json.loads((wide_run / "results.json").read_text())
    assert results["data"]["image_shape"] == [3, 24, 40]
    assert set(results["arms"]) >= {"teacher", "baseline", "distilled", "at", "reviewkd"}
    write_report(wide_run)
    assert "24×40" in (wide_run / "report.html").read_text()


def test_the_macs_are_those_of_wide_images(wide_run: Path) -> None:
    from understudy.evaluation.latency import count_macs

    results = json.loads((wide_run / "results.json").read_text())
    student = build_model("tiny_wide", 3, WIDE, options=FEW["tiny_wide"])
    student.load_state_dict(load_file(wide_run / "models" / "baseline-seed0.safetensors"))
    assert results["arms"]["baseline"]["size"]["macs"] == count_macs(student, WIDE.shape)
    assert count_macs(student, (3, 24, 24)) < count_macs(student, WIDE.shape)


def test_a_run_on_wide_images_is_diagnosed(wide_run: Path) -> None:
    diagnosis = diagnose_run(wide_run)
    assert diagnosis.findings


@pytest.mark.parametrize("size", [(24, 40), (40, 24)])
def test_images_are_resized_to_a_height_and_width(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_colours(tmp_path / "square.npz")
    config = load_config("digits", ["data.source=npz", f"data.image_size={list(size)}"])
    assert config.data.image_size == size
    dataset = load_dataset("npz", path, image_size=size, cache_dir=tmp_path)
    assert dataset.image == ImageSpec(3, *size)
    again = load_dataset("npz", path, image_size=size[::-1], cache_dir=tmp_path)
    assert again.image.size == size[::-1], "height and width are told apart by the cache"


@pytest.mark.parametrize("value", ["0", "[0, 8]", "[8]", "[8, 8, 8]", "wide"])
def test_an_image_size_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(UnderstudyError, match=r"data\S*image_size|data: data\.image_size") as error:
        load_config("digits", [f"data.image_size={value}"])
    assert "\n" not in str(error.value) and "tuple" not in str(error.value).split(":")[0]


@pytest.mark.parametrize("name", [n for n in MODELS if n not in ("wrn_28_10", "resnet110")])
def test_every_network_takes_wide_images(name: str) -> None:
    model = build_model(name, 3, WIDE).eval()
    with torch.inference_mode():
        outputs = model.outputs(torch.zeros(1, *WIDE.shape))
    assert outputs.logits.shape == (1, 3)
    for feature in outputs.features:
        assert feature.shape[2] <= feature.shape[3], "height before width"


def test_too_low_images_are_refused_in_one_line() -> None:
    with pytest.raises(UnderstudyError, match=r"8-pixel images are too small"):
        build_model("resnet8", 3, ImageSpec(3, 8, 64))


class Tokens(nn.Module):
    """Patches of 8 x 8 as tokens ``[B, 1 + N, C]`` behind a class token, as transformers give
    them."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 5, 8, 8)
        self.stage = nn.Identity()
        self.head = nn.Linear(5, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = self.stage(torch.cat((torch.zeros_like(tokens[:, :1]), tokens), 1))
        return self.head(tokens[:, 1:].mean(1))


def test_tokens_become_a_map_of_the_images_proportions() -> None:
    model = ForeignClassifier(Tokens(), 3, name="tokens", image_size=WIDE.size, stages=("stage",))
    images = torch.rand(2, *WIDE.shape)
    outputs = model.outputs(images)
    assert torch.allclose(outputs.features[0], model.model.patches(images))
    assert outputs.features[0].shape == (2, 5, 3, 5)
    assert np.allclose(model.classify(outputs.embedding).detach(), outputs.logits.detach())
