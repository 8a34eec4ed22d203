"""What is common to everything that runs an exported file."""

from typing import Protocol

import numpy as np

from understudy.export.card import Card


class Runtime(Protocol):
    """An exported file, loaded; or the network itself in torch.

    Attributes:
        card: of the file.
    """

    card: Card

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities of the classes.

        Args:
            images: uint8 ``[N, 3, H, W]``, RGB, of the card's size; any N above 0.

        Returns:
            fp32 ``[N, K]``, rows summing to 1.
        """
        ...
