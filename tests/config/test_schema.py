"""The fields of a recipe: bounds, defaults, inheritance, and the round trip through YAML."""

import dataclasses
from pathlib import Path

import pytest

from understudy.config.parse import parse
from understudy.config.recipe import (
    apply_override,
    from_yaml,
    load_config,
    recipe_names,
    to_mapping,
    to_yaml,
)
from understudy.config.schema import DataConfig, MemberConfig, RunConfig, TrainConfig
from understudy.errors import UnderstudyError

EXAMPLE = str(Path(__file__).with_name("example.yaml"))


DIGITS = "data: {source: digits}\n"


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
        load_config(EXAMPLE, [override])
    assert str(caught.value) == hint


def test_a_key_like_no_other_gets_the_list() -> None:
    with pytest.raises(
        UnderstudyError, match=r"unknown key qqq: known: arms, assistants, benchmark, data, .*train"
    ):
        load_config(EXAMPLE, ["qqq=1"])


@pytest.mark.parametrize(
    ("override", "path", "reason"),
    [
        ("train.epochs=0", "train.epochs", "at least 1"),
        ("train.epochs=soon", "train.epochs", "valid integer"),
        ("train.lr=-1", "train.lr", "above 0"),
        ("train.lr=.nan", "train.lr", "above 0"),
        ("train.optimizer=lion", "train.optimizer", "'sgd', 'adam' or 'adamw'"),
        ("data.val_fraction=1", "data.val_fraction", "between 0 and 1"),
        ("data.resize=stretch", "data.resize", "'crop', 'pad' or 'squash'"),
        ("data.std=[0.5, 0, 0.5]", "data.std", "above 0"),
        ("data.mean=[0.5]", "data.mean", "same length"),
        ("data.augment.photometric_magnitude=2", "augment.photometric_magnitude", r"\[0, 1\]"),
        ("seeds=[]", "seeds", "at least one"),
        ("seeds=[1, 1]", "seeds", "differ"),
        ("train.sampling=even", "train.sampling", "'natural' or 'balanced'"),
        ("train={sampling: balanced, class_weights: balanced}", "train", "set one of them"),
        ("teacher.mean=[0.5, 0.5, 0.5]", "teacher.mean", "together"),
        ("arms.teacher.name=kd", "arms.teacher", "reserved"),
    ],
)
def test_a_value_that_does_not_fit_gets_one_line_with_its_path(
    override: str, path: str, reason: str
) -> None:
    with pytest.raises(UnderstudyError, match=reason) as caught:
        load_config(EXAMPLE, [override])
    assert path in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "allowed", "refused"),
    [
        ("data.augment.padding", "0", "-1"),
        ("data.augment.mix_alpha", "1e-6", "0"),
        ("data.augment.photometric", "0", "-1"),
        ("data.augment.resized_crop", "[0.5, 0.5]", "[0.5, 0.4]"),
        ("data.augment.resized_crop", "[1e-3, 1]", "[0, 1]"),
        ("data.augment.resized_crop", "[0.3, 1]", "[0.3, 1.001]"),
        ("data.augment.color_jitter", "[0, 2, 0, 0.5]", "[0, 2, 0, 0.51]"),
        ("data.augment.color_jitter", "[0, 0, 0, 0]", "[0, -0.1, 0, 0]"),
        ("data.augment.rand_augment_ops", "0", "-1"),
        ("data.augment.rand_augment_magnitude", "0", "-1"),
        ("data.augment.rand_augment_magnitude", "30", "31"),
        ("data.augment.erasing", "0", "-0.1"),
        ("data.augment.erasing", "1", "1.1"),
        ("data.augment.photometric_magnitude", "0", "-1e-6"),
        ("data.augment.photometric_magnitude", "1", "1.000001"),
        ("data.val_fraction", "1e-6", "0"),
        ("data.val_fraction", "0.999999", "1"),
        ("data.train_images", "2", "1"),
        ("data.image_size", "1", "0"),
        ("data.image_size", "[1, 2]", "[2, 0]"),
        ("data.std", "[1e-6, 1, 1]", "[1, 1, 0]"),
        ("data.mean", "[0, 0, 0]", "[0, 0]"),
        ("train.epochs", "8", "0"),
        ("train.stop_epoch", "8", "9"),
        ("train.stop_epoch", "1", "0"),
        ("train.batch_size", "1", "0"),
        ("train.lr", "1e-9", "0"),
        ("train.weight_decay", "0", "-1e-9"),
        ("train.warmup_fraction", "0", "-1e-9"),
        ("train.warmup_fraction", "0.999999", "1"),
        ("train.step_epochs", "1", "0"),
        ("train.label_smoothing", "0", "-1e-9"),
        ("train.label_smoothing", "0.999999", "1"),
        ("train.ema_decay", "0", "-1e-9"),
        ("train.ema_decay", "0.999999", "1"),
        ("train.grad_clip", "0", "-1e-9"),
        ("seeds", f"[{2**62 - 1}]", f"[{2**62}]"),
        ("seeds", f"[-{2**62 - 1}, 0]", f"[-{2**62}, 0]"),
        ("arms", "{mine: {name: kd}}", "{mine: {temperature: 2}}"),
        ("arms", "{my_baseline: {name: kd}}", "{baseline: {name: kd}}"),
        ("arms", "{distilled2: {name: kd}}", "{distilled: {name: kd}}"),
        ("teacher.members", "[{weight: 0}, {weight: 1}]", "[{weight: 0}, {weight: 0}]"),
        ("teacher.members", "[{weight: 1e30}, {}]", "[{weight: .inf}, {}]"),
        ("teacher.members", "[{}, {mean: [0], std: [1]}]", "[{}, {mean: [0], std: [1, 1]}]"),
        ("teacher.members", "[{}, {mean: [0], std: [1e-6]}]", "[{}, {mean: [0], std: [0]}]"),
        ("teacher.members", "[{}, {}]", "[{}]"),
        ("teacher.members", "[{train: {epochs: 1}}, {}]", "[{train: {epochs: 0}}, {}]"),
        (
            "assistants",
            "[{model: {name: a}, train: {epochs: 1}}]",
            "[{model: {name: a}, train: {epochs: 0}}]",
        ),
        (
            "assistants",
            "[{model: {name: a}, method: {name: at}}]",
            "[{model: {name: a}, method: {beta: 1}}]",
        ),
        ("method", "{name: at}", "{beta: 1}"),
    ],
)
def test_a_bound_is_where_it_says(key: str, allowed: str, refused: str) -> None:
    load_config(EXAMPLE, [f"{key}={allowed}"])
    with pytest.raises(UnderstudyError):
        load_config(EXAMPLE, [f"{key}={refused}"])


def test_the_defaults_are_what_recipes_that_leave_them_out_rely_on() -> None:
    config = to_mapping(RunConfig())
    assert config["train"] == {
        "epochs": 15,
        "stop_epoch": None,
        "batch_size": 128,
        "drop_last": False,
        "sampling": "natural",
        "class_weights": "none",
        "optimizer": "adamw",
        "lr": 5e-3,
        "weight_decay": 1e-2,
        "decay_norms": True,
        "momentum": 0.9,
        "schedule": "cosine",
        "warmup_fraction": 0.2,
        "step_epochs": 5,
        "step_milestones": [],
        "step_gamma": 0.5,
        "label_smoothing": 0.0,
        "grad_clip": 0.0,
        "ema_decay": 0.0,
        "precision": "auto",
        "channels_last": True,
        "compile": "off",
        "keep": "last",
    }
    assert config["data"] == {
        "source": "digits",
        "path": None,
        "image_size": None,
        "resize": "crop",
        "interpolation": "bilinear",
        "channels": 3,
        "max_pixels": 178956970,
        "columns": {},
        "group_by": None,
        "report_by": None,
        "skip_bad": False,
        "val_fraction": 0.1,
        "train_images": None,
        "split_seed": 0,
        "folds": None,
        "fold": None,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "augment": {
            "padding": 4,
            "flip": True,
            "vertical_flip": False,
            "resized_crop": None,
            "color_jitter": None,
            "rand_augment_ops": 0,
            "rand_augment_magnitude": 9,
            "erasing": 0.0,
            "mix": "none",
            "mix_alpha": 1.0,
            "photometric": 0,
            "photometric_magnitude": 0.5,
            "view_seed": None,
            "view_epochs": None,
        },
    }
    assert config["teacher"] == {
        "model": {"name": "founding_teacher", "options": {}},
        "train": {},
        "path": None,
        "classes": None,
        "head": "own",
        "head_views": 2,
        "go_on": False,
        "per_seed": False,
        "seed": 0,
        "min_accuracy": None,
        "outputs": "auto",
        "image_size": None,
        "interpolation": None,
        "channels": None,
        "mean": None,
        "std": None,
        "stages": [],
        "members": [],
    }
    assert config["student"] == {"model": {"name": "founding_student", "options": {}}, "stages": []}
    assert config["benchmark"] == {
        "batch_sizes": [1, 128],
        "threads": 1,
        "repeats": 30,
        "warmup": 5,
    }
    rest = {
        key: config[key] for key in ("name", "assistants", "method", "arms", "seeds", "reference")
    }
    assert rest == {
        "name": "run",
        "assistants": [],
        "method": {"name": "kd"},
        "arms": {},
        "seeds": [0, 1, 2],
        "reference": {},
    }
    assert MemberConfig() == MemberConfig(
        model=None, train={}, path=None, seed=None, weight=1.0, mean=None, std=None, stages=None
    )


def test_the_epochs_that_are_run_end_at_the_early_stop() -> None:
    assert (
        TrainConfig(epochs=7).epochs_run == 7
        and TrainConfig(epochs=7, stop_epoch=2).epochs_run == 2
    )


def test_the_line_says_what_was_given() -> None:
    with pytest.raises(UnderstudyError, match=r"train.epochs: .*, not 'soon'"):
        load_config(EXAMPLE, ["train.epochs=soon"])


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
    recipe = recipe_file(tmp_path, f"{DIGITS}method: {{name: kd, alpha: {text}}}")
    assert load_config(recipe).method["alpha"] == value


def test_overrides_are_yaml_values() -> None:
    config = load_config(
        EXAMPLE,
        ["seeds=[4, 5]", "data.augment.flip=true", "train.lr=1e-2", "data.path=null", "name=a=b"],
    )
    assert config.seeds == (4, 5) and config.data.augment.flip is True and config.train.lr == 1e-2
    assert config.data.path is None and config.name == "a=b"


def test_later_overrides_win_and_the_rest_of_the_recipe_stays() -> None:
    plain, changed = (
        load_config(EXAMPLE),
        load_config(EXAMPLE, ["train.epochs=2", "train.epochs=3"]),
    )
    assert changed.train.epochs == 3
    assert to_mapping(changed) == {
        **to_mapping(plain),
        "train": {**to_mapping(plain)["train"], "epochs": 3},
    }


@pytest.mark.parametrize("key", ["method", "method.name"])
def test_another_method_drops_the_old_ones_options(key: str) -> None:
    assert load_config(EXAMPLE).method == {"name": "kd", "temperature": 4, "alpha": 0.7}
    assert load_config(EXAMPLE, [f"{key}=ce"]).method == {"name": "ce"}
    assert load_config(EXAMPLE, [f"{key}=dkd", "method.beta=2"]).method == {
        "name": "dkd",
        "beta": 2,
    }
    assert load_config(EXAMPLE, [f"{key}=kd"]).method["temperature"] == 4, (
        "the same method keeps them"
    )


def test_a_method_written_as_a_bare_word_can_be_replaced(tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, f"{DIGITS}method: kd")
    assert load_config(recipe, ["method=ce"]).method == {"name": "ce"}


@pytest.mark.parametrize("override", ["train.epochs", "=3", ""])
def test_an_override_without_key_or_value_is_refused(override: str) -> None:
    with pytest.raises(UnderstudyError, match="not of the form key=value"):
        load_config(EXAMPLE, [override])


def test_an_override_through_a_value_is_refused() -> None:
    with pytest.raises(UnderstudyError, match=r"train.epochs.* is a value, not a section"):
        load_config(EXAMPLE, ["train.epochs.more=3"])


def test_text_that_is_not_yaml_is_refused(tmp_path: Path) -> None:
    for text in ("train: [1, 2", "a: b: c", "\tx: 1"):
        with pytest.raises(UnderstudyError, match=r"is not valid YAML: .*line 1") as caught:
            load_config(recipe_file(tmp_path, text))
        assert "\n" not in str(caught.value)
    with pytest.raises(UnderstudyError, match=r"value of train.lr is not valid YAML"):
        load_config(EXAMPLE, ["train.lr=[1"])


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


def test_a_recipe_of_data_alone_is_the_defaults_under_the_files_name(tmp_path: Path) -> None:
    assert load_config(recipe_file(tmp_path, DIGITS)) == RunConfig(name="mine")


@pytest.mark.parametrize("text", ["", "train: {epochs: 3}", "data: {image_size: 64}"])
def test_a_recipe_that_names_no_data_is_refused(tmp_path: Path, text: str) -> None:
    recipe = recipe_file(tmp_path, text)
    with pytest.raises(UnderstudyError, match=r"names no data: set data\.source.*understudy init"):
        load_config(recipe)
    assert load_config(recipe, ["data.source=digits"]).data.source == "digits"


def test_the_teacher_trains_as_the_student_but_for_its_own_fields() -> None:
    config = load_config(
        EXAMPLE, ["train.batch_size=32", "teacher.train.epochs=1", "teacher.train.lr=1e-2"]
    )
    assert (
        config.teacher_train.epochs,
        config.teacher_train.lr,
        config.teacher_train.batch_size,
    ) == (1, 1e-2, 32)
    assert config.train.epochs == 8, "and the student is not touched"


def test_members_override_the_teacher_and_it_the_student() -> None:
    config = load_config(
        EXAMPLE,
        [
            "train.batch_size=32",
            "train.lr=0.1",
            "teacher.train={epochs: 3, lr: 0.2, grad_clip: 1}",
            "teacher.members=[{}, {train: {lr: 0.3, momentum: 0.5}}]",
            "assistants=[{model: {name: a}}, {model: {name: b}, train: {lr: 0.4}}]",
        ],
    )
    shown = [
        (t.batch_size, t.epochs, t.lr, t.grad_clip, t.momentum)
        for t in map(config.member_train, (0, 1))
    ]
    assert shown == [(32, 3, 0.2, 1, 0.9), (32, 3, 0.3, 1, 0.5)]
    assistants = [
        (t.batch_size, t.epochs, t.lr, t.grad_clip) for t in map(config.assistant_train, (0, 1))
    ]
    assert assistants == [(32, 8, 0.1, 0), (32, 8, 0.4, 0)], (
        "the teacher's own fields are not theirs"
    )


def test_a_teachers_file_is_given_in_short_and_keeps_its_network() -> None:
    config = load_config(EXAMPLE, ["teacher.model.name=resnet8", "teacher=kept.safetensors"])
    assert (config.teacher.path, config.teacher.model.name) == ("kept.safetensors", "resnet8")
    values: dict = {}
    apply_override(values, "teacher=kept.safetensors")
    assert values == {"teacher": {"path": "kept.safetensors"}}
    whole = load_config(EXAMPLE, ["teacher={model: {name: resnet8}, seed: 4}"])
    assert (whole.teacher.seed, whole.teacher.path, whole.teacher.model.name) == (
        4,
        None,
        "resnet8",
    )


def test_only_another_methods_name_drops_the_options() -> None:
    values: dict = {
        "method": {"name": "kd", "alpha": 0.5},
        "arms": {"mine": {"name": "kd", "alpha": 0.5}},
    }
    apply_override(values, "arms.mine.name=at")
    assert values["arms"]["mine"] == {"name": "at", "alpha": 0.5}, "of an arm its own options stay"
    apply_override(values, "method={name: at, beta: 2}")
    assert values["method"] == {"name": "at", "beta": 2}
    apply_override(values, "method.name=at")
    assert values["method"] == {"name": "at", "beta": 2}
    apply_override(values, "method.stages.first.deep=1")
    assert values["method"]["stages"] == {"first": {"deep": 1}}, (
        "sections that are not there are made"
    )


def test_a_recipes_own_name_wins_over_its_files(tmp_path: Path) -> None:
    assert load_config(recipe_file(tmp_path, f"{DIGITS}name: theirs")).name == "theirs"
    recipe = recipe_file(tmp_path, f"{DIGITS}seeds: [1]")
    assert load_config(recipe, ["method.temperature=2"]).method == {"name": "kd", "temperature": 2}


def test_an_error_in_a_list_names_its_place() -> None:
    with pytest.raises(
        UnderstudyError,
        match=r"^unknown key teacher\.members\.1\.model\.nme: did you mean .*model\.name\?$",
    ):
        load_config(EXAMPLE, ["teacher.members=[{}, {model: {nme: a}}]"])
    with pytest.raises(UnderstudyError, match=r"^teacher\.members\.1\.weight: .*, not 'much'$"):
        load_config(EXAMPLE, ["teacher.members=[{}, {weight: much}]"])
    with pytest.raises(UnderstudyError, match=r"^train\.epochs: .*, not 'x'$"):
        parse(TrainConfig, {"epochs": "x"}, "train")


def test_the_teachers_own_fields_are_checked_as_well() -> None:
    with pytest.raises(
        UnderstudyError,
        match=r"unknown key teacher.train.epoch: did you mean teacher.train.epochs?",
    ):
        _ = load_config(EXAMPLE, ["teacher.train.epoch=1"]).teacher_train
    with pytest.raises(UnderstudyError, match=r"^teacher.train: .*epochs must be at least 1"):
        _ = load_config(EXAMPLE, ["teacher.train.epochs=0"]).teacher_train


def test_the_teachers_mean_and_std_belong_together() -> None:
    config = load_config(EXAMPLE, ["teacher.mean=[0.1, 0.2, 0.3]", "teacher.std=[1, 1, 1]"])
    assert config.teacher.mean == (0.1, 0.2, 0.3)
    for std in ("[1]", "[1, 0, 1]"):
        with pytest.raises(UnderstudyError, match=r"teacher.std"):
            load_config(EXAMPLE, ["teacher.mean=[0.1, 0.2, 0.3]", f"teacher.std={std}"])


def test_every_field_is_written_out() -> None:
    text = to_yaml(RunConfig())
    for part in (RunConfig(), DataConfig(), TrainConfig()):
        assert all(f"{key}:" in text for key in vars(part))
    assert from_yaml(text, "the text") == RunConfig()


def test_configurations_are_frozen_and_parsed_from_plain_values() -> None:
    config = parse(TrainConfig, {"epochs": 2, "step_milestones": [1]})
    assert config == TrainConfig(epochs=2, step_milestones=(1,))
    with pytest.raises(AttributeError):
        config.epochs = 3


def test_later_settings_of_a_training_are_in_its_fingerprint_only_once_they_are_on() -> None:
    """Checkpoints that were written before these settings existed are resumed."""
    plain = TrainConfig()
    every = dataclasses.asdict(plain)
    assert plain.fingerprint == str({k: v for k, v in every.items() if k not in LATER})
    prints = {TrainConfig(**{name: "balanced"}).fingerprint for name in LATER}
    assert len(prints | {plain.fingerprint}) == 3


LATER = ("sampling", "class_weights")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.folds=1", "data.fold=1"], "data.folds must be at least 2"),
        (["data.folds=3", "data.fold=4"], "data.fold must lie between 1 and data.folds"),
        (["data.folds=3"], "must be given together"),
        (["data.fold=1"], "must be given together"),
    ],
)
def test_a_fold_is_one_of_several(overrides: list[str], message: str) -> None:
    with pytest.raises(UnderstudyError, match=message):
        load_config(EXAMPLE, overrides)
