"""The optimizers of K students as one: options are vectors of K, moments are flat buffers."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from understudy.config.schema import TrainConfig
from understudy.execution.fused.network import StackedNetwork

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8
"""torch's defaults, which make_optimizer uses."""


class StackedOptimizer:
    """SGD, Adam and AdamW for K students at once, on one flat buffer of all parameters.

    The arithmetic is that of torch's optimizers.

    Args:
        network: its parameters become views of the buffer.
        configs: of each student; all with the same kind of optimizer.
        optimizers: each student's own; their state is copied here, and back by :meth:`give_back`.

    Attributes:
        parameters: of the network, each ``[K, ...]``.
        flat: fp32, all parameters one after the other.
        owner: int64, for each element of ``flat`` the row of its student.
        moments: fp32 buffers like ``flat``, under the names of torch's optimizer state.
        steps: fp64 ``[K]``, steps taken by Adam.
    """

    def __init__(
        self,
        network: StackedNetwork,
        configs: Sequence[TrainConfig],
        optimizers: Sequence[torch.optim.Optimizer],
    ) -> None:
        self.kind, self.count = configs[0].optimizer, len(configs)
        self.parameters = [p for name, p in network.rows() if isinstance(p, nn.Parameter)]
        device = self.parameters[0].device
        self.sizes = [p.numel() for p in self.parameters]
        self.flat = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        for parameter, part in zip(self.parameters, self.flat.split(self.sizes), strict=True):
            parameter.data = part.view_as(parameter)
        counted = torch.arange(self.count, device=device)
        self.owner = torch.cat([counted.repeat_interleave(n // self.count) for n in self.sizes])
        # Stacked weights of matrices and convolutions have three dimensions or more; those of norms
        # and biases have two.
        matrices = [torch.full((p.numel(),), p.ndim > 2, device=device) for p in self.parameters]
        matrix = torch.cat(matrices)

        def vector(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        norms = vector([float(s.decay_norms) for s in configs])[self.owner]
        decay = vector([s.weight_decay for s in configs])[self.owner]
        self.decay = torch.where(matrix, decay, decay * norms)
        self.momentum = vector([s.momentum for s in configs])[self.owner]
        self.clip = vector([s.grad_clip or math.inf for s in configs])
        self.clips = any(s.grad_clip for s in configs)
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
            squares = [g.reshape(self.count, -1).square().sum(1) for g in grads]
            norm = torch.stack(squares).sum(0).sqrt()
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
        """Copy a student's state into its own optimizer, in the memory order of its parameters."""
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
        """Each moment of each parameter of a student.

        Yields the moment's name, a view of it in this buffer, and the optimizer's state of the
        parameter.
        """
        own = [p for group in optimizer.param_groups for p in group["params"]]
        order = list(range(len(self.parameters)))
        if len(optimizer.param_groups) > 1:
            # ``decay_norms: false`` makes two groups, matrices first; here the order is the
            # network's.
            order.sort(key=lambda i: self.parameters[i].ndim <= 2)
        for name, moment in self.moments.items():
            parts = moment.split(self.sizes)
            for index, parameter in zip(order, own, strict=True):
                view = parts[index].view_as(self.parameters[index])[row]
                yield name, view, optimizer.state[parameter]
