"""The hub's folder: it rebuilds the student without this package, and runs none of its files."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.awkward_images import awkward_images
from tests.export.networks import SqueezeExcite, randomised, tiny_deployable
from torch import nn

from understudy.data.preprocess import RESIZES, Preprocessing, Resize
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.export import hub, hub_student
from understudy.export.deployable import Deployable
from understudy.export.source import TorchRuntime
from understudy.models import build_model

WITHOUT_US = """\
import sys
for name in ("understudy", "safetensors", "transformers"):
    sys.modules[name] = None  # an import of it raises
sys.path.insert(0, sys.argv[1])
import numpy as np, torch
from student import Student
images = torch.from_numpy(np.load(sys.argv[2]))
np.save(sys.argv[3], Student()(images).numpy())
"""


def some_images(size: tuple[int, int] = (8, 8), count: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, *size), np.uint8)


def deployable_of(network: nn.Module) -> Deployable:
    image = ImageSpec(3, 32, 32)
    given = replace(tiny_deployable(), preprocessing=Preprocessing(image=image))
    return replace(given, network=randomised(network))


@pytest.mark.parametrize(
    "network",
    [SqueezeExcite(), build_model("founding_student", 3), build_model("resnet8", 3)],
    ids=["squeeze_excite", "founding_student", "resnet8"],
)
def test_folder_gives_the_probabilities_of_the_network(network: nn.Module, tmp_path: Path) -> None:
    deployable = deployable_of(network)
    hub.write(deployable, tmp_path / "hub")
    images = some_images((32, 32))
    expected = TorchRuntime(deployable)(images)
    runtime = hub.open_file(tmp_path / "hub")
    assert runtime.card == deployable.card("hub", "fp32")
    np.testing.assert_allclose(runtime(images), expected, atol=1e-6)
    student = hub_student.Student(tmp_path / "hub")
    np.testing.assert_allclose(student(torch.from_numpy(images)), expected, atol=1e-6)


@pytest.mark.slow
def test_student_file_needs_torch_alone(tmp_path: Path) -> None:
    deployable = deployable_of(SqueezeExcite())
    hub.write(deployable, tmp_path / "hub")
    images = some_images((32, 32))
    np.save(tmp_path / "images.npy", images)
    files = [str(tmp_path / name) for name in ("hub", "images.npy", "found.npy")]
    command = [sys.executable, "-c", WITHOUT_US, *files]
    subprocess.run(command, check=True, cwd=tmp_path)
    found = np.load(tmp_path / "found.npy")
    np.testing.assert_allclose(found, TorchRuntime(deployable)(images), atol=1e-6)
    photo = awkward_images(tmp_path / "images")["turned-6"]
    command = [sys.executable, str(tmp_path / "hub" / "student.py"), str(photo)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
    pixels = deployable.preprocessing.read(photo, "photo").transpose(2, 0, 1)[None]
    index = TorchRuntime(deployable)(pixels)[0].argmax()
    assert printed.stdout.startswith(f"{photo}: {deployable.classes[index]} ")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("resize", RESIZES)
def test_student_file_reads_every_image_as_the_package_does(resize: Resize, tmp_path: Path) -> None:
    for size in ((9, 14), (31, 31)):
        rule = Preprocessing(image=ImageSpec(3, *size), resize=resize)
        stored = replace(tiny_deployable(), preprocessing=rule).card("hub", "fp32").to_text()
        student = SimpleNamespace(card=json.loads(stored))
        for name, path in awkward_images(tmp_path / "images").items():
            found = hub_student.Student.read(student, path)  # type: ignore[arg-type]
            expected = rule.read(path, name).transpose(2, 0, 1)
            assert np.array_equal(found.numpy(), expected), (name, size)


def test_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        hub.write(tiny_deployable(), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == [
        *("README.md", "config.json", "model.safetensors"),
        *("preprocessor_config.json", "student.py"),
    ]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_onnx_files_are_copied_and_others_are_not(tmp_path: Path) -> None:
    for name in ("student.onnx", "student.pte"):
        (tmp_path / name).write_bytes(b"x" * 1234)
    files = [tmp_path / "student.onnx", tmp_path / "student.pte"]
    hub.write(tiny_deployable(), tmp_path / "hub", files)
    assert [path.name for path in (tmp_path / "hub" / "onnx").iterdir()] == ["student.onnx"]
    readme = (tmp_path / "hub" / "README.md").read_text()
    assert "| onnx/student.onnx | 1,234 |" in readme
    assert 'InferenceSession("onnx/student.onnx")' in readme


def processor(resize: Resize, height: int, width: int, folder: Path) -> dict[str, object]:
    rule = Preprocessing(image=ImageSpec(3, height, width), resize=resize)
    hub.write(replace(deployable_of(SqueezeExcite()), preprocessing=rule), folder)
    found: dict[str, object] = json.loads((folder / "preprocessor_config.json").read_text())
    return found


def test_processor_is_named_only_if_it_has_the_rule(tmp_path: Path) -> None:
    square = processor("crop", 32, 32, tmp_path)
    assert square["image_processor_type"] == "CLIPImageProcessor"
    assert square["size"] == {"shortest_edge": 32}
    assert square["crop_size"] == {"height": 32, "width": 32}
    assert square["resample"] == 2
    assert square["image_mean"] == [0.5, 0.4, 0.3]
    squashed = processor("squash", 32, 40, tmp_path)
    assert squashed["image_processor_type"] == "ViTImageProcessor"
    assert squashed["size"] == {"height": 32, "width": 40}
    for resize in ("crop", "pad"):
        assert "image_processor_type" not in processor(resize, 32, 40, tmp_path)
        rule = processor(resize, 32, 40, tmp_path)["understudy"]
        assert rule["resize"] == resize  # type: ignore[index]


def test_network_that_is_no_list_of_layers_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    class Softplus(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return nn.functional.softplus(images).mean((2, 3))

    with pytest.raises(UnderstudyError, match="softplus"):
        hub.write(replace(tiny_deployable(), network=Softplus().eval()), tmp_path / "hub")
    assert list(tmp_path.iterdir()) == []


def test_folder_is_replaced_but_no_other_one_is(tmp_path: Path) -> None:
    out = tmp_path / "hub"
    hub.write(tiny_deployable(), out)
    (out / "onnx").mkdir()
    hub.write(tiny_deployable(), out)
    assert not (out / "onnx").exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    with pytest.raises(UnderstudyError, match="holds something else"):
        hub.write(tiny_deployable(), tmp_path / "photos")
    assert (tmp_path / "photos" / "a.jpg").exists()


def test_failed_write_leaves_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "hub"
    hub.write(tiny_deployable(), out)
    before = (out / "config.json").read_bytes()

    def full_disk(*_: object) -> str:
        raise OSError("disk full")

    monkeypatch.setattr("understudy.export.hub.model_card", full_disk)
    with pytest.raises(OSError, match="disk full"):
        hub.write(deployable_of(SqueezeExcite()), out)
    assert (out / "config.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["hub"]


def test_no_code_of_the_folder_is_run(tmp_path: Path) -> None:
    hub.write(tiny_deployable(), tmp_path)
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    for name in ("student.py", "__init__.py", "model.py", "conftest.py"):
        (tmp_path / name).write_text(code)
    config = json.loads((tmp_path / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "student.Student"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    hub.open_file(tmp_path)(some_images())
    assert not (tmp_path / "ran").exists()


def damage(path: Path, key: str) -> None:
    """One fault in a folder."""
    config = json.loads((path / "config.json").read_text())
    weights = path / "model.safetensors"
    tensors = load_file(weights)
    name = next(iter(tensors))
    match key:
        case "no config":
            (path / "config.json").write_text("{")
        case "no layers":
            del config["layers"]
        case "layers of another type":
            config["layers"] = 3
        case "unknown operation":
            config["layers"][0]["op"] = "eval"
        case "half the weights":
            weights.write_bytes(weights.read_bytes()[:-10])
        case "a weight less":
            save_file({n: t for n, t in tensors.items() if n != name}, weights)
        case "another shape":
            save_file(tensors | {name: tensors[name][:1].contiguous()}, weights)
        case "a class more":
            config["understudy"]["classes"].append("d")
        case "another schema":
            config["understudy"]["schema"] = 9
    if key != "no config":
        (path / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    "key",
    [
        *("no config", "no layers", "layers of another type", "unknown operation"),
        *("half the weights", "a weight less", "another shape", "a class more", "another schema"),
    ],
)
def test_damaged_folder_is_refused_in_one_line(key: str, tmp_path: Path) -> None:
    hub.write(tiny_deployable(), tmp_path)
    damage(tmp_path, key)
    with pytest.raises(UnderstudyError, match="export it again") as caught:
        hub.open_file(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
