"""Whether a given teacher's outputs can teach: logits, finite, and different between images.

Its accuracy alone does not tell: a network that ends in a softmax has the right classes, and
teaches little, since its probabilities are taken for logits.
"""

from torch import Tensor

from understudy.errors import UnderstudyError

_SUM = 1e-2
"""Distance of a sum of probabilities from 1 that rounding explains, in bf16 as well."""
_CONSTANT = 1e-6
"""Largest difference between two images' outputs, as a share of the outputs, that rounding
explains."""


def check_outputs(name: str, logits: Tensor) -> str:
    """Refuse outputs that cannot be logits.

    Log-probabilities are logits: the softmax of both is the same at every temperature.

    Args:
        name: of the teacher, for messages.
        logits: float ``[N, K]``, of the validation images.

    Returns:
        A line about outputs, or classes, that are the same for all images: no better than chance,
        so they are refused unless any accuracy was accepted. Empty if there is nothing.

    Raises:
        UnderstudyError: for outputs that are not finite, or are probabilities.
    """
    broken = int((~logits.isfinite().all(1)).sum())
    if broken:
        raise UnderstudyError(
            f"{name} gives NaN or infinity for {broken} of {len(logits)} validation images: check "
            "its weights, its mean and std, or compute it in fp32 (precision=fp32)"
        )
    if are_probabilities(logits):
        raise UnderstudyError(
            f"{name} gives probabilities (all rows lie in [0, 1] and sum to 1), but its logits are "
            "needed: take the softmax off its end, or let it return the logarithm of them"
        )
    if len(logits) < 2:
        return ""
    spread = float((logits.amax(0) - logits.amin(0)).max())
    if spread <= _CONSTANT * max(float(logits.abs().max()), 1e-30):
        return (
            f"it gives the same outputs for all {len(logits)} validation images: check that its "
            "weights are those of a trained network, and its mean and std"
        )
    classes = logits.argmax(1)
    if bool((classes == classes[0]).all()):
        return (
            f"it takes all {len(logits)} validation images for class {int(classes[0])}: check its "
            "weights, the size of its images, its mean and std"
        )
    return ""


def are_probabilities(outputs: Tensor) -> bool:
    """Whether all rows of ``[N, K]`` lie in [0, 1] and sum to 1."""
    inside = (outputs >= 0) & (outputs <= 1)
    sums = outputs.double().sum(1)
    return bool(inside.all()) and bool(((sums - 1).abs() <= _SUM).all())
