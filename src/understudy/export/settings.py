"""How an int8 file is calibrated: what the gate changes until the accuracy holds."""

from dataclasses import dataclass, replace
from typing import Literal

Calibration = Literal["minmax", "percentile", "entropy"]


@dataclass(frozen=True, kw_only=True)
class QuantisationSettings:
    """One attempt at an int8 file.

    Attributes:
        images: number of training images for the calibration.
        calibration: how the range of an activation is chosen from them.
        float_layers: names of layers that stay in floating point.
        seed: of the choice of images.
    """

    images: int = 512
    calibration: Calibration = "minmax"
    float_layers: tuple[str, ...] = ()
    seed: int = 0

    def but(self, **changes: object) -> "QuantisationSettings":
        """The same settings with some changed."""
        return replace(self, **changes)  # type: ignore[arg-type]
