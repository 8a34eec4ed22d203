"""The evidence of a diagnosis: what a run recorded, and what its weights show.

Plain data, no torch. Accuracies, confidences and shares are in [0, 1], entropies and divergences in
nats; all are means over the run's seeds. The names of the fields are keys in ``diagnosis.json``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from understudy.config.parse import parse
from understudy.config.recipe import to_mapping
from understudy.config.schema import RunConfig
from understudy.evaluation.gain import PairedGain
from understudy.files import from_json, to_json
from understudy.runs.plan import Arm, resolve_plan


@dataclass(frozen=True)
class Curve:
    """The training of one arm, from ``history.csv``; every tuple has one entry per epoch.

    Attributes:
        lr: learning rate of each epoch's last step.
        train_accuracy: on the training batches, with augmentation and dropout.
        val_accuracy: after each epoch.
        slope: rise of the validation accuracy per epoch, fitted over the last third of the epochs
            of all seeds; ``None`` below three epochs.
        slope_error: standard error of ``slope``.
        terms: mean of each weighted loss term over the last epoch, by name.
    """

    lr: tuple[float, ...]
    train_accuracy: tuple[float, ...]
    val_accuracy: tuple[float, ...]
    slope: float | None
    slope_error: float | None
    terms: Mapping[str, float]

    @property
    def lr_tail(self) -> float:
        """Learning rate at the end, as a share of its peak."""
        return self.lr[-1] / max(self.lr)


@dataclass(frozen=True)
class ArmStats:
    """One arm of ``results.json``, over its seeds.

    Attributes:
        val_accuracy: on the validation split.
        test_accuracy: on the test split.
        agreement: share of validation images on which it predicts the teacher's class; ``None`` for
            the teacher.
        teacher_kl: KL divergence from the teacher on validation; ``None`` for the teacher.
        parameters: of the network; ``None`` if the run did not record it.
    """

    val_accuracy: float
    test_accuracy: float
    agreement: float | None
    teacher_kl: float | None
    parameters: int | None


@dataclass(frozen=True)
class RunRecord:
    """All evidence that needs no weights.

    Attributes:
        gain: in test accuracy of the distilled student over the baseline, seed by seed.
        num_val: number of validation images.
        num_test: number of test images.
        num_classes: number of classes.
        temperature: of the distilled arm's method, in the last epoch.
        alpha: of the distilled arm's method, in the last epoch.
        arms: by role: ``teacher``, ``baseline``, ``distilled``.
        curves: by role; an arm without recorded epochs (a given teacher) is missing.
        dropout: probability of each active dropout layer of the student, by module path.
        dropout_options: options of the student's constructor that set them; empty if unknown.
    """

    gain: PairedGain
    num_val: int
    num_test: int
    num_classes: int
    temperature: float
    alpha: float
    arms: Mapping[str, ArmStats]
    curves: Mapping[str, Curve]
    dropout: Mapping[str, float]
    dropout_options: tuple[str, ...]


@dataclass(frozen=True)
class SoftTargets:
    """The teacher's softened outputs on augmented training images, as in the last epoch.

    Attributes:
        num_images: number of these images.
        accuracy: share of images whose top class is the label. If images are mixed, naming the
            class with the smaller share counts by the ratio of the two shares.
        confidence: mean probability of the top class at T = 1.
        entropy: mean entropy at the student's temperature.
        entropy_share: ``entropy`` as a share of log K, the largest entropy of K classes.
        off_top: mean probability at the student's temperature of all classes but the top one.
        ranking: mean information about the order of these other classes,
            ``off_top * (log(K - 1) - their entropy)``: 0 if they are all alike.
        profile: mean probability of the top class, the second, ... at the student's temperature.
        profile_at_1: the same at T = 1.
    """

    num_images: int
    accuracy: float
    confidence: float
    entropy: float
    entropy_share: float
    off_top: float
    ranking: float
    profile: tuple[float, ...]
    profile_at_1: tuple[float, ...]


@dataclass(frozen=True)
class FitStats:
    """A network's saved weights on unaugmented training images and on validation, in eval mode.

    Attributes:
        train_accuracy: on a sample of the training images.
        val_accuracy: on the validation split.
        train_confidence: mean probability of the top class on the training sample.
        val_confidence: the same on validation.
        dropout_accuracy: ``train_accuracy`` with the dropout layers, and only these, in train mode.
    """

    train_accuracy: float
    val_accuracy: float
    train_confidence: float
    val_confidence: float
    dropout_accuracy: float


@dataclass(frozen=True)
class Gradients:
    """Gradient of each loss term on the distilled student's saved weights, in train mode.

    Attributes:
        norms: mean over batches of the norm of the weighted term's gradient, by term.
        shares: the same divided by their sum.
        cosine: mean cosine between the gradient of the cross-entropy and that of all other terms
            together; ``None`` if one of the two is missing.
        num_batches: over all seeds.
        left_out: the terms that could not be measured; empty if there is none.
    """

    norms: Mapping[str, float]
    shares: Mapping[str, float]
    cosine: float | None
    num_batches: int
    left_out: str = ""

    @property
    def from_teacher(self) -> float:
        """Share of all terms but the cross-entropy."""
        return sum(share for name, share in self.shares.items() if name != "ce")


@dataclass(frozen=True)
class Measured:
    """All evidence that needs the weights and the images.

    Attributes:
        num_train: training images in the sample behind each :class:`FitStats`.
        targets: soft targets of the teacher.
        fits: by role.
        gradients: of the distilled student; ``None`` if its method cannot be rebuilt from the
            saved weights.
        input_mean: mean of the sample's pixels after ``data.mean`` and ``data.std``, per channel.
        input_std: standard deviation of the same.
        normalisations: accuracy of a given teacher on validation images with its own normalisation
            (``as configured``) and with other common ones, by name; empty for a teacher that the
            run trained.
    """

    num_train: int
    targets: SoftTargets
    fits: Mapping[str, FitStats]
    gradients: Gradients | None
    input_mean: tuple[float, ...]
    input_std: tuple[float, ...]
    normalisations: Mapping[str, float]


@dataclass(frozen=True)
class Evidence:
    """Everything a diagnosis rests on. ``measured`` is ``None`` without the run's weights."""

    config: RunConfig
    recorded: RunRecord
    measured: Measured | None

    @property
    def mixed(self) -> bool:
        """Whether training images are mixed: their batches have two labels, so no accuracy."""
        return self.config.data.augment.mix != "none"

    @cached_property
    def teacher(self) -> Arm:
        """The teacher in the run's plan."""
        return resolve_plan(self.config).arm("teacher")

    @property
    def helped(self) -> bool:
        """Whether the whole interval of the gain is above zero."""
        return self.recorded.gain.verdict == "helped"

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, as under ``evidence`` in ``diagnosis.json``."""
        return {
            "recorded": to_json(self.recorded),
            "measured": None if self.measured is None else to_json(self.measured),
            "config": to_mapping(self.config),
        }

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str) -> "Evidence":
        """The reverse of :meth:`to_mapping`.

        Args:
            values: what ``diagnosis.json`` has under ``evidence``.
            where: the file, for the message.

        Raises:
            UnderstudyError: if a key is missing or a value has the wrong type.
        """
        advice = "run understudy diagnose again"
        found = from_json(_StoredEvidence, values, where, advice)
        return cls(parse(RunConfig, found.config), found.recorded, found.measured)


@dataclass(frozen=True)
class _StoredEvidence:
    recorded: RunRecord
    measured: Measured | None
    config: dict[str, Any]
