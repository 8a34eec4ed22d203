"""What is refused before the first step, and that the check leaves no trace in the numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.worlds import SeenEvents, config_for, write_colours

from understudy.config.recipe import to_yaml
from understudy.config.schema import RunConfig
from understudy.data.prepare import TrainingData, prepare_data
from understudy.errors import UnderstudyError
from understudy.files import write_bytes
from understudy.methods import METHODS
from understudy.models import build_model, deployed
from understudy.runs.anatomy import look_at_network
from understudy.runs.folder import RunFolder
from understudy.runs.given import recorded
from understudy.runs.plan import resolve_plan
from understudy.runs.precheck import Precheck
from understudy.runs.room import require_room

RESNETS = {"student": {"model": {"name": "resnet8"}}, "teacher": {"model": {"name": "resnet14"}}}
NO_STAGES = {"student": {"model": {"name": "tests.runs.test_precheck.Flat"}}}


class Flat(torch.nn.Module):
    """A network without stages: its inside is not shown."""

    def __init__(self, num_classes: int, **_: Any) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(num_classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


class Maps(torch.nn.Sequential):
    """A network of other code whose stages can be found."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(
            torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.ReLU()),
            torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3, 2, 1), torch.nn.ReLU()),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
            torch.nn.Linear(8, num_classes),
        )


class Broken(Flat):
    """A network whose mistake shows in training alone: a row is lost on the way."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images[:, :, 1:] if self.training else images)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("images") / "colours.npz")


@pytest.fixture(scope="module")
def data(images: Path) -> TrainingData:
    return prepare_data(config_for(images).data)[0]


def refusal(config: RunConfig, data: TrainingData) -> str:
    with pytest.raises(UnderstudyError) as refused:
        Precheck(data).check(resolve_plan(config))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_every_method_takes_the_batch_and_no_random_number_is_lost(
    images: Path, data: TrainingData
):
    arms: dict[str, Any] = {name: {"name": name} for name in METHODS}
    arms |= {
        "sum": {"name": "at+kd"},
        "paced": {"name": "kd", "curriculum": {"start": 0.4, "over": 2}},
        "by_adapter": {"name": "at", "teacher": "simkd"},
        "generations": {"name": "born_again", "generations": 3},
    }
    plan = resolve_plan(config_for(images, arms=arms, **RESNETS))
    checked = Precheck(data)
    before = torch.get_rng_state()
    checked.check(plan)
    assert torch.equal(before, torch.get_rng_state())
    assert len(checked.passed) > len(METHODS) and len(checked.networks) == 2


def test_an_ensemble_teaches_the_batch_with_the_normalisation_of_each_member(
    images: Path, data: TrainingData
):
    members = [{"seed": 0}, {"seed": 1, "mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}]
    teacher = {**RESNETS["teacher"], "members": members}
    plan = resolve_plan(config_for(images, teacher=teacher, student=RESNETS["student"]))
    Precheck(data).check(plan)
    members[1] |= {"mean": [0.1], "std": [1.0]}
    plan = resolve_plan(config_for(images, teacher=teacher, student=RESNETS["student"]))
    with pytest.raises(UnderstudyError, match=r"mean has 1 channels, the images have 3"):
        Precheck(data).check(plan)


@pytest.mark.parametrize("method", ["cc", "sp", "rkd", "pkt", "at", "fitnets"])
def test_methods_that_read_stages_are_refused_without_them(
    images: Path, data: TrainingData, method: str
):
    as_arm = config_for(images, arms={"b": {"name": method}}, **NO_STAGES)
    assert refusal(as_arm, data).startswith(f"b: {method} compares")
    whole = config_for(images, method={"name": method}, **NO_STAGES)
    assert "set student.stages" in refusal(whole, data)


def test_stages_are_proposed_where_they_are_missing(images: Path, data: TrainingData):
    name = "tests.runs.test_precheck.Maps"
    config = config_for(
        images, method={"name": "at"}, **(RESNETS | {"student": {"model": {"name": name}}})
    )
    assert refusal(config, data).endswith(
        """set student.stages to its modules, such as 'student.stages=["0","1"]'"""
    )
    proposed = replace(config.student, stages=("0", "1"))
    Precheck(data).check(resolve_plan(replace(config, student=proposed)))


def test_an_onnx_file_teaches_and_does_not_learn(images: Path, data: TrainingData, tmp_path: Path):
    pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
    from tests.models.test_onnx_network import write

    name = f"onnx:{write(tmp_path / 't.onnx', classes=3)}"
    plan = resolve_plan(config_for(images, teacher={"model": {"name": name}}))
    assert plan.arm("teacher").path == str(tmp_path / "t.onnx") and plan.arm("teacher").epochs == 0
    Precheck(data).check(plan)
    members = [{"model": {"name": name}}, {"seed": 3}]
    ensemble = resolve_plan(config_for(images, teacher={"members": members}))
    assert [ensemble.arm(f"member{n}").path is None for n in (1, 2)] == [False, True]
    student = config_for(images, student={"model": {"name": name}})
    assert "has no parameters to train: it can only be a teacher" in refusal(student, data)
    maps = config_for(images, teacher={"model": {"name": name}}, method={"name": "sp"})
    assert "an ONNX file gives logits alone: take a method that reads logits" in refusal(maps, data)
    with pytest.raises(UnderstudyError, match="gives logits alone: take the network itself"):
        resolve_plan(config_for(images, teacher={"model": {"name": name}, "head": "linear-probe"}))
    weights = tmp_path / "w.pt"
    torch.save(build_model("resnet14", 3).state_dict(), weights)
    with pytest.raises(UnderstudyError, match="has weights of its own: leave it out"):
        look_at_network(name, weights=weights)


def test_what_was_unwrapped_is_shown_once(images: Path, data: TrainingData, tmp_path: Path):
    network = build_model("resnet14", 3)
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "t.pt")
    teacher = {"model": {"name": "resnet14"}, "path": str(tmp_path / "t.pt")}
    seen = SeenEvents()
    checks = Precheck(data, seen)
    for _ in range(2):
        checks.check(resolve_plan(config_for(images, **(RESNETS | {"teacher": teacher}))))
    assert seen.lines == ["teacher: weights from state_dict, prefix module. removed"]


def test_shapes_that_do_not_fit_are_one_line(images: Path, data: TrainingData):
    config = config_for(images, student={"model": {"name": "tests.runs.test_precheck.Broken"}})
    assert refusal(config, data).startswith("baseline: cannot take a training step: RuntimeError")


def test_batches_of_one_image_are_refused_where_batch_norm_needs_two(
    images: Path, data: TrainingData
):
    message = refusal(config_for(images, train={"batch_size": 1}), data)
    assert "train.batch_size=1: batch norm needs 2" in message


@pytest.mark.parametrize("method", ["dkd", "dist", "lskd", "dkd+kd"])
def test_methods_that_rank_classes_need_three(images: Path, data: TrainingData, method: str):
    pair = data.train.take(torch.nonzero(data.train.labels < 2).flatten())
    two = replace(data, train=pair, val=pair, class_names=("a", "b"))
    message = refusal(config_for(images, method={"name": method}), two)
    assert message.startswith(
        f"distilled: method {method} needs at least 3 classes, and the images have 2: "
    )
    assert message.endswith("take another, such as method=kd")
    Precheck(two).check(resolve_plan(config_for(images, method={"name": "kd"})))


def test_dist_takes_two_classes_without_its_correlation_over_classes(
    images: Path, data: TrainingData
):
    pair = data.train.take(torch.nonzero(data.train.labels < 2).flatten())
    two = replace(data, train=pair, val=pair, class_names=("a", "b"))
    assert "set its beta to 0" in refusal(config_for(images, method={"name": "dist"}), two)
    Precheck(two).check(resolve_plan(config_for(images, method={"name": "dist", "beta": 0})))


def test_an_average_that_stays_at_the_initial_weights_is_refused(images: Path, data: TrainingData):
    train = {"epochs": 2, "batch_size": 16, "ema_decay": 0.9999}  # 48 images: 6 steps
    message = refusal(config_for(images, train=train), data)
    assert "ema_decay=0.9999 over 6 steps leaves 100% of the average" in message
    assert "at most 0.464" in message
    seen = SeenEvents()
    plan = resolve_plan(config_for(images, train=train | {"ema_decay": 0.75}))
    Precheck(data, seen).check(plan)
    assert len(seen.lines) == 1 and "leaves 18% of the average" in seen.lines[0]
    quiet = SeenEvents()
    Precheck(data, quiet).check(resolve_plan(config_for(images, train=train | {"ema_decay": 0.4})))
    assert quiet.lines == []


def write_teacher(folder: Path, config: RunConfig, num_classes: int = 3) -> Path:
    """The folder of a run whose teacher is trained (not really), and the file of its weights."""
    run = RunFolder(folder)
    write_bytes(run.config, to_yaml(config).encode())
    model = config.teacher.model
    network = build_model(model.name, num_classes, options=model.options)
    run.models.mkdir(parents=True, exist_ok=True)
    save_file(deployed(network).state_dict(), run.weights("teacher-seed0"))
    return run.weights("teacher-seed0")


def test_a_given_teacher_is_fed_what_it_learnt_from(
    images: Path, data: TrainingData, tmp_path: Path
):
    config = config_for(images, **RESNETS)
    other = replace(config, data=replace(config.data, mean=(0.4, 0.4, 0.4)))
    path = write_teacher(tmp_path / "earlier", other)
    known = recorded(path).normalisation
    assert known is not None and known.mean == (0.4, 0.4, 0.4)
    given = replace(config, teacher=replace(config.teacher, path=str(path)))
    assert "was trained with mean [0.4, 0.4, 0.4]" in refusal(given, data)
    own = replace(given.teacher, mean=(0.4, 0.4, 0.4), std=config.data.std)
    Precheck(data).check(resolve_plan(replace(given, teacher=own)))
    assert recorded(path).class_names == (), "they are in the results of a finished run"
    elsewhere = tmp_path / "teacher.safetensors"
    elsewhere.write_bytes(path.read_bytes())
    assert recorded(elsewhere).normalisation is None, "nothing is known of a file alone"


def test_a_given_teacher_of_other_classes_is_refused(
    images: Path, data: TrainingData, tmp_path: Path
):
    config = config_for(images, **RESNETS)
    path = write_teacher(tmp_path / "earlier", config, num_classes=10)
    given = replace(config, teacher=replace(config.teacher, path=str(path)))
    assert "does not fit the network" in refusal(given, data)
    Precheck(data, read_files=False).check(resolve_plan(given))


def test_a_folder_must_be_writable_and_the_disk_have_room(
    images: Path, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plan = resolve_plan(config_for(images, **RESNETS))
    checked = Precheck(data)
    checked.check(plan)
    runs = [run for wave in plan.waves((0, 1)) for run in wave]
    require_room(tmp_path / "new" / "run", runs, 2, checked)
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(UnderstudyError, match="is a file: choose another --out"):
        require_room(tmp_path / "file" / "run", runs, 2, checked)
    monkeypatch.setattr("understudy.runs.room.os.access", lambda path, mode: False)
    with pytest.raises(UnderstudyError, match="cannot be written"):
        require_room(tmp_path / "run", runs, 2, checked)
    monkeypatch.undo()
    weights = sum(checked.num_bytes(run.arm) for run in runs)
    largest = checked.num_bytes(plan.arm("teacher"))
    assert largest > checked.num_bytes(plan.arm("baseline")) > 0
    disk = type("Disk", (), {"free": weights + 4 * largest})
    monkeypatch.setattr("understudy.runs.room.shutil.disk_usage", lambda path: disk)
    require_room(tmp_path / "run", runs, 1, checked)
    with pytest.raises(UnderstudyError, match=r"needs 0.01 GB for weights and checkpoints"):
        require_room(tmp_path / "run", runs, 2, checked)
