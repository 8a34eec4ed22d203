"""Hinton's soft-label divergence, the term that every method can carry."""

import torch.nn.functional as F
from torch import Tensor


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """``T^2 * KL(softmax(z_t / T) || softmax(z_s / T))`` (Hinton et al. 2015).

    It is summed over classes and averaged over the batch.

    T^2 keeps the gradient's size about the same at every temperature. (The default ``mean`` of
    ``KLDivLoss`` would divide by K as well.)

    Args:
        student_logits, teacher_logits: ``[B, K]``.
        temperature: T above 0.

    Returns:
        scalar, at least 0; 0 with zero gradient when both logits agree up to a constant per row.
    """
    student = F.log_softmax(student_logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)
