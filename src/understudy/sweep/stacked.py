"""K students of one architecture as one network: stacked weights, grouped convolutions, batched matrix products.

The layers of a student are replaced by layers that hold the weights of all; their activations are those of the K students
side by side in the channels, ``[B, K * C, H, W]``, so that the student's own code (ReLU, pooling, sums) runs unchanged on all of
them at once. Learning rate, weight decay, temperature and every other option of a loss is a vector of K. Nothing of one
student reaches another: one whose loss is no longer finite does not harm the others.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.checkpoint import load_checkpoint, save_checkpoint
from understudy.config import TrainConfig
from understudy.data.batches import Batch, TrainBatches, plain_batches
from understudy.data.training import TrainingData
from understudy.data.views import generator_for
from understudy.errors import UnderstudyError
from understudy.loop import EpochResult, check_finite, resolve_precision, run_fingerprint
from understudy.methods.base import Method
from understudy.models.base import Classifier
from understudy.models.foreign import ForeignClassifier
from understudy.optim import lr_factor, make_optimizer
from understudy.sweep.stacked_losses import StackedLosses, why_no_stacked_loss
from understudy.teachers import Teacher

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_UNTOUCHED = (nn.ReLU, nn.MaxPool2d, nn.Identity)
"""Layers that treat each channel by itself, and so K students side by side as they would treat one."""
_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8  # torch's defaults, which make_optimizer keeps
_BLOCK = 64  # steps whose dropout masks are drawn together on CUDA


def why_not_stacked(method: Method, settings: TrainConfig) -> str:
    """Why a training cannot be stacked with others of its kind; empty where it can."""
    student = method.student
    if isinstance(student, ForeignClassifier) or not type(student).__module__.startswith("understudy.models."):
        return f"{type(student).__name__} is not a network of ours, and its code may mix channels"
    for layer in student.modules():
        if next(layer.children(), None) is None and type(layer) not in (*_STACKED, *_UNTOUCHED) and not _is_container(layer):
            return f"there is no stacked form of the layer {type(layer).__name__}"
    return why_no_stacked_loss(method)


def _is_container(layer: nn.Module) -> bool:
    return not list(layer.parameters(recurse=False)) and type(layer) in (nn.ModuleList, nn.Sequential)


class StackedConv2d(nn.Module):
    """K convolutions as one grouped convolution: weight ``[K, O, I / g, kh, kw]``, bias ``[K, O]``.

    Takes ``[B, K * I, H, W]``, or the same images ``[B, I, H, W]`` for all K.
    """

    def __init__(self, layers: Sequence[nn.Conv2d]) -> None:
        super().__init__()
        self.like = copy.deepcopy(layers[0]).requires_grad_(False)
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]).contiguous())
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = nn.Parameter(torch.stack(biases)) if biases else None

    def forward(self, x: Tensor) -> Tensor:
        count, like = len(self.weight), self.like
        if x.shape[1] == like.in_channels and like.groups > 1:
            x = x.repeat(1, count, 1, 1)
        groups = like.groups if x.shape[1] == like.in_channels else like.groups * count
        bias = None if self.bias is None else self.bias.flatten()
        assert not isinstance(like.padding, str) and like.padding_mode == "zeros"
        return F.conv2d(x, self.weight.flatten(0, 1), bias, like.stride, like.padding, like.dilation, groups)


class StackedBatchNorm2d(nn.Module):
    """K batch norms as one over ``K * C`` channels; all tensors ``[K, C]``, the count of batches ``[K]``."""

    def __init__(self, layers: Sequence[nn.BatchNorm2d]) -> None:
        super().__init__()
        self.momentum, self.eps = layers[0].momentum, layers[0].eps
        assert self.momentum is not None, "our networks average with a momentum"
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, torch.stack([getattr(layer, name).detach() for layer in layers]))

    is_batch_norm = True  # for norm_relu
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.num_batches_tracked += 1
        mean, var = self.running_mean.flatten(), self.running_var.flatten()  # views: updated in place
        momentum = 0.0 if self.momentum is None else self.momentum
        return F.batch_norm(x, mean, var, self.weight.flatten(), self.bias.flatten(), self.training, momentum, self.eps)


class StackedLinear(nn.Module):
    """K linear layers as one batched product: weight ``[K, O, I]``, bias ``[K, O]``; ``[B, K * I]`` to ``[B, K * O]``."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = nn.Parameter(torch.stack(biases)) if biases else None

    def forward(self, x: Tensor) -> Tensor:
        count, _, inputs = self.weight.shape
        rows = x.view(len(x), count, inputs).transpose(0, 1)
        weight = self.weight.transpose(1, 2)
        out = torch.bmm(rows, weight) if self.bias is None else torch.baddbmm(self.bias[:, None], rows, weight)
        return out.transpose(0, 1).flatten(1)


class StackedDropout(nn.Module):
    """K dropouts: a product with ``mask`` ``[B, K * C]``, zeros and ``1 / (1 - p)``, which is set before a training step."""

    def __init__(self, layers: Sequence[nn.Dropout]) -> None:
        super().__init__()
        self.p, self.count = layers[0].p, len(layers)
        self.width: int | None = None
        """C, known after the first forward pass."""
        self.mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.width = x.shape[1] // self.count
        if not self.training or self.p == 0:
            return x
        assert self.mask is not None, "set the mask before a training step"
        return x * self.mask.to(x.dtype)


_STACKED: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.Conv2d: StackedConv2d,
    nn.BatchNorm2d: StackedBatchNorm2d,
    nn.Linear: StackedLinear,
    nn.Dropout: StackedDropout,
}


class StackedNetwork(nn.Module):
    """K networks of one architecture as one.

    Args:
        networks: plain ones of the zoo (:func:`why_not_stacked`); not changed.
        example: images ``[B, C, H, W]``, B at least 1, on which the result is checked.

    Raises:
        UnderstudyError: if the stack does not answer the example as the networks do, so that their code mixes channels.
    """

    def __init__(self, networks: Sequence[Classifier], example: Tensor) -> None:
        super().__init__()
        self.count = len(networks)
        self.body = copy.deepcopy(networks[0])
        for name, layer in list(self.body.named_modules()):
            if type(layer) in _STACKED:
                parent = self.body.get_submodule(name.rpartition(".")[0])
                setattr(parent, name.rpartition(".")[2], _STACKED[type(layer)]([n.get_submodule(name) for n in networks]))
        self.dropouts = [m for m in self.body.modules() if isinstance(m, StackedDropout) and m.p > 0]
        self._check(networks, example)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[K, B, classes]`` of ``[B, C, H, W]`` shown to all, or of each one's own ``[B, K * C, H, W]``."""
        logits = self.body.outputs(images).logits
        return logits.view(len(images), self.count, -1).transpose(0, 1)

    def rows(self) -> Iterator[tuple[str, Tensor]]:
        """Every parameter and buffer, ``[K, ...]``, under the name it has in one network."""
        for name, tensor in (*self.body.named_parameters(), *self.body.named_buffers()):
            if ".like." not in name:
                yield name, tensor

    @torch.no_grad()
    def _check(self, networks: Sequence[Classifier], example: Tensor) -> None:
        modes = [network.training for network in networks]
        alone = torch.stack([network.eval()(example) for network in networks])
        for network, mode in zip(networks, modes, strict=True):
            network.train(mode)
        together = self.eval()(example)
        # Loose enough for TF32, which CUDA convolves in; mixed channels are off by the size of the logits.
        scale = float(alone.abs().max().nan_to_num(1.0))
        if not torch.allclose(alone, together, rtol=0.0, atol=0.02 * scale, equal_nan=True):
            raise UnderstudyError(
                f"{type(networks[0]).__name__} cannot be stacked: its code mixes channels; use the engine interleaved"
            )


class StackedOptimizer:
    """SGD, Adam and AdamW for K students at once, with the arithmetic of torch's, on one flat buffer of all parameters.

    Args:
        network: whose parameters become views of the buffer.
        settings: of each student; one optimizer kind.
        optimizers: each student's own, whose state is taken over and given back (:meth:`give_back`).
    """

    def __init__(
        self, network: StackedNetwork, settings: Sequence[TrainConfig], optimizers: Sequence[torch.optim.Optimizer]
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
            [torch.full((n,), p.ndim > 2, device=device) for n, p in zip(self.sizes, self.parameters, strict=True)]
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
            norm = torch.stack([g.reshape(self.count, -1).square().sum(1) for g in grads]).sum(0).sqrt()
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

    def _views(self, row: int, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor, dict[str, Any]]]:
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
                yield name, parts[index].view_as(self.parameters[index])[row], optimizer.state[parameter]


class StackedStudent:
    """One of K: its method, optimizer, history and checkpoint, all of them as :func:`~understudy.loop.train_steps` has them.

    Between epochs they are up to date, so that a checkpoint is one that the loop goes on from, and the other way round. During
    an epoch the weights live in a :class:`Stack`.

    Args:
        method, data, settings, fabric, teacher, batches, seed, checkpoint: as for :func:`~understudy.loop.train_steps`.
    """

    def __init__(
        self,
        method: Method,
        data: TrainingData,
        settings: TrainConfig,
        fabric: "Fabric",
        teacher: Teacher | None,
        batches: TrainBatches,
        seed: int,
        checkpoint: Path | None = None,
    ) -> None:
        self.method, self.data, self.settings, self.teacher = method, data, settings, teacher
        self.batches, self.seed, self.checkpoint, self.device = batches, seed, checkpoint, fabric.device
        self.precision = resolve_precision(settings.precision, fabric.device)
        self.fingerprint = run_fingerprint(method, data, settings, batches, seed)
        if settings.channels_last:
            method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(method, settings)
        state = method.state_dict()
        self.ema = {k: v.clone() for k, v in state.items()} if settings.ema_decay else None
        self.best: dict[str, Any] | None = None
        self.history: list[EpochResult] = []
        self.seconds, self.done = 0.0, False
        self.stack: Stack | None = None
        self.generator = torch.Generator().manual_seed(seed)
        """What dropout draws from on the CPU, as the loop's does."""
        self.cuda_rng = None  # not drawn from; kept for the loop to go on with
        if self.device.type == "cuda":
            self.cuda_rng = torch.Generator(self.device).manual_seed(seed).get_state()

    @property
    def company(self) -> tuple[object, ...]:
        """What students that are stacked together have in common."""
        s = self.settings
        agree = (s.optimizer, s.epochs, s.epochs_run, s.batch_size, s.drop_last, self.precision, s.channels_last, self.device)
        return (id(self.data), str(self.method.student), *agree)

    def start(self) -> list[EpochResult]:
        """Read the checkpoint where there is one: the epochs that are done.

        Raises:
            UnderstudyError: if it is damaged or of another training, or the last batch is too small for the method.
        """
        images, size = self.batches.policy.num_images, self.settings.batch_size
        if "dist" in self.method.config.name.split("+") and (images % size if len(self.batches) * size > images else size) == 1:
            raise UnderstudyError(
                "dist needs at least two images in every batch: set train.drop_last, or another train.batch_size"
            )
        if self.checkpoint is None or not self.checkpoint.exists():
            return []
        state = load_checkpoint(self.checkpoint, self.fingerprint)
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema = {k: v.to(self.device) for k, v in state["ema"].items()}
        self.generator.set_state(state["rng"]["cpu"])
        self.cuda_rng = state["rng"].get("cuda", self.cuda_rng)
        self.best = state["best"]
        self.history = [EpochResult(**entry) for entry in state["history"]]
        self._end()
        return list(self.history)

    def end_epoch(self, result: EpochResult, evaluated: Mapping[str, Tensor]) -> None:
        """Note an epoch, keep the weights that were evaluated if they are the best so far, write the checkpoint."""
        self.history.append(result)
        settings = self.settings
        if settings.keep == "best" and (self.best is None or result.val_accuracy > self.best["accuracy"]):
            kept = {k: v.detach().cpu().clone() for k, v in evaluated.items()}
            self.best = {"accuracy": result.val_accuracy, "epoch": result.epoch, "method": kept}
        if self.checkpoint is not None:
            rng = {"cpu": self.generator.get_state()} | ({} if self.cuda_rng is None else {"cuda": self.cuda_rng})
            state = {"fingerprint": self.fingerprint, "epoch": result.epoch, "method": self.method.state_dict()}
            state |= {"optimizer": self.optimizer.state_dict(), "ema": self.ema, "best": self.best, "rng": rng}
            compiled = {"on": True, "off": False}.get(settings.compile)
            history = [asdict(entry) for entry in self.history]
            save_checkpoint(self.checkpoint, state | {"compiled": compiled, "history": history})
        self._end()

    def _end(self) -> None:
        """After the last epoch: the weights to keep, in eval mode."""
        if len(self.history) < self.settings.epochs_run:
            return
        if self.settings.keep == "best" and self.best is not None:
            self.method.load_state_dict(self.best["method"])
        elif self.ema is not None:
            self.method.load_state_dict(self.ema)
        self.method.eval()
        self.done, self.stack = True, None


class Stack:
    """K students during an epoch: their weights, moments and totals as tensors ``[K, ...]``, and the step.

    Args:
        students: of one company, all before the same epoch.
    """

    def __init__(self, students: Sequence[StackedStudent]) -> None:
        self.students = list(students)
        first = self.students[0]
        self.count, self.device, self.precision = len(students), first.device, first.precision
        settings = [s.settings for s in students]
        self.data, self.batch_size = first.data, first.settings.batch_size
        example = next(iter(plain_batches(first.data.val, first.data.config, 2, first.device))).images
        self.network = StackedNetwork([s.method.student for s in students], example)
        self.optimizer = StackedOptimizer(self.network, settings, [s.optimizer for s in students])
        self.losses = StackedLosses([s.method for s in students], [s.teacher is not None for s in students], self.device)
        self.follow = torch.tensor([1 - s.ema_decay for s in settings], device=self.device)
        self.ema: dict[str, Tensor] | None = None
        if any(s.ema is not None for s in students):
            own = [s.method.state_dict() if s.ema is None else s.ema for s in students]
            self.ema = {name: torch.stack([state[f"student.{name}"] for state in own]) for name, _ in self.network.rows()}
        self.totals = torch.zeros(self.count, 1 + len(self.losses.names), dtype=torch.float64, device=self.device)
        self.recorded: _Recorded | None = None
        self._masks: list[Tensor] = []

    def train_epoch(self, epoch: int) -> tuple[int, list[float], float, float]:
        """Every step of an epoch: (images seen by each, their last learning rates, seconds, seconds of labelling)."""
        began = time.perf_counter()
        sources = list({id(s.batches): s.batches for s in self.students}.values())
        which = [next(i for i, b in enumerate(sources) if b is s.batches) for s in self.students]
        views = [batches.policy.epoch(epoch) for batches in sources]
        for student, source in zip(self.students, which, strict=True):
            if student.teacher is not None:
                student.teacher.prepare(epoch, views[source])
        labelled = time.perf_counter()
        steps = len(sources[0])
        factors = [[lr_factor(s.settings, epoch * steps + n, steps) * s.settings.lr for s in self.students] for n in range(steps)]
        rates = torch.tensor(factors, dtype=torch.float32, device=self.device)
        self.losses.set_epoch(epoch)
        self.network.train()
        self.totals.zero_()
        seen = 0
        for number, parts in enumerate(zip(*(b.epoch(epoch, v) for b, v in zip(sources, views, strict=True)), strict=True)):
            rows = len(parts[0].labels)
            inputs = [*self._shown(parts, which), rates[number], *self._draw(epoch, number, rows)]
            if self.device.type == "cuda" and rows == self.batch_size:
                self.recorded = self.recorded or _Recorded(self, inputs)
                self.recorded.replay(inputs)
            else:
                self.step(inputs)
            seen += rows
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return seen, factors[-1], time.perf_counter() - labelled, labelled - began

    def step(self, inputs: Sequence[Tensor | None]) -> None:
        """One step: (images, labels, teacher's logits, partner labels, shares, learning rates, a mask for each dropout)."""
        images, labels, teacher, partners, share, rates, *masks = inputs
        assert images is not None and labels is not None and rates is not None
        for layer, mask in zip(self.network.dropouts, masks, strict=True):
            layer.mask = mask
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits = self.network(images)
        logits = logits.float()
        terms = self.losses(logits, teacher, labels, partners, share)
        grads = torch.autograd.grad(terms.sum(), self.optimizer.parameters)
        with torch.no_grad():
            self.optimizer.step(grads, rates)
            if self.ema is not None:
                self._follow(self.ema)
            hits = (logits.argmax(2) == labels).sum(1, keepdim=True)
            self.totals += torch.cat((hits, terms.detach() * labels.shape[1]), 1)

    def _follow(self, ema: dict[str, Tensor]) -> None:
        for name, value in self.network.rows():
            if value.is_floating_point():
                ema[name].lerp_(value, self.follow.view(-1, *[1] * (value.ndim - 1)))
            else:
                ema[name].copy_(value)

    def _shown(self, parts: Sequence[Batch], which: Sequence[int]) -> list[Tensor | None]:
        """Images, labels ``[K, B]``, teacher's logits ``[K, B, classes]``, partner labels and shares ``[K, B]`` of a step."""
        images = parts[0].images if len(parts) == 1 else torch.cat([parts[i].images for i in which], 1)
        labels = torch.stack([parts[i].labels for i in which])
        mixed = parts[0].share is not None
        partners = torch.stack([_known(parts[i].partner_labels) for i in which]) if mixed else None
        share = torch.stack([_known(parts[i].share) for i in which]) if mixed else None
        teacher = None
        if any(s.teacher is not None for s in self.students):
            nothing = torch.zeros(labels.shape[1], self.data.num_classes, device=self.device)
            said = [
                nothing if s.teacher is None else s.teacher.outputs(parts[i]).logits
                for s, i in zip(self.students, which, strict=True)
            ]
            teacher = torch.stack([logits.float() for logits in said])
        return [images, labels, teacher, partners, share]

    def _draw(self, epoch: int, number: int, rows: int) -> list[Tensor]:
        """A mask ``[rows, K * C]`` for each dropout, each student's part from its own generator."""
        shapes = [(1 - layer.p, layer.width or 0) for layer in self.network.dropouts]
        if self.device.type == "cpu":  # the draws that nn.Dropout makes, in its order
            drawn = [
                [torch.empty(rows, width).bernoulli_(keep, generator=s.generator).div_(keep) for keep, width in shapes]
                for s in self.students
            ]
            return [torch.cat(masks, 1) for masks in zip(*drawn, strict=True)]
        if number % _BLOCK == 0:
            generators = [self._on_device(generator_for("dropout", s.seed, epoch, number)) for s in self.students]
            blocks = [
                [torch.rand(_BLOCK, self.batch_size, width, device=self.device, generator=g) < keep for keep, width in shapes]
                for g in generators
            ]
            joined = [torch.cat(masks, 2) for masks in zip(*blocks, strict=True)]
            self._masks = [mask / keep for mask, (keep, _) in zip(joined, shapes, strict=True)]
        return [mask[number % _BLOCK, :rows] for mask in self._masks]

    def _on_device(self, generator: torch.Generator) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(generator.initial_seed())

    @torch.no_grad()
    def validate(self) -> tuple[list[float], list[float]]:
        """(mean cross-entropy, accuracy) of each student on the validation split, by its average where it has one."""
        kept = [value.clone() for _, value in self.network.rows()] if self.ema is not None else []
        if self.ema is not None:
            self._load(self.ema.values())
        self.network.eval()
        split, logits = self.data.val, []
        for batch in plain_batches(split, self.data.config, 512, self.device):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                logits.append(self.network(batch.images).float())
        if kept:
            self._load(kept)
        said = torch.cat(logits, 1).cpu()
        losses = [float(F.cross_entropy(own, split.labels)) for own in said]
        return losses, [float((own.argmax(1) == split.labels).double().mean()) for own in said]

    def _load(self, values: Any) -> None:
        for (_, mine), value in zip(self.network.rows(), values, strict=True):
            mine.copy_(value)

    @torch.no_grad()
    def give_back(self, row: int) -> dict[str, Tensor]:
        """Put a student's weights and moments into its own method and optimizer; returns the state that was evaluated."""
        student = self.students[row]
        own = student.method.state_dict()
        for name, value in self.network.rows():
            own[f"student.{name}"].copy_(value[row])
        self.optimizer.give_back(row, student.optimizer)
        if student.ema is None or self.ema is None:
            return own
        for name, value in self.ema.items():
            student.ema[f"student.{name}"].copy_(value[row])
        return student.ema


class _Recorded:
    """A stack's step as one CUDA graph: what a step of small kernels costs beyond them is launching, which this does once.

    Written against torch's documentation and not yet run on a GPU.
    """

    def __init__(self, stack: Stack, inputs: Sequence[Tensor | None]) -> None:
        self.inputs = [None if x is None else x.clone() for x in inputs]
        changed = [value for _, value in stack.network.rows()] + [*stack.optimizer.moments.values(), stack.optimizer.steps]
        changed += [stack.totals, *(stack.ema or {}).values()]
        before = [value.detach().clone() for value in changed]
        aside = torch.cuda.Stream(stack.device)
        aside.wait_stream(torch.cuda.current_stream(stack.device))
        with torch.cuda.stream(aside):
            for _ in range(3):  # lazy initialisation, which must not be recorded
                stack.step(self.inputs)
        torch.cuda.current_stream(stack.device).wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            stack.step(self.inputs)
        with torch.no_grad():
            for value, old in zip(changed, before, strict=True):
                value.copy_(old)

    def replay(self, inputs: Sequence[Tensor | None]) -> None:
        """The step, on these inputs."""
        for mine, new in zip(self.inputs, inputs, strict=True):
            if mine is not None and new is not None:
                mine.copy_(new)
        self.graph.replay()


def epoch_stacked(students: Mapping[str, StackedStudent]) -> Iterator[tuple[str, EpochResult | Exception]]:
    """Take students of one company through the epoch that all stand before.

    Yields each one's result, or what ended it. What fails for all (memory) is every one's failure.
    """
    names, company = list(students), list(students.values())
    epoch = len(company[0].history)
    try:
        stack = company[0].stack
        if stack is None or stack.students != company:
            stack = Stack(company)
        for student in company:
            student.stack = stack
        seen, rates, seconds, label_seconds = stack.train_epoch(epoch)
        val_losses, val_accuracies = stack.validate()
    except Exception as error:
        yield from ((name, error) for name in names)
        return
    # The wall time is all of theirs: a share for each, so that a sum over students is what it took.
    seconds, label_seconds = seconds / len(company), label_seconds / len(company)
    for row, (name, student) in enumerate(students.items()):
        student.seconds += seconds + label_seconds
        hits, *terms = (value / seen for value in stack.totals[row].tolist())
        means = {term: value for term, value, has in zip(stack.losses.names, terms, stack.losses.has[row], strict=True) if has}
        try:
            check_finite(means, epoch)
            result = EpochResult(
                epoch, rates[row], {**means, "loss": sum(means.values())}, hits, val_losses[row], val_accuracies[row],
                seconds, seen / seconds, label_seconds,
            )  # fmt: skip
            student.end_epoch(result, stack.give_back(row))
        except Exception as error:
            yield name, error
        else:
            yield name, result


def _known(value: Tensor | None) -> Tensor:
    assert value is not None, "a policy mixes all batches or none"
    return value
