"""The classes of a given teacher: by name where names are known, never by position against them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.worlds import SeenEvents, config_for, write_colours

from understudy.config.schema import RunConfig
from understudy.data.prepare import TrainingData, prepare_data
from understudy.errors import UnderstudyError
from understudy.experiment import run_experiment
from understudy.models import build_model, deployed
from understudy.models.selected import SelectedClasses
from understudy.runs.folder import RunFolder, load_run
from understudy.runs.networks import build_arm, trained_network
from understudy.runs.plan import resolve_plan
from understudy.runs.teacher_classes import with_teacher_classes

TINY = {"name": "tests.worlds.TinyNet"}
COLOURS = ("blue", "green", "red")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("images") / "colours.npz")


@pytest.fixture(scope="module")
def data(images: Path) -> TrainingData:
    return replace(prepare_data(config_for(images).data)[0], class_names=COLOURS)


def weights_for(path: Path, num_classes: int) -> Path:
    torch.manual_seed(num_classes)
    network = build_model(TINY["name"], num_classes)
    save_file(deployed(network).state_dict(), path)
    return path


def resolved(images: Path, data: TrainingData, **teacher: Any) -> tuple[RunConfig, str]:
    config = config_for(images, teacher={"model": TINY, **teacher})
    seen = SeenEvents()
    found = with_teacher_classes(config, data, seen)
    assert len(seen.lines) == 1
    return found, seen.lines[0]


def refusal(images: Path, data: TrainingData, **teacher: Any) -> str:
    with pytest.raises(UnderstudyError) as refused:
        resolved(images, data, **teacher)
    return str(refused.value)


def test_a_superset_in_another_order_becomes_the_classes_of_the_images(
    images: Path, data: TrainingData, tmp_path: Path
) -> None:
    names = ["violet", "Red", "green", "yellow", "blue"]
    path = weights_for(tmp_path / "five.safetensors", 5)
    config, line = resolved(images, data, path=str(path), classes=names)
    assert line == "teacher: 3 of the teacher's 5 classes; by name"
    network = build_arm(resolve_plan(config).arm("teacher"), data).eval()
    assert isinstance(network, SelectedClasses) and network.index.tolist() == [4, 2, 1]
    assert deployed(network).state_dict()["fc.weight"].shape[0] == 5


def test_a_file_of_names_is_written_into_the_configuration(
    images: Path, data: TrainingData, tmp_path: Path
) -> None:
    path = weights_for(tmp_path / "three.safetensors", 3)
    listed = tmp_path / "classes.json"
    listed.write_text(json.dumps({"0": "red", "1": "green", "2": "blue"}))
    config, line = resolved(images, data, path=str(path), classes=str(listed))
    assert config.teacher.classes == ("red", "green", "blue")
    assert line == "teacher: all of the teacher's 3 classes, in another order; by name"


def test_without_names_the_order_is_assumed_and_pointed_out(
    images: Path, data: TrainingData, tmp_path: Path
) -> None:
    path = weights_for(tmp_path / "three.safetensors", 3)
    config, line = resolved(images, data, path=str(path))
    assert config.teacher.classes is None
    assert "are taken to be blue, green, red, in this order" in line


def test_another_number_of_classes_without_names_is_refused_with_remedies(
    images: Path, data: TrainingData, tmp_path: Path
) -> None:
    path = weights_for(tmp_path / "five.safetensors", 5)
    message = refusal(images, data, path=str(path))
    assert "has 5 outputs without names, and the images have 3 classes" in message
    assert "teacher.classes" in message and "teacher.head=linear-probe" in message


def test_disjoint_names_are_refused_although_their_number_is_right(
    images: Path, data: TrainingData, tmp_path: Path
) -> None:
    path = weights_for(tmp_path / "three.safetensors", 3)
    message = refusal(images, data, path=str(path), classes=["cat", "dog", "eel"])
    assert "has no output for 3 classes of the images: blue, green, red" in message


def test_names_for_a_network_that_is_trained_here_are_refused(images: Path) -> None:
    with pytest.raises(UnderstudyError, match=r"names the outputs of a trained teacher"):
        config_for(images, teacher={"model": TINY, "classes": ["a", "b", "c"]})


def test_the_classes_of_a_finished_run_are_those_of_its_images(
    images: Path, data: TrainingData, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    run.models.mkdir(parents=True)
    run.config.write_text("name: run\ndata: {source: digits}\n")
    run.results.write_text(
        json.dumps({"schema": 1, "data": {"class_names": ["green", "red", "blue"]}})
    )
    path = weights_for(run.weights("teacher-seed0"), 3)
    config, line = resolved(images, data, path=str(path))
    assert config.teacher.classes == ("green", "red", "blue")
    assert "in another order; by name" in line


def test_each_member_has_classes_of_its_own(
    images: Path, data: TrainingData, tmp_path: Path
) -> None:
    first = weights_for(tmp_path / "three.safetensors", 3)
    second = weights_for(tmp_path / "four.safetensors", 4)
    members = [
        {"path": str(first), "classes": ["red", "green", "blue"]},
        {"path": str(second), "classes": ["blue", "green", "grey", "red"]},
    ]
    config = config_for(images, teacher={"model": TINY, "members": members})
    plan = resolve_plan(with_teacher_classes(config, data))
    assert build_arm(plan.arm("member1"), data).index.tolist() == [2, 1, 0]
    assert build_arm(plan.arm("member2"), data).index.tolist() == [0, 1, 3]


def test_a_run_with_a_superset_teacher_saves_it_whole_and_uses_its_part(
    images: Path, tmp_path: Path
) -> None:
    path = weights_for(tmp_path / "five.safetensors", 5)
    names = ["x", "2", "1", "y", "0"]  # the classes of the images are called 0, 1, 2
    teacher = {"model": TINY, "path": str(path), "classes": names, "min_accuracy": 0.0}
    config = config_for(images, teacher=teacher, seeds=[0])
    out, cache = tmp_path / "run", str(tmp_path / "cache")
    results = run_experiment(config, out, device="cpu", workers=1, cache=cache)
    assert results is not None and results.arms["teacher"].method == "given"
    folder, plan = RunFolder(out), resolve_plan(load_run(out))
    saved = load_file(folder.weights("teacher-seed0"))
    assert all(torch.equal(saved[key], value) for key, value in load_file(path).items())
    prepared = prepare_data(config.data)[0]
    network = trained_network(plan, plan.arm_run("teacher", 0), folder, prepared)
    assert network(torch.zeros(1, 3, 16, 16)).shape == (1, 3)
    path.unlink()  # a resumed run does not need the file
    again = run_experiment(config, out, device="cpu", workers=1, cache=cache, resume=True)
    assert again is not None
    assert again.arms["distilled"].runs == results.arms["distilled"].runs
