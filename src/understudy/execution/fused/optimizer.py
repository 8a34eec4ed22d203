"""The optimizers of K students as one: every option a vector of K, every moment one flat buffer."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from understudy.config.schema import TrainConfig
from understudy.execution.fused.network import StackedNetwork

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8  # torch's defaults, which make_optimizer keeps


class StackedOptimizer:
    """SGD, Adam and AdamW for K students at once, with the arithmetic of torch's, on one flat buffer of all parameters.

    Args:
        network: whose parameters become views of the buffer.
        settings: of each student; one optimizer kind.
        optimizers: each student's own, whose state is taken over and given back (:meth:`give_back`).
    """

    def __init__(
        self,
        network: StackedNetwork,
        settings: Sequence[TrainConfig],
        optimizers: Sequence[torch.optim.Optimizer],
    ) -> None:
        self.kind, self.count = settings[0].optimizer, len(settings)
        self.parameters = [p for name, p in network.rows() if isinstance(p, nn.Parameter)]
        device = self.parameters[0].device
        self.sizes = [p.numel() for p in self.parameters]
        self.flat = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        for parameter, part in zip(self.parameters, self.flat.split(self.sizes), strict=True):
            parameter.data = part.view_as(parameter)
        counted = torch.arange(self.count, device=device)
        self.owner = torch.cat([counted.repeat_interleave(n // self.count) for n in self.sizes])
        """int64 per element: whose it is."""
        matrix = torch.cat(
            [
                torch.full((n,), p.ndim > 2, device=device)
                for n, p in zip(self.sizes, self.parameters, strict=True)
            ]
        )

        def vector(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        norms = vector([float(s.decay_norms) for s in settings])[self.owner]
        decay = vector([s.weight_decay for s in settings])[self.owner]
        self.decay = torch.where(matrix, decay, decay * norms)
        self.momentum = vector([s.momentum for s in settings])[self.owner]
        self.clip = vector([s.grad_clip or math.inf for s in settings])
        self.clips = any(s.grad_clip for s in settings)
        names = ("momentum_buffer",) if self.kind == "sgd" else ("exp_avg", "exp_avg_sq")
        self.moments = {name: torch.zeros_like(self.flat) for name in names}
        self.steps = torch.zeros(self.count, dtype=torch.float64, device=device)
        for row, optimizer in enumerate(optimizers):
            for name, view, state in self._views(row, optimizer):
                if state.get(name) is not None:
                    view.copy_(state[name])
                if "step" in state:
                    self.steps[row] = float(state["step"])

    def step(self, grads: Sequence[Tensor], lr: Tensor) -> None:
        """One step with gradients ``[K, ...]`` of the parameters at learning rates ``[K]``."""
        if self.clips:
            norm = (
                torch.stack([g.reshape(self.count, -1).square().sum(1) for g in grads])
                .sum(0)
                .sqrt()
            )
            factor = (self.clip / (norm + 1e-6)).clamp(max=1.0)
            grads = [g * factor.view(-1, *[1] * (g.ndim - 1)) for g in grads]
        grad, flat, rate = torch.cat([g.reshape(-1) for g in grads]), self.flat, lr[self.owner]
        if self.kind == "sgd":
            grad = grad.addcmul_(self.decay, flat)
            buffer = self.moments["momentum_buffer"].mul_(self.momentum).add_(grad)
            flat.sub_(rate * grad.addcmul_(self.momentum, buffer))
            return
        if self.kind == "adam":
            grad.addcmul_(self.decay, flat)
        else:
            flat.mul_(1 - rate * self.decay)
        self.steps += 1
        first = self.moments["exp_avg"].lerp_(grad, 1 - _BETA1)
        second = self.moments["exp_avg_sq"].mul_(_BETA2).addcmul_(grad, grad, value=1 - _BETA2)
        size = (lr / (1 - _BETA1**self.steps)).float()[self.owner]
        root = (1 - _BETA2**self.steps).sqrt().float()[self.owner]
        flat.sub_(size * first / (second.sqrt() / root).add_(_EPS))

    def give_back(self, row: int, optimizer: torch.optim.Optimizer) -> None:
        """Put one student's state into its own optimizer, in the memory layout of its parameters."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for parameter in parameters:
            if self.kind != "sgd":
                optimizer.state[parameter]["step"] = self.steps[row].float().clone()
            elif not optimizer.param_groups[0]["momentum"]:
                continue
            for name in self.moments:
                optimizer.state[parameter].setdefault(name, torch.zeros_like(parameter))
        for name, view, state in self._views(row, optimizer):
            if name in state:
                state[name].copy_(view)

    def _views(
        self, row: int, optimizer: torch.optim.Optimizer
    ) -> Iterator[tuple[str, Tensor, dict[str, Any]]]:
        """Each moment of each parameter of a student: its name, where it lies here, the optimizer's state of the parameter.

        ``decay_norms: false`` sorts an optimizer's parameters into two groups; here they stand as in the network.
        """
        alone = [p for group in optimizer.param_groups for p in group["params"]]
        if len(optimizer.param_groups) > 1:
            ours = sorted(range(len(self.parameters)), key=lambda i: self.parameters[i].ndim <= 2)
        else:
            ours = list(range(len(self.parameters)))
        for name, moment in self.moments.items():
            parts = moment.split(self.sizes)
            for index, parameter in zip(ours, alone, strict=True):
                yield (
                    name,
                    parts[index].view_as(self.parameters[index])[row],
                    optimizer.state[parameter],
                )
