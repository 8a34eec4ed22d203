"""Settings that follow from the pictures alone: size, shape, epochs, batch, validation share."""

from understudy.config.images import AugmentConfig
from understudy.data.inspection import SizeRange
from understudy.data.preprocess import Resize

SIZES = (32, 48, 64, 96, 128, 160, 192, 224)
"""Pixels of a side that are proposed."""
LARGEST_ON_CPU = 96
"""Pixels of a side proposed for training without a GPU: training time grows with its square."""

_LONG = 1.5
"""Ratio of the sides from which cutting out the centre would lose a third of the picture."""


def image_size(sizes: SizeRange, has_gpu: bool) -> int:
    """Pixels of a side: the largest of :data:`SIZES` that most pictures fill, 96 without a GPU.

    Args:
        sizes: of the pictures.
        has_gpu: whether the trainings will have a GPU.
    """
    largest = SIZES[-1] if has_gpu else LARGEST_ON_CPU
    side = min(min(sizes.median), largest)
    return max((size for size in SIZES if size <= side), default=SIZES[0])


def resize_rule(sizes: SizeRange) -> Resize:
    """``pad`` for long pictures, of which ``crop`` would cut off a third or more."""
    width, height = sizes.median
    return "pad" if max(width, height) >= _LONG * min(width, height) else "crop"


def epochs(num_images: int) -> int:
    """Passes over the training images: 15 for 50,000, more for fewer, as the square root; 10 to
    80."""
    return min(max(round(15 * (50_000 / num_images) ** 0.5), 10), 80)


def batch_size(num_images: int) -> int:
    """Images in a step: small sets need steps, large ones speed."""
    if num_images < 1_000:
        return 32
    return 64 if num_images < 20_000 else 128


def val_fraction(num_images: int) -> float:
    """Share held out for validation: at least some hundred pictures where there are as many."""
    if num_images < 5_000:
        return 0.2
    return 0.1 if num_images < 50_000 else 0.05


def augmentation(size: int) -> AugmentConfig:
    """Views for pictures of objects: shifts of an eighth of the side at most, mirrored; one set for
    all seeds, so that the teacher labels each view once."""
    return AugmentConfig(padding=max(size // 16, 2), flip=True, view_seed=0)
