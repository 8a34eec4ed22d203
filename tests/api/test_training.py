"""train and distill: any module as teacher or student, by the functions of the command line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.ranks import CASES, train_all
from tests.worlds import TinyNet, config_for, tiny_data, untrained, write_colours
from torch import nn

import understudy
from understudy.api.teacher import described
from understudy.config.recipe import to_yaml
from understudy.data.dataset import Dataset, SealedSplit
from understudy.errors import UnderstudyError
from understudy.experiment import train_arm

QUICK = {"epochs": 2, "batch_size": 16, "lr": 1e-2, "precision": "fp32"}


def plain_module(width: int) -> nn.Sequential:
    """Somebody's network: no class of ours."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 3),
    )


def test_any_module_teaches_any_module_and_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path))
    data = tiny_data(num_images=48, size=16, num_classes=3)
    teacher = plain_module(12)
    taught = understudy.train(teacher, data, device="cpu", **QUICK)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    seen = []
    student = plain_module(6)
    result = understudy.distill(
        untrained(teacher), student, data, "kd", device="cpu", on_epoch=seen.append, **QUICK
    )
    assert isinstance(taught, understudy.Student)
    assert len(result.history) == 2 and tuple(seen) == result.history
    assert set(result.history[0].losses) == {"ce", "kd", "loss"}
    assert not result.network.training
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert list(tmp_path.glob("teacher-outputs/*/views.bin"))  # computed once


@pytest.mark.parametrize("method", ["kd", "rkd", "crd+kd"])
def test_live_and_kept_teacher_train_the_same_student_to_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
):
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path))
    data = tiny_data(num_images=48, size=16, num_classes=3)
    torch.manual_seed(0)
    teacher = TinyNet(channels=12) if method != "kd" else plain_module(12)
    losses = []
    for outputs in ("live", "cached"):
        torch.manual_seed(1)
        student = TinyNet(channels=6) if method != "kd" else plain_module(6)
        result = understudy.distill(
            untrained(teacher), student, data, method, device="cpu", outputs=outputs, **QUICK
        )
        losses.append([epoch.losses["loss"] for epoch in result.history])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert len(list(tmp_path.glob("teacher-outputs/*/*.bin"))) == (1 if method == "kd" else 2), (
        "one of views, or one an epoch"
    )


def test_names_and_data_sets_are_taken_as_they_are():
    data = tiny_data(num_images=48, size=16, num_classes=3)
    dataset = Dataset("tiny", data.train, SealedSplit(data.val), ("a", "b", "c"), "0" * 64)
    result = understudy.train("founding_student", dataset, device="cpu", **QUICK)
    measured = understudy.evaluate(result.network, dataset.test)
    assert measured == result.evaluate(data.val) and measured.agreement is None
    assert measured.accuracy == result.history[-1].val_accuracy


def test_options_are_checked_like_a_recipe():
    data = tiny_data(num_images=48, size=16, num_classes=3)
    with pytest.raises(UnderstudyError, match=r"train\.epoch: did you mean train\.epochs"):
        understudy.train(plain_module(4), data, epoch=3)
    with pytest.raises(UnderstudyError, match="method kd needs a teacher"):
        understudy.distill(None, plain_module(4), data, "kd", device="cpu", **QUICK)
    teacher = untrained(plain_module(4))
    with pytest.raises(
        UnderstudyError, match=r"create_model\(student, 3, 3, \(16, 16\), stages=\["
    ):
        understudy.distill(teacher, plain_module(4), data, "at", device="cpu", **QUICK)


def test_own_modules_with_named_stages_teach_and_learn_their_maps():
    data = tiny_data(num_images=48, size=16, num_classes=3)
    teacher, student = (
        understudy.create_model(plain_module(width), 3, 3, 16, stages=["1"]) for width in (8, 4)
    )
    given = understudy.Teacher(teacher, min_accuracy=0.0, mean=(0.5,) * 3, std=(0.25,) * 3)
    method = {"name": "sp", "stages": [-1]}
    result = understudy.distill(given, student, data, method, device="cpu", **QUICK)
    assert result.network is student
    with pytest.raises(UnderstudyError, match="ResNet has its own stages"):
        understudy.create_model(understudy.create_model("resnet8"), stages=["stage1"])


class Scaled(nn.Module):
    """Two of these with other factors have equal weights and give different logits."""

    def __init__(self, inner: nn.Module, factor: float) -> None:
        super().__init__()
        self.inner, self.factor = inner, factor

    def extra_repr(self) -> str:
        return f"factor={self.factor}"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.factor * self.inner(images)


def test_teachers_of_other_structure_share_no_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path))
    data, inner = tiny_data(num_images=24, size=16, num_classes=3), plain_module(8)
    for factor in (1.0, 2.0, 1.0):
        understudy.distill(
            untrained(Scaled(inner, factor)), plain_module(4), data, device="cpu", **QUICK
        )
    assert len(list(tmp_path.glob("teacher-outputs/*/views.bin"))) == 2
    assert described(Scaled(inner, 1.0)) != described(Scaled(inner, 2.0))
    hooked = Scaled(inner, print)  # type: ignore[arg-type]
    assert " at 0x" not in described(hooked)


def test_several_modules_teach_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path))
    data = tiny_data(num_images=24, size=16, num_classes=3)
    torch.manual_seed(0)
    teachers = [untrained(plain_module(8)), untrained(plain_module(6))]
    losses = []
    for outputs in ("live", "cached"):
        torch.manual_seed(1)
        result = understudy.distill(
            teachers,
            plain_module(4),
            data,
            "dkd+kd",
            device="cpu",
            outputs=outputs,
            weights=[1, 3],
            **QUICK,
        )
        losses.append([epoch.losses["loss"] for epoch in result.history])
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    assert len(list(tmp_path.glob("teacher-outputs/*/views.bin"))) == 1


RANK = """
import os, sys
from pathlib import Path
import torch
from tests.ranks import train_all
from understudy.experiment import train_arm
from understudy.runs.folder import load_run

folder = Path(sys.argv[1])
torch.set_num_threads(1)
torch.save(train_all(folder / "kept"), folder / f"rank{os.environ['RANK']}.pt")
for run, arm in (("two", "distilled"), ("three", "teacher")):
    train_arm(load_run(folder / run), arm, 0, folder / run, device="cpu")
"""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trainings of ``tests.ranks`` by one process and by two, and a run.

    The run has an ensemble of files and a curriculum. One process trains it in ``one``; two ranks
    train its student in ``two``, and its teacher in ``three``.
    """
    folder, root = tmp_path_factory.mktemp("ranks"), Path(__file__).parents[2]
    network = {"model": {"name": "tests.test_experiment:no_norms"}}
    config = config_for(
        write_colours(folder / "colours.npz"),
        teacher=network | {"members": [{}, {"weight": 3.0}]},
        student=network,
        method={"name": "kd", "curriculum": {"start": 0.5}},
        train={"epochs": 2, "batch_size": 16, "optimizer": "sgd", "lr": 0.05, "precision": "fp32"},
        seeds=[0],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_CACHE", str(folder / "cache-of-one"))
        torch.save(train_all(folder / "kept-by-one"), folder / "alone.pt")
        train_arm(config, "teacher", 0, folder / "one", device="cpu")
        shutil.copytree(folder / "one", folder / "two")
        train_arm(config, "distilled", 0, folder / "one", device="cpu")
    (folder / "three").mkdir()
    (folder / "three" / "config.yaml").write_text(to_yaml(config))
    (folder / "rank.py").write_text(RANK)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(folder / "rank.py"),
    ]
    settings = {"OMP_NUM_THREADS": "1", "UNDERSTUDY_CACHE": str(folder / "cache-of-two")}
    settings["PYTHONPATH"] = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, str(folder)],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_train_what_one_process_trains(ranks: Path, case: str):
    alone, first, second = (
        torch.load(ranks / f"{name}.pt", weights_only=True)[case]
        for name in ("alone", "rank0", "rank1")
    )
    assert len(alone["steps"]) == 3 * 3
    for whole, ours, theirs in zip(alone["steps"], first["steps"], second["steps"], strict=True):
        assert (ours, theirs) == (whole[::2], whole[1::2]), (
            "the ranks deal out the batches that one process sees"
        )
    for name, value in alone["weights"].items():
        assert torch.equal(first["weights"][name], second["weights"][name])
        torch.testing.assert_close(first["weights"][name], value, rtol=1e-4, atol=1e-5)
    assert first["losses"] == second["losses"]
    for epoch, expected in zip(first["losses"], alone["losses"], strict=True):
        assert epoch == pytest.approx(expected, rel=1e-4)
    for figures, expected in zip(first["accuracies"], alone["accuracies"], strict=True):
        assert figures == pytest.approx(expected)


@pytest.mark.slow
def test_the_cases_of_two_ranks_differ_where_they_should(ranks: Path):
    alone = torch.load(ranks / "alone.pt", weights_only=True)
    paced, plain = alone["curriculum, live"], alone["ensemble, live"]
    easiest = {image for step in paced["steps"][:3] for image in step}
    assert len(easiest) == 17 and easiest != set(range(17)), (
        "40 % of 41 images, not those that the second rank would take"
    )
    assert paced["steps"][6:] == plain["steps"][6:], "all images in the last"
    assert not torch.allclose(
        paced["weights"]["head.weight"], plain["weights"]["head.weight"], atol=1e-3
    )


@pytest.mark.slow
def test_two_ranks_train_an_ensemble_and_its_student_from_a_recipe(ranks: Path):
    for run, names in (
        ("two", ["distilled-seed0"]),
        ("three", ["member1-seed0", "member2-seed1", "teacher-seed0"]),
    ):
        for name in names:
            alone, together = (
                load_file(ranks / folder / "models" / f"{name}.safetensors")
                for folder in ("one", run)
            )
            assert alone.keys() == together.keys()
            for key, value in alone.items():
                torch.testing.assert_close(together[key], value, rtol=1e-4, atol=1e-5)
            result = json.loads((ranks / run / "arms" / name / "result.json").read_text())
            assert result["ranks"] == 2 and result["val"]["nll"] > 0
