"""How good a classifier is, and how close to its teacher: computed from logits alone."""

import math

import torch
from torch import Tensor, nn

from understudy.config.schema import DataConfig
from understudy.data.dataset import SealedSplit, Split
from understudy.data.loader import plain_batches
from understudy.evaluation.calibration import ece, reliability
from understudy.evaluation.correctness import pack
from understudy.evaluation.proportions import Proportion
from understudy.evaluation.results import MOST_CONFUSION, Metrics
from understudy.models.modes import evaluating


def evaluate(
    network: nn.Module,
    split: Split | SealedSplit,
    config: DataConfig | None = None,
    *,
    teacher: nn.Module | None = None,
    device: str = "cpu",
) -> Metrics:
    """Measure a network on a split; a test split is opened for it.

    Args:
        network: images to logits ``[N, K]``.
        split: for instance ``dataset.test``. Evaluate on it once, when nothing is chosen any more.
        config: normalisation; by default mean 0.5 and std 0.25 in each channel, as in
            :func:`understudy.train`.
        teacher: network to compare with.
        device: where to run: ``cpu``, ``cuda`` or ``cuda:N``.
    """
    images = split.open_for_final_evaluation() if isinstance(split, SealedSplit) else split
    channels = images.images.shape[1]
    config = config or DataConfig(mean=(0.5,) * channels, std=(0.25,) * channels)
    target = torch.device(device)
    logits = predict(network.to(target), images, config, target)
    if teacher is None:
        return metrics(logits, images.labels)
    return metrics(logits, images.labels, predict(teacher.to(target), images, config, target))


@torch.no_grad()
def predict(
    model: nn.Module,
    split: Split,
    config: DataConfig,
    device: torch.device,
    *,
    precision: str = "fp32",
    batch_size: int = 512,
) -> Tensor:
    """Logits of a split's images, unaugmented, in evaluation mode.

    Args:
        model: images to logits, on ``device``; its modes are restored afterwards.
        split: ``N`` images.
        config: normalisation.
        device: where the model is.
        precision: ``bf16`` computes under autocast.
        batch_size: images in a forward pass.

    Returns:
        fp32 ``[N, K]``, on the CPU.
    """
    logits = []
    with evaluating(model):
        for batch in plain_batches(split, config, batch_size, device):
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                logits.append(model(batch.images).float())
    return torch.cat(logits).cpu()


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of rows whose largest logit is the label's, in [0, 1]."""
    return float((logits.argmax(1) == labels).double().mean())


def nll(logits: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood of the labels, in nats."""
    return float(nn.functional.cross_entropy(logits.double(), labels))


def per_class_accuracy(logits: Tensor, labels: Tensor) -> list[float]:
    """Accuracy on the images of each class (recall), in [0, 1]; NaN for a class without images."""
    num_classes = logits.shape[1]
    correct = torch.bincount(labels[logits.argmax(1) == labels], minlength=num_classes).double()
    count = torch.bincount(labels, minlength=num_classes).double()
    return [float(share) for share in correct / count]


def balanced_accuracy(logits: Tensor, labels: Tensor) -> float:
    """Mean accuracy over the classes that have images, in [0, 1]."""
    shares = [share for share in per_class_accuracy(logits, labels) if not math.isnan(share)]
    return math.fsum(shares) / len(shares) if shares else math.nan


def macro_f1(logits: Tensor, labels: Tensor) -> float:
    """Mean F1 over the classes that are a label or a prediction, in [0, 1].

    F1 of a class is ``2 * right / (labels + predictions)``, the harmonic mean of its precision and
    recall.
    """
    num_classes, predicted = logits.shape[1], logits.argmax(1)
    right, labelled, guessed = (
        torch.bincount(classes, minlength=num_classes).double()
        for classes in (labels[predicted == labels], labels, predicted)
    )
    total = labelled + guessed
    return float((2 * right / total)[total > 0].mean())


def confusion_matrix(logits: Tensor, labels: Tensor) -> Tensor:
    """int64 ``[K, K]``: number of images of each class (row) predicted as each class (column)."""
    num_classes = logits.shape[1]
    pairs = labels * num_classes + logits.argmax(1)
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def class_intervals(logits: Tensor, labels: Tensor) -> list[tuple[float, float] | None]:
    """Wilson's 95 % interval of the accuracy on each class; ``None`` for one without images."""
    num_classes = logits.shape[1]
    right = torch.bincount(labels[logits.argmax(1) == labels], minlength=num_classes).tolist()
    found: list[tuple[float, float] | None] = []
    for hits, count in zip(right, labels.bincount(minlength=num_classes).tolist(), strict=True):
        if count:
            share = Proportion.of(hits, count)
            found.append((share.low, share.high))
        else:
            found.append(None)
    return found


def agreement(logits: Tensor, teacher_logits: Tensor) -> float:
    """Share of rows on which both predict the same class, in [0, 1]."""
    return float((logits.argmax(1) == teacher_logits.argmax(1)).double().mean())


def teacher_kl(logits: Tensor, teacher_logits: Tensor) -> float:
    """Mean ``KL(teacher || model)`` at temperature 1, in nats."""
    return float(
        nn.functional.kl_div(
            logits.double().log_softmax(1),
            teacher_logits.double().log_softmax(1),
            reduction="batchmean",
            log_target=True,
        )
    )


def metrics(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None) -> Metrics:
    """Everything that a result holds for a model on a split.

    Args:
        logits: ``[N, K]``.
        labels: int64 ``[N]``.
        teacher_logits: ``[N, K]`` for the same images, if there is a teacher to compare with.
    """
    num_classes = logits.shape[1]
    confusion = None
    if num_classes <= MOST_CONFUSION:
        confusion = tuple(map(tuple, confusion_matrix(logits, labels).tolist()))
    same = kl = None
    if teacher_logits is not None:
        same, kl = agreement(logits, teacher_logits), teacher_kl(logits, teacher_logits)
    return Metrics(
        accuracy=accuracy(logits, labels),
        per_class=tuple(_number(share) for share in per_class_accuracy(logits, labels)),
        nll=_number(nll(logits, labels)),
        ece=_number(ece(logits, labels)),
        agreement=same,
        teacher_kl=None if kl is None else _number(kl),
        reliability=reliability(logits, labels),
        correct=pack((logits.argmax(1) == labels).numpy()),
        balanced_accuracy=_number(balanced_accuracy(logits, labels)),
        macro_f1=_number(macro_f1(logits, labels)),
        class_counts=tuple(labels.bincount(minlength=num_classes).tolist()),
        per_class_interval=tuple(class_intervals(logits, labels)),
        confusion=confusion,
    )


def _number(value: float) -> float | None:
    """JSON has no NaN: ``None`` instead."""
    return None if math.isnan(value) else value
