"""``understudy inspect teacher``: what is found out about a network, and how it is shown."""

import json
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from understudy import cli
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.models import build_model
from understudy.runs.anatomy import look_at_network
from understudy.terminal.network import show_network
from understudy.training.weights import save_weights


def net(num_classes: int = 5) -> nn.Module:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, num_classes),
    )


@pytest.fixture(autouse=True)
def own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("own_code")
    module.net = net  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_code", module)
    monkeypatch.setenv("COLUMNS", "100")


def test_a_name_between_colons_is_no_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "teacher", "own_code:net"]) == 0
    assert "own_code:net:" in capsys.readouterr().out
    factory = look_at_network("own_code:net")
    show_network(replace(factory, name="own_code:factory"), "teacher")
    assert "own_code:factory:" in capsys.readouterr().out


def test_a_network_of_the_package() -> None:
    found = look_at_network("resnet8")
    assert found.num_classes == 10 and found.image == (3, 32, 32)
    assert (found.stages_from, len(found.stages)) == ("its own", 4)
    expected = build_model("resnet8", 10, ImageSpec(3, 32, 32))
    assert found.parameters == sum(p.numel() for p in expected.parameters())
    assert sum(layer.parameters for layer in found.layers) == found.parameters
    assert found.layers[-1].output == (10,)
    assert found.macs is not None and found.macs > 10**6 and found.latency_ms > 0


def test_stages_of_a_users_network_are_proposed() -> None:
    found = look_at_network("own_code:net", image_size=32)
    assert (found.stages, found.stages_from) == (("0", "1"), "proposed")
    assert found.num_classes == 5
    assert [layer.output for layer in found.layers][:2] == [(4, 16, 16), (8, 8, 8)]


def test_a_file_decides_the_number_of_classes(tmp_path: Path) -> None:
    torch.save({"model": net(9).state_dict()}, tmp_path / "w.pt")
    found = look_at_network("own_code:net", weights=tmp_path / "w.pt", image_size=32)
    assert (found.num_classes, found.weights) == (9, "weights from model")
    with pytest.raises(UnderstudyError, match="another class count: 9 in the file, 4 here"):
        look_at_network("own_code:net", weights=tmp_path / "w.pt", num_classes=4, image_size=32)


def test_looking_draws_no_random_numbers_of_the_caller() -> None:
    state = torch.get_rng_state()
    look_at_network("own_code:net", image_size=32)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_weights(tmp_path / "w.safetensors", net(4))
    arguments = ["own_code:net", "--weights", str(tmp_path / "w.safetensors"), "--image-size", "32"]
    assert cli.main(["inspect", "teacher", *arguments]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("own_code:net: 444 parameters, ")
    assert "ms for an image of 3x32x32 on one thread" in printed
    assert "4x16x16" in printed
    assert """Stages: proposed, set 'teacher.stages=["0","1"]' for methods that""" in printed
    assert "Images: size and normalisation not recorded: set teacher.mean and teacher" in printed
    assert printed.endswith("Classes: 4, without names\n")


def test_json_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "student", "own_code:net", "--classes", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["num_classes"] == 3 and found["image"] == [3, 224, 224]
    assert found["layers"][0]["kind"] == "Sequential"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["student", "onnx:t.onnx"], "it can only be a teacher"),
        (["teacher", "own_code:nett"], "did you mean net"),
        (["teacher", "resnet8", "--classes", "1"], "--classes must be at least 2"),
        (["teacher", "resnet8", "--image-size", "0"], "--image-size must be at least 1"),
        (["teacher", "resnet8", "--weights", "nowhere.pt"], "there is no weights file nowhere.pt"),
    ],
)
def test_mistakes_end_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["inspect", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
