"""What is exported: a trained network with all that a device must know about it."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from understudy.data.dataset import Split
from understudy.data.preprocess import Preprocessing
from understudy.errors import UnderstudyError
from understudy.export.card import Card, Measured, Origin
from understudy.models.normalisation import Normalisation


@dataclass(frozen=True, eq=False, kw_only=True)
class Deployable:
    """A trained network and the content of its card.

    Attributes:
        network: in eval mode, on the CPU; normalised images ``[N, C, H, W]`` to logits ``[N, K]``.
        classes: one name per class.
        preprocessing: from file bytes to its images.
        normalisation: of [0, 1] images.
        origin: where it comes from.
        measured: its accuracy in fp32.
        steps: what was done to keep the accuracy of an int8 file.
    """

    network: nn.Module
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    normalisation: Normalisation
    origin: Origin = field(default_factory=Origin)
    measured: tuple[Measured, ...] = ()
    steps: tuple[str, ...] = ()

    def require_usual_images(self) -> None:
        """Refuse images that no device prepares as the training did: grey, or resized otherwise.

        Raises:
            UnderstudyError: with the setting to change.
        """
        rule = self.preprocessing
        if rule.image.channels != 3:
            raise UnderstudyError(
                f"files for devices take RGB images, and this network takes {rule.image.channels} "
                "channel: train it with data.channels=3"
            )
        if rule.filter != "bilinear":
            raise UnderstudyError(
                f"files for devices resize images bilinearly, and this network was trained on "
                f"{rule.filter} ones: train it with data.interpolation=bilinear"
            )

    def card(self, format_name: str, dtype: str) -> Card:
        """The card of one exported file."""
        return Card(
            format=format_name,
            classes=self.classes,
            preprocessing=self.preprocessing,
            mean=self.normalisation.mean,
            std=self.normalisation.std,
            dtype=dtype,
            origin=self.origin,
            measured=self.measured,
            steps=self.steps,
        )

    def module(self) -> "DeployedModule":
        """What the file computes: uint8 images to probabilities."""
        return DeployedModule(self.network, self.normalisation).eval()


class DeployedModule(nn.Module):
    """uint8 RGB ``[N, 3, H, W]`` to probabilities fp32 ``[N, K]``: scaling, network, softmax."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, normalisation: Normalisation) -> None:
        super().__init__()
        self.network = network
        mean = torch.tensor(normalisation.mean, dtype=torch.float64).view(1, -1, 1, 1)
        std = torch.tensor(normalisation.std, dtype=torch.float64).view(1, -1, 1, 1)
        self.register_buffer("scale", (1 / (255 * std)).float(), persistent=False)
        self.register_buffer("shift", (-mean / std).float(), persistent=False)

    def normalise(self, images: Tensor) -> Tensor:
        """The network's input."""
        return images.float() * self.scale + self.shift

    def forward(self, images: Tensor) -> Tensor:
        result = self.network(self.normalise(images))
        logits: Tensor = getattr(result, "logits", result)
        return logits.softmax(1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Examples:
    """Images for the calibration and the gate; none of them is a test image.

    Attributes:
        train: the training images, a source of calibration images.
        val: the validation images, on which the gate measures.
    """

    train: Split
    val: Split
