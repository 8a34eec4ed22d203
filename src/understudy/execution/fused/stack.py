"""K students of one architecture trained as one network, an epoch at a time.

Weights, moments and losses of all students are stacked (:mod:`~understudy.execution.fused.network`,
:mod:`~understudy.execution.fused.optimizer`, :mod:`~understudy.execution.fused.losses`). Learning
rate, weight decay, temperature and every other option of a loss is a vector of K. Nothing of one
student reaches another: a loss that is no longer finite does not harm the other students.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

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
from understudy.training.optim import learning_rate
from understudy.training.totals import check_finite

_BLOCK = 64
"""Steps whose dropout masks are drawn together on CUDA."""


@dataclass(frozen=True)
class StackedEpoch:
    """What an epoch of a stack measured; losses and accuracies stay in the stack's totals.

    Attributes:
        images: seen by each student.
        rates: last learning rate of each student.
        seconds: wall time of the steps, of all students together.
        label_seconds: wall time of labelling before them.
    """

    images: int
    rates: list[float]
    seconds: float
    label_seconds: float


class Stack:
    """K students during an epoch: weights, moments and totals ``[K, ...]``, and the step.

    Args:
        students: of one group (:attr:`StackedStudent.group_key`), all before the same epoch.

    Attributes:
        group: the students in the given order.
        students: in the order of the rows: students with the same batches are neighbours.
        ema_weight: float32 ``[K]``, 1 - decay of each student's average.
        ema: the averages ``[K, ...]`` by name; ``None`` if no student has one.
        totals: fp64 ``[K, 1 + terms]``: correct predictions, then each term summed over images.
        records: whether steps are recorded once and replayed (all but a smaller last batch's).
    """

    def __init__(self, students: Sequence[StackedStudent]) -> None:
        self.group = list(students)
        sources = list({id(s.batches): s.batches for s in students}.values())
        self.students = [s for source in sources for s in students if s.batches is source]
        first, students = self.students[0], self.students
        self.count, self.device, self.precision = len(students), first.device, first.precision
        self.data, self.batch_size = first.data, first.config.batch_size
        example = next(iter(plain_batches(self.data.val, self.data.config, 2, self.device)))
        self.network = StackedNetwork([s.method.student for s in students], example.images)
        self.network.share([sum(s.batches is source for s in students) for source in sources])
        configs = [s.config for s in students]
        self.optimizer = StackedOptimizer(self.network, configs, [s.optimizer for s in students])
        has_teacher = [s.teacher is not None for s in students]
        self.losses = StackedLosses([s.method for s in students], has_teacher, self.device)
        self.ema_weight = torch.tensor([1 - c.ema_decay for c in configs], device=self.device)
        self.ema = self._stacked_ema()
        columns = 1 + len(self.losses.names)
        self.totals = torch.zeros(self.count, columns, dtype=torch.float64, device=self.device)
        self.records = self.device.type == "cuda"
        self.recorded: RecordedStep | None = None
        self._masks: list[Tensor] = []
        self._inputs = StepInputs(self.students, self.data.num_classes, self.device)

    def _stacked_ema(self) -> dict[str, Tensor] | None:
        """Each student's average; a student without one takes a row that is never read."""
        if all(s.state.ema is None for s in self.students):
            return None
        own = [s.state.ema or s.method.state_dict() for s in self.students]
        names = [name for name, _ in self.network.rows()]
        return {name: torch.stack([state[f"student.{name}"] for state in own]) for name in names}

    def train_epoch(self, epoch: int) -> StackedEpoch:
        """Every step of an epoch."""
        start = time.perf_counter()
        step_inputs = self._inputs
        sources = step_inputs.sources
        views = [batches.policy.epoch(epoch) for batches in sources]
        for teacher, source in step_inputs.teachers:
            teacher.prepare(epoch, views[source])
        labelled = time.perf_counter()
        steps = len(sources[0])
        rates = [self._rates(epoch * steps + number, steps) for number in range(steps)]
        rates_on_device = torch.tensor(rates, dtype=torch.float32, device=self.device)
        self.losses.set_epoch(epoch)
        self.network.train()
        self.totals.zero_()
        images = 0
        epochs = [b.epoch(epoch, v) for b, v in zip(sources, views, strict=True)]
        for number, batches in enumerate(zip(*epochs, strict=True)):
            rows = len(batches[0].labels)
            masks = self._draw(epoch, number, rows)
            inputs = [*step_inputs.of(batches), rates_on_device[number], *masks]
            if self.records and rows == self.batch_size:
                if self.recorded is None:
                    changed = self._changed()
                    self.recorded = RecordedStep(self.step, inputs, changed, self.device)
                self.recorded.replay(inputs)
            else:
                self.step(inputs)
            images += rows
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        end = time.perf_counter()
        return StackedEpoch(images, rates[-1], end - labelled, labelled - start)

    def _rates(self, step: int, steps_per_epoch: int) -> list[float]:
        """Each student's learning rate at a step, from 0 over the whole training."""
        return [learning_rate(s.config, step, steps_per_epoch) for s in self.students]

    def step(self, inputs: Sequence[Tensor | None]) -> None:
        """One training step of all students.

        Args:
            inputs: what :meth:`StepInputs.of` returns, learning rates ``[K]``, and a mask
                ``[B, K * C]`` for each dropout.
        """
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
                self._update_ema(self.ema)
            correct = (logits.argmax(2) == labels).sum(1, keepdim=True)
            self.totals += torch.cat((correct, terms.detach() * labels.shape[1]), 1)

    def _changed(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        weights = [value for _, value in self.network.rows()]
        moments = [*self.optimizer.moments.values(), self.optimizer.steps]
        return [*weights, *moments, self.totals, *(self.ema or {}).values()]

    def _update_ema(self, ema: dict[str, Tensor]) -> None:
        for name, value in self.network.rows():
            if value.is_floating_point():
                ema[name].lerp_(value, self.ema_weight.view(-1, *[1] * (value.ndim - 1)))
            else:
                ema[name].copy_(value)

    def _draw(self, epoch: int, number: int, rows: int) -> list[Tensor]:
        """A mask ``[rows, K * C]`` for each dropout, each student's part from its own generator."""
        if self.device.type != "cpu":
            return self._draw_blocks(epoch, number, rows)
        by_student = [self._draw_as_dropout(s.generator, rows) for s in self.students]
        return [torch.cat(masks, 1) for masks in zip(*by_student, strict=True)]

    def _draw_as_dropout(self, generator: torch.Generator, rows: int) -> list[Tensor]:
        """A mask ``[rows, C]`` for each dropout, by the draws of ``nn.Dropout``, in its order."""
        masks = []
        for keep, width in self._dropout_shapes():
            mask = torch.empty(rows, width).bernoulli_(keep, generator=generator)
            masks.append(mask.div_(keep))
        return masks

    def _draw_blocks(self, epoch: int, number: int, rows: int) -> list[Tensor]:
        """Masks cut from a block for ``_BLOCK`` steps, which is few large draws on the device."""
        if number % _BLOCK == 0:
            by_student = [self._draw_block(s.seed, epoch, number) for s in self.students]
            joined = [torch.cat(masks, 2) for masks in zip(*by_student, strict=True)]
            shapes = self._dropout_shapes()
            self._masks = [mask / keep for mask, (keep, _) in zip(joined, shapes, strict=True)]
        return [mask[number % _BLOCK, :rows] for mask in self._masks]

    def _draw_block(self, seed: int, epoch: int, number: int) -> list[Tensor]:
        """bool ``[_BLOCK, B, C]`` for each dropout: the activations of one student that stay."""
        seeds = generator_for("dropout", seed, epoch, number)
        generator = torch.Generator(self.device).manual_seed(seeds.initial_seed())
        blocks = []
        for keep, width in self._dropout_shapes():
            size = (_BLOCK, self.batch_size, width)
            blocks.append(torch.rand(size, device=self.device, generator=generator) < keep)
        return blocks

    def _dropout_shapes(self) -> list[tuple[float, int]]:
        """Of each dropout: the probability to keep an activation, and C."""
        return [(1 - layer.p, layer.width or 0) for layer in self.network.dropouts]

    @torch.no_grad()
    def validate(self) -> tuple[list[float], list[float]]:
        """(mean cross-entropy, accuracy) of each student on the validation split.

        A student with an average is evaluated with it.
        """
        current = [value.clone() for _, value in self.network.rows()] if self.ema else []
        if self.ema is not None:
            self._load(self.ema.values())
        self.network.eval()
        split, batches = self.data.val, []
        for batch in plain_batches(split, self.data.config, 512, self.device):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                batches.append(self.network(batch.images).float())
        if current:
            self._load(current)
        logits = torch.cat(batches, 1).cpu()
        losses = [float(F.cross_entropy(own, split.labels)) for own in logits]
        correct = logits.argmax(2) == split.labels
        return losses, [float(own.double().mean()) for own in correct]

    def _load(self, values: Iterable[Tensor]) -> None:
        for (_, row), value in zip(self.network.rows(), values, strict=True):
            row.copy_(value)

    @torch.no_grad()
    def give_back(self, row: int) -> dict[str, Tensor]:
        """Copy a student's weights and moments into its own method, optimizer and average.

        Returns:
            the state dict that was evaluated.
        """
        student = self.students[row]
        own = student.method.state_dict()
        for name, value in self.network.rows():
            own[f"student.{name}"].copy_(value[row])
        self.optimizer.give_back(row, student.optimizer)
        average = student.state.ema
        if average is None or self.ema is None:
            return own
        for name, value in self.ema.items():
            average[f"student.{name}"].copy_(value[row])
        return average


class StepInputs:
    """What K students get in a step, each by its own seed and teacher, computed once for all.

    Every kernel outside the recorded step is launched by itself. Their number depends on how many
    seeds and teachers there are, not on K.

    Attributes:
        sources: the different batches, in the order of the students.
        teachers: the different teachers, each with the number of the source it labels.
    """

    def __init__(
        self, students: Sequence[StackedStudent], num_classes: int, device: torch.device
    ) -> None:
        self.sources = list({id(s.batches): s.batches for s in students}.values())
        source_of = [
            next(i for i, b in enumerate(self.sources) if b is s.batches) for s in students
        ]
        self.num_classes, self.device = num_classes, device
        pairs = [(s.teacher, i) for s, i in zip(students, source_of, strict=True)]
        self.teachers = list({(id(t), i): (t, i) for t, i in pairs if t is not None}.values())
        places = {(id(teacher), i): place for place, (teacher, i) in enumerate(self.teachers)}
        # Students without a teacher read an extra all-zero row behind those of the teachers.
        no_teacher = len(self.teachers)
        teacher_of = [places.get((id(teacher), i), no_teacher) for teacher, i in pairs]
        self._source_of = torch.tensor(source_of, device=device)
        self._teacher_of = torch.tensor(teacher_of, device=device)
        self._all_have_teachers = no_teacher not in teacher_of

    def of(self, batches: Sequence[Batch]) -> list[Tensor | None]:
        """Images, labels, teacher logits, partner labels and mix ratios of a step.

        Args:
            batches: of each source.

        Returns:
            images of the S sources side by side ``[B, S * C, H, W]``; labels int64 ``[K, B]``;
            teacher logits fp32 ``[K, B, classes]`` or ``None``; partner labels int64 and mix ratios
            float32 ``[K, B]``, or ``None`` unless images are mixed.
        """
        images = batches[0].images
        if len(batches) > 1:
            images = torch.cat([batch.images for batch in batches], 1)
        labels = self._by_student([batch.labels for batch in batches])
        partners = share = None
        if batches[0].lam is not None:
            partners = self._by_student([_present(batch.partner_labels) for batch in batches])
            share = self._by_student([_present(batch.lam) for batch in batches])
        return [images, labels, self._teacher_logits(batches), partners, share]

    def _by_student(self, by_source: Sequence[Tensor]) -> Tensor:
        """``[K, ...]``: for each student the tensor of its source."""
        return torch.stack(list(by_source)).index_select(0, self._source_of)

    def _teacher_logits(self, batches: Sequence[Batch]) -> Tensor | None:
        if not self.teachers:
            return None
        logits = [t.outputs(batches[source]).logits.float() for t, source in self.teachers]
        if not self._all_have_teachers:
            images = len(batches[0].labels)
            logits.append(torch.zeros(images, self.num_classes, device=self.device))
        return torch.stack(logits).index_select(0, self._teacher_of)


def epoch_stacked(
    students: Mapping[str, StackedStudent],
) -> Iterator[tuple[str, EpochResult | Exception]]:
    """Train the students of one group for an epoch; all must be before the same one.

    Yields each student's result, or what ended its training. An error of the whole stack, such as
    too little memory, is yielded for every student.
    """
    group = list(students.values())
    epoch = group[0].state.next_epoch
    try:
        stack = _stack_of(group)
        done = stack.train_epoch(epoch)
        val_losses, val_accuracies = stack.validate()
    except Exception as error:
        yield from ((name, error) for name in students)
        return
    # The wall time is that of all: each student gets an equal part, so that a sum over students is
    # the time that passed.
    seconds, label_seconds = done.seconds / len(group), done.label_seconds / len(group)
    name_of = {id(student): name for name, student in students.items()}
    for row, student in enumerate(stack.students):
        name = name_of[id(student)]
        student.seconds += seconds + label_seconds
        accuracy, *values = (value / done.images for value in stack.totals[row].tolist())
        columns = zip(stack.losses.names, values, stack.losses.has[row], strict=True)
        means = {term: value for term, value, has in columns if has}
        try:
            check_finite(means, epoch)
            result = EpochResult(
                epoch=epoch,
                lr=done.rates[row],
                losses={**means, "loss": sum(means.values())},
                train_accuracy=accuracy,
                val_loss=val_losses[row],
                val_accuracy=val_accuracies[row],
                seconds=seconds,
                images_per_second=done.images / seconds,
                label_seconds=label_seconds,
            )
            student.end_epoch(result, stack.give_back(row))
        except Exception as error:
            yield name, error
        else:
            yield name, result


def _stack_of(group: list[StackedStudent]) -> Stack:
    """The stack of the group's last epoch, or a new one if the group has changed."""
    stack = group[0].stack
    if not isinstance(stack, Stack) or stack.group != group:
        del stack  # the old one frees its memory before the new one is made
        _release_stacks(group)
        stack = Stack(group)
    for student in group:
        student.stack = stack
    return stack


def _release_stacks(group: Sequence[StackedStudent]) -> None:
    """Drop the stacks that these students were in; each holds GPU memory for all its students."""
    for old in [student.stack for student in group if student.stack is not None]:
        for student in old.students:
            student.stack = None


def _present(value: Tensor | None) -> Tensor:
    assert value is not None, "a policy mixes all batches or none"
    return value
