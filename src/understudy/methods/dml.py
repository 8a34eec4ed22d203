"""Deep mutual learning: several students learn the labels and from one another, no teacher.

What it does: every peer minimises its cross-entropy plus ``weight`` times the mean, over the other
peers, of ``T^2 * KL(softmax(z_other / T) || softmax(z / T))``, where the other peer's logits come
from the same forward pass and are detached. The peers have the student's architecture; they start
as copies whose layers draw fresh weights by their own ``reset_parameters``, one after the other
from the run's generator, so that all differ and a seed fixes all. (A bare parameter that belongs to
no such layer starts equal in all peers.) The deployed student is the first peer.
When to use it: when there is no teacher, or to check that a teacher is worth more than peers.
Cost: as many students as there are peers, in every step; no teacher.
Options: ``weight``, ``peers`` (in all, at least 2), ``temperature`` (1 in the paper),
``ce_weight``.
Reference: Zhang et al. 2018, Deep Mutual Learning.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.config.schedules import Schedule
from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.methods.base import Method, MethodConfig, MethodContext
from understudy.methods.divergence import kd_loss
from understudy.models.base import Classifier, Outputs


@dataclass(frozen=True)
class DMLConfig(MethodConfig):
    """Options of deep mutual learning."""

    temperature: float | Schedule = 1.0
    """T: the peers' logits are divided by it in the mutual term."""
    weight: float = 1.0
    """Weight of the mutual term."""
    peers: int = 2
    """Students that learn together, the deployed one included."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.peers < 2:
            raise ValueError("method.peers must be at least 2")
        if self.alpha:
            raise ValueError(
                "method.alpha must be 0: dml has no teacher, "
                "the peers' term is weighted by method.weight"
            )


def dml_loss(logits: Sequence[Tensor], temperature: float) -> Tensor:
    """Each peer's mean divergence from the others, summed over peers (Zhang et al. 2018).

    The other peers are detached.

    Args:
        logits: at least two of ``[B, K]``, for the same images.
        temperature: T above 0.

    Returns:
        scalar, at least 0; 0 where all peers agree up to a constant per row.
    """
    divergences = [
        kd_loss(own, other.detach(), temperature)
        for number, own in enumerate(logits)
        for other_number, other in enumerate(logits)
        if number != other_number
    ]
    return torch.stack(divergences).sum() / (len(logits) - 1)


def fresh_copy(student: Classifier) -> Classifier:
    """A copy of a network whose layers have drawn new weights.

    Raises:
        UnderstudyError: if the network has no layer that can.
    """
    peer = copy.deepcopy(student)
    for module in peer.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    if all(
        torch.equal(new, old)
        for new, old in zip(peer.parameters(), student.parameters(), strict=True)
    ):
        raise UnderstudyError(
            "fresh copies are drawn by reset_parameters, but no layer of this student has it"
        )
    return peer


class DML(Method):
    """The student and its peers, each with its cross-entropy, and the mutual term."""

    config_class = DMLConfig
    needs = "nothing"
    reference = "Zhang et al. 2018, Deep Mutual Learning"

    def __init__(self, student: Classifier, config: DMLConfig, context: MethodContext) -> None:
        super().__init__(student, config, context)
        self.weight = config.weight
        self.ce_weight = 1.0 if config.ce_weight is None else config.ce_weight
        self.peers = nn.ModuleList(fresh_copy(student) for _ in range(config.peers - 1))

    def forward(
        self, batch: Batch, teacher: Outputs | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Run all peers on a batch: the losses, and the student's logits ``[B, K]``."""
        logits = [network(batch.images).float() for network in (self.student, *self.peers)]
        with torch.autocast(batch.images.device.type, enabled=False):
            own, *others = [self.ce_weight * self.label_loss(peer, batch) for peer in logits]
            mutual = self.weight * dml_loss(logits, self.temperature_now)
            return {"ce": own, "peers_ce": torch.stack(others).sum(), "mutual": mutual}, logits[0]
