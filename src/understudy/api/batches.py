"""Batches with their teacher's outputs, for training loops of your own."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn

from understudy.api.inputs import check_roles, checked_seed, data_options, training_data
from understudy.api.networks import classifier, image_channels
from understudy.api.student import Student
from understudy.api.teacher import as_teachers, freeze
from understudy.data.loader import Batch, TrainBatches, plain_batches
from understudy.data.prepare import rule_of
from understudy.errors import UnderstudyError
from understudy.events import SILENT, Observer
from understudy.methods.base import NEEDS, Needs
from understudy.models.base import Outputs
from understudy.models.normalisation import Normalisation, record_normalisation
from understudy.teachers.cached import live_or_cached
from understudy.training.device import resolve_device, resolve_precision


class TaughtBatch(NamedTuple):
    """A training batch and what its teacher makes of the very same views.

    Attributes:
        images: float32 ``[B, C, H, W]``, augmented and normalised.
        labels: int64 ``[B]``.
        teacher_logits: float32 ``[B, K]``.
        teacher: all of the teacher's outputs: its ``embedding`` and ``features`` as well, where
            ``reads`` includes them.
        batch: the batch as the package's methods take it, with the labels of mixed images.
    """

    images: Tensor
    labels: Tensor
    teacher_logits: Tensor
    teacher: Outputs
    batch: Batch


class DistillationBatches:
    """The training batches of a student with the outputs of its teacher, for a loop of your own.

    Each iteration over the object is one epoch, with new views and a new order; a loop that counts
    epochs itself calls :meth:`set_epoch` first. The teacher runs once for each view and its logits
    are read from disk afterwards, as in :func:`understudy.distill`.

    Args:
        teacher: as for :func:`understudy.distill`: measured on the validation images, and frozen.
        data: as for :func:`understudy.train`.
        batch_size: images in a batch.
        reads: what of the teacher is read: ``logits``, ``embedding`` or ``features``. Feature maps
            are not cached: the teacher runs for every batch.
        seed: of the order and the views.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``: where the batches are made.
        observer: follows the reading of images and the labelling.
        options: fields of :class:`~understudy.data.in_memory.DataOptions`.

    Attributes:
        data: training and validation images, their classes and normalisation.
        teachers: what was found out about each teacher.
        device: of the batches.

    Raises:
        UnderstudyError: for wrong arguments, data or teachers.
    """

    def __init__(
        self,
        teacher: Any,
        data: Any,
        batch_size: int = 128,
        *,
        reads: Needs = "logits",
        seed: int = 0,
        device: str = "auto",
        observer: Observer = SILENT,
        **options: Any,
    ) -> None:
        if batch_size < 1:
            raise UnderstudyError(f"batch_size must be at least 1, not {batch_size}")
        if reads not in NEEDS[1:]:
            raise UnderstudyError(f"reads must be one of {', '.join(NEEDS[1:])}, not {reads!r}")
        check_roles("DistillationBatches(teacher, data)", data, teacher=teacher)
        teachers = as_teachers(teacher)
        if not teachers:
            raise UnderstudyError("DistillationBatches needs a teacher: give a trained network")
        seed = checked_seed(seed)
        self.device = resolve_device(str(device))
        channels = min(image_channels(one.network) for one in teachers)
        self.data = training_data(data, data_options(options), channels, observer)
        several = isinstance(teacher, list | tuple)
        precision = resolve_precision("auto", self.device)
        frozen, self.teachers = freeze(
            teachers, self.data, self.device, precision, ensemble=several
        )
        self._batches = TrainBatches(
            self.data.train, self.data.config, batch_size, seed, self.device
        )
        self._teacher = live_or_cached(frozen, reads, "auto", self.data, self._batches, None)
        self._observer, self._epoch = observer, 0

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._batches)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, that the next iteration gives."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[TaughtBatch]:
        """The batches of one epoch; the next iteration is the next epoch."""
        epoch, self._epoch = self._epoch, self._epoch + 1
        views = self._batches.policy.epoch(epoch)
        self._teacher.prepare(epoch, views, self._observer)
        for batch in self._batches.epoch(epoch, views):
            outputs = self._teacher.outputs(batch)
            yield TaughtBatch(batch.images, batch.labels, outputs.logits, outputs, batch)

    def validation(self, batch_size: int = 512) -> Iterator[tuple[Tensor, Tensor]]:
        """The validation images, not augmented, with their labels, in order."""
        for batch in plain_batches(self.data.val, self.data.config, batch_size, self.device):
            yield batch.images, batch.labels

    def student(self, network: nn.Module) -> Student:
        """A network that was trained on these batches, with all that is needed to use it: to
        predict, evaluate, save and export.

        Raises:
            UnderstudyError: for a network that does not fit the data.
        """
        held = classifier("student", network, self.data).eval()
        config = self.data.config
        record_normalisation(held, Normalisation(config.mean, config.std))
        return Student(
            network=held,
            history=(),
            class_names=self.data.class_names,
            mean=config.mean,
            std=config.std,
            image=self.data.image,
            teachers=self.teachers,
            preprocessing=rule_of(config, self.data.image),
        )
