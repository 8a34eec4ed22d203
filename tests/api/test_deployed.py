"""A student from a folder: of the hub, or of a run."""

from pathlib import Path

import pytest
import torch
from tests.worlds import config_for

from understudy.api import Student
from understudy.errors import UnderstudyError
from understudy.experiment import train_arm
from understudy.export import hub
from understudy.export.source import open_source
from understudy.models.normalisation import Normalisation, known_normalisation
from understudy.runs.results import read_result


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    config = config_for(images, train={"epochs": 2, "batch_size": 16, "lr": 1e-2})
    for arm, seed in (("teacher", 0), ("baseline", 0), ("distilled", 0), ("distilled", 1)):
        train_arm(config, arm, seed, folder)
    return folder


def test_run_gives_its_best_distilled_student(run: Path, tmp_path: Path) -> None:
    source = open_source(run)
    student = Student.load(run)
    assert student.class_names == source.data.class_names
    assert student.image == source.data.image
    assert student.preprocessing == source.deployable.preprocessing
    assert len(student.history) == 2
    reached = [read_result(file).val.accuracy for file in run.glob("arms/distilled-*/result.json")]
    assert student.evaluate(source.data.val).accuracy == max(reached)
    normalisation = source.deployable.normalisation
    assert known_normalisation(student.network) == (normalisation, "recorded")
    student.save(tmp_path / "student.safetensors")
    again = Student.load(tmp_path / "student.safetensors")
    val = source.data.val
    assert torch.equal(again.predict(val), student.predict(val))


def test_hub_folder_gives_the_same_student(run: Path, tmp_path: Path) -> None:
    source = open_source(run)
    hub.write(source.deployable, tmp_path / "hub")
    student = Student.load(str(tmp_path / "hub"))
    assert isinstance(student.network, torch.nn.Module)
    assert not student.network.training
    val = source.data.val
    expected = Student.load(run).predict(val, probabilities=True)
    assert torch.allclose(student.predict(val, probabilities=True), expected, atol=1e-6)
    assert student.evaluate(val).accuracy == Student.load(run).evaluate(val).accuracy
    assert student.class_names == source.data.class_names
    assert student.preprocessing == source.deployable.preprocessing
    given = source.deployable.normalisation
    assert known_normalisation(student.network) == (
        Normalisation(given.mean, given.std),
        "recorded",
    )
    assert repr(student).startswith("Student(GraphModule, ")


def test_student_of_the_hub_saved_again_needs_its_module(run: Path, tmp_path: Path) -> None:
    hub.write(open_source(run).deployable, tmp_path / "hub")
    Student.load(tmp_path / "hub").save(tmp_path / "file")
    with pytest.raises(UnderstudyError, match="was not built by name"):
        Student.load(tmp_path / "file")


def test_other_folders_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnderstudyError, match="holds no student: give a run's folder") as caught:
        Student.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_run_without_weights_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    with pytest.raises(UnderstudyError, match="has no trained weights"):
        Student.load(tmp_path)
