"""Logistic regression on features: as good as scikit-learn's, its strength chosen on validation."""

import numpy as np
import pytest
import torch

from understudy.training.logistic import Examples, LogisticFit, fit_logistic


def examples(number: int, seed: int, num_classes: int = 4, width: int = 12) -> Examples:
    """Classes around centres of their own; features of very different sizes, one constant."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(num_classes, width))
    labels = rng.integers(0, num_classes, number)
    features = centres[labels] + 1.5 * rng.normal(size=(number, width))
    features = features * np.logspace(-2, 2, width) + 5
    features[:, 3] = 7
    return Examples(torch.from_numpy(features).float(), torch.from_numpy(labels))


def accuracy(fit: LogisticFit, on: Examples) -> float:
    logits = on.features.double() @ fit.weight.T
    logits = logits if fit.bias is None else logits + fit.bias
    return float((logits.argmax(1) == on.labels).double().mean())


def test_it_is_as_accurate_as_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    from sklearn.preprocessing import StandardScaler

    train, val, test = examples(400, 0), examples(200, 1), examples(2000, 2)
    found = fit_logistic(train, val, 4)
    scaler = StandardScaler().fit(train.features.numpy())
    best = max(
        (
            linear.LogisticRegression(C=1 / (strength * 400), max_iter=2000).fit(
                scaler.transform(train.features.numpy()), train.labels.numpy()
            )
            for strength in (1.0, 0.1, 0.01, 0.001)
        ),
        key=lambda m: m.score(scaler.transform(val.features.numpy()), val.labels.numpy()),
    )
    reference = best.score(scaler.transform(test.features.numpy()), test.labels.numpy())
    assert accuracy(found, test) >= reference - 0.005
    assert accuracy(found, val) == found.val_accuracy
    assert reference > 0.7, "it can be learnt: chance is 0.25"


def test_the_strength_is_the_one_of_the_smallest_loss_on_validation() -> None:
    few, val = examples(20, 0), examples(500, 1)  # fewer than parameters: weak ones overfit
    found = fit_logistic(few, val, 4)
    assert found.strength >= 0.01
    many = fit_logistic(examples(3000, 0), val, 4)
    assert many.strength < found.strength and many.val_loss < found.val_loss


def test_a_constant_feature_gets_no_weight() -> None:
    found = fit_logistic(examples(200, 0), examples(100, 1), 4)
    assert torch.equal(found.weight[:, 3], torch.zeros(4, dtype=torch.float64))


def test_class_weights_raise_the_recall_of_a_rare_class() -> None:
    train, val = examples(600, 0, num_classes=2), examples(300, 1, num_classes=2)
    rare = (train.labels == 0) | (torch.arange(600) % 12 == 0)
    skewed = Examples(train.features[rare] * 1.0, train.labels[rare])
    weights = len(skewed.labels) / (2 * skewed.labels.bincount())
    plain, balanced = (
        fit_logistic(skewed, val, 2),
        fit_logistic(skewed, val, 2, class_weights=weights),
    )
    of_rare = val.labels == 1
    only = Examples(val.features[of_rare], val.labels[of_rare])
    assert accuracy(balanced, only) > accuracy(plain, only)


def test_a_head_without_a_constant_has_none() -> None:
    found = fit_logistic(examples(200, 0), examples(100, 1), 4, intercept=False)
    assert found.bias is None
    assert accuracy(found, examples(100, 1)) == pytest.approx(found.val_accuracy)


def test_the_same_numbers_give_the_same_bits() -> None:
    first, again = (fit_logistic(examples(200, 0), examples(100, 1), 4) for _ in range(2))
    assert torch.equal(first.weight, again.weight)
