"""Measurements on logits and networks with a known result."""

import math

import pytest
import torch
from tests.worlds import tiny_config, tiny_data, tiny_net, tiny_split
from torch import Tensor, nn

from understudy.config.parse import parse
from understudy.config.schema import RunConfig
from understudy.data.loader import Batch, plain_batches
from understudy.diagnose import measure, soft_targets
from understudy.evaluation.metrics import predict
from understudy.models.base import Outputs
from understudy.runs.plan import resolve_plan
from understudy.teachers.frozen import FrozenTeacher

CPU = torch.device("cpu")


def test_uniform_targets_have_full_entropy_and_no_ranking():
    found = soft_targets.describe_targets(torch.zeros(4, 10), torch.eye(10)[:4], temperature=4)
    assert found.entropy == pytest.approx(math.log(10)) and found.entropy_share == pytest.approx(1)
    assert found.off_top == pytest.approx(0.9) and found.ranking == pytest.approx(0, abs=1e-12)


def test_one_hot_targets_have_no_entropy():
    found = soft_targets.describe_targets(1e4 * torch.eye(10), torch.eye(10), temperature=1)
    assert found.accuracy == 1 and found.confidence == 1
    assert found.entropy == found.off_top == found.ranking == 0


def test_ranking_is_the_information_about_the_other_classes():
    # Half of the probability is off the top class, all of it on one of three: log 3 nats for half.
    logits = torch.tensor([[0.5, 0.5 - 1e-9, 0.0, 0.0]]).log()
    found = soft_targets.describe_targets(logits, torch.eye(4)[:1], temperature=1)
    assert found.ranking == pytest.approx(0.5 * math.log(3), rel=1e-6)


def test_temperature_softens_and_keeps_the_order():
    logits = torch.randn(50, 5, generator=torch.Generator().manual_seed(0)) * 5
    sharp, soft = (
        soft_targets.describe_targets(logits, torch.eye(5)[:1].expand(50, 5), t) for t in (1, 4)
    )
    assert sharp.accuracy == soft.accuracy and sharp.confidence == soft.confidence
    assert sharp.entropy < soft.entropy and sharp.profile == pytest.approx(soft.profile_at_1)
    assert list(soft.profile) == sorted(soft.profile, reverse=True) and sum(
        soft.profile
    ) == pytest.approx(1)


class Oracle(FrozenTeacher):
    """Its outputs are the labels, in their shares."""

    def __init__(self) -> None:
        super().__init__(tiny_net())

    def outputs(self, batch: Batch) -> Outputs:
        return Outputs(soft_targets.label_shares(batch, 3).log().clamp_min(-100).float())


@pytest.mark.parametrize("mix", ["none", "mixup", "cutmix"])
def test_teacher_that_knows_every_label_is_right_on_mixed_images(mix: str):
    config = parse(RunConfig, {"train": {"epochs": 1, "batch_size": 8}, "method": {"name": "kd"}})
    plan, data = resolve_plan(config), tiny_data(96, mix=mix)
    assert measure.measure_targets(plan, Oracle(), data, 0, CPU).accuracy == 1


def test_the_smaller_share_counts_by_the_ratio_of_shares():
    labels, partners, share = (
        torch.tensor([0, 0, 0, 1]),
        torch.tensor([1, 1, 1, 1]),
        torch.tensor([0.6, 0.6, 0.6, 0.6]),
    )
    shares = soft_targets.label_shares(Batch(torch.empty(4), labels, labels, partners, share), 3)
    assert torch.allclose(shares, torch.tensor([[0.6, 0.4, 0]] * 3 + [[0, 1.0, 0]]).double())
    for named, right in ([0, 1, 2, 1], (1 + 0.4 / 0.6 + 0 + 1) / 4), ([2, 2, 2, 0], 0):
        logits = torch.nn.functional.one_hot(torch.tensor(named), 3).float()
        assert soft_targets.describe_targets(logits, shares, 1).accuracy == pytest.approx(right)


class Noisy(nn.Module):
    """Right without dropout; with dropout of everything all logits are 0, which is class 0."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(1.0)

    def forward(self, images: Tensor) -> Tensor:
        return self.drop(images.mean((2, 3)) * 10)


def test_dropout_accuracy_is_of_the_same_images_with_dropout():
    split, network = tiny_split(24), Noisy().eval()
    before = torch.get_rng_state()
    found = measure.measure_fit(network, split, split, tiny_config(), 0, CPU)
    assert found.train_accuracy == 1 and found.dropout_accuracy == pytest.approx(1 / 3)
    assert not network.drop.training and torch.equal(before, torch.get_rng_state())


def test_without_dropout_both_accuracies_are_equal():
    split, network = tiny_split(24), tiny_net().eval()
    before = network.bn.running_mean.clone()
    found = measure.measure_fit(network, split, split, tiny_config(), 0, CPU)
    assert found.dropout_accuracy == found.train_accuracy and torch.equal(
        before, network.bn.running_mean
    )
    logits = predict(network, split, tiny_config(), CPU)
    assert found.train_confidence == pytest.approx(float(logits.softmax(1).max(1).values.mean()))


def test_pixels_are_the_network_input():
    data = tiny_data(24)
    seen = next(iter(plain_batches(data.train, data.config, 24, CPU))).images
    found = measure.normalised_pixels(data.train, data.config)
    assert torch.allclose(found.mean(1), seen.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(found.std(1), seen.transpose(0, 1).flatten(1).std(1), atol=1e-4)


def test_gradient_is_flat_and_zero_for_an_unused_parameter():
    used, unused = torch.tensor([1.0, 2.0], requires_grad=True), torch.ones(3, requires_grad=True)
    found = measure.flat_gradient((used**2).sum(), [used, unused])
    assert found.tolist() == [2, 4, 0, 0, 0]


def stopped(**method: object) -> RunConfig:
    """Two epochs of six."""
    return parse(
        RunConfig,
        {
            "train": {"epochs": 6, "stop_epoch": 2, "batch_size": 8},
            "method": {"name": "kd", "temperature": 4} | method,
        },
    )


def test_after_an_early_stop_gradients_are_of_the_last_trained_epoch():
    config, data = stopped(alpha={"start": 0, "end": 1}), tiny_data(24)
    batches = measure.train_batches(config, data, 0, CPU)
    trained = [batch.index.tolist() for batch in batches.epoch(1, batches.policy.epoch(1))]
    assert [batch.index.tolist() for batch in measure.last_epoch(config, batches, 3)] == trained

    found, at_its_alpha = (
        measure.measure_gradients(
            resolve_plan(each), tiny_net(0), FrozenTeacher(tiny_net(1)), data, 0, CPU
        )
        for each in (config, stopped(alpha=0.2))
    )
    assert found is not None and found == at_its_alpha and set(found.norms) == {"ce", "kd"}
