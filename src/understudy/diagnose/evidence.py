"""What a diagnosis rests on: numbers a run recorded, and numbers measured on its weights. Plain data, no torch.

Accuracies, confidences and shares lie in [0, 1], entropies and divergences are in nats, all means over the run's seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from understudy.config.schema import RunConfig
from understudy.evaluation.statistics import PairedGain


@dataclass(frozen=True)
class Curve:
    """How one arm's training went, from ``history.csv``; every list has one entry per epoch.

    Attributes:
        lr: learning rate at each epoch's last step.
        train_accuracy: of the training batches as they came, augmented and with dropout on.
        val_accuracy: after each epoch.
        slope: rise of the validation accuracy per epoch, fitted over the last third of the epochs of every seed; ``None``
            below three epochs.
        slope_error: its standard error.
        terms: mean of each weighted term of the loss over the last epoch.
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
class Standing:
    """What ``results.json`` holds about an arm.

    Attributes:
        val_accuracy, test_accuracy: means over seeds.
        agreement, teacher_kl: with the teacher on validation; ``None`` for the teacher.
        parameters: of the network, where recorded.
    """

    val_accuracy: float
    test_accuracy: float
    agreement: float | None
    teacher_kl: float | None
    parameters: int | None


@dataclass(frozen=True)
class Recorded:
    """Everything that needs no weights.

    Attributes:
        gain: of the distilled student over the plain one, seed by seed.
        num_val, num_test, num_classes: sizes.
        temperature, alpha: of the distilled arm's method, its defaults included.
        arms: by role: ``teacher``, ``baseline``, ``distilled``.
        curves: by role; an arm without recorded epochs (a given teacher) is missing.
        dropout: the student's dropout layers that are on, by module path.
        dropout_options: the options of its constructor that set them; empty where they are not known.
    """

    gain: PairedGain
    num_val: int
    num_test: int
    num_classes: int
    temperature: float
    alpha: float
    arms: Mapping[str, Standing]
    curves: Mapping[str, Curve]
    dropout: Mapping[str, float]
    dropout_options: tuple[str, ...]


@dataclass(frozen=True)
class Targets:
    """What the student is told: the teacher's softened answers to training images, under the views of the last epoch.

    Attributes:
        num_images: how many were asked about.
        accuracy: share whose top class is the label; where images are mixed, one that names the class with the smaller share
            counts by the ratio of the two shares.
        confidence: mean probability of the top class at T = 1.
        entropy: mean entropy at T; ``entropy_share`` of it in log K, the most there can be.
        off_top: mean mass at T on all classes but the top one.
        ranking: mean information at T about which of the other classes, ``off_top * (log(K - 1) - their entropy)``: 0 where
            they are all alike, and where there is nothing on them.
        profile: mean probability at T of the top class, the second, ...; ``profile_at_1`` the same at T = 1.
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
class Fit:
    """A network on a sample of training images as they are, and on validation, in eval mode.

    Attributes:
        train_accuracy, val_accuracy: of the kept weights.
        train_confidence, val_confidence: mean probability of the top class.
        dropout_accuracy: ``train_accuracy`` with the dropout layers alone switched on, as in training.
    """

    train_accuracy: float
    val_accuracy: float
    train_confidence: float
    val_confidence: float
    dropout_accuracy: float


@dataclass(frozen=True)
class Gradients:
    """The pull of each term of the loss on the distilled student's parameters, at its kept weights in training mode.

    Attributes:
        norms: mean over batches of the norm of the weighted term's gradient, by name.
        shares: the same, divided by their sum.
        cosine: mean cosine between the cross-entropy's gradient and all other terms' together; ``None`` where one is missing.
        num_batches: over all seeds.
        left_out: why a term is missing; empty if none is.
    """

    norms: Mapping[str, float]
    shares: Mapping[str, float]
    cosine: float | None
    num_batches: int
    left_out: str = ""

    @property
    def from_teacher(self) -> float:
        """Share of every term but the cross-entropy."""
        return sum(share for name, share in self.shares.items() if name != "ce")


@dataclass(frozen=True)
class Measured:
    """What the weights and the images say.

    Attributes:
        num_train: training images in the sample behind each :class:`Fit`.
        targets: of the teacher.
        fits: by role.
        gradients: of the distilled student; ``None`` where its method cannot be put together again from the kept weights.
        input_mean, input_std: of the sample's pixels after ``data.mean`` and ``data.std``, per channel.
        normalisations: the teacher's accuracy on validation images under its own normalisation (``as configured``) and
            under common others, by name; empty for a teacher that the run trained itself.
    """

    num_train: int
    targets: Targets
    fits: Mapping[str, Fit]
    gradients: Gradients | None
    input_mean: tuple[float, ...]
    input_std: tuple[float, ...]
    normalisations: Mapping[str, float]


@dataclass(frozen=True)
class Evidence:
    """All of it. ``measured`` is ``None`` where the run's weights are gone."""

    config: RunConfig
    recorded: Recorded
    measured: Measured | None

    @property
    def mixed(self) -> bool:
        """Whether training images are mixed: then no classifier is right on most of their batches, which have two labels."""
        return self.config.data.augment.mix != "none"
