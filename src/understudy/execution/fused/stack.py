"""K students of one architecture trained as one network, an epoch at a time.

Weights, moments and losses of all are stacked (:mod:`~understudy.execution.fused.network`,
:mod:`~understudy.execution.fused.optimizer`, :mod:`~understudy.execution.fused.losses`); learning rate, weight decay, temperature
and every other option of a loss is a vector of K. Nothing of one student reaches another: one whose loss is no longer finite
does not harm the others.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.data.loader import Batch, plain_batches
from understudy.data.views import generator_for
from understudy.events import EpochResult
from understudy.execution.fused.cuda_graph import RecordedStep
from understudy.execution.fused.losses import StackedLosses
from understudy.execution.fused.network import StackedNetwork
from understudy.execution.fused.optimizer import StackedOptimizer
from understudy.execution.fused.student import StackedStudent
from understudy.training.loop import check_finite
from understudy.training.optim import lr_factor

_BLOCK = 64  # steps whose dropout masks are drawn together on CUDA


class Stack:
    """K students during an epoch: their weights, moments and totals as tensors ``[K, ...]``, and the step.

    Args:
        students: of one company, all before the same epoch.

    Attributes:
        company: the students as given.
        students: in the order of the rows: those who are shown the same batches side by side.
    """

    def __init__(self, students: Sequence[StackedStudent]) -> None:
        self.company = list(students)
        sources = list({id(s.batches): s.batches for s in students}.values())
        self.students = [s for source in sources for s in students if s.batches is source]
        first, students = self.students[0], self.students
        self.count, self.device, self.precision = len(students), first.device, first.precision
        settings = [s.settings for s in students]
        self.data, self.batch_size = first.data, first.settings.batch_size
        example = next(
            iter(plain_batches(first.data.val, first.data.config, 2, first.device))
        ).images
        self.network = StackedNetwork([s.method.student for s in students], example)
        self.network.share([sum(s.batches is source for s in students) for source in sources])
        self.optimizer = StackedOptimizer(self.network, settings, [s.optimizer for s in students])
        self.losses = StackedLosses(
            [s.method for s in students], [s.teacher is not None for s in students], self.device
        )
        self.follow = torch.tensor([1 - s.ema_decay for s in settings], device=self.device)
        self.ema: dict[str, Tensor] | None = None
        if any(s.ema is not None for s in students):
            own = [s.method.state_dict() if s.ema is None else s.ema for s in students]
            self.ema = {
                name: torch.stack([state[f"student.{name}"] for state in own])
                for name, _ in self.network.rows()
            }
        self.totals = torch.zeros(
            self.count, 1 + len(self.losses.names), dtype=torch.float64, device=self.device
        )
        self.records = self.device.type == "cuda"
        """Whether steps are recorded once and replayed; all but a smaller last batch's."""
        self.recorded: RecordedStep | None = None
        self._masks: list[Tensor] = []
        self._shows = _Shown(self.students, self.data.num_classes, self.device)

    def train_epoch(self, epoch: int) -> tuple[int, list[float], float, float]:
        """Every step of an epoch: (images seen by each, their last learning rates, seconds, seconds of labelling)."""
        began = time.perf_counter()
        shown = self._shows
        sources, views = shown.sources, [batches.policy.epoch(epoch) for batches in shown.sources]
        for teacher, source in shown.asked:
            teacher.prepare(epoch, views[source])
        labelled = time.perf_counter()
        steps = len(sources[0])
        factors = [
            [lr_factor(s.settings, epoch * steps + n, steps) * s.settings.lr for s in self.students]
            for n in range(steps)
        ]
        rates = torch.tensor(factors, dtype=torch.float32, device=self.device)
        self.losses.set_epoch(epoch)
        self.network.train()
        self.totals.zero_()
        seen = 0
        for number, parts in enumerate(
            zip(*(b.epoch(epoch, v) for b, v in zip(sources, views, strict=True)), strict=True)
        ):
            rows = len(parts[0].labels)
            inputs = [*shown.inputs(parts), rates[number], *self._draw(epoch, number, rows)]
            if self.records and rows == self.batch_size:
                self.recorded = self.recorded or RecordedStep(
                    self.step, inputs, self._changed(), self.device
                )
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

    def _draw(self, epoch: int, number: int, rows: int) -> list[Tensor]:
        """A mask ``[rows, K * C]`` for each dropout, each student's part from its own generator."""
        if self.device.type == "cpu":  # the draws that nn.Dropout makes, in its order
            shapes = [(1 - layer.p, layer.width or 0) for layer in self.network.dropouts]
            drawn = [
                [
                    torch.empty(rows, width).bernoulli_(keep, generator=s.generator).div_(keep)
                    for keep, width in shapes
                ]
                for s in self.students
            ]
            return [torch.cat(masks, 1) for masks in zip(*drawn, strict=True)]
        return self._draw_blocks(epoch, number, rows)

    def _draw_blocks(self, epoch: int, number: int, rows: int) -> list[Tensor]:
        """Masks from a block of those of ``_BLOCK`` steps, which are few large draws on the device."""
        shapes = [(1 - layer.p, layer.width or 0) for layer in self.network.dropouts]
        if number % _BLOCK == 0:
            generators = [
                self._on_device(generator_for("dropout", s.seed, epoch, number))
                for s in self.students
            ]
            blocks = [
                [
                    torch.rand(_BLOCK, self.batch_size, width, device=self.device, generator=g)
                    < keep
                    for keep, width in shapes
                ]
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


class _Shown:
    """What K students are shown in a step, each by its own seed and teacher: asked for once, then handed to all who want it.

    Outside the recorded step every kernel is launched by itself: here their number depends on how many seeds and teachers there
    are, not on K.

    Attributes:
        sources: the different batches, in the order of who takes them first.
        asked: the different teachers, each with the source whose batches it is asked about.
    """

    def __init__(
        self, students: Sequence[StackedStudent], num_classes: int, device: torch.device
    ) -> None:
        self.sources = list({id(s.batches): s.batches for s in students}.values())
        which = [next(i for i, b in enumerate(self.sources) if b is s.batches) for s in students]
        self.num_classes, self.device = num_classes, device
        pairs = [(s.teacher, i) for s, i in zip(students, which, strict=True)]
        self.asked = list({(id(t), i): (t, i) for t, i in pairs if t is not None}.values())
        places = {(id(teacher), i): place for place, (teacher, i) in enumerate(self.asked)}
        # Who has no teacher gets the row of zeros behind all answers.
        answers = [places.get((id(teacher), i), len(self.asked)) for teacher, i in pairs]
        self.source_of = torch.tensor(which, device=device)
        self.answer_of = torch.tensor(answers, device=device)
        self.all_taught = len(self.asked) not in answers

    def inputs(self, parts: Sequence[Batch]) -> list[Tensor | None]:
        """Images, labels ``[K, B]``, teacher's logits ``[K, B, classes]``, partner labels and shares ``[K, B]`` of a step.

        Images are those of the S sources side by side, ``[B, S * C, H, W]``.

        Args:
            parts: the batch of each source.
        """
        images = parts[0].images if len(parts) == 1 else torch.cat([p.images for p in parts], 1)
        labels = torch.stack([p.labels for p in parts]).index_select(0, self.source_of)
        partners = share = None
        if parts[0].lam is not None:
            partners = torch.stack([_known(p.partner_labels) for p in parts]).index_select(
                0, self.source_of
            )
            share = torch.stack([_known(p.lam) for p in parts]).index_select(0, self.source_of)
        return [images, labels, self._answers(parts), partners, share]

    def _answers(self, parts: Sequence[Batch]) -> Tensor | None:
        if not self.asked:
            return None
        said = [teacher.outputs(parts[source]).logits.float() for teacher, source in self.asked]
        if not self.all_taught:
            said.append(torch.zeros(len(parts[0].labels), self.num_classes, device=self.device))
        return torch.stack(said).index_select(0, self.answer_of)


def epoch_stacked(
    students: Mapping[str, StackedStudent],
) -> Iterator[tuple[str, EpochResult | Exception]]:
    """Take students of one company through the epoch that all stand before.

    Yields each one's result, or what ended it. What fails for all (memory) is every one's failure.
    """
    names, company = list(students), list(students.values())
    epoch = len(company[0].history)
    try:
        stack = company[0].stack
        if stack is None or stack.company != company:
            _dissolve(company)
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
    called = {id(student): name for name, student in students.items()}
    for row, student in enumerate(stack.students):
        name = called[id(student)]
        student.seconds += seconds + label_seconds
        hits, *terms = (value / seen for value in stack.totals[row].tolist())
        means = {
            term: value
            for term, value, has in zip(
                stack.losses.names, terms, stack.losses.has[row], strict=True
            )
            if has
        }
        try:
            check_finite(means, epoch)
            result = EpochResult(
                epoch,
                rates[row],
                {**means, "loss": sum(means.values())},
                hits,
                val_losses[row],
                val_accuracies[row],
                seconds,
                seen / seconds,
                label_seconds,
            )
            student.end_epoch(result, stack.give_back(row))
        except Exception as error:
            yield name, error
        else:
            yield name, result


def _dissolve(company: Sequence[StackedStudent]) -> None:
    """Let go of the stacks that these students were in before: each holds a GPU's memory for all who were, and these hold it."""
    for old in [student.stack for student in company if student.stack is not None]:
        for student in old.students:
            student.stack = None


def _known(value: Tensor | None) -> Tensor:
    assert value is not None, "a policy mixes all batches or none"
    return value
