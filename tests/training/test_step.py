"""One step: its parts, and the weight of a rank's loss."""

from dataclasses import replace
from types import SimpleNamespace

import torch
from tests.training.small_training import SETTINGS, make_data, make_method

from understudy.models.base import Outputs
from understudy.training.device import make_fabric
from understudy.training.setup import make_batches
from understudy.training.step import Step, _in_autocast_precision, rank_weight


def one_step(lr: float, weight: float = 1.0, **changes: object) -> tuple[dict, dict]:
    """The student's weights before and after a step."""
    data, config = make_data(), replace(SETTINGS, **changes)
    fabric, method = make_fabric("cpu", "fp32"), make_method(data)
    batches = make_batches(data, config, 0, fabric)
    step = Step(method, config, fabric)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    batch = next(batches.epoch(0, batches.policy.epoch(0)))
    losses, logits = step(batch, None, lr, weight)
    assert list(losses) == ["ce"] and logits.shape == (16, 3)
    assert all(parameter.grad is None for parameter in method.parameters())
    return before, method.state_dict()


def test_learning_rate_of_the_step_is_used() -> None:
    before, after = one_step(0.0, weight_decay=0.0)
    assert all(torch.equal(before[name], after[name]) for name in before)
    before, after = one_step(0.1)
    assert not any(torch.equal(before[name], after[name]) for name in before)


def test_weight_scales_the_gradient() -> None:
    plain = {"momentum": 0.0, "weight_decay": 0.0}
    before, after = one_step(0.1, **plain)
    _, half = one_step(0.1, weight=0.5, **plain)
    for name in before:
        torch.testing.assert_close(half[name] - before[name], (after[name] - before[name]) / 2)


def test_clipping_bounds_the_update() -> None:
    before, after = one_step(1.0, grad_clip=1e-3, momentum=0.0, weight_decay=0.0)
    squares = [(after[name] - before[name]).square().sum() for name in before]
    assert 0.9e-3 < float(torch.stack(squares).sum().sqrt()) <= 1.01e-3


def test_rank_weights_of_an_uneven_last_batch_average_to_one() -> None:
    policy = SimpleNamespace(num_images=41)
    batches = SimpleNamespace(world_size=2, batch_size=16, policy=policy)
    assert rank_weight(batches, 0, 8) == 1.0
    # The last batch has 9 images: 5 on one rank, 4 on the other.
    assert rank_weight(batches, 2, 5) == 10 / 9 and rank_weight(batches, 2, 4) == 8 / 9
    assert rank_weight(SimpleNamespace(world_size=1), 2, 5) == 1.0


def test_only_outputs_of_a_live_network_may_be_in_bf16() -> None:
    logits = torch.zeros(2, 3)
    assert not _in_autocast_precision(None)
    assert not _in_autocast_precision(Outputs(logits, embedding=torch.zeros(2, 4)))
    assert _in_autocast_precision(Outputs(logits, embedding=torch.zeros(2, 4).bfloat16()))
    assert _in_autocast_precision(Outputs(logits, (torch.zeros(2, 4, 1, 1),)))
