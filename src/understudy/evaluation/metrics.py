"""How good a classifier is, and how close to its teacher: from logits alone."""

from typing import Any

import torch
from torch import Tensor, nn

from understudy.config.schema import DataConfig
from understudy.data.dataset import Split
from understudy.data.loader import plain_batches

NUM_BINS = 15


def evaluate(
    network: nn.Module,
    split: Split,
    config: DataConfig | None = None,
    *,
    teacher: nn.Module | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Measure a network on a split.

    Args:
        network: images to logits.
        split: for instance ``dataset.test.open_for_final_evaluation()``.
        config: normalisation; the default is mean 0.5, std 0.25 in each channel, as :func:`understudy.train` uses.
        teacher: compared with, where given.
        device: where to run.

    Returns:
        see :func:`metrics`.
    """
    channels = split.images.shape[1]
    config = config or DataConfig(mean=(0.5,) * channels, std=(0.25,) * channels)
    target = torch.device(device)
    logits = predict(network.to(target), split, config, target)
    return metrics(
        logits,
        split.labels,
        None if teacher is None else predict(teacher.to(target), split, config, target),
    )


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
    """Logits (fp32 ``[N, K]``, on the CPU) of a split's images as they are; the model's mode is put back afterwards."""
    training = model.training
    model.eval()
    logits = []
    for batch in plain_batches(split, config, batch_size, device):
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits.append(model(batch.images).float())
    model.train(training)
    return torch.cat(logits).cpu()


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of rows whose largest logit is the label's, in [0, 1]."""
    return float((logits.argmax(1) == labels).double().mean())


def nll(logits: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood of the labels, in nats."""
    return float(nn.functional.cross_entropy(logits.double(), labels))


def per_class_accuracy(logits: Tensor, labels: Tensor) -> list[float]:
    """Accuracy on the images of each class (recall), NaN for a class without images."""
    num_classes = logits.shape[1]
    hits = torch.bincount(labels[logits.argmax(1) == labels], minlength=num_classes).double()
    return [float(x) for x in hits / torch.bincount(labels, minlength=num_classes).double()]


def reliability(
    logits: Tensor, labels: Tensor, num_bins: int = NUM_BINS
) -> dict[str, list[float | int | None]]:
    """Mean confidence, accuracy and count of the predictions in each of ``num_bins`` equal bins (low, high] of confidence."""
    confidence, predicted = logits.double().softmax(1).max(1)
    edges = torch.linspace(0, 1, num_bins + 1, dtype=torch.float64)
    bins = (torch.bucketize(confidence, edges) - 1).clamp(0, num_bins - 1)
    count = torch.bincount(bins, minlength=num_bins)
    confidences = torch.bincount(bins, confidence, minlength=num_bins) / count
    accuracies = torch.bincount(bins, (predicted == labels).double(), minlength=num_bins) / count

    def known(values: Tensor) -> list[float | int | None]:
        return [
            float(v) if n else None for v, n in zip(values.tolist(), count.tolist(), strict=True)
        ]

    return {
        "confidence": known(confidences),
        "accuracy": known(accuracies),
        "count": count.tolist(),
    }


def ece(logits: Tensor, labels: Tensor, num_bins: int = NUM_BINS) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy over the bins (Guo et al. 2017)."""
    bins = reliability(logits, labels, num_bins)
    total = 0.0
    for confidence, hit, count in zip(
        bins["confidence"], bins["accuracy"], bins["count"], strict=True
    ):
        if count:
            assert confidence is not None and hit is not None
            total += count * abs(confidence - hit)
    return total / len(labels)


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


def metrics(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None) -> dict[str, Any]:
    """All of them: what ``results.json`` holds for a model on a split.

    Args:
        logits: ``[N, K]``.
        labels: int64 ``[N]``.
        teacher_logits: ``[N, K]`` for the same images, or ``None``.
    """
    return {
        "accuracy": accuracy(logits, labels),
        "per_class": per_class_accuracy(logits, labels),
        "nll": nll(logits, labels),
        "ece": ece(logits, labels),
        "agreement": None if teacher_logits is None else agreement(logits, teacher_logits),
        "teacher_kl": None if teacher_logits is None else teacher_kl(logits, teacher_logits),
        "reliability": reliability(logits, labels),
    }
