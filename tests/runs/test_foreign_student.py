"""Students of other libraries, and of one's own code, from the check to the exported file."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.worlds import config_for, write_colours
from torch import nn

from understudy.cli import main
from understudy.config.recipe import to_yaml
from understudy.data.prepare import prepare_data
from understudy.errors import UnderstudyError
from understudy.runs.plan import resolve_plan
from understudy.runs.precheck import Precheck

DOTTED = "tests.runs.test_foreign_student.Small"
TIMM = "timm:test_resnet"
STAGES = {TIMM: ["layer1", "layer2", "layer3"], DOTTED: ["first", "second"]}


class Small(nn.Module):
    """A network as people write them: no interface of this package."""

    def __init__(self, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(in_channels, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Linear(6, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(images)).mean((2, 3)))


def require(student: str) -> None:
    """Skip without timm; where torchvision's operators are missing, declare them for it."""
    if student == TIMM and importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed (extra: torchvision)")
    if student == TIMM:
        import tests.torchvision_operators  # noqa: F401

        pytest.importorskip("timm", reason="timm is not installed (extra: timm)")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("images") / "colours.npz", size=(32, 32))


def test_a_method_that_compares_features_needs_the_names_of_stages(images: Path) -> None:
    student = DOTTED
    method: dict[str, Any] = {"name": "fitnets"}
    config = config_for(images, student=student, method=method)
    data, _ = prepare_data(config.data)
    with pytest.raises(UnderstudyError, match="stages") as refused:
        Precheck(data).check(resolve_plan(config))
    assert "\n" not in str(refused.value) and str(refused.value).startswith("distilled: ")
    named = {"model": student, "stages": STAGES[student]}
    Precheck(data).check(resolve_plan(config_for(images, student=named, method=method)))


def test_the_stages_of_a_timm_network_are_found(images: Path) -> None:
    require(TIMM)
    config = config_for(images, student=TIMM, method={"name": "fitnets"})
    data, _ = prepare_data(config.data)
    Precheck(data).check(resolve_plan(config))


@pytest.mark.slow
@pytest.mark.parametrize("student", [TIMM, DOTTED])
def test_a_student_of_another_library_goes_all_the_way(
    images: Path, student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(student)
    pytest.importorskip("onnxruntime")
    recipe, run = tmp_path / "mine.yaml", tmp_path / "run"
    recipe.write_text(to_yaml(config_for(images, seeds=[0])))
    words = [str(recipe), f"student={student}", "train.epochs=1", "--out", str(run)]
    assert main(["run", *words, "--workers", "1", "--device", "cpu"]) == 0
    results = json.loads((run / "results.json").read_text())
    assert results["config"]["student"]["model"]["name"] == student
    assert results["arms"]["distilled"]["size"]["macs"] > 0
    assert main(["export", str(run), "--to", "onnx", "--accept-unproven"]) == 0
    assert (run / "deploy" / "student.onnx").is_file()
    # Another process loads the network in torch: there the module must be found, too.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    runtimes = "torch,onnx" if student == DOTTED else "onnx"
    assert main(["benchmark", str(run), "--batch", "1", "--runtimes", runtimes]) == 0
