"""What can be swept, how it is written, and what a trial's configuration is."""

from pathlib import Path
from typing import Any

import pytest
from tests.sweep.small_sweep import small_config

from understudy.errors import UnderstudyError
from understudy.sweep.space import (
    Choice,
    Range,
    baseline_values,
    check_space,
    configured,
    describe,
    grid_cells,
    label,
    make_space,
    split_overrides,
)

CONFIG = small_config(Path("nowhere.npz"))


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("method.temperature=1,2.5", Choice("method.temperature", (1, 2.5))),
        ("train.optimizer=sgd,adamw", Choice("train.optimizer", ("sgd", "adamw"))),
        ("train.step_milestones=[5,10],[8]", Choice("train.step_milestones", ([5, 10], [8]))),
        ("train.lr=1e-3,1e-2", Choice("train.lr", (1e-3, 1e-2))),
        ("train.epochs=5..15", Range("train.epochs", "int", 5, 15)),
        ("method.alpha=0.1..0.9", Range("method.alpha", "float", 0.1, 0.9)),
        ("train.lr=log:1e-4..1e-2", Range("train.lr", "float", 1e-4, 1e-2, True)),
        ("train.batch_size=log:16..256", Range("train.batch_size", "int", 16, 256, True)),
        ("train.epochs=1..2", Range("train.epochs", "int", 1, 2, False)),
        ("data.augment.view_seed=-3..+4", Range("data.augment.view_seed", "int", -3, 4)),
        ("train.lr=1..2.5", Range("train.lr", "float", 1.0, 2.5)),
        ("train.lr= 1e-3..1 ", Range("train.lr", "float", 1e-3, 1.0)),
        ("train.lr=log:1e-6..1", Range("train.lr", "float", 1e-6, 1.0, True)),
        (
            "student.options={a: [1, 2], b: 3},{a: 4}",
            Choice("student.options", ({"a": [1, 2], "b": 3}, {"a": 4})),
        ),
        ("""method.name="a,b",'c,d',e""", Choice("method.name", ("a,b", "c,d", "e"))),
        ("""method.name="it's, so",x""", Choice("method.name", ("it's, so", "x"))),
        ("train.stop_epoch=null,2", Choice("train.stop_epoch", (None, 2))),
    ],
)
def test_dimensions_are_read(text: str, dimension: Choice | Range):
    assert split_overrides([text]) == ([dimension], [])


@pytest.mark.parametrize(
    "text",
    [
        "train.lr=1e-3",
        "data.path=../images",
        "data.mean=[0.1,0.2,0.3]",
        'data.path="a,b"',
        "method=dkd",
    ],
)
def test_one_value_stays_a_plain_override(text: str):
    assert split_overrides([text]) == ([], [text])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train.epochs=5..5", "from a smaller number to a larger"),
        ("train.lr=log:0..1", "starts above 0"),
        ("train.lr=log:fast", "write it as train.lr=log:1e-4..1e-2"),
        ("train.lr=1,,2", "a value is missing"),
        ("train.lr=1,1.0", "given twice"),
        ("train.lr=1,2,1", "given twice"),
        ("train.epochs=6..5", "from a smaller number to a larger"),
        ("train.lr=1,2,", "a value is missing"),
        ("train.lr=log:-1..1", "starts above 0"),
    ],
)
def test_malformed_dimensions_are_refused(text: str, says: str):
    with pytest.raises(UnderstudyError, match=says):
        split_overrides([text])


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"teacher.seed": [0, 1]}, "trained once"),
        ({"data.val_fraction": [0.1, 0.2]}, "only data.augment"),
        ({"data.augmentation": [1, 2]}, "only data.augment"),
        ({"seeds": [[0], [1]]}, "--seeds"),
        ({"benchmark.threads": [1, 2]}, "does not change"),
        ({"name": ["a", "b"]}, "does not change"),
        ({"arms.x": [1, 2]}, "sweep method"),
        ({"method.temprature": [1, 2]}, "did you mean method.temperature"),
        ({"train.lr": [1e-3, -1.0]}, "train.lr must be above 0"),
        ({"train.lr": "0.0..1.0"}, "train.lr must be above 0"),
        ({"method.name": ["dkd", "kd"], "method.beta": [1, 2]}, "method.beta"),
        ({"train.label_smoothing": "0.0..1.0"}, r"train.label_smoothing must lie in \[0, 1\)"),
        (
            {"train.lr": "0.1..1.0", "train.grad_clip": [0, -1]},
            "train.grad_clip must be at least 0",
        ),
        (
            {"train.lr": [1e-3, 1e-2], "train.label_smoothing": [0.5, 1.0]},
            "train.label_smoothing must lie",
        ),
        ({"reference.x": [1, 2]}, "does not change"),
        ({}, "nothing to sweep"),
    ],
)
def test_shared_and_refused_options_cannot_be_swept(space: dict[str, Any], says: str):
    with pytest.raises(UnderstudyError, match=says):
        check_space(CONFIG, make_space(space))


def test_a_space_is_given_as_lists_or_as_text_or_as_dimensions():
    space = make_space(
        {"train.lr": "log:1e-4..1e-2", "method.alpha": "0.1,0.9", "train.epochs": [2, 3]}
    )
    assert space == (
        Range("train.lr", "float", 1e-4, 1e-2, True),
        Choice("method.alpha", (0.1, 0.9)),
        Choice("train.epochs", (2, 3)),
    )
    assert make_space(list(space)) == space
    with pytest.raises(UnderstudyError, match=r"^train.lr=0.1 is one value: give several"):
        make_space({"train.lr": "0.1"})
    with pytest.raises(UnderstudyError, match=r"^train.lr has one value: give several"):
        make_space({"train.lr": [0.1]})
    with pytest.raises(UnderstudyError, match=r"^train\.lr is swept twice"):
        make_space([space[0], space[1], space[0]])


def test_a_space_is_described_in_baseline_values():
    space = make_space({"train.step_milestones": [[1], [2]], "train.epochs": "log:1..9"})
    assert describe(space) == [
        {"key": "train.step_milestones", "values": [[1], [2]], "kind": "choice"},
        {"key": "train.epochs", "kind": "int", "low": 1, "high": 9, "log": True},
    ]


def test_a_key_is_swept_once():
    with pytest.raises(UnderstudyError, match="twice"):
        split_overrides(["train.lr=1,2", "train.lr=3,4"])


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["method.temperature=1,2", "method.temperature=3"],
            r"^method.temperature is swept, and method.temperature is set to one value: keep",
        ),
        (["train.lr=1e-3", "train.lr=log:1e-4..1e-2"], "train.lr is swept, and train.lr is set"),
        (["method=dkd,kd", "method.name=at"], "method is swept, and method.name is set"),
        (["method=dkd,kd", "method=at"], "method is swept, and method is set"),
        (
            ["method.temperature=3", "method={name: kd},{name: dkd}"],
            r"such as method=\{name: kd, temperature: ...\},\{...\}$",
        ),
        (
            ["method.name=kd,dkd", "method.temperature=3"],
            "method.temperature is set, but the values of method.name take its place",
        ),
        (["method.name=kd,dkd", "method=at"], "method.name is swept, and method is set"),
        (
            ["data.augment={padding: 1},{flip: true}", "data.augment.mix=cutmix"],
            r"such as data.augment=\{mix: ...\},\{...\}$",
        ),
    ],
)
def test_a_plain_override_that_swept_values_would_replace_is_refused(
    overrides: list[str], says: str
):
    with pytest.raises(UnderstudyError, match=says):
        split_overrides(overrides)


def test_a_plain_override_beside_or_above_what_is_swept_stays():
    beside = ["method=dkd", "method.beta=2", "data.augment.padding=1"]
    assert (
        split_overrides([*beside, "method.temperature=1,2", "data.augment.flip=true,false"])[1]
        == beside
    )


def test_views_may_be_swept_because_the_teacher_labels_each_once():
    check_space(
        CONFIG, make_space({"data.augment.padding": [0, 1], "data.augment.flip": [True, False]})
    )


def test_views_may_be_swept_as_a_whole_and_a_key_in_them_beside():
    space, _ = split_overrides(
        ["data.augment.flip=true,false", "data.augment={padding: 0},{padding: 2, mix: cutmix}"]
    )
    check_space(CONFIG, space)
    seen = [configured(CONFIG, values).data.augment for values in grid_cells(space)]
    assert [(a.flip, a.padding, a.mix) for a in seen] == [
        (True, 0, "none"),
        (True, 2, "cutmix"),
        (False, 0, "none"),
        (False, 2, "cutmix"),
    ]
    with pytest.raises(UnderstudyError, match=r"data\.augment"):
        check_space(CONFIG, make_space({"data.augment": [1, 2]}))


def test_a_trial_has_its_own_values_and_the_recipes_teacher():
    changed = configured(CONFIG, {"train.epochs": 7, "train.lr": 1e-5, "method.temperature": 2})
    assert (changed.train.epochs, changed.train.lr, changed.method["temperature"]) == (7, 1e-5, 2)
    assert changed.teacher_train == CONFIG.teacher_train
    assert changed.student == CONFIG.student


def test_assistants_and_teacher_train_as_in_the_recipe():
    """``train`` is their default as well, but they are trained once for all trials."""
    own = {"model": {"name": "resnet8"}, "train": {"batch_size": 5}}
    config = small_config(Path("nowhere.npz"), assistants=[own, {"model": {"name": "resnet8"}}])
    changed = configured(config, {"train.lr": 0.5, "train.epochs": 9})
    assert (changed.train.lr, changed.train.epochs) == (0.5, 9)
    for number in (0, 1):
        assert changed.assistant_train(number) == config.assistant_train(number)
    assert (
        changed.assistant_train(0).batch_size == 5 and changed.teacher_train == config.teacher_train
    )


def test_values_keep_their_kind_on_their_way_into_the_recipe():
    changed = configured(
        CONFIG,
        {"train.stop_epoch": None, "train.step_milestones": [1, 2], "data.augment.flip": False},
    )
    assert (changed.train.stop_epoch, changed.train.step_milestones, changed.data.augment.flip) == (
        None,
        (1, 2),
        False,
    )
    whole = configured(
        CONFIG, {"method": {"name": "dkd", "nckd_weight": 2}, "train.optimizer": "sgd"}
    )
    assert whole.method == {"name": "dkd", "nckd_weight": 2} and whole.train.optimizer == "sgd"
    assert configured(CONFIG, {}).train == CONFIG.train


def test_another_method_drops_the_recipes_options():
    config = small_config(Path("nowhere.npz"), method={"name": "kd", "alpha": 0.5})
    changed = configured(config, {"method.temperature": 2, "method.name": "dkd"})
    assert changed.method == {"name": "dkd", "temperature": 2}


def test_a_grid_has_every_combination_once():
    cells = grid_cells(make_space({"train.epochs": "1..3", "method.alpha": [0.1, 0.9]}))
    assert len(cells) == 6 == len({tuple(c.items()) for c in cells})
    assert cells[:2] == [
        {"train.epochs": 1, "method.alpha": 0.1},
        {"train.epochs": 1, "method.alpha": 0.9},
    ]
    assert [c["train.epochs"] for c in cells[::2]] == [1, 2, 3], "both ends"
    for text in ("0.1..0.9", "log:1..9"):
        with pytest.raises(UnderstudyError, match="a grid cannot walk through"):
            grid_cells(make_space({"train.lr": text}))


def test_values_are_shown_on_a_line_and_told_apart_from_the_methods():
    values = {"method.name": "kd", "train.lr": 0.00123456, "train.step_milestones": [1, 2]}
    assert label(values) == "method.name=kd train.lr=0.001235 train.step_milestones=[1, 2]"
    assert (
        label({"a": None, "b": True, "c": "x", "d": 2, "e": {"f": 1}})
        == 'a=null b=true c=x d=2 e={"f": 1}'
    )
    assert baseline_values({"method": {"name": "at"}, "methods": 1, "student.method": 2}) == {
        "methods": 1,
        "student.method": 2,
    }
    assert baseline_values(values) == {"train.lr": 0.00123456, "train.step_milestones": [1, 2]}
