"""Networks for images of any size: the stride of their first convolution."""

from collections.abc import Mapping
from typing import Any

from understudy.config.networks import ModelConfig
from understudy.data.spec import ImageSpec
from understudy.models.registry import MODELS, model_options


def stem_stride(size: int) -> int:
    """The stride of a network's first convolution, so that its last map has 4 to 8 pixels a
    side."""
    if size <= 48:
        return 1
    return 2 if size <= 128 else 4


def for_size(name: str, options: Mapping[str, Any], image: ImageSpec) -> ModelConfig:
    """A network whose first convolution has the stride for the images' shorter side, if it has that
    option.

    Args:
        name: of any network; those that are not in the table stay unchanged.
        options: further keyword arguments of its constructor.
        image: shape of the images.

    Raises:
        UnderstudyError: for an unknown name.
    """
    stride = stem_stride(min(image.size))
    given = dict(options)
    if stride > 1 and name in MODELS and "stem_stride" in model_options(name):
        given["stem_stride"] = stride
        if "stem_kernel" in model_options(name):
            given["stem_kernel"] = 3  # one of 2 pixels would jump over some
    return ModelConfig(name, given)
