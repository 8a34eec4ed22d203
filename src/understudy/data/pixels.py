"""Images in memory, as users have them, as uint8 ``[H, W, C]``.

Arrays and tensors in either order of their axes, bytes or floats; Pillow images; encoded files.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from understudy.config.images import Interpolation
from understudy.data.preprocess import Resize, decode, fit, pixels_of
from understudy.errors import UnderstudyError

if TYPE_CHECKING:
    from torch import Tensor

Allocate = Callable[[tuple[int, int, int, int]], np.ndarray]
"""Gives an uint8 array of a shape ``[N, H, W, C]``."""
_CHANNELS = (1, 3, 4)
"""Grey, RGB, and RGB with transparency."""
_ROUNDING = 1e-3
"""By how much floats may lie outside of [0, 1]: what undoing a normalisation loses."""
_CHUNK = 2048
"""Images converted together."""


def _in_memory(shape: tuple[int, int, int, int]) -> np.ndarray:
    return np.empty(shape, np.uint8)


@dataclass(frozen=True)
class PixelRule:
    """How images in memory become uint8 of one shape.

    Attributes:
        channels: 3 repeats grey and lays transparency over white; 1 takes grey images alone.
        size: (height, width) in pixels to bring images to; ``None`` leaves their own.
        resize: the rule by which they are brought to it.
        normalised: mean and std by which float images were normalised, which is undone.
        interpolation: filter of the resizing.
    """

    channels: int = 3
    size: tuple[int, int] | None = None
    resize: Resize = "crop"
    normalised: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    interpolation: Interpolation = "bilinear"

    def block(
        self, images: "np.ndarray | Tensor", where: str, allocate: Allocate = _in_memory
    ) -> np.ndarray:
        """Many images as uint8 ``[N, H, W, C]``; bytes that fit already are not copied.

        Args:
            images: ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]`` with C 1, 3 or 4: whole
                numbers in 0..255, or floats in [0, 1].
            where: their name in messages.
            allocate: gives the array for the result.

        Raises:
            UnderstudyError: for another shape, type or range.
        """
        array = _channels_last(images, where)
        is_finished = array.dtype == np.uint8 and array.shape[3] == self.channels
        if is_finished and self.size in (None, array.shape[1:3]) and array.flags.c_contiguous:
            return array
        height, width = self.size or array.shape[1:3]
        out = allocate((len(array), height, width, self.channels))
        for start in range(0, len(array), _CHUNK):
            part = self._in_channels(self._bytes(array[start : start + _CHUNK], where), where)
            for row, image in enumerate(part, start=start):
                out[row] = self._fitted(image)
        return out

    def one(self, image: Any, where: str) -> np.ndarray:
        """One image as uint8 ``[H, W, C]``.

        Args:
            image: an array or tensor, a Pillow image, the path of a file, encoded bytes, or a
                mapping with ``bytes`` or ``path`` as the package ``datasets`` has it.
            where: its name in messages.

        Raises:
            UnderstudyError: for anything else, and for what cannot be read.
        """
        if isinstance(image, Image.Image):
            pixels = pixels_of(image, where, self.size, self.resize, self.interpolation)
            return self._in_channels(pixels[None], where)[0]
        if isinstance(image, Mapping):
            encoded = image.get("bytes")
            image = image.get("path") if encoded is None else encoded
        if isinstance(image, str | Path | bytes):
            data = image if isinstance(image, bytes) else Path(image).expanduser()
            shown = where if isinstance(image, bytes) else f"{where} ({image})"
            pixels = decode(data, shown, self.size, self.resize, interpolation=self.interpolation)
            return self._in_channels(pixels[None], where)[0]
        if not _is_array(image):
            raise UnderstudyError(
                f"{where} is {_kind(image)}: an image must be an array, a tensor, a Pillow image "
                "or the path of a file"
            )
        array = _channels_last(image[None], where)
        return self._fitted(self._in_channels(self._bytes(array, where), where)[0])

    def _bytes(self, array: np.ndarray, where: str) -> np.ndarray:
        """uint8 of the values' meaning."""
        if array.dtype == np.uint8:
            return array
        if array.dtype.kind == "b":
            return array.astype(np.uint8) * np.uint8(255)
        low, high = array.min(), array.max()
        if array.dtype.kind in "iu":
            if low < 0 or high > 255:
                raise UnderstudyError(
                    f"{where} has values from {low} to {high}: whole numbers must lie in 0 to 255"
                )
            return array.astype(np.uint8)
        if array.dtype.kind != "f":
            raise UnderstudyError(f"{where} is of {array.dtype}: images are numbers")
        return np.rint(np.clip(self._unit(array, where), 0, 1) * 255).astype(np.uint8)

    def _unit(self, array: np.ndarray, where: str) -> np.ndarray:
        """Floats in [0, 1]."""
        if not np.isfinite(array).all():
            raise UnderstudyError(f"{where} has values that are not finite (NaN or infinite)")
        values = array.astype(np.float32, copy=False)
        if self.normalised is not None:
            mean, std = (np.asarray(part, np.float32) for part in self.normalised)
            if len(mean) not in (1, values.shape[3]) or mean.shape != std.shape:
                raise UnderstudyError(
                    f"normalised has {len(mean)} means and {len(std)} deviations, but {where} has "
                    f"{values.shape[3]} channels: give one of each per channel"
                )
            values = values * std + mean
        low, high = float(values.min()), float(values.max())
        if low >= -_ROUNDING and high <= 1 + _ROUNDING:
            return values
        if self.normalised is None and low >= 0:
            raise UnderstudyError(
                f"{where} has floats up to {high:.4g}: they must lie in [0, 1]; divide by the "
                "largest possible value, or give bytes (uint8)"
            )
        found = f"{where} has floats from {low:.3g} to {high:.3g}"
        if self.normalised is not None:
            raise UnderstudyError(
                f"{found} after normalised= was undone, not in [0, 1]: it is another normalisation"
            )
        raise UnderstudyError(
            f"{found}: they are normalised. Give the data without its Normalize (floats in [0, 1] "
            "or bytes), or normalised=(mean, std), which is undone"
        )

    def _in_channels(self, images: np.ndarray, where: str) -> np.ndarray:
        """uint8 ``[N, H, W, C]`` with the channels that are wanted."""
        found = images.shape[3]
        if found == 4:
            alpha = images[..., 3:].astype(np.uint16)
            over_white = images[..., :3] * alpha + 255 * (255 - alpha) + 127
            images, found = (over_white // 255).astype(np.uint8), 3
        if found == self.channels:
            return images
        if self.channels == 3:
            return np.repeat(images, 3, axis=3)
        grey = images[..., :1]
        if (images == grey).all():
            return grey
        raise UnderstudyError(
            f"{where} is in colour, and the network takes {self.channels} channel: give grey images"
        )

    def _fitted(self, image: np.ndarray) -> np.ndarray:
        """``[H, W, C]``, brought to the size."""
        if self.size is None or image.shape[:2] == self.size:
            return image
        is_grey = image.shape[2] == 1
        picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if is_grey else image))
        fitted = np.asarray(fit(picture, self.size, self.resize, self.interpolation))
        return fitted[..., None] if is_grey else fitted


def is_block(images: Any) -> bool:
    """Whether these are many images in one array or tensor."""
    return _is_array(images) and images.ndim in (2, 3, 4)


def _is_array(images: Any) -> bool:
    return isinstance(images, np.ndarray) or _is_tensor(images)


def _is_tensor(images: Any) -> bool:
    return hasattr(images, "detach") and hasattr(images, "dtype")


def _channels_last(images: "np.ndarray | Tensor", where: str) -> np.ndarray:
    """``[N, H, W, C]``; the order of the axes is that of the channels' number.

    Where either could be the channels, those of a tensor come first and those of an array last.
    """
    first_is_usual = not isinstance(images, np.ndarray)
    array = images if isinstance(images, np.ndarray) else _numpy(images)
    if array.ndim == 3:
        return array[..., None]
    if array.ndim == 4:
        is_first, is_last = array.shape[1] in _CHANNELS, array.shape[3] in _CHANNELS
        if is_last and not (is_first and first_is_usual):
            return array
        if is_first:
            return array.transpose(0, 2, 3, 1)
    hint = ""
    if array.ndim == 2:
        side = round(array.shape[1] ** 0.5)
        hint = f"; give X.reshape(-1, {side}, {side})" if side**2 == array.shape[1] else ""
    raise UnderstudyError(
        f"{where} has shape {list(array.shape)}: images must be [N, H, W], [N, H, W, C] or "
        f"[N, C, H, W] with C 1 or 3{hint}"
    )


def _numpy(tensor: Any) -> np.ndarray:
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":  # numpy has no such type
        tensor = tensor.float()
    array: np.ndarray = tensor.numpy()
    return array


def _kind(value: object) -> str:
    return f"of type {type(value).__name__}" if value is not None else "missing (None)"
