"""A new head on a given network: solved on its features, or trained on from there."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.worlds import SeenEvents, TinyNet, config_for, write_colours
from torch import Tensor, nn

from understudy.config.schema import RunConfig
from understudy.data.dataset import SealedSplit
from understudy.data.prepare import TrainingData, prepare_data
from understudy.errors import UnderstudyError
from understudy.evaluation.metrics import accuracy, predict
from understudy.experiment import run_experiment, train_arm
from understudy.models import build_model, deployed
from understudy.models.heads import find_head, head_inputs
from understudy.runs.folder import RunFolder
from understudy.runs.networks import arm_data
from understudy.runs.new_head import HeadOptions, learn_head
from understudy.runs.plan import resolve_plan
from understudy.runs.precheck import Precheck
from understudy.training.device import make_fabric

TINY = {"name": "tests.worlds.TinyNet", "options": {"channels": 16}}


class PooledScores(nn.Module):
    """Scores at every pixel, averaged: no linear layer gives the logits."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.last = nn.Conv2d(3, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(images).relu().mean((2, 3))


def trained(num_classes: int) -> TinyNet:
    """A function of a user's package that builds a network and loads its weights."""
    network = TinyNet(num_classes, 16)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        torch.nn.init.normal_(network.conv.weight)
    return network


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("images") / "colours.npz", contrast=20)


@pytest.fixture(scope="module")
def data(images: Path) -> TrainingData:
    return prepare_data(config_for(images).data)[0]


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a network of eleven classes whose features are random and fixed."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("trunk") / "eleven.safetensors"
    save_file(deployed(TinyNet(11, 16)).state_dict(), path)
    return path


def recipe(images: Path, path: Path | None, head: str, **teacher: Any) -> RunConfig:
    given = {"model": TINY, "path": None if path is None else str(path), "head": head}
    train = {"epochs": 2, "batch_size": 16, "lr": 3e-3, "precision": "fp32"}
    return config_for(images, teacher=given | teacher, train=train, seeds=[0])


def learnt(
    config: RunConfig, data: TrainingData, cache: Path, observer: SeenEvents | None = None
) -> TinyNet:
    run = resolve_plan(config).arm_run("teacher", 0)
    torch.manual_seed(0)
    options = HeadOptions(config.teacher.head_views, str(cache), observer=observer or SeenEvents())
    seen, _ = arm_data(data, SealedSplit(data.val), run.arm)
    network = learn_head(run, seen, make_fabric("cpu", "fp32"), options).network
    assert isinstance(network, TinyNet)
    return network


def test_the_probe_is_as_accurate_as_scikit_learn_on_the_same_features(
    images: Path, data: TrainingData, trunk: Path, tmp_path: Path
) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    config = recipe(images, trunk, "linear-probe", head_views=1)
    network = learnt(config, data, tmp_path).eval()
    head = find_head(network, data.image, "tiny")
    with head_inputs(network, head) as found:
        for split in (data.train, data.val):
            predict(network, split, data.config, torch.device("cpu"))
    train, val = (features.numpy() for features in found)
    best = 0.0
    for strength in (0.01, 0.1, 1, 10, 100):
        model = make_pipeline(
            StandardScaler(), linear.LogisticRegression(C=strength, max_iter=5000)
        ).fit(train, data.train.labels.numpy())
        best = max(best, model.score(val, data.val.labels.numpy()))
    logits = predict(network, data.val, data.config, torch.device("cpu"))
    assert accuracy(logits, data.val.labels) >= best - 0.005


def test_only_the_head_is_new_and_the_same_seed_gives_the_same_bits(
    images: Path, data: TrainingData, trunk: Path, tmp_path: Path
) -> None:
    config = recipe(images, trunk, "linear-probe")
    first, given = learnt(config, data, tmp_path / "a"), load_file(trunk)
    for name, tensor in first.state_dict().items():
        assert name.startswith("fc.") or torch.equal(tensor, given[name])
    assert first.fc.weight.shape == (3, 16)
    cached = learnt(config, data, tmp_path / "a")
    again = learnt(config, data, tmp_path / "b")
    assert torch.equal(first.fc.weight, cached.fc.weight)
    assert torch.equal(first.fc.weight, again.fc.weight)


def test_features_are_computed_once(
    images: Path, data: TrainingData, trunk: Path, tmp_path: Path
) -> None:
    config, seen, again = recipe(images, trunk, "linear-probe"), SeenEvents(), SeenEvents()
    learnt(config, data, tmp_path, seen)
    learnt(config, data, tmp_path, again)
    assert [step.phase for step in seen.steps] == ["label"] * 3  # two views, and validation
    assert again.steps == []


def test_features_are_those_of_the_images_that_the_teacher_is_fed(
    images: Path, data: TrainingData, trunk: Path, tmp_path: Path
) -> None:
    """With another normalisation the probe is another one, and fits what the arm is fed later."""
    own = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}
    config = recipe(images, trunk, "linear-probe", **own)
    network = learnt(config, data, tmp_path)
    plain = learnt(recipe(images, trunk, "linear-probe"), data, tmp_path)
    assert not torch.equal(network.fc.weight, plain.fc.weight)
    inputs = resolve_plan(config).arm("teacher").inputs
    fed = predict(network, data.val, inputs, torch.device("cpu"))
    other = predict(network, data.val, data.config, torch.device("cpu"))
    labels = data.val.labels
    assert nn.functional.cross_entropy(fed, labels) < nn.functional.cross_entropy(other, labels)


def test_fine_tuning_starts_from_the_probe_and_improves_it(
    images: Path, data: TrainingData, trunk: Path, tmp_path: Path
) -> None:
    train = {"epochs": 12, "lr": 1e-2}
    probe = learnt(recipe(images, trunk, "linear-probe"), data, tmp_path)
    seen = SeenEvents()
    tuned = learnt(recipe(images, trunk, "finetune", train=train), data, tmp_path, seen)
    assert not torch.equal(probe.conv.weight, tuned.conv.weight)
    losses = []
    for network in (probe, tuned):
        logits = predict(network, data.val, data.config, torch.device("cpu"))
        losses.append(float(nn.functional.cross_entropy(logits, data.val.labels)))
    assert losses[1] < losses[0]
    assert "linear probe, regularisation" in seen.lines[0]
    assert seen.lines[1].startswith("teacher-seed0: fine-tuning, 12 epochs of 48 images: about ")


def test_fine_tuning_has_a_small_rate_and_few_views_of_its_own(images: Path, trunk: Path) -> None:
    plan = resolve_plan(recipe(images, trunk, "finetune", train={"epochs": 3}))
    train = plan.arm("teacher").train
    assert (train.lr, train.optimizer, train.epochs) == (1e-4, "adamw", 3)
    assert plan.arm("baseline").train.lr == 3e-3
    assert plan.arm("teacher").epochs == 3
    probe = resolve_plan(recipe(images, trunk, "linear-probe")).arm("teacher")
    assert probe.epochs == 0 and not probe.is_given


def test_a_probe_for_two_classes(images: Path, data: TrainingData, trunk: Path, tmp_path: Path):
    def two(split: Any) -> Any:
        return split.take(torch.nonzero(split.labels < 2).flatten())

    pair = replace(data, train=two(data.train), val=two(data.val), class_names=("a", "b"))
    pair = replace(pair, rows=torch.arange(len(pair.train)))
    network = learnt(recipe(images, trunk, "linear-probe"), pair, tmp_path)
    logits = predict(network, pair.val, pair.config, torch.device("cpu"))
    assert logits.shape[1] == 2 and accuracy(logits, pair.val.labels) >= 0.75


def test_a_network_without_a_linear_head_is_refused_before_anything_trains(
    images: Path, data: TrainingData, tmp_path: Path
) -> None:
    name = f"{__name__}.PooledScores"
    path = tmp_path / "scores.safetensors"
    save_file(PooledScores(3).state_dict(), path)
    config = recipe(images, path, "linear-probe", model={"name": name})
    with pytest.raises(UnderstudyError, match=r"^teacher: model .*PooledScores has no linear"):
        Precheck(data).check(resolve_plan(config))


def test_a_head_on_random_weights_is_refused(images: Path) -> None:
    config = recipe(images, None, "linear-probe", model={"name": "resnet8"})
    with pytest.raises(UnderstudyError, match=r"and resnet8 has random weights: set teacher\.path"):
        resolve_plan(config)


def test_a_function_that_gives_a_trained_network_needs_no_file(
    images: Path, data: TrainingData, tmp_path: Path
) -> None:
    config = recipe(
        images, Path("pretrained"), "linear-probe", model={"name": f"{__name__}.trained"}
    )
    Precheck(data).check(resolve_plan(config))
    network = learnt(config, data, tmp_path)
    assert torch.equal(network.conv.weight, trained(3).conv.weight)
    own = recipe(images, Path("pretrained"), "own", model={"name": "resnet8"})
    with pytest.raises(UnderstudyError, match=r"teacher\.path: resnet8 comes without weights"):
        resolve_plan(own)


def test_a_file_of_another_network_is_refused_whatever_its_head(
    images: Path, data: TrainingData, tmp_path: Path
) -> None:
    path = tmp_path / "other.safetensors"
    save_file(TinyNet(11, 8).state_dict(), path)
    with pytest.raises(UnderstudyError, match=r"^teacher: .*does not fit the network"):
        Precheck(data).check(resolve_plan(recipe(images, path, "linear-probe")))


@pytest.mark.parametrize("head", ["linear-probe", "finetune"])
def test_the_saved_teacher_is_one_plain_network_of_the_classes_of_the_images(
    images: Path, trunk: Path, tmp_path: Path, head: str
) -> None:
    config = recipe(images, trunk, head, min_accuracy=0.0)
    out, cache = tmp_path / "run", str(tmp_path / "cache")
    results = run_experiment(config, out, device="cpu", workers=1, cache=cache)
    assert results is not None
    assert results.arms["teacher"].method == ("linear-probe" if head == "linear-probe" else head)
    state = load_file(RunFolder(out).weights("teacher-seed0"))
    network = build_model(TINY["name"], 3, options=TINY["options"])
    network.load_state_dict(state)
    # It is a teacher for other runs, as any network of a run's folder is.
    other = config_for(
        images,
        teacher={"model": TINY, "path": str(RunFolder(out).weights("teacher-seed0"))}
        | {"min_accuracy": 0.0, "go_on": True},
        seeds=[0],
    )
    given = run_experiment(other, tmp_path / "other", device="cpu", workers=1, cache=cache)
    assert given is not None
    first, second = results.arms["teacher"].runs[0], given.arms["teacher"].runs[0]
    assert first.test.accuracy == second.test.accuracy


def test_interrupted_fine_tuning_resumes_to_the_same_bits(
    images: Path, data: TrainingData, trunk: Path, tmp_path: Path
) -> None:
    class StopAfterOne(SeenEvents):
        def epoch(self, result: Any, training: str = "") -> None:
            raise KeyboardInterrupt

    config = recipe(images, trunk, "finetune", train={"epochs": 2})
    whole = train_arm(config, "teacher", 0, tmp_path / "whole", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        train_arm(config, "teacher", 0, tmp_path / "cut", device="cpu", observer=StopAfterOne())
    resumed = train_arm(config, "teacher", 0, tmp_path / "cut", device="cpu", resume=True)
    assert resumed.val == whole.val
    files = [RunFolder(tmp_path / name).weights("teacher-seed0") for name in ("whole", "cut")]
    states = [load_file(path) for path in files]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
