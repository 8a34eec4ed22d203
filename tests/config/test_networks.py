"""Texts that stand for a network, in a recipe and on the command line."""

from pathlib import Path

import pytest

from understudy.config.networks import is_weights_file
from understudy.config.parse import parse
from understudy.config.recipe import from_yaml, load_config, to_yaml
from understudy.config.schema import ModelConfig, RunConfig
from understudy.errors import UnderstudyError
from understudy.sweep.space import configured, split_overrides

EXAMPLE = str(Path(__file__).with_name("example.yaml"))
RECIPE = """
data: {source: digits}
teacher: timm:resnet18
assistants: [resnet20, {model: resnet14}]
student: tiny_res
method: dkd
"""


@pytest.mark.parametrize(
    ("text", "is_file"),
    [
        ("teacher.pt", True),
        ("runs/a/models/teacher-seed0.safetensors", True),
        ("weights/of/mine", True),
        ("last.ckpt", True),
        ("timm:resnet18", False),
        ("hf:microsoft/resnet-18", False),
        ("hf:./folder", False),
        ("onnx:models/teacher.onnx", False),
        ("mine.models.Large", False),
        ("mine.models:Large", False),
        ("fast_teacher", False),
    ],
)
def test_a_teachers_text_is_a_file_or_a_name(text: str, is_file: bool) -> None:
    assert is_weights_file(text) is is_file


def test_a_text_in_a_recipe_names_the_sections_network(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(RECIPE)
    config = load_config(str(tmp_path / "mine.yaml"))
    assert config.teacher.model == ModelConfig("timm:resnet18") and config.teacher.path is None
    assert [each.model.name for each in config.assistants] == ["resnet20", "resnet14"]
    assert config.student.model == ModelConfig("tiny_res")
    assert config.method == {"name": "dkd"}
    assert from_yaml(to_yaml(config), "config.yaml") == config


def test_what_a_text_stands_for_can_be_overridden(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(RECIPE)
    overrides = ["student.model.options.dropout=0.1", "method.temperature=2", "teacher.seed=3"]
    config = load_config(str(tmp_path / "mine.yaml"), overrides)
    assert config.student.model == ModelConfig("tiny_res", {"dropout": 0.1})
    assert config.method == {"name": "dkd", "temperature": 2}
    assert (config.teacher.model.name, config.teacher.seed) == ("timm:resnet18", 3)


@pytest.mark.parametrize("key", ["student", "student.model", "student.model.name"])
def test_an_override_names_the_students_network(key: str) -> None:
    model = load_config(EXAMPLE, [f"{key}=resnet20"]).student.model
    assert model == ModelConfig("resnet20"), "the recipe's options went with its network"
    given = load_config(EXAMPLE, ["student.model.options.dropout=0.1", f"{key}=tiny_wide"])
    assert given.student.model == ModelConfig("tiny_wide", {"dropout": 0.1})


def test_an_override_names_the_teachers_network_or_its_weights() -> None:
    before = load_config(EXAMPLE).teacher
    named = load_config(EXAMPLE, ["teacher=timm:resnet18"]).teacher
    assert named.model == ModelConfig("timm:resnet18") and named.train == before.train
    given = load_config(EXAMPLE, ["teacher=mine/best.pt"]).teacher
    assert given.path == "mine/best.pt" and given.model == before.model


def test_members_are_names_or_files() -> None:
    members = ["teacher.members=[resnet20, a.safetensors, {seed: 4}]"]
    one, two, three = load_config(EXAMPLE, members).teacher.members
    assert one.model == ModelConfig("resnet20") and two.path == "a.safetensors"
    assert three.model is None and three.seed == 4


def test_networks_are_swept_by_the_short_key() -> None:
    config = load_config(EXAMPLE)
    space, plain = split_overrides(["student=resnet8,resnet14"])
    assert not plain and space[0].key == "student"
    assert configured(config, {"student": "resnet14"}).student.model == ModelConfig("resnet14")
    with pytest.raises(UnderstudyError, match=r"student is swept, and student\.model\.name"):
        split_overrides(["student=resnet8,resnet14", "student.model.name=tiny_res"])


@pytest.mark.parametrize("section", ["train", "data", "benchmark"])
def test_a_text_for_any_other_section_is_refused(section: str) -> None:
    with pytest.raises(UnderstudyError, match=f"{section}: Input should be"):
        parse(RunConfig, {section: "text"})
