"""Recipes and overrides: former names, odd text, and networks whose options go with their name."""

import random
from pathlib import Path

import pytest

from understudy.config.parse import parse, shorten
from understudy.config.recipe import (
    apply_override,
    from_yaml,
    load_config,
    parse_yaml,
    to_mapping,
    to_yaml,
)
from understudy.config.schema import RunConfig, TrainConfig
from understudy.errors import UnderstudyError
from understudy.methods import method_config
from understudy.models import build_model
from understudy.sweep.space import check_space, configured, split_overrides

EXAMPLE = str(Path(__file__).with_name("example.yaml"))


def overridden(*overrides: str, **sections: object) -> dict:
    values: dict = dict(sections)
    for override in overrides:
        apply_override(values, override)
    return values


def test_another_network_drops_the_recipes_network_options() -> None:
    assert load_config(EXAMPLE).student.model.options == {"dropout1": 0.0, "dropout2": 0.0}
    student = load_config(EXAMPLE, ["student.model.name=resnet20"]).student
    assert (student.model.name, student.model.options) == ("resnet20", {})
    build_model(student.model.name, 10, options=student.model.options)


def test_options_stay_with_the_name_or_go_to_the_new_network() -> None:
    same = load_config(EXAMPLE, ["student.model.name=founding_student"]).student.model
    assert same.options == {"dropout1": 0.0, "dropout2": 0.0}
    other = load_config(
        EXAMPLE, ["teacher.model.name=tiny_wide", "teacher.model.options.dropout=0.1"]
    )
    assert (other.teacher.model.name, other.teacher.model.options) == (
        "tiny_wide",
        {"dropout": 0.1},
    )


def test_stages_belong_to_the_network_that_has_them() -> None:
    model = {"name": "timm:resnet18", "options": {"pretrained": True}}
    values = overridden(
        "teacher.model.name=resnet8",
        teacher={"model": model, "stages": ["layer1"], "path": "kept"},
    )
    assert values == {"teacher": {"model": {"name": "resnet8"}, "path": "kept"}}


def test_stages_go_with_the_network_that_a_whole_section_replaces() -> None:
    student = {"model": {"name": "timm:resnet18"}, "stages": ["layer1"]}
    values = overridden("student.model={name: resnet8}", student=student)
    assert values == {"student": {"model": {"name": "resnet8"}}}
    same = overridden("student.model={name: timm:resnet18, options: {in_chans: 3}}", **values)
    assert "stages" not in same["student"]


@pytest.mark.parametrize("name", ["method=dkd", "method.name=dkd"])
def test_options_before_their_name_are_not_lost(name: str) -> None:
    assert load_config(EXAMPLE, ["method.temperature=2", name]).method == {
        "name": "dkd",
        "temperature": 2,
    }
    student = load_config(
        EXAMPLE, ["student.model.options.dropout=0.1", "student.model.name=tiny_wide"]
    ).student
    assert (student.model.name, student.model.options) == ("tiny_wide", {"dropout": 0.1})


def test_members_and_assistants_are_overridden_by_their_number() -> None:
    entry = {"model": {"name": "tiny_wide", "options": {"dropout": 0.5}}, "seed": 4}
    values = overridden(
        "assistants.1.model.name=resnet8",
        "teacher.members.0.model.name=resnet14",
        assistants=[{"model": {"name": "a"}}, entry],
        teacher={"members": [{"seed": 0}, {"seed": 1}]},
    )
    assert values["assistants"] == [
        {"model": {"name": "a"}},
        {"model": {"name": "resnet8"}, "seed": 4},
    ]
    assert values["teacher"]["members"][0] == {"seed": 0, "model": {"name": "resnet14"}}
    for number in ("2", "last", "000000005", "0000000005", "9" * 5000):
        with pytest.raises(UnderstudyError, match="the list has 2 entries, from 0"):
            overridden(f"assistants.{number}.model.name=x", assistants=[{}, {}])
    with pytest.raises(UnderstudyError, match=r"assistants\.0 is an entry of a list"):
        overridden("assistants.0=x", assistants=[{}])


def test_long_texts_are_shortened_to_their_start_and_end() -> None:
    assert shorten("0123456789", 10) == "0123456789"
    assert shorten("0123456789x", 10) == "012...89x"


def test_networks_are_swept_by_name() -> None:
    config = load_config(EXAMPLE)
    space, _ = split_overrides(["student.model.name=resnet8,resnet14"])
    check_space(config, space)
    model = configured(config, {"student.model.name": "resnet14"}).student.model
    assert (model.name, model.options) == ("resnet14", {})


def test_a_sweep_gives_options_to_the_network_it_names() -> None:
    values = {"student.model.options.dropout": 0.25, "student.model.name": "tiny_wide"}
    model = configured(load_config(EXAMPLE), values).student.model
    assert (model.name, model.options) == ("tiny_wide", {"dropout": 0.25})


def test_options_set_next_to_swept_networks_are_refused() -> None:
    with pytest.raises(UnderstudyError, match=r"student\.model\.options\.dropout is set, but"):
        split_overrides(["student.model.name=resnet8,tiny_res", "student.model.options.dropout=0"])


def test_former_names_of_the_photometric_keys_are_read() -> None:
    old = {"data": {"augment": {"randaugment": 2, "randaugment_magnitude": 0.25}}}
    augment = parse(RunConfig, old).data.augment
    assert (augment.photometric, augment.photometric_magnitude) == (2, 0.25)
    written = to_mapping(parse(RunConfig, old))["data"]["augment"]
    assert written["photometric"] == 2 and "randaugment" not in written


def test_former_names_override_the_current_ones_of_a_recipe() -> None:
    config = load_config(EXAMPLE, ["data.augment.photometric=1", "data.augment.randaugment=3"])
    assert config.data.augment.photometric == 3
    assert configured(config, {"data.augment.randaugment": 2}).data.augment.photometric == 2


def test_a_former_name_next_to_the_current_one_is_refused() -> None:
    with pytest.raises(UnderstudyError, match=r"randaugment is the former name of .*photometric"):
        parse(RunConfig, {"data": {"augment": {"randaugment": 2, "photometric": 2}}})


def test_onecycle_is_another_name_of_cosine() -> None:
    assert TrainConfig(schedule="onecycle") == TrainConfig(schedule="cosine")
    config = load_config(EXAMPLE, ["train.schedule=onecycle"])
    assert config == load_config(EXAMPLE, ["train.schedule=cosine"])
    assert "schedule: cosine" in to_yaml(config)


def test_the_config_of_an_old_run_is_the_same_config() -> None:
    new = load_config(EXAMPLE, ["data.augment.photometric=1"])
    text = to_yaml(new).replace("schedule: cosine", "schedule: onecycle")
    old = text.replace("photometric", "randaugment")
    assert "randaugment_magnitude" in old and "onecycle" in old
    assert from_yaml(old, "config.yaml") == new


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("name=!!bool x", "the value of name is not valid YAML: a number or tag in '!!bool x'"),
        ("name=!!int x", "not valid YAML"),
        ("train.lr=!!float x", "not valid YAML"),
        ("name=0x_", "the value of name is not valid YAML: a number or tag in '0x_'"),
        ("name=!!timestamp 2024-01-01", "not valid YAML"),
        ("name=!!binary aGk=", "not valid YAML"),
        ("name=!!set {a}", "not valid YAML"),
        ("method.x=&a [*a]", "nested too deeply"),
        ("method.x=" + "[" * 1500, "nested too deeply"),
        ("method.x=" + "[" * 60 + "]" * 60, "nested too deeply"),
        ("method." + "a." * 1500 + "b=1", "nested too deeply"),
        ("train.epochs=" + "9" * 5000, "not valid YAML"),
        ("train.epochs=" + "9" * 1000, "a whole number of 3322 bits"),
        ("seeds=[0x" + "f" * 5000 + "]", "a whole number of 20000 bits"),
        ("teacher=[1]", "teacher: Input should be"),
        ("method=3", "method: Input should be a valid dictionary, not 3"),
        ("train=soon", "train: Input should be"),
        ("data.augment.=1", r"unknown key data.augment.: known: color_jitter, erasing, flip"),
        ("student.model.options={1: 2}", r"student.model.options.1: Input should be .*, not 1"),
        ("train.lr=" + "x" * 500, r"train.lr: Input should be a valid number, .*, not 'xx+\.\.\.x"),
    ],
)
def test_an_odd_override_is_refused_in_one_short_line(override: str, message: str) -> None:
    with pytest.raises(UnderstudyError, match=message) as refused:
        load_config(EXAMPLE, [override])
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


@pytest.mark.parametrize("name", ["2024-02-30", "2024-02-03", "=", "1_a"])
def test_text_that_looks_like_a_date_or_a_sign_is_text(name: str) -> None:
    assert load_config(EXAMPLE, [f"name={name}"]).name == name


def test_no_override_ends_in_a_traceback() -> None:
    """Keys of every section with values of every kind: accepted, or refused in one line."""
    keys = [
        f"{section}.{key}"
        for section, values in to_mapping(RunConfig()).items()
        if isinstance(values, dict)
        for key in values
    ]
    keys += [
        "name",
        "method",
        "teacher",
        "seeds",
        "arms",
        "assistants",
        "arms.a",
        "teacher.members.0",
    ]
    keys += [
        "method.name",
        "student.model.name",
        "teacher.model.options",
        "data.augment.randaugment",
        "..",
        "a..b",
    ]
    values = [
        "",
        "~",
        "true",
        "-1",
        "1e400",
        ".nan",
        ".inf",
        "0x_",
        "..",
        "2024-02-30",
        "!!bool x",
        "!!int 3",
        "[]",
        "{}",
    ]
    values += [
        "[[1], 2]",
        "{a: {b: 1}}",
        "{1: 2}",
        "{~: ~}",
        "&a [*a]",
        "'\\0'",
        '"\\0\\n"',
        "*a",
        "[",
        "!x y",
        "{? [1] : 2}",
    ]
    rng = random.Random(0)
    pairs = [(rng.choice(keys), rng.choice(values)) for _ in range(400)]
    refused = []
    for (key, value), (second, other) in zip(pairs[::2], pairs[1::2], strict=True):
        try:
            load_config(EXAMPLE, [f"{key}={value}", f"{second}={other}"])
        except UnderstudyError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert not [line for line in refused if "\n" in line]


def test_a_recipe_with_odd_keys_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    for text in ('"a\\nb": 1', "1: 2", "~: 3", "train: {true: 1}"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UnderstudyError, match="unknown key") as refused:
            load_config(str(path))
        assert "\n" not in str(refused.value)


def test_yaml_values_are_plain() -> None:
    text = "{a: 1e-3, b: 2024-01-01, c: [1, ~, true], d: 0x10, e: =}"
    assert parse_yaml(text, "it") == {
        "a": 1e-3,
        "b": "2024-01-01",
        "c": [1, None, True],
        "d": 16,
        "e": "=",
    }


@pytest.mark.parametrize("name", ["..", ".", "a..b", ":", "os.path", "no_such_module.X"])
def test_a_method_that_is_no_path_to_a_class_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(UnderstudyError) as refused:
        method_config(load_config(EXAMPLE, [f"method={name!r}"]).method)
    assert "\n" not in str(refused.value)


def test_an_arm_may_be_the_name_of_its_method(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("data: {source: digits}\narms: {mine: at, other: {name: dkd}}\n")
    config = load_config(str(recipe), ["arms.third=sp"])
    assert config.arms == {
        "mine": {"name": "at"},
        "other": {"name": "dkd"},
        "third": {"name": "sp"},
    }
