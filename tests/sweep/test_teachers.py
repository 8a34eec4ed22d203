"""The teacher of a sweep: where it comes from, and that all machines have the same."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.sweep.small_sweep import small_config
from tests.worlds import tiny_net, write_colours

pytest.importorskip("optuna")

from understudy.errors import UnderstudyError
from understudy.runs.plan import resolve_plan
from understudy.sweep.folder import SweepFolder
from understudy.sweep.spec import SweepOptions, SweepSpec, make_sweep_spec
from understudy.sweep.teachers import agree_on_teacher, origin
from understudy.training.weights import save_weights


class Study(SimpleNamespace):
    """The attributes that machines share."""

    def __init__(self) -> None:
        super().__init__(stored={})

    def attrs(self) -> dict[str, Any]:
        return dict(self.stored)

    def set_attr(self, key: str, value: Any) -> None:
        self.stored[key] = value


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("images") / "colours.npz")


def machine(images: Path, folder: Path, weights: int, method: str = "kd") -> SweepSpec:
    """A sweep whose teacher has the random weights of this number."""
    config = small_config(images, method={"name": method})
    spec = make_sweep_spec(
        config, {"train.lr": [0.1, 0.2]}, SweepFolder(folder), SweepOptions(device="cpu")
    )
    save_weights(spec.folder.run.weights("teacher-seed0"), tiny_net(weights))
    return spec


def test_machines_with_the_same_teacher_agree(images: Path, tmp_path: Path):
    study: Any = Study()
    agree_on_teacher(machine(images, tmp_path / "one", 3), study)
    digest = study.stored["teacher"]
    agree_on_teacher(machine(images, tmp_path / "two", 3), study)
    assert study.stored == {"teacher": digest} and len(digest) == 64


def test_machine_with_another_teacher_is_refused(images: Path, tmp_path: Path):
    study: Any = Study()
    agree_on_teacher(machine(images, tmp_path / "one", 3), study)
    with pytest.raises(UnderstudyError, match=r"copy models/teacher-seed0\.safetensors from"):
        agree_on_teacher(machine(images, tmp_path / "two", 4), study)


def test_without_a_method_that_reads_it_no_teacher_is_compared(images: Path, tmp_path: Path):
    study: Any = Study()
    agree_on_teacher(machine(images, tmp_path / "one", 3, "ce"), study)
    assert study.stored == {}


@pytest.mark.parametrize(
    ("arm", "says"),
    [
        ("teacher", "building the teacher from its 2 members"),
        ("member1", "training the member (seed 3), once for all trials"),
        ("member2", "reading the member from kept.safetensors, once for all trials"),
    ],
)
def test_origin_of_a_teacher_is_a_line_for_people(arm: str, says: str):
    teacher = {"model": {"name": "fast_teacher"}, "members": [{}, {"path": "kept.safetensors"}]}
    plan = resolve_plan(small_config(Path("nowhere.npz"), teacher=teacher))
    assert origin(plan.arm(arm), 3) == says
