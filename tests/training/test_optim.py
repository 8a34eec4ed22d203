"""Learning rates and decay as the configuration says."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from understudy.config.recipe import load_config
from understudy.config.schema import TrainConfig
from understudy.training.optim import lr_factor, make_optimizer

STEPS = 20  # an epoch


def factors(config: TrainConfig) -> list[float]:
    return [lr_factor(config, step, STEPS) for step in range(config.epochs * STEPS)]


def test_founding_recipe_halves_the_rate_every_five_epochs() -> None:
    config = load_config("cifar10-founding").train
    by_epoch = [
        factors(config)[epoch * STEPS : (epoch + 1) * STEPS] for epoch in range(config.epochs)
    ]
    assert all(len(set(epoch)) == 1 for epoch in by_epoch), "the rate changes between epochs only"
    assert [epoch[0] for epoch in by_epoch] == [1.0] * 5 + [0.5] * 5 + [0.25] * 5


def test_milestones_replace_the_fixed_distance() -> None:
    config = TrainConfig(epochs=6, schedule="step", step_milestones=(2, 5), step_gamma=0.1)
    assert factors(config)[::STEPS] == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.01])


@pytest.mark.parametrize("warmup", [0.2, 0.33, 0.5])
def test_onecycle_rises_to_the_peak_once_and_falls_to_zero(warmup: float) -> None:
    values = factors(TrainConfig(epochs=5, schedule="onecycle", warmup_fraction=warmup))
    peak = values.index(max(values))
    assert peak == pytest.approx(warmup * len(values), abs=1)
    assert values[peak] == pytest.approx(1, abs=1e-3) and max(values) <= 1
    assert 0 < values[0] < 0.06 and 0 < values[-1] < 0.01
    assert all(a < b for a, b in pairwise(values[: peak + 1])) and all(
        a > b for a, b in pairwise(values[peak + 1 :])
    )


def test_cosine_without_warmup_starts_at_the_peak() -> None:
    values = factors(TrainConfig(epochs=2, schedule="cosine", warmup_fraction=0))
    assert values[0] == 1 and values[STEPS] == pytest.approx(0.5) and 0 < values[-1] < 0.01


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", {0: 1, 39: 1}),
        # 40 steps, of which 0.3 * 40 = 12 rise: 1/13 a step; then half a cosine over 28 steps:
        # cos(pi / 4) after 7 of them.
        (
            "onecycle",
            {
                0: 1 / 13,
                5: 6 / 13,
                11: 12 / 13,
                12: 1,
                19: 0.8535534,
                26: 0.5,
                33: 0.1464466,
                39: 0.0031439,
            },
        ),
        (
            "cosine",
            {
                0: 1 / 13,
                5: 6 / 13,
                11: 12 / 13,
                12: 1,
                19: 0.8535534,
                26: 0.5,
                33: 0.1464466,
                39: 0.0031439,
            },
        ),
    ],
)
def test_rates_at_known_steps(schedule: str, expected: dict[int, float]) -> None:
    values = factors(TrainConfig(epochs=2, schedule=schedule, warmup_fraction=0.3))
    assert {step: values[step] for step in expected} == pytest.approx(expected, abs=1e-6)


def test_warmup_that_ends_between_two_steps_reaches_the_peak_once() -> None:
    # 0.33 * 20 = 6.6 steps of warm-up: step 6 is the last of them, at 7/7; step 7 is 0.4 / 13.4
    # of the way down.
    values = factors(TrainConfig(epochs=1, schedule="onecycle", warmup_fraction=0.33))
    assert values[:7] == pytest.approx([1 / 7, 2 / 7, 3 / 7, 4 / 7, 5 / 7, 6 / 7, 1])
    assert values[7] == pytest.approx(0.9978030, abs=1e-6) and values[19] == pytest.approx(
        0.0136785, abs=1e-6
    )


def test_training_of_one_step_has_the_peak_rate() -> None:
    assert lr_factor(TrainConfig(epochs=1, warmup_fraction=0.2), 0, 1) == 1.0
    # Of two steps 0.8 are warm-up: the second is 0.2 / 1.2 of the way down half a cosine.
    assert lr_factor(TrainConfig(epochs=2, warmup_fraction=0.4), 1, 1) == pytest.approx(0.9330127)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"step_epochs": 1, "step_gamma": 0.3}, [1, 0.3, 0.09, 0.027]),
        ({"step_epochs": 2, "step_gamma": 0.3}, [1, 1, 0.3, 0.3]),
        ({"step_epochs": 1, "step_milestones": (1, 3), "step_gamma": 0.3}, [1, 0.3, 0.3, 0.09]),
    ],
    ids=str,
)
def test_steps_fall_at_the_start_of_an_epoch(
    change: dict[str, object], expected: list[float]
) -> None:
    values = factors(TrainConfig(epochs=4, schedule="step", **change))
    assert values[::STEPS] == pytest.approx(expected) and values[
        STEPS - 1 :: STEPS
    ] == pytest.approx(expected)


def test_constant_is_constant() -> None:
    assert set(factors(TrainConfig(epochs=3, schedule="constant"))) == {1.0}


def make_network() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    network[3].bias.requires_grad_(False)
    return network


def test_norms_and_biases_are_decayed_by_default() -> None:
    network = make_network()
    (group,) = make_optimizer(network, TrainConfig(weight_decay=0.1)).param_groups
    assert group["weight_decay"] == 0.1 and len(group["params"]) == 5, "the frozen bias is left out"

    decayed, spared = make_optimizer(
        network, TrainConfig(weight_decay=0.1, decay_norms=False)
    ).param_groups
    assert decayed["weight_decay"] == 0.1 and {id(p) for p in decayed["params"]} == {
        id(network[0].weight),
        id(network[3].weight),
    }
    assert (
        spared["weight_decay"] == 0.0
        and all(p.ndim == 1 for p in spared["params"])
        and len(spared["params"]) == 3
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)],
)
def test_optimizer_is_the_named_one_fused_at_the_peak_rate(name: str, kind: type) -> None:
    optimizer = make_optimizer(make_network(), TrainConfig(optimizer=name, lr=0.03))
    assert type(optimizer) is kind
    assert all(group["lr"] == 0.03 and group["fused"] for group in optimizer.param_groups)


def after_a_step_without_gradient(optimizer: str) -> float:
    """Where a weight of 1 is after one step with a zero gradient, lr 0.1 and weight decay 0.5."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    network.weight.grad = torch.zeros(1, 1)
    make_optimizer(
        network, TrainConfig(optimizer=optimizer, lr=0.1, weight_decay=0.5, momentum=0.0)
    ).step()
    return network.weight.item()


def test_adam_couples_its_decay_and_adamw_does_not() -> None:
    # Coupled, the decay is a gradient, which Adam's first step normalises to a whole step of lr;
    # decoupled, it is lr * decay.
    assert after_a_step_without_gradient("adam") == pytest.approx(1 - 0.1)
    assert after_a_step_without_gradient("adamw") == pytest.approx(1 - 0.1 * 0.5)
    assert after_a_step_without_gradient("sgd") == pytest.approx(1 - 0.1 * 0.5)


def after_two_steps(momentum: float) -> float:
    """Where a weight of 1 is after two steps with a gradient of 1 and lr 0.1."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    optimizer = make_optimizer(
        network,
        TrainConfig(
            optimizer="sgd", lr=0.1, weight_decay=0.0, decay_norms=False, momentum=momentum
        ),
    )
    for _ in range(2):
        network.weight.grad = torch.ones(1, 1)
        optimizer.step()
    return network.weight.item()


def test_momentum_is_nesterov_and_off_at_zero() -> None:
    # Nesterov: the buffer is 1, then 1 + m; each step moves by lr * (1 + m * buffer).
    for momentum in (0.9, 0.25):
        moved = 0.1 * (1 + momentum * 1) + 0.1 * (1 + momentum * (1 + momentum))
        assert after_two_steps(momentum) == pytest.approx(1 - moved)
    assert after_two_steps(0.0) == pytest.approx(1 - 0.2)
