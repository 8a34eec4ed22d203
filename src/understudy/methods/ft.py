"""Factor transfer: the student imitates a compressed form of the teacher's map.

What it does: a paraphraser (convolutional autoencoder, trained on the teacher's map with mean
squared error) learns factors of ``rate`` times the teacher's channels; a translator (the same
encoder with batch norm) makes factors of the student's map. The term is the mean absolute
difference of both factors, each L2-normalised over all of its elements. Training has two phases in
one run. During the first ``paraphraser_epochs`` the paraphraser learns to reconstruct while the
student trains on its base loss alone; then the paraphraser is frozen, and the factor term is added.
No gradient of the student's term ever reaches the paraphraser.
When to use it: when the teacher is much wider than the student, so that its maps are hard to
imitate directly.
Cost: six convolutions at the teacher's width in the first phase, six lighter ones after it; the
teacher runs live.
Options: ``weight``, ``rate`` (channels of the factor over the teacher's), ``paraphraser_epochs``,
``stages`` and ``stage_weights`` (several levels at once; by default the deepest alone).
Reference: Kim, Park and Kwak 2018, Paraphrasing Complex Network: Network Compression via Factor
Transfer. (The CRD benchmark compares factors averaged over channels instead.)
"""

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.methods.base import Method, MethodContext
from understudy.methods.feature_pairs import (
    StagesConfig,
    l2_normalize,
    match_spatial,
    paired_stages,
    require_norm_samples,
)
from understudy.models.base import Classifier, Outputs


@dataclass(frozen=True)
class FTConfig(StagesConfig):
    """Options of factor transfer."""

    weight: float = 200.0
    """Weight of the factor term, once it is on."""
    rate: float = 0.5
    """Channels of the factor as a share of the teacher's."""
    paraphraser_epochs: int | None = None
    """Epochs of the first stage; by default a tenth of the run, rounded up."""
    stages: tuple[int, ...] = (-1,)
    """Which of the student's maps, 0 the shallowest and -1 the deepest; each is translated for the
    teacher's map that is as far from its own deep end. By default all that both networks have,
    except the first (a stem)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate <= 0:
            raise ValueError("method.rate must be above 0")
        if self.paraphraser_epochs is not None and self.paraphraser_epochs < 1:
            raise ValueError(
                "method.paraphraser_epochs must be at least 1: "
                "an untrained paraphraser knows nothing of the teacher"
            )


def ft_loss(student_factor: Tensor, teacher_factor: Tensor) -> Tensor:
    """Mean absolute difference of the factors (Kim et al. 2018, p = 1).

    Each factor is L2-normalised per image over all its elements.

    Args:
        student_factor, teacher_factor: ``[B, C, H, W]``; if H or W differ, the larger is
            average-pooled to the smaller size.

    Returns:
        scalar, at least 0; blind to a positive factor on either side.
    """
    student_factor, teacher_factor = match_spatial(student_factor, teacher_factor)
    return F.l1_loss(
        l2_normalize(student_factor.flatten(1)), l2_normalize(teacher_factor.flatten(1))
    )


def _encoder(in_channels: int, factors: int, *, norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in ((in_channels, in_channels), (in_channels, factors), (factors, factors)):
        layers += [
            nn.Conv2d(before, after, 3, 1, 1),
            nn.BatchNorm2d(after) if norm else nn.Identity(),
            nn.LeakyReLU(0.1),
        ]
    return nn.Sequential(*layers)


def _decoder(channels: int, factors: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in ((factors, factors), (factors, channels), (channels, channels)):
        layers += [nn.ConvTranspose2d(before, after, 3, 1, 1), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


class Factors(nn.Module):
    """Paraphraser and translator of one stage.

    Args:
        student_channels, teacher_channels: widths of both maps.
        rate: channels of the factor as a share of the teacher's.
    """

    def __init__(self, student_channels: int, teacher_channels: int, rate: float) -> None:
        super().__init__()
        factors = max(1, int(teacher_channels * rate))
        self.encoder, self.decoder = (
            _encoder(teacher_channels, factors, norm=False),
            _decoder(teacher_channels, factors),
        )
        self.translator = _encoder(student_channels, factors, norm=True)
        # Read in the second phase. The optimizer does not know this copy, so neither weight decay
        # nor momentum moves it.
        self.paraphraser = copy.deepcopy(self.encoder).requires_grad_(False)

    def reconstruction(self, teacher_map: Tensor) -> Tensor:
        """The autoencoder's mean squared error on ``[B, C_t, H, W]``."""
        if self.training:
            with torch.no_grad():
                for copied, trained in zip(
                    self.paraphraser.parameters(), self.encoder.parameters(), strict=True
                ):
                    copied.copy_(trained)
        return F.mse_loss(self.decoder(self.encoder(teacher_map)), teacher_map) + _nothing_of(
            self.translator
        )

    def transfer(self, student_map: Tensor, teacher_map: Tensor) -> Tensor:
        """The factor loss of ``[B, C_s, h, w]`` against ``[B, C_t, H, W]``."""
        if self.training:
            require_norm_samples("ft", student_map)
        with torch.no_grad():
            teacher_factor = self.paraphraser(teacher_map)
        loss = ft_loss(self.translator(student_map), teacher_factor)
        return loss + _nothing_of(self.encoder) + _nothing_of(self.decoder)


def _nothing_of(module: nn.Module) -> Tensor:
    """0 with a zero gradient for every parameter.

    Data-parallel training waits for the gradients of idle parts, too.
    """
    return 0 * torch.stack([parameter.flatten()[0] for parameter in module.parameters()]).sum()


class FT(Method):
    """The base loss; after the paraphraser's epochs, the factor term."""

    config_class = FTConfig
    config: FTConfig
    needs = "features"
    reference = (
        "Kim et al. 2018, Paraphrasing Complex Network: Network Compression via Factor Transfer"
    )

    def __init__(self, student: Classifier, config: FTConfig, context: MethodContext) -> None:
        super().__init__(student, config, context)
        self.stages = paired_stages(config, context)
        self.paraphraser_epochs = config.paraphraser_epochs or math.ceil(context.epochs / 10)
        if self.paraphraser_epochs >= context.epochs:
            raise UnderstudyError(
                f"ft trains its paraphraser for {self.paraphraser_epochs} of "
                f"{context.epochs} epochs, which leaves none for the student: "
                "set train.epochs above method.paraphraser_epochs"
            )
        assert context.teacher_example is not None
        student_side, teacher_side = (
            context.student_example.features,
            context.teacher_example.features,
        )
        self.factors = nn.ModuleList(
            Factors(student_side[stage].shape[1], teacher_side[stage].shape[1], config.rate)
            for stage, _ in self.stages
        )

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        parts = []
        first = self.epoch < self.paraphraser_epochs
        for factors, (stage, share) in zip(self.factors, self.stages, strict=True):
            assert isinstance(factors, Factors)
            teacher_map = teacher.features[stage].float()
            if first:
                parts.append(factors.reconstruction(teacher_map))
            else:
                parts.append(
                    self.config.weight
                    * share
                    * factors.transfer(student.features[stage].float(), teacher_map)
                )
        return {"reconstruction" if first else "ft": torch.stack(parts).sum()}
