"""Images as users have them: arrays in either order, bytes or floats, or a split."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from understudy.config.schema import DataConfig
from understudy.data.dataset import SealedSplit, Split
from understudy.data.loader import plain_batches
from understudy.data.pixels import PixelRule
from understudy.data.preprocess import Preprocessing, pixels_of
from understudy.data.spec import ImageSpec
from understudy.data.views import Normalise
from understudy.errors import UnderstudyError
from understudy.models.modes import evaluating
from understudy.models.normalisation import Normalisation
from understudy.training.device import resolve_device

if TYPE_CHECKING:
    from typing_extensions import TypeIs


@torch.no_grad()
def logits_of(
    network: nn.Module,
    images: Split | Tensor | np.ndarray,
    normalisation: Normalisation,
    image: ImageSpec,
    *,
    device: str = "cpu",
    batch_size: int = 512,
) -> Tensor:
    """Logits of images in eval mode: fp32 ``[N, K]``, on the CPU.

    Args:
        network: moved to ``device``; its modes are restored afterwards.
        images: a split, or ``[N, C, H, W]`` or ``[N, H, W, C]``: uint8 in 0..255, floats in [0, 1].
        normalisation: applied to the [0, 1] images.
        image: the shape that the images must have.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        batch_size: images in a forward pass.

    Raises:
        UnderstudyError: for images of another shape, type or range, or none at all.
    """
    if batch_size < 1:
        raise UnderstudyError(f"batch_size must be at least 1, not {batch_size}")
    place = resolve_device(device)
    batches = _batches(images, normalisation, image, batch_size, place)
    network.to(place)
    logits = []
    with evaluating(network):
        for batch in batches:
            result = network(batch)
            logits.append(getattr(result, "logits", result).float().cpu())
    return torch.cat(logits)


def is_paths(images: Any) -> "TypeIs[str | Path | Sequence[str | Path]]":
    """Whether images are given as one file or as a list or tuple of files."""
    if isinstance(images, list | tuple):
        return bool(images) and all(isinstance(image, str | Path) for image in images)
    return isinstance(images, str | Path)


def logits_of_files(
    network: nn.Module,
    paths: Sequence[str | Path],
    normalisation: Normalisation,
    preprocessing: Preprocessing,
    *,
    device: str = "cpu",
    batch_size: int = 512,
) -> Tensor:
    """Logits of image files in eval mode: fp32 ``[N, K]``, on the CPU; one batch is in memory.

    Args:
        network, normalisation, device, batch_size: as for :func:`logits_of`.
        paths: the files, at least one.
        preprocessing: how they are read.

    Raises:
        UnderstudyError: naming the file that cannot be read.
    """
    if batch_size < 1:
        raise UnderstudyError(f"batch_size must be at least 1, not {batch_size}")
    folders = [str(path) for path in paths if Path(path).is_dir()]
    if folders:
        raise UnderstudyError(
            f"{folders[0]} is a folder: give its files, such as sorted(Path(...).glob('*.jpg'))"
        )
    logits = []
    for start in range(0, len(paths), batch_size):
        files = paths[start : start + batch_size]
        pixels = np.stack([preprocessing.read(Path(file), str(file)) for file in files])
        logits.append(
            logits_of(
                network,
                pixels,
                normalisation,
                preprocessing.image,
                device=device,
                batch_size=batch_size,
            )
        )
    return torch.cat(logits)


def stacked(images: Any, preprocessing: Preprocessing) -> Any:
    """Single images, by the rule for files, as one array uint8 ``[N, H, W, C]``; what is an array
    or a split already is returned unchanged.

    Args:
        images: a Pillow image, or a list or tuple of Pillow images, arrays and tensors.
        preprocessing: how they are brought to one shape.

    Raises:
        UnderstudyError: naming the image that cannot be read.
    """
    several = [images] if isinstance(images, Image.Image) else images
    if not isinstance(several, list | tuple) or not several:
        return images
    if not isinstance(several[0], Image.Image | np.ndarray | Tensor):
        return images
    return np.stack([_one(one, f"image {row}", preprocessing) for row, one in enumerate(several)])


def _one(image: Any, where: str, preprocessing: Preprocessing) -> np.ndarray:
    spec, resize, interpolation = preprocessing.image, preprocessing.resize, preprocessing.filter
    if isinstance(image, Image.Image):
        return pixels_of(image, where, spec.size, resize, interpolation, spec.channels)
    rule = PixelRule(spec.channels, spec.size, resize, interpolation=interpolation)
    return rule.one(image, where)


def spec_of(images: Split | Tensor | np.ndarray, channels: int) -> ImageSpec:
    """The shape of images in either order, which the number of channels decides.

    Raises:
        UnderstudyError: if the images have another number.
    """
    _check_type(images)
    shape = tuple((images.images if isinstance(images, Split) else images).shape)
    if len(shape) == 4 and shape[1] == channels:
        return ImageSpec(channels, shape[2], shape[3])
    if len(shape) == 4 and shape[3] == channels:
        return ImageSpec(channels, shape[1], shape[2])
    raise UnderstudyError(
        f"images must be [N, C, H, W] or [N, H, W, C] with C = {channels}, not {list(shape)}"
    )


def _batches(
    images: Split | Tensor | np.ndarray,
    normalisation: Normalisation,
    image: ImageSpec,
    batch_size: int,
    device: torch.device,
) -> Iterator[Tensor]:
    """Normalised batches, float ``[B, C, H, W]``; everything is checked before the first."""
    if isinstance(images, Split):
        _check_shape(tuple(images.images.shape[1:]), image)
        config = DataConfig(mean=normalisation.mean, std=normalisation.std)
        return (batch.images for batch in plain_batches(images, config, batch_size, device))
    pixels = _pixels(images, image)
    normalise = Normalise(normalisation.mean, normalisation.std, image.width, device)
    parts = pixels.split(batch_size)
    if pixels.dtype == torch.uint8:
        return (normalise(part.to(device)) for part in parts)
    return (normalise(part.to(device) * 255) for part in parts)


def _pixels(images: Any, image: ImageSpec) -> Tensor:
    """Images as ``[N, H, W, C]``: uint8, or fp32 in [0, 1]."""
    _check_type(images)
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(np.ascontiguousarray(images))
    if images.ndim == 3 and image.channels == 1 and tuple(images.shape[1:]) == image.size:
        images = images[:, None]
    if images.ndim == 3:
        raise UnderstudyError("predict takes a batch of images: give images[None] for a single one")
    if images.ndim != 4 or len(images) == 0:
        raise UnderstudyError(
            f"images must be [N, C, H, W] or [N, H, W, C] with N above 0, not {list(images.shape)}"
        )
    if tuple(images.shape[1:]) == (*image.size, image.channels) != image.shape:
        images = images.permute(0, 3, 1, 2)
    _check_shape(tuple(images.shape[1:]), image)
    images = images.permute(0, 2, 3, 1)
    if images.dtype == torch.uint8:
        return images
    if not images.dtype.is_floating_point:
        raise UnderstudyError(f"images must be uint8 or floats, not {images.dtype}")
    if not (images.min() >= 0 and images.max() <= 1):
        raise UnderstudyError(
            "float images must lie in [0, 1], before normalisation: divide bytes by 255, "
            "or call student.network on images that are normalised already"
        )
    return images.float()


def _check_type(images: Any) -> None:
    if isinstance(images, SealedSplit):
        raise UnderstudyError(
            "predict does not open a sealed test split: use evaluate, or give "
            "data.test.open_for_final_evaluation()"
        )
    numbers = isinstance(images, np.ndarray) and images.dtype.kind in "uf"
    if not numbers and not isinstance(images, Tensor | Split):
        raise UnderstudyError(
            "images must be a Split, a numpy array or torch tensor of uint8 or floats, or paths of "
            f"image files, not {_kind(images)}"
        )


def _check_shape(shape: tuple[int, ...], image: ImageSpec) -> None:
    if shape != image.shape:
        found = "x".join(map(str, shape))
        raise UnderstudyError(
            f"the images are {found}, but the network was trained on {image} "
            "(channels x height x width): resize them"
        )


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    return type(value).__name__
