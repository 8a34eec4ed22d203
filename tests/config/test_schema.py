"""Recipes and overrides: what is misspelt is named, what is out of range is refused, what is written comes back."""

from pathlib import Path

import pytest

from understudy.config.recipe import (
    apply_override,
    from_yaml,
    load_config,
    recipe_names,
    to_mapping,
    to_yaml,
)
from understudy.config.schema import DataConfig, RunConfig, TrainConfig, parse
from understudy.errors import UnderstudyError


def recipe_file(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_comes_along_parses_and_comes_back(name: str) -> None:
    config = load_config(name)
    assert config.name == name
    assert config.teacher_train.epochs >= 1
    assert from_yaml(to_yaml(config), "the text") == config


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("trian.epochs=3", "unknown key trian: did you mean train?"),
        ("train.epoch=3", "unknown key train.epoch: did you mean train.epochs?"),
        (
            "data.augment.pading=2",
            "unknown key data.augment.pading: did you mean data.augment.padding?",
        ),
        ("teacher.model.nme=x", "unknown key teacher.model.nme: did you mean teacher.model.name?"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(override: str, hint: str) -> None:
    with pytest.raises(UnderstudyError) as caught:
        load_config("digits", [override])
    assert str(caught.value) == hint


def test_a_key_like_no_other_gets_the_list() -> None:
    with pytest.raises(
        UnderstudyError, match=r"unknown key qqq: known: arms, assistants, benchmark, data, .*train"
    ):
        load_config("digits", ["qqq=1"])


@pytest.mark.parametrize(
    ("override", "path", "reason"),
    [
        ("train.epochs=0", "train.epochs", "at least 1"),
        ("train.epochs=soon", "train.epochs", "valid integer"),
        ("train.lr=-1", "train.lr", "above 0"),
        ("train.lr=.nan", "train.lr", "above 0"),
        ("train.optimizer=lion", "train.optimizer", "'sgd', 'adam' or 'adamw'"),
        ("data.val_fraction=1", "data.val_fraction", "between 0 and 1"),
        ("data.std=[0.5, 0, 0.5]", "data.std", "above 0"),
        ("data.mean=[0.5]", "data.mean", "same length"),
        ("data.augment.randaugment_magnitude=2", "augment.randaugment_magnitude", r"\[0, 1\]"),
        ("seeds=[]", "seeds", "at least one"),
        ("seeds=[1, 1]", "seeds", "differ"),
        ("teacher.mean=[0.5, 0.5, 0.5]", "teacher.mean", "together"),
        ("arms.teacher.name=kd", "arms.teacher", "reserved"),
    ],
)
def test_a_value_that_does_not_fit_gets_one_line_with_its_path(
    override: str, path: str, reason: str
) -> None:
    with pytest.raises(UnderstudyError, match=reason) as caught:
        load_config("digits", [override])
    assert path in str(caught.value) and "\n" not in str(caught.value)


def test_the_line_says_what_was_given() -> None:
    with pytest.raises(UnderstudyError, match=r"train.epochs: .*, not 'soon'"):
        load_config("digits", ["train.epochs=soon"])


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("1E-3", 1e-3), ("1.0e-3", 1e-3), ("2e1", 20.0), ("5", 5.0), ("-1e-3", -1e-3)],
)
def test_exponents_are_numbers_in_overrides_and_in_yaml(
    tmp_path: Path, text: str, value: float
) -> None:
    values: dict = {}
    apply_override(values, f"method.alpha={text}")
    assert values == {"method": {"alpha": value}} and isinstance(
        values["method"]["alpha"], (int, float)
    )
    recipe = recipe_file(tmp_path, f"method: {{name: kd, alpha: {text}}}")
    assert load_config(recipe).method["alpha"] == value


def test_overrides_are_yaml_values() -> None:
    config = load_config(
        "digits",
        ["seeds=[4, 5]", "data.augment.flip=true", "train.lr=1e-2", "data.path=null", "name=a=b"],
    )
    assert config.seeds == (4, 5) and config.data.augment.flip is True and config.train.lr == 1e-2
    assert config.data.path is None and config.name == "a=b"


def test_later_overrides_win_and_the_rest_of_the_recipe_stays() -> None:
    plain, changed = (
        load_config("digits"),
        load_config("digits", ["train.epochs=2", "train.epochs=3"]),
    )
    assert changed.train.epochs == 3
    assert to_mapping(changed) == {
        **to_mapping(plain),
        "train": {**to_mapping(plain)["train"], "epochs": 3},
    }


@pytest.mark.parametrize("key", ["method", "method.name"])
def test_another_method_drops_the_old_ones_options(key: str) -> None:
    assert load_config("digits").method == {"name": "kd", "temperature": 4, "alpha": 0.7}
    assert load_config("digits", [f"{key}=ce"]).method == {"name": "ce"}
    assert load_config("digits", [f"{key}=dkd", "method.beta=2"]).method == {
        "name": "dkd",
        "beta": 2,
    }
    assert load_config("digits", [f"{key}=kd"]).method["temperature"] == 4, (
        "the same method keeps them"
    )


def test_a_method_written_as_a_bare_word_can_be_replaced(tmp_path: Path) -> None:
    assert load_config(recipe_file(tmp_path, "method: kd"), ["method=ce"]).method == {"name": "ce"}


@pytest.mark.parametrize("override", ["train.epochs", "=3", ""])
def test_an_override_without_key_or_value_is_refused(override: str) -> None:
    with pytest.raises(UnderstudyError, match="not of the form key=value"):
        load_config("digits", [override])


def test_an_override_through_a_value_is_refused() -> None:
    with pytest.raises(UnderstudyError, match=r"train.epochs is a value, not a section"):
        load_config("digits", ["train.epochs.more=3"])


def test_text_that_is_not_yaml_is_refused(tmp_path: Path) -> None:
    for text in ("train: [1, 2", "a: b: c", "\tx: 1"):
        with pytest.raises(UnderstudyError, match=r"is not valid YAML: .*line 1") as caught:
            load_config(recipe_file(tmp_path, text))
        assert "\n" not in str(caught.value)
    with pytest.raises(UnderstudyError, match=r"value of train.lr is not valid YAML"):
        load_config("digits", ["train.lr=[1"])


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    target = tmp_path / "hacked"
    with pytest.raises(UnderstudyError, match="not valid YAML"):
        load_config(recipe_file(tmp_path, f"name: !!python/object/apply:os.mkdir ['{target}']"))
    assert not target.exists()


def test_a_recipe_must_be_a_mapping_that_exists(tmp_path: Path) -> None:
    with pytest.raises(UnderstudyError, match="must be a mapping"):
        load_config(recipe_file(tmp_path, "- a\n- b"))
    with pytest.raises(UnderstudyError, match=r"cannot read the recipe .*nowhere.yaml"):
        load_config(str(tmp_path / "nowhere.yaml"))
    with pytest.raises(UnderstudyError, match=r"unknown recipe 'digit': did you mean digits?"):
        load_config("digit")
    with pytest.raises(UnderstudyError, match=r"or give a .yaml file"):
        load_config("qqq")
    with pytest.raises(UnderstudyError, match="is not a run's configuration"):
        from_yaml("just words", "config.yaml")


def test_an_empty_recipe_is_the_defaults_under_the_files_name(tmp_path: Path) -> None:
    assert load_config(recipe_file(tmp_path, "")) == RunConfig(name="mine")


def test_the_teacher_trains_as_the_student_but_for_its_own_fields() -> None:
    config = load_config(
        "digits", ["train.batch_size=32", "teacher.train.epochs=1", "teacher.train.lr=1e-2"]
    )
    assert (
        config.teacher_train.epochs,
        config.teacher_train.lr,
        config.teacher_train.batch_size,
    ) == (1, 1e-2, 32)
    assert config.train.epochs == 8, "and the student is not touched"


def test_the_teachers_own_fields_are_checked_as_well() -> None:
    with pytest.raises(
        UnderstudyError,
        match=r"unknown key teacher.train.epoch: did you mean teacher.train.epochs?",
    ):
        _ = load_config("digits", ["teacher.train.epoch=1"]).teacher_train
    with pytest.raises(UnderstudyError, match=r"^teacher.train: .*epochs must be at least 1"):
        _ = load_config("digits", ["teacher.train.epochs=0"]).teacher_train


def test_the_teachers_mean_and_std_belong_together() -> None:
    config = load_config("digits", ["teacher.mean=[0.1, 0.2, 0.3]", "teacher.std=[1, 1, 1]"])
    assert config.teacher.mean == (0.1, 0.2, 0.3)
    for std in ("[1]", "[1, 0, 1]"):
        with pytest.raises(UnderstudyError, match=r"teacher.std"):
            load_config("digits", ["teacher.mean=[0.1, 0.2, 0.3]", f"teacher.std={std}"])


def test_every_field_is_written_out() -> None:
    text = to_yaml(RunConfig())
    for part in (RunConfig(), DataConfig(), TrainConfig()):
        assert all(f"{key}:" in text for key in vars(part))
    assert from_yaml(text, "the text") == RunConfig()


def test_configurations_cannot_be_changed_and_parse_from_plain_values() -> None:
    config = parse(TrainConfig, {"epochs": 2, "step_milestones": [1]})
    assert config == TrainConfig(epochs=2, step_milestones=(1,))
    with pytest.raises(AttributeError):
        config.epochs = 3
