"""K students of one architecture trained as one network, an epoch at a time.

Weights, moments and losses of all are stacked (:mod:`~understudy.sweep.stacked_network`,
:mod:`~understudy.sweep.stacked_optimizer`, :mod:`~understudy.sweep.stacked_losses`); learning rate, weight decay, temperature
and every other option of a loss is a vector of K. Nothing of one student reaches another: one whose loss is no longer finite
does not harm the others.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.data.batches import Batch, plain_batches
from understudy.data.views import generator_for
from understudy.loop import EpochResult, check_finite
from understudy.optim import lr_factor
from understudy.sweep.recorded_step import RecordedStep
from understudy.sweep.stacked_losses import StackedLosses
from understudy.sweep.stacked_network import StackedNetwork
from understudy.sweep.stacked_optimizer import StackedOptimizer
from understudy.sweep.stacked_student import StackedStudent

_BLOCK = 64  # steps whose dropout masks are drawn together on CUDA


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
        self.recorded: RecordedStep | None = None
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
                self.recorded = self.recorded or RecordedStep(self.step, inputs, self._changed(), self.device)
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

    def _changed(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        weights = [value for _, value in self.network.rows()]
        moments = [*self.optimizer.moments.values(), self.optimizer.steps]
        return [*weights, *moments, self.totals, *(self.ema or {}).values()]

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
