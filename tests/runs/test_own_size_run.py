"""Case D26 in full: a ViT of 224 pixels teaches a student of 64, from photographs of any size."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

if any(importlib.util.find_spec(name) is None for name in ("torchvision", "timm")):
    pytest.skip("timm is not installed (extra: timm)", allow_module_level=True)

import tests.torchvision_operators  # noqa: F401  (before torchvision, which timm imports)
import timm

import understudy
from understudy.config.parse import parse
from understudy.config.schema import RunConfig
from understudy.data.prepare import TrainingData, prepare_data
from understudy.diagnose.run import diagnose_run
from understudy.experiment import run_experiment
from understudy.runs.folder import load_run
from understudy.runs.remeasure import evaluate_run
from understudy.runs.warm_cache import build_cache, verify_cache

VIT = "vit_tiny_patch16_224"
SLIM = {"embed_dim": 24, "depth": 2, "num_heads": 2}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 24 JPEG files that differ by colour, 120 to 150 pixels wide and 90 high."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("photos")
    for channel, label in enumerate(("ants", "bees")):
        (root / label).mkdir()
        for number in range(24):
            noise = rng.integers(0, 120, (9, 12 + number % 4, 3), dtype=np.uint8)
            noise[..., channel] += 100
            image = Image.fromarray(noise).resize((120 + 10 * (number % 4), 90))
            image.save(root / label / f"{number}.jpg")
    return root


@pytest.fixture(scope="module")
def vit() -> torch.nn.Module:
    torch.manual_seed(0)
    network: torch.nn.Module = timm.create_model(VIT, num_classes=2, **SLIM)
    return network


def recipe(photos: Path, weights: Path) -> RunConfig:
    values = {
        "name": "d26",
        "data": {"source": "imagefolder", "path": str(photos), "image_size": 64},
        "teacher": {
            "model": {"name": f"timm:{VIT}", "options": SLIM},
            "path": str(weights),
            "min_accuracy": 0.0,
            "go_on": True,
        },
        "student": {"model": {"name": "founding_student"}},
        "train": {"epochs": 2, "batch_size": 16},
        "arms": {"live": {"name": "sp", "alpha": 0.5}},
        "seeds": [0],
        "benchmark": {"batch_sizes": [1], "repeats": 1, "warmup": 0},
    }
    values["teacher"]["stages"] = ["blocks.1"]
    return parse(RunConfig, values)


@pytest.mark.slow
def test_a_vit_of_224_pixels_teaches_a_student_of_64(
    photos: Path, vit: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "cache"))
    save_file(vit.state_dict(), tmp_path / "vit.safetensors")
    out = tmp_path / "run"
    results = run_experiment(
        recipe(photos, tmp_path / "vit.safetensors"), out, device="cpu", workers=1
    )
    assert results is not None and results.data.image_shape == (3, 64, 64)
    teacher = load_run(out).teacher
    assert (teacher.image_size, teacher.interpolation) == (224, "bicubic")
    assert teacher.mean == teacher.std == (0.5, 0.5, 0.5)
    # What comes after a run: each network sees its own images again.
    again = evaluate_run(out, device="cpu")
    for name in ("teacher-seed0", "distilled-seed0", "live-seed0"):
        arm = results.arms[name.removesuffix("-seed0")]
        assert again[name].accuracy == arm.runs[0].test.accuracy
    built = build_cache(out, device="cpu")
    assert built["labelled"] == 0, "the trainings have labelled all of their views"
    verified = verify_cache(Path(built["folders"][0]), out, sample=8, device="cpu")
    assert verified["compared"] == 8 and verified["largest_difference"] < 1e-2
    diagnose_run(out, device="cpu")


@pytest.mark.slow
def test_distill_gives_the_vit_its_224_pixels(
    photos: Path, vit: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "cache"))
    config = recipe(photos, tmp_path).data
    data: TrainingData = prepare_data(config)[0]
    student = understudy.create_model("founding_student", 2, image_size=64)
    settings = {"epochs": 1, "batch_size": 16, "device": "cpu"}
    result = understudy.distill(
        understudy.Teacher(vit, min_accuracy=0.0), student, data, **settings
    )
    (check,) = result.teachers
    assert (check.size, check.interpolation, check.source) == (
        (224, 224),
        "bicubic",
        "pretrained_cfg",
    )
    # The same images in memory, of which the files are not known.
    in_memory = replace(data, reading=None)
    again = understudy.distill(
        understudy.Teacher(vit, min_accuracy=0.0), "founding_student", in_memory, **settings
    )
    assert again.teachers[0].size == (224, 224)
