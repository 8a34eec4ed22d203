"""Optimizers and learning-rate schedules, as plain functions of the configuration."""

import math

import torch
from torch import nn

from understudy.config.schema import TrainConfig


def make_optimizer(module: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The configured optimizer over everything that trains, in its fused form.

    Args:
        module: a method: student and adapters.
        config: optimizer, lr, weight_decay, decay_norms, momentum.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    if config.decay_norms:
        groups = [{"params": parameters, "weight_decay": config.weight_decay}]
    else:
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            groups, config.lr, momentum=config.momentum, nesterov=config.momentum > 0, fused=True
        )
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, config.lr, fused=True)


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step; arguments as for :func:`lr_factor`."""
    return config.lr * lr_factor(config, step, steps_per_epoch)


def lr_factor(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step as a fraction of the peak, in [0, 1].

    Args:
        config: schedule and its parameters.
        step: from 0, over the whole training.
        steps_per_epoch: optimizer steps in an epoch.
    """
    total = config.epochs * steps_per_epoch
    epoch = step // steps_per_epoch
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "step":
        drops = epoch // config.step_epochs
        if config.step_milestones:
            drops = sum(epoch >= milestone for milestone in config.step_milestones)
        return config.step_gamma**drops
    warmup = config.warmup_fraction * total
    if step < warmup:
        return (step + 1) / (math.floor(warmup) + 1)
    progress = (step - warmup) / max(total - warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * progress))
