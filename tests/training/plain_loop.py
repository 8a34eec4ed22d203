"""A plain PyTorch loop, and what is needed to compare the package's loop with it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from tests.worlds import MEAN, STD, TinyNet, tiny_net
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.config.schema import TrainConfig
from understudy.data.loader import TrainBatches
from understudy.data.prepare import TrainingData
from understudy.events import EpochResult
from understudy.methods import CE, MethodConfig, MethodContext
from understudy.models.base import Outputs
from understudy.training.device import make_fabric
from understudy.training.loop import train_steps
from understudy.training.setup import make_batches

CPU = torch.device("cpu")
SETTINGS = TrainConfig(
    epochs=3,
    batch_size=10,
    optimizer="sgd",
    lr=0.1,
    weight_decay=1e-3,
    schedule="constant",
    precision="fp32",
)  # 24 images: batches of 10, 10 and 4
State = dict[str, Tensor]


@dataclass
class Step:
    """The numbers of one step of the plain loop."""

    loss: float
    correct: int
    images: int
    norm: float
    """Of the gradient, before it is clipped."""
    state: State
    """Of the network, after the step."""


def plain_loop(
    network: nn.Module, data: TrainingData, config: TrainConfig, seed: int = 0
) -> list[list[Step]]:
    """Train with SGD as a textbook does; the steps of each epoch."""
    batches = TrainBatches(
        data.train, data.config, config.batch_size, seed, CPU, drop_last=config.drop_last
    )
    decayed = [p for p in network.parameters() if config.decay_norms or p.ndim > 1]
    spared = [p for p in network.parameters() if not (config.decay_norms or p.ndim > 1)]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(
        [group for group in groups if group["params"]], config.lr, momentum=0.9, nesterov=True
    )
    torch.manual_seed(seed)
    network.train()
    epochs = []
    for epoch in range(config.epochs):
        steps = []
        for batch in batches.epoch(epoch, batches.policy.epoch(epoch)):
            logits = network(batch.images)
            loss = F.cross_entropy(logits, batch.labels)
            optimizer.zero_grad()
            loss.backward()
            gradients = [p.grad for p in network.parameters()]
            norm = float(sum(float((g.double() ** 2).sum()) for g in gradients) ** 0.5)
            if config.grad_clip:
                for gradient in gradients:
                    gradient.mul_(min(1.0, config.grad_clip / (norm + 1e-6)))
            optimizer.step()
            state = {name: value.clone() for name, value in network.state_dict().items()}
            correct = int((logits.argmax(1) == batch.labels).sum())
            steps.append(Step(loss.item(), correct, len(batch.labels), norm, state))
        epochs.append(steps)
    return epochs


def averages(start: State, epochs: list[list[Step]], decay: float) -> list[State]:
    """Average of the weights at the end of each epoch, in float64; counters of the last step."""
    average = {name: value.double() for name, value in start.items()}
    ends = []
    for steps in epochs:
        for step in steps:
            for name, value in step.state.items():
                moved = decay * average[name] + (1 - decay) * value.double()
                average[name] = moved if value.is_floating_point() else value.double()
        ends.append(dict(average))
    return ends


def method_of(data: TrainingData, network: nn.Module | None = None, kind: type[CE] = CE) -> CE:
    student = tiny_net(1) if network is None else network
    return kind(
        student,
        MethodConfig("ce"),
        MethodContext(3, data.train.labels, 3, 0.0, Outputs(torch.zeros(2, 3))),
    )


def train(
    data: TrainingData,
    config: TrainConfig = SETTINGS,
    *,
    method: CE | None = None,
    **options: Any,
) -> tuple[CE, list[EpochResult]]:
    """Train with the package's loop; options as for :func:`steps_of`."""
    method = method_of(data) if method is None else method
    results = steps_of(method, data, config, **options)
    return method, [result for result in results if result is not None]


def steps_of(
    method: CE,
    data: TrainingData,
    config: TrainConfig = SETTINGS,
    *,
    seed: int = 0,
    batches: TrainBatches | None = None,
    **options: Any,
) -> Iterator[EpochResult | None]:
    """The package's loop on the CPU, at its beginning."""
    fabric = make_fabric("cpu", config.precision)
    batches = batches or make_batches(data, config, seed, fabric)
    return train_steps(method, data, config, fabric, batches=batches, **options)


def assert_state(network: nn.Module, expected: State) -> None:
    found = network.state_dict()
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name].double(),
            value.double(),
            rtol=1e-4,
            atol=1e-6,
            msg=lambda m, n=name: f"{n}: {m}",
        )


def validation_loss(state: State, data: TrainingData) -> float:
    """Mean cross-entropy of the validation images, normalised here."""
    network = TinyNet().eval()
    network.load_state_dict(
        {name: value.to(network.state_dict()[name].dtype) for name, value in state.items()}
    )
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    with torch.no_grad():
        logits = network((data.val.images.float() / 255 - mean) / std)
    return float(
        -logits.double().log_softmax(1)[torch.arange(len(data.val)), data.val.labels].mean()
    )
