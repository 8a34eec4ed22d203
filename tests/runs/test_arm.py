"""One arm: what is written when it ends, which teacher it is taught by and how that one sees its
images, what is refused."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.worlds import TinyNet, tiny_data, tiny_net, write_colours

from understudy.config.parse import parse
from understudy.config.schema import RunConfig
from understudy.data.loader import TrainBatches
from understudy.data.prepare import TrainingData, prepare_data
from understudy.errors import UnderstudyError
from understudy.evaluation.metrics import metrics, predict
from understudy.events import EpochResult
from understudy.files import write_json
from understudy.runs.arm import ArmOptions, _check_shared, run_arm
from understudy.runs.finish import TrainedArm, finish_arm
from understudy.runs.folder import RunFolder
from understudy.runs.history import write_history
from understudy.runs.networks import load_teacher, trained_network
from understudy.runs.plan import resolve_plan
from understudy.runs.results import ArmResult
from understudy.teachers.cached import cached_teacher
from understudy.teachers.frozen import FrozenTeacher
from understudy.training.device import make_fabric
from understudy.training.weights import save_weights

CPU = torch.device("cpu")
TINY = {"model": {"name": "tests.worlds.TinyNet"}}
OWN = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}


def recipe(images: Path | str = "nowhere.npz", **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "data": {
            "source": "npz",
            "path": str(images),
            "val_fraction": 0.2,
            "augment": {"padding": 1},
        },
        "teacher": TINY,
        "student": TINY,
        "train": {"epochs": 2, "batch_size": 16, "precision": "fp32"},
        "seeds": [0, 1],
    }
    return parse(RunConfig, values | changes)


def epoch(number: int, accuracy: float, **changes: Any) -> EpochResult:
    values: dict[str, Any] = {
        "lr": 0.1,
        "losses": {"loss": 1.0},
        "train_accuracy": 0.5,
        "val_loss": 1.0,
        "seconds": 1.0,
        "images_per_second": 10.0,
    }
    return EpochResult(epoch=number, val_accuracy=accuracy, **values | changes)


def finish(
    run: Path,
    history: list[EpochResult],
    config: RunConfig | None = None,
    arm: str = "baseline",
    seed: int = 1,
) -> ArmResult:
    plan, folder = resolve_plan(config or recipe()), RunFolder(run)
    return finish_arm(
        plan,
        plan.arm_run(arm, seed),
        folder,
        TrainedArm(tiny_net(), history, 100.0),
        tiny_data(),
        None,
        make_fabric("cpu", "fp32"),
        teachers=folder,
    )


def test_an_arm_is_evaluated_in_the_precision_of_its_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precisions = []

    def record(*args: Any, precision: str) -> torch.Tensor:
        precisions.append(precision)
        return predict(*args, precision=precision)

    monkeypatch.setattr("understudy.runs.finish.predict", record)
    train = {"epochs": 2, "batch_size": 16, "precision": "bf16"}
    result = finish(tmp_path, [epoch(0, 0.5)], recipe(train=train))
    assert precisions == ["bf16"] and result.precision == "bf16"


def teacher_of(
    config: RunConfig,
    run: Path,
    data: TrainingData,
    arm: str = "distilled",
    seed: int = 0,
    teachers: Path | None = None,
) -> FrozenTeacher:
    plan = resolve_plan(config)
    home = None if teachers is None else RunFolder(teachers)
    return load_teacher(plan, plan.arm_run(arm, seed), RunFolder(run), data, CPU, home)


# -- what is written when an arm has been trained
# -------------------------------------------------------------------------


def test_best_epoch_has_the_highest_validation_accuracy(tmp_path: Path):
    losses, accuracies = [0.2, 0.9, 0.5, 0.1], [0.3, 0.8, 0.6, 0.1]
    result = finish(
        tmp_path,
        [epoch(n, a, val_loss=x) for n, (a, x) in enumerate(zip(accuracies, losses, strict=True))],
    )
    assert (result.best_epoch, result.best_val_accuracy) == (1, 0.8), (
        "neither the last, nor that of the lowest loss"
    )
    tie = finish(
        tmp_path, [epoch(0, 0.1), epoch(1, 0.7, val_loss=0.9), epoch(2, 0.7, val_loss=0.1)]
    )
    assert tie.best_epoch == 1, "of equals the first"


def test_the_pace_is_the_median_the_labelling_the_sum_of_the_epochs(tmp_path: Path):
    rates, labels = [10.0, 40.0, 13.0, 9.0], [4.0, 0.5, 0.25, 0.0]
    history = [
        epoch(n, 0.5, images_per_second=r, label_seconds=x)
        for n, (r, x) in enumerate(zip(rates, labels, strict=True))
    ]
    result = finish(tmp_path, history)
    assert result.images_per_second == 11.5 and result.label_seconds == 4.75 and result.epochs == 4
    assert 100 < result.seconds < 200, "the training's, and those of the evaluation"
    empty = [
        epoch(0, 0.5, seconds=0.0, images_per_second=0.0),
        epoch(1, 0.5, images_per_second=30.0),
    ]
    assert finish(tmp_path, empty).images_per_second == 30.0, (
        "an epoch that took no time has no pace"
    )


def test_what_was_never_trained_has_no_epochs(tmp_path: Path):
    result = finish(
        tmp_path, [], recipe(teacher=TINY | {"path": "given.safetensors"}), "teacher", 0
    )
    expected = {
        "epochs": 0,
        "images_per_second": None,
        "label_seconds": 0,
        "best_epoch": None,
        "best_val_accuracy": None,
    }
    assert {key: getattr(result, key) for key in expected} == expected
    assert result.method == "given"


def test_a_result_names_arm_network_method_and_teacher(tmp_path: Path):
    config = recipe(
        teacher={"model": {"name": "resnet8"}, "members": [{}, {"model": {"name": "resnet14"}}]},
        assistants=[{"model": {"name": "resnet20"}, "method": {"name": "at"}}],
        arms={"labels": {"name": "ce"}},
    )
    keys = ("arm", "seed", "model", "method", "taught_by")
    found = [
        tuple(getattr(finish(tmp_path, [], config, arm), key) for key in keys)
        for arm in ("teacher", "member2", "assistant1", "baseline", "distilled", "labels")
    ]
    tiny = "tests.worlds.TinyNet"
    assert found == [
        ("teacher", 0, "resnet8 + resnet14", "ensemble", None),
        ("member2", 1, "resnet14", "ce", None),
        ("assistant1", 0, "resnet20", "at", "teacher"),
        ("baseline", 1, tiny, "ce", None),
        ("distilled", 1, tiny, "kd", "assistant1"),
        ("labels", 1, tiny, "ce", None),
    ]


def test_the_weights_and_figures_are_those_of_the_network(tmp_path: Path):
    result, data, net = finish(tmp_path, []), tiny_data(), tiny_net()
    kept = load_file(tmp_path / "models" / "baseline-seed1.safetensors")
    assert kept.keys() == net.state_dict().keys()
    assert all(torch.equal(kept[name], value) for name, value in net.state_dict().items())
    logits = predict(net, data.val, recipe().data, CPU)
    assert result.val == metrics(logits, data.val.labels)
    assert result.test is None, "the test split stayed sealed"
    with np.load(tmp_path / "arms" / "baseline-seed1" / "predictions-val.npz") as file:
        np.testing.assert_array_equal(file["logits"], logits.half().numpy())
        np.testing.assert_array_equal(file["labels"], data.val.labels.numpy())
    assert not (tmp_path / "arms" / "baseline-seed1" / "predictions.npz").exists()


def test_an_arm_is_compared_with_the_teacher_of_its_seed(tmp_path: Path):
    config, data = recipe(teacher=TINY | {"per_seed": True}), tiny_data()
    theirs = {
        seed: torch.randn(6, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)
    }
    for seed, logits in theirs.items():
        folder = tmp_path / "arms" / f"teacher-seed{seed}"
        folder.mkdir(parents=True)
        np.savez(folder / "predictions-val.npz", logits=logits.numpy())
        np.savez(folder / "predictions.npz", logits=-logits.numpy())
    ours = predict(tiny_net(), data.val, config.data, CPU)
    for seed in (0, 1):
        expected = metrics(ours, data.val.labels, theirs[seed])
        found = finish(tmp_path, [], config, "baseline", seed).val
        assert found.agreement == expected.agreement
        assert found.teacher_kl == pytest.approx(expected.teacher_kl)
    assert finish(tmp_path, [], config, "teacher", 1).val.agreement is None, (
        "a teacher is not compared with itself"
    )


def test_history_has_a_row_per_epoch_and_a_column_per_term(tmp_path: Path):
    first = epoch(
        0,
        0.25,
        lr=0.5,
        losses={"loss": 3.0, "ce": 1.0, "at": 2.0},
        val_loss=1.5,
        label_seconds=0.75,
        seconds=2.0,
    )
    second = epoch(
        1, 0.5, losses={"loss": 2.0, "kd": 2.0}, measures={"critic": 0.875}, train_accuracy=0.125
    )
    write_history(tmp_path / "history.csv", [("distilled", 3, first), ("baseline", 4, second)])
    text = (tmp_path / "history.csv").read_text()
    assert text.splitlines()[0] == (
        "arm,seed,epoch,lr,train_loss,train_ce,train_kd,train_at,train_accuracy,val_loss,val_accuracy,seconds,"
        "images_per_second,label_seconds,critic"
    )
    one, other = csv.DictReader(text.splitlines())
    assert one == {
        "arm": "distilled",
        "seed": "3",
        "epoch": "0",
        "lr": "0.5",
        "train_loss": "3.0",
        "train_ce": "1.0",
        "train_kd": "",
        "train_at": "2.0",
        "train_accuracy": "0.5",
        "val_loss": "1.5",
        "val_accuracy": "0.25",
        "seconds": "2.0",
        "images_per_second": "10.0",
        "label_seconds": "0.75",
        "critic": "",
    }
    assert {
        k: other[k]
        for k in ("arm", "seed", "epoch", "train_ce", "train_kd", "train_accuracy", "critic")
    } == {
        "arm": "baseline",
        "seed": "4",
        "epoch": "1",
        "train_ce": "",
        "train_kd": "2.0",
        "train_accuracy": "0.125",
        "critic": "0.875",
    }


def test_json_has_null_for_what_is_not_a_number(tmp_path: Path):
    write_json(
        tmp_path / "a.json",
        {"a": [1.5, float("nan"), (float("nan"), "b")], "c": {"d": float("nan"), "e": 0.0}},
    )
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "a": [1.5, None, [None, "b"]],
        "c": {"d": None, "e": 0.0},
    }


# -- which training is meant
# ----------------------------------------------------------------------------------------------


def seeds_in(config: RunConfig) -> dict[str, tuple[int, int | None]]:
    """Seed and teacher's seed of every arm's training that belongs to seed 1."""
    plan = resolve_plan(config)
    runs = [plan.arm_run(name, 1) for name in plan.arms]
    return {run.arm.name: (run.seed, run.teacher_seed) for run in runs}


def test_a_seed_has_its_own_training_or_the_shared_one():
    shared = recipe(teacher=TINY | {"seed": 7, "members": [{}, {"seed": 3}]}, assistants=[TINY])
    assert seeds_in(shared) == {
        "teacher": (7, None),
        "member1": (7, None),
        "member2": (3, None),
        "assistant1": (7, 7),
        "baseline": (1, 7),
        "distilled": (1, 7),
    }
    apart = recipe(teacher=TINY | {"seed": 7, "per_seed": True}, assistants=[TINY])
    assert seeds_in(apart) == {
        "teacher": (1, None),
        "assistant1": (1, 1),
        "baseline": (1, 1),
        "distilled": (1, 1),
    }
    plan = resolve_plan(apart)
    assert plan.arm_run("distilled", 1).name == "distilled-seed1"
    with pytest.raises(
        UnderstudyError,
        match=r"^there is no arm 'techer': this run has teacher, assistant1, baseline, dist",
    ):
        plan.arm("techer")


def test_the_teacher_alone_sees_images_normalised_its_own_way():
    config = recipe(teacher=TINY | OWN, assistants=[TINY])
    plan = resolve_plan(config)
    own = replace(config.data, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    assert plan.arm("teacher").inputs == own
    for arm in ("assistant1", "baseline", "distilled"):
        assert plan.arm(arm).inputs == config.data
    members = recipe(teacher=TINY | OWN | {"members": [{}, {"mean": [0, 0, 0], "std": [1, 1, 1]}]})
    arms = resolve_plan(members).arms
    assert arms["teacher"].inputs == members.data, "each member changes the images for itself"
    assert arms["member1"].inputs.mean == (0.1, 0.2, 0.3)
    assert (arms["member2"].inputs.mean, arms["member2"].inputs.std) == ((0, 0, 0), (1, 1, 1))


# -- who teaches -----------------------------------------------------------------------------------
# -----------------------


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("images") / "colours.npz")


@pytest.fixture(scope="module")
def data(images: Path) -> TrainingData:
    return prepare_data(recipe(images).data)[0]


def left_by(run: Path, name: str, seed: int) -> torch.nn.Module:
    """Put random weights where a trained arm leaves its own."""
    network = tiny_net(seed).eval()
    save_weights(run / "models" / f"{name}.safetensors", network)
    return network


def cache_of(config: RunConfig, run: Path, data: TrainingData, cache: Path) -> str:
    """The folder of the outputs that the distilled student of seed 0 is taught by."""
    teacher = teacher_of(config, run, data)
    batches = TrainBatches(data.train, data.config, 16, 0, CPU)
    return cached_teacher(teacher, data, batches, str(cache)).store.folder.name


def test_teachers_of_other_normalisation_share_no_cache(data: TrainingData, tmp_path: Path):
    """The outputs depend on the teacher's own mean and on its own std: each is part of the cache's
    key."""
    left_by(tmp_path, "teacher-seed0", 3)
    changes: list[dict[str, Any]] = [
        {},
        OWN,
        OWN | {"mean": [0.1, 0.2, 0.4]},
        OWN | {"std": [0.5, 0.6, 0.8]},
        OWN,
    ]
    folders = [
        cache_of(recipe(teacher=TINY | change), tmp_path, data, tmp_path / "cache")
        for change in changes
    ]
    assert len(set(folders[:4])) == 4 and folders[4] == folders[1]


def test_ensembles_of_other_normalisation_share_no_cache(data: TrainingData, tmp_path: Path):
    for number in (1, 2):
        left_by(tmp_path, f"member{number}-seed{number - 1}", number)
    changes: list[list[dict[str, Any]]] = [
        [{}, {}],
        [{}, OWN],
        [OWN, {}],
        [{}, OWN | {"mean": [0.1, 0.2, 0.4]}],
        [{}, OWN | {"std": [0.5, 0.6, 0.8]}],
        [{}, OWN],
    ]
    folders = [
        cache_of(recipe(teacher=TINY | {"members": m}), tmp_path, data, tmp_path / "cache")
        for m in changes
    ]
    assert len(set(folders[:5])) == 5 and folders[5] == folders[1]


def test_cache_depends_on_weights_views_precision_normalisation(data: TrainingData, tmp_path: Path):
    left_by(tmp_path / "a", "teacher-seed0", 3)
    left_by(tmp_path / "b", "teacher-seed0", 4)
    plain = recipe()
    bf16 = recipe(teacher=TINY | {"train": {"precision": "bf16"}})
    names = [cache_of(plain, tmp_path / run, data, tmp_path / "cache") for run in "ab"]
    names.append(cache_of(bf16, tmp_path / "a", data, tmp_path / "cache"))
    for changed in (
        replace(data.config, mean=(0.5, 0.5, 0.6)),
        replace(data.config, std=(0.25, 0.25, 0.3)),
    ):
        names.append(
            cache_of(
                replace(plain, data=changed),
                tmp_path / "a",
                replace(data, config=changed),
                tmp_path / "cache",
            )
        )
    more = replace(data.config, augment=replace(data.config.augment, padding=2))
    names.append(cache_of(plain, tmp_path / "a", replace(data, config=more), tmp_path / "cache"))
    assert len(set(names)) == len(names) == 6


def test_a_teacher_sees_images_normalised_its_own_way(data: TrainingData, tmp_path: Path):
    network = left_by(tmp_path, "teacher-seed0", 3)
    config = recipe(teacher=TINY | OWN)
    teacher = teacher_of(config, tmp_path, data)
    batches = TrainBatches(data.train, data.config, 16, 0, CPU)
    batch = next(batches.epoch(0, batches.policy.epoch(0)))
    mean, std = (torch.tensor(OWN[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    pixels = batch.images * 0.25 + 0.5  # the data's std and mean
    torch.testing.assert_close(
        teacher.outputs(batch).logits, network((pixels - mean) / std), rtol=1e-4, atol=1e-5
    )
    assert teacher.precision == "fp32" and not teacher.model.training


def test_members_see_their_own_images_and_outputs_are_weighed(data: TrainingData, tmp_path: Path):
    one, other = left_by(tmp_path, "member1-seed5", 1), left_by(tmp_path, "member2-seed9", 2)
    members = [{"weight": 1}, OWN | {"weight": 3, "seed": 9}]
    config = recipe(teacher=TINY | {"seed": 5, "members": members})
    plan = resolve_plan(config)
    run = plan.arm_run("teacher", 0)
    network = trained_network(plan, run, RunFolder(tmp_path), data)
    pixels = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(OWN[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    expected = 0.25 * one((pixels - 0.5) / 0.25).softmax(1) + 0.75 * other(
        (pixels - mean) / std
    ).softmax(1)
    torch.testing.assert_close(
        network((pixels - 0.5) / 0.25).softmax(1), expected, rtol=1e-4, atol=1e-5
    )


def test_students_are_taught_by_the_network_the_chain_names(data: TrainingData, tmp_path: Path):
    """Each of these networks has other weights: what comes back shows which file was read."""
    nets = {
        name: left_by(tmp_path / place, name, number)
        for number, (place, name) in enumerate(
            [
                ("teachers", "teacher-seed0"),
                ("teachers", "teacher-seed1"),
                ("teachers", "assistant1-seed0"),
                ("teachers", "assistant1-seed1"),
                ("run", "again-gen1-seed0"),
                ("run", "again-gen1-seed1"),
            ]
        )
    }

    def taught_by(config: RunConfig, arm: str, seed: int) -> str:
        teacher = teacher_of(config, tmp_path / "run", data, arm, seed, tmp_path / "teachers")
        return next(
            name
            for name, net in nets.items()
            if torch.equal(net.fc.weight, teacher.model.fc.weight)
        )

    arms = {
        "direct": {"name": "kd", "teacher": "teacher"},
        "again": {"name": "born_again", "teacher": "teacher"},
    }
    shared = recipe(assistants=[TINY], arms=arms)
    assert [taught_by(shared, "distilled", seed) for seed in (0, 1)] == ["assistant1-seed0"] * 2
    assert [taught_by(shared, "assistant1", seed) for seed in (0, 1)] == ["teacher-seed0"] * 2
    assert [taught_by(shared, "direct", seed) for seed in (0, 1)] == ["teacher-seed0"] * 2
    assert [taught_by(shared, "again", seed) for seed in (0, 1)] == [
        "again-gen1-seed0",
        "again-gen1-seed1",
    ]
    assert [taught_by(shared, "again-gen1", seed) for seed in (0, 1)] == ["teacher-seed0"] * 2
    apart = recipe(teacher=TINY | {"per_seed": True}, assistants=[TINY], arms=arms)
    for arm, teacher in (
        ("distilled", "assistant1"),
        ("assistant1", "teacher"),
        ("direct", "teacher"),
        ("again", "again-gen1"),
        ("again-gen1", "teacher"),
    ):
        assert [taught_by(apart, arm, seed) for seed in (0, 1)] == [
            f"{teacher}-seed0",
            f"{teacher}-seed1",
        ]


# -- a teacher that is given
# ----------------------------------------------------------------------------------------------


def reached(config: RunConfig, run: Path) -> ArmResult:
    plan = resolve_plan(config)
    teacher = plan.arm_run("teacher", 0)
    return run_arm(plan, teacher, RunFolder(run), ArmOptions("cpu"), final=False)


def sees_colours() -> torch.nn.Module:
    """A network that knows the three colours: the mean of each channel is the logit of its
    class."""
    net = TinyNet(channels=3).eval()
    with torch.no_grad():
        net.conv.weight.zero_()
        net.conv.weight[:, :, 1, 1] = torch.eye(3)
        net.fc.weight.copy_(torch.eye(3))
        net.fc.bias.zero_()
    return net


def given(
    images: Path, run: Path, network: torch.nn.Module | None = None, **changes: Any
) -> tuple[RunConfig, float]:
    """A run whose teacher is a file (of random weights, by default), and that teacher's accuracy on
    validation."""
    network = network or tiny_net(5)
    save_weights(run / "given.safetensors", network)
    model = {
        "model": {"name": "tests.worlds.TinyNet", "options": {"channels": network.embedding_dim}}
    }
    config = recipe(images, teacher=model | {"path": str(run / "given.safetensors")} | changes)
    data, _ = prepare_data(config.data)
    logits = predict(network, data.val, resolve_plan(config).arm("teacher").inputs, CPU)
    return config, float((logits.argmax(1) == data.val.labels).double().mean())


def test_a_given_teacher_is_taken_at_its_threshold_and_refused_below(images: Path, tmp_path: Path):
    _, accuracy = given(images, tmp_path)
    assert 0 < accuracy < 2 / 3
    config, _ = given(images, tmp_path, min_accuracy=accuracy)
    result = reached(config, tmp_path / "at")
    assert result.val.accuracy == accuracy and result.epochs == 0 and result.method == "given"
    assert not (tmp_path / "at" / "arms" / "teacher-seed0" / "checkpoint.pt").exists()
    kept, theirs = (
        load_file(tmp_path / "at" / "models" / "teacher-seed0.safetensors"),
        tiny_net(5).state_dict(),
    )
    assert all(torch.equal(kept[name], value) for name, value in theirs.items()), (
        "measured, not trained"
    )
    config, _ = given(images, tmp_path, min_accuracy=accuracy + 1e-9)
    with pytest.raises(
        UnderstudyError,
        match=rf"has {100 * accuracy:.1f} % on validation, below {100 * accuracy:.1f} %",
    ):
        reached(config, tmp_path / "below")
    assert not (tmp_path / "below" / "models").exists()


def test_a_given_teacher_must_be_better_than_chance(images: Path, tmp_path: Path):
    config, _ = given(images, tmp_path)
    with pytest.raises(UnderstudyError, match=r"below 40\.7 %"):  # three classes
        reached(config, tmp_path / "run")


def test_a_given_teacher_is_measured_with_its_own_normalisation(images: Path, tmp_path: Path):
    config, right = given(images, tmp_path, sees_colours())
    assert right == 1 and reached(config, tmp_path / "right").val.accuracy == 1
    config, wrong = given(
        images, tmp_path, sees_colours(), mean=[0.9, 0.0, 0.9], std=[0.1, 0.1, 0.1]
    )
    assert wrong < 2 / 3
    with pytest.raises(UnderstudyError, match=rf"has {100 * wrong:.1f} % on validation"):
        reached(config, tmp_path / "wrong")


def test_machines_must_share_the_run_folder(tmp_path: Path):
    class Ranks:
        """Two ranks, the other of which sees nothing."""

        world_size, is_global_zero, device = 2, False, torch.device("cpu")

        def barrier(self) -> None:
            pass

        def all_reduce(self, mine: torch.Tensor, reduce_op: str) -> torch.Tensor:
            return {"sum": mine + 1, "mean": (mine + 1) / 2}[reduce_op]

    with pytest.raises(
        UnderstudyError,
        match=r"^1 ranks do not see .*: give --out on storage that all nodes share$",
    ):
        _check_shared(tmp_path, Ranks())
    with pytest.raises(UnderstudyError, match=r"^2 ranks"):
        _check_shared(tmp_path / "elsewhere", Ranks())
