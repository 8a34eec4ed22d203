"""The stacked optimizers against K of torch's own."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.execution.few_networks import images, networks
from torch import Tensor, nn

from understudy.config.schema import TrainConfig
from understudy.execution.fused.network import StackedNetwork
from understudy.execution.fused.optimizer import StackedOptimizer
from understudy.models.base import Classifier
from understudy.training.optim import make_optimizer

SETTINGS = TrainConfig(optimizer="adamw", lr=1e-2, weight_decay=0.1)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_stacked_optimizer_equals_torch_with_individual_options(kind: str):
    """Five steps on the same gradients. Both round differently at each: 1e-5."""
    configs = [
        replace(SETTINGS, optimizer=kind),
        replace(SETTINGS, optimizer=kind, lr=1e-3, decay_norms=False, momentum=0.0),
        replace(SETTINGS, optimizer=kind, weight_decay=0.0, grad_clip=0.5, momentum=0.5),
    ]
    alone = networks("tiny_wide")
    own = [make_optimizer(network, config) for network, config in zip(alone, configs, strict=True)]
    step(alone, own, configs, 0)  # so that there is state to take over
    stack = StackedNetwork(alone, images())
    ours = StackedOptimizer(stack, configs, own)
    names = [name for name, value in stack.rows() if isinstance(value, nn.Parameter)]
    for number in range(1, 5):
        grads = [
            dict(zip(names, gradients(network, number, row), strict=True))
            for row, network in enumerate(alone)
        ]
        ours.step(
            [torch.stack([g[name] for g in grads]) for name in names],
            torch.tensor([c.lr for c in configs]),
        )
        step(alone, own, configs, number)
    for row, network in enumerate(alone):
        for name, value in stack.rows():
            if isinstance(value, nn.Parameter):
                torch.testing.assert_close(
                    value[row], network.get_parameter(name), rtol=1e-5, atol=1e-6
                )
        mine = make_optimizer(copy.deepcopy(network), configs[row])
        ours.give_back(row, mine)
        theirs = own[row].state_dict()["state"]
        for index, state in mine.state_dict()["state"].items():
            for key, value in state.items():
                torch.testing.assert_close(value, theirs[index][key], rtol=1e-4, atol=1e-7)


def gradients(network: Classifier, number: int, row: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(10 * number + row)
    return [torch.randn(p.shape, generator=rng) for p in network.parameters()]


def step(alone: list[Classifier], own: list[Any], configs: list[TrainConfig], number: int) -> None:
    for row, (network, optimizer, config) in enumerate(zip(alone, own, configs, strict=True)):
        for parameter, grad in zip(
            network.parameters(), gradients(network, number, row), strict=True
        ):
            parameter.grad = grad.clone()
        if config.grad_clip:
            nn.utils.clip_grad_norm_(network.parameters(), config.grad_clip)
        optimizer.step()
