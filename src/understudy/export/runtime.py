"""What is common to everything that runs an exported file."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from understudy.errors import UnderstudyError
from understudy.export.card import Card

LARGEST_BATCH = 128
"""Images in one call of a runtime; more are split, which bounds the memory."""


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


def check_images(images: np.ndarray, card: Card) -> None:
    """Refuse what a file with this card does not take: runtimes compute on some of it in silence.

    Raises:
        UnderstudyError: with what was given and what is needed.
    """
    wanted = card.image.shape
    if images.dtype != np.uint8 or images.shape[1:] != wanted or len(images) == 0:
        raise UnderstudyError(
            f"images must be uint8 [N, {', '.join(map(str, wanted))}] with N above 0, "
            f"not {images.dtype} {list(images.shape)}"
        )


def check_signature(
    images: Sequence[object], probabilities: Sequence[object], card: Card, where: str
) -> None:
    """Check that a file takes and gives what its card describes.

    Args:
        images, probabilities: shapes of its input and output, without regard to the first number.
        card: of the file.
        where: the file, for messages.

    Raises:
        UnderstudyError: if it does not.
    """
    if tuple(images[1:]) != card.image.shape:
        raise UnderstudyError(
            f"{where} takes images of shape {list(images[1:])}, but its card describes "
            f"{list(card.image.shape)}: export it again"
        )
    if tuple(probabilities[1:]) != (len(card.classes),):
        raise UnderstudyError(
            f"{where} has outputs of shape {list(probabilities[1:])}, but its card names "
            f"{len(card.classes)} classes: export it again"
        )


def in_batches(
    run: Callable[[np.ndarray], np.ndarray], images: np.ndarray, most: int
) -> np.ndarray:
    """``run`` on at most ``most`` images at a time, its results joined."""
    if len(images) <= most:
        return run(images)
    parts = [run(images[start : start + most]) for start in range(0, len(images), most)]
    return np.concatenate(parts)
