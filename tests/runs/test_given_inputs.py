"""What a given teacher expects of its images is found once, shown, and written as numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.worlds import SeenEvents, config_for, write_colours
from torch import Tensor, nn

from understudy.config.recipe import to_mapping
from understudy.config.schema import RunConfig
from understudy.data.prepare import TrainingData, prepare_data
from understudy.errors import UnderstudyError
from understudy.experiment import run_experiment
from understudy.models import build_model, deployed
from understudy.models.expects import input_channels
from understudy.runs.folder import load_run
from understudy.runs.given_inputs import resolved_plan
from understudy.runs.results import read_result

HERE = "tests.runs.test_given_inputs"


class Pretrained(nn.Module):
    """The class is the brightest channel; it records its images as a network of timm does."""

    size = 32

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((num_classes,), 10.0))
        self.pretrained_cfg = {
            "input_size": (3, self.size, self.size),
            "interpolation": "bicubic",
            "crop_pct": 0.9,
            "mean": (0.1, 0.2, 0.3),
            "std": (0.5, 0.5, 0.5),
        }

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[2] in (self.size, 24), "a network of two sizes"
        mean, std = (torch.tensor(self.pretrained_cfg[name]) for name in ("mean", "std"))
        return self.scale * (images.mean((2, 3)) * std + mean)


class Larger(Pretrained):
    size = 48


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("images") / "colours.npz")


@pytest.fixture(scope="module")
def data(images: Path) -> TrainingData:
    return prepare_data(config_for(images).data)[0]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "teacher.safetensors"
    save_file(Pretrained(3).state_dict(), path)
    return str(path)


def given(images: Path, weights: str, **teacher: Any) -> RunConfig:
    model = {"name": f"{HERE}.Pretrained"}
    return config_for(images, teacher={"model": model, "path": weights, **teacher}, seeds=[0])


def test_what_a_given_network_records_is_written_into_the_configuration(
    images: Path, weights: str, data: TrainingData
) -> None:
    seen = SeenEvents()
    plan = resolved_plan(given(images, weights), data, seen)
    teacher = plan.config.teacher
    assert (teacher.image_size, teacher.interpolation, teacher.channels) == (32, "bicubic", 3)
    assert (teacher.mean, teacher.std) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    assert plan.arm("teacher").inputs.image_size == 32
    assert plan.arm("baseline").inputs == plan.arm("distilled").inputs == plan.config.data
    line, classes = seen.lines
    assert "the names of its classes are not known" in classes
    assert "sees 32x32 pixels, bicubic, mean [0.1, 0.2, 0.3]" in line
    assert "(pretrained_cfg)" in line and "cuts out the central 90%" in line
    again = resolved_plan(plan.config, data)
    assert again.config == plan.config, "resolved once: numbers stay"


def test_given_settings_go_before_recorded_ones(
    images: Path, weights: str, data: TrainingData
) -> None:
    config = given(images, weights, image_size=24, mean=[0.5] * 3, std=[0.5] * 3)
    teacher = resolved_plan(config, data).config.teacher
    assert (teacher.image_size, teacher.interpolation) == (24, "bicubic")
    assert teacher.mean == (0.5,) * 3


def test_a_teacher_trained_here_sees_the_students_images_unless_it_is_given_others(
    images: Path, data: TrainingData
) -> None:
    seen, config = SeenEvents(), config_for(images)
    assert resolved_plan(config, data, seen).config.teacher == config.teacher
    assert not seen.lines
    own = replace(config, teacher=replace(config.teacher, image_size=32))
    teacher = resolved_plan(own, data, seen).config.teacher
    assert (teacher.image_size, teacher.interpolation) == (32, "bilinear")
    assert teacher.mean == data.config.mean
    assert "(given)" in seen.lines[0]


def test_an_onnx_file_is_a_given_teacher_although_it_has_no_path(
    images: Path, data: TrainingData, tmp_path: Path
) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
    from tests.models.test_onnx_network import write

    file = write(tmp_path / "t.onnx", ("batch", 3, 32, 32), kind="UINT8", classes=3)
    config = config_for(images, teacher={"model": {"name": f"onnx:{file}"}})
    teacher = resolved_plan(config, data).config.teacher
    assert teacher.image_size == 32 and teacher.mean == (0.0,) * 3, "bytes go into it"
    assert input_channels(build_model(f"onnx:{file}", 3, image_size=32)) == 3


def test_a_network_that_gets_a_new_head_sees_its_own_images_too(
    images: Path, data: TrainingData
) -> None:
    """A network of the user's own module brings its weights along, without a path."""
    model = {"name": f"{HERE}.Larger"}
    config = config_for(images, teacher={"model": model, "head": "linear-probe"})
    teacher = resolved_plan(config, data).config.teacher
    assert (teacher.image_size, teacher.mean) == (48, (0.1, 0.2, 0.3))


def test_a_resumed_run_reads_nothing_of_its_teacher_again(
    images: Path, weights: str, data: TrainingData, tmp_path: Path
) -> None:
    """The file may be gone; and an earlier version, which read nothing, is gone on with as it
    was."""
    path = tmp_path / "teacher.safetensors"
    path.write_bytes(Path(weights).read_bytes())
    config = given(images, str(path))
    begun = resolved_plan(config, data).config
    path.unlink()
    assert resolved_plan(config, data, earlier=begun).config == begun
    of_old_version = replace(config, data=data.config)
    assert resolved_plan(config, data, earlier=of_old_version).config == of_old_version
    other = given(images, weights)
    assert resolved_plan(other, data, earlier=of_old_version).config.teacher.image_size == 32


def test_members_that_expect_different_images_are_refused(
    images: Path, weights: str, data: TrainingData
) -> None:
    members = [{"path": weights}, {"path": weights, "model": {"name": f"{HERE}.Larger"}}]
    config = config_for(
        images, teacher={"model": {"name": f"{HERE}.Pretrained"}, "members": members}
    )
    with pytest.raises(UnderstudyError, match=r"\(\(32, 32\), \(48, 48\)\).*set teac"):
        resolved_plan(config, data)
    members[1] = {"path": weights, "seed": 9}
    config = config_for(
        images, teacher={"model": {"name": f"{HERE}.Pretrained"}, "members": members}
    )
    plan = resolved_plan(config, data)
    assert {plan.arm(name).inputs.mean for name in ("member1", "member2")} == {(0.1, 0.2, 0.3)}
    assert plan.arm("teacher").inputs.image_size == 32
    with pytest.raises(UnderstudyError, match=r"unknown key teacher\.members\.0\.image_size"):
        config_for(images, teacher={"members": [{"image_size": 32}, {"seed": 1}]})


def test_a_run_with_a_given_teacher_at_a_size_of_its_own(
    images: Path, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "cache"))
    config = given(images, weights)
    config = replace(config, arms={"live": {"name": "kd", "curriculum": {"start": 0.5, "over": 1}}})
    out = tmp_path / "run"
    results = run_experiment(config, out, workers=1, device="cpu")
    assert results is not None
    assert results.arms["teacher"].summary.accuracy.mean == 1.0, "it sees what it was made for"
    assert read_result(out / "arms" / "teacher-seed0" / "result.json").val.accuracy == 1.0
    assert load_run(out).teacher.image_size == 32
    assert results.data.image_shape == (3, 16, 16)
    assert run_experiment(config, out, workers=1, device="cpu", resume=True) is not None


def test_a_convolutional_teacher_trained_here_at_twice_the_size(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the views of the student; `at` pools its larger maps."""
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "cache"))
    config = config_for(images, arms={"at": {"name": "at"}}, student={"model": {"name": "resnet8"}})
    config = replace(config, seeds=(0,), teacher=replace(config.teacher, image_size=32))
    out = tmp_path / "run"
    results = run_experiment(config, out, workers=1, device="cpu")
    assert results is not None
    small = run_experiment(
        replace(config, teacher=replace(config.teacher, image_size=None)),
        tmp_path / "small",
        workers=1,
        device="cpu",
    )
    assert small is not None
    sizes = [each.arms["teacher"].size for each in (results, small)]
    assert sizes[0].macs > 3.5 * sizes[1].macs and sizes[0].parameters == sizes[1].parameters
    same = [each.arms["baseline"].runs[0].test for each in (results, small)]
    # A plain student does not depend on the teacher.
    assert (same[0].nll, same[0].correct) == (same[1].nll, same[1].correct)


def test_a_file_of_a_run_records_the_size_of_its_images(
    images: Path, tmp_path: Path, data: TrainingData
) -> None:
    folder = tmp_path / "earlier"
    (folder / "models").mkdir(parents=True)
    earlier = config_for(images)
    earlier = replace(earlier, data=replace(earlier.data, image_size=24))
    from understudy.config.recipe import to_yaml

    (folder / "config.yaml").write_text(to_yaml(earlier))
    path = folder / "models" / "teacher-seed0.safetensors"
    model = earlier.teacher.model
    network = build_model(model.name, 3, image_size=24, options=model.options)
    save_file(deployed(network).state_dict(), path)
    config = config_for(images)
    config = replace(config, teacher=replace(config.teacher, path=str(path)))
    teacher = resolved_plan(config, data).config.teacher
    assert (teacher.image_size, teacher.interpolation) == (24, "bilinear")
    assert to_mapping(resolved_plan(config, data).config)["teacher"]["image_size"] == 24
