"""Multinomial logistic regression on features, its strength of regularisation chosen on validation.

The problem is convex and small next to the network that made the features: L-BFGS (Liu and Nocedal
1989) solves it in float64 in seconds. Features are standardised, so that one strength suits all.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

STRENGTHS = (1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6)
"""Factors of half the squared weights next to the mean loss, from the strongest."""
_STEPS = 300
_LEAST_STD = 1e-6
"""Of a feature; one that varies less is as good as constant, and gets no weight."""


@dataclass(frozen=True)
class Examples:
    """Features with their labels.

    Attributes:
        features: ``[N, D]``.
        labels: int64 ``[N]``.
    """

    features: Tensor
    labels: Tensor


@dataclass(frozen=True)
class LogisticFit:
    """A linear classifier of features.

    Attributes:
        weight: float64 ``[K, D]``, of the features without standardisation.
        bias: float64 ``[K]``; ``None`` without an intercept.
        strength: of the regularisation that was chosen.
        val_loss: mean cross-entropy on validation, in nats, with the weights of the classes.
        val_accuracy: on validation, in [0, 1].
    """

    weight: Tensor
    bias: Tensor | None
    strength: float
    val_loss: float
    val_accuracy: float


def fit_logistic(
    train: Examples,
    val: Examples,
    num_classes: int,
    *,
    class_weights: Tensor | None = None,
    intercept: bool = True,
) -> LogisticFit:
    """Solve for each strength, and take the one of the smallest loss on validation.

    The loss and not the accuracy, because probabilities are what a student learns from; of equal
    ones the stronger.

    Args:
        train, val: features and labels.
        num_classes: K.
        class_weights: ``[K]``, factors of each image's loss by its class.
        intercept: whether a constant is added to each logit; without it features are scaled, but
            not centred.
    """
    mean, std = _moments(train.features, centred=intercept)
    inputs, val_inputs = (((each.features.double() - mean) / std) for each in (train, val))
    loss_on = _weighted_loss(class_weights)
    parameters = torch.zeros(num_classes, inputs.shape[1] + intercept, dtype=torch.float64)
    best: LogisticFit | None = None
    for strength in STRENGTHS:
        parameters = _solve(inputs, train.labels, parameters, strength, loss_on)
        logits = _logits(val_inputs, parameters)
        loss = float(loss_on(logits, val.labels))
        if best is None or loss < best.val_loss:
            weight = parameters[:, : inputs.shape[1]] / std
            bias = parameters[:, -1] - weight @ mean if intercept else None
            accuracy = float((logits.argmax(1) == val.labels).double().mean())
            best = LogisticFit(weight, bias, strength, loss, accuracy)
    assert best is not None
    return best


def _moments(features: Tensor, *, centred: bool) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature, float64 ``[D]``; mean 0 unless centred."""
    values = features.double()
    mean = values.mean(0) if centred else torch.zeros(values.shape[1], dtype=torch.float64)
    std = (values - mean).square().mean(0).sqrt()
    return mean, torch.where(std < _LEAST_STD, torch.inf, std)


def _weighted_loss(class_weights: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
    weights = None if class_weights is None else class_weights.double()
    return lambda logits, labels: F.cross_entropy(logits, labels, weight=weights)


def _logits(inputs: Tensor, parameters: Tensor) -> Tensor:
    """``[N, K]``; a column of the parameters more than of the inputs is the intercept."""
    width = inputs.shape[1]
    logits = inputs @ parameters[:, :width].T
    return logits + parameters[:, -1] if parameters.shape[1] > width else logits


def _solve(
    inputs: Tensor,
    labels: Tensor,
    start: Tensor,
    strength: float,
    loss_on: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """The parameters of the smallest regularised loss; the intercept is not regularised."""
    parameters = start.clone().requires_grad_(True)
    solver = torch.optim.LBFGS(
        [parameters],
        max_iter=_STEPS,
        history_size=20,
        tolerance_grad=1e-7,
        tolerance_change=1e-11,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        solver.zero_grad()
        penalty = 0.5 * strength * parameters[:, : inputs.shape[1]].square().sum()
        loss = loss_on(_logits(inputs, parameters), labels) + penalty
        loss.backward()
        return loss

    with torch.enable_grad():
        solver.step(closure)
    return parameters.detach()
