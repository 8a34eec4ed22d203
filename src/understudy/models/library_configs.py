"""What torchvision and Hugging Face write down next to the weights of a network."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.errors import UnderstudyError, one_line
from understudy.models.expects import FILTERS, Expects, Interpolation, named
from understudy.models.normalisation import Normalisation

_PROCESSOR = "preprocessor_config.json"
_PILLOW: dict[Any, Interpolation] = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of our filters."""
_DEFAULT_LABEL = "LABEL_"
"""Begins the names that Hugging Face gives to classes without a name."""
_FEW_PIXELS = 384
"""ConvNeXt cuts out the centre of images below this size alone."""


def torchvision_expects(weights: Any, *, with_classes: bool) -> Expects:
    """From a member of torchvision's ``WeightsEnum``.

    Args:
        weights: as ``get_model_weights(name).DEFAULT``.
        with_classes: the network has the classes of these weights.
    """
    transforms = weights.transforms()
    crop, resize = (_side(getattr(transforms, name, None)) for name in ("crop_size", "resize_size"))
    mean, std = tuple(getattr(transforms, "mean", ())), tuple(getattr(transforms, "std", ()))
    mode = getattr(getattr(transforms, "interpolation", None), "value", "")
    return Expects(
        size=None if crop is None else (crop, crop),
        interpolation=FILTERS.get(str(mode)),
        crop=min(1.0, crop / resize) if crop and resize else None,
        normalisation=Normalisation(mean, std) if mean else None,
        source="weights" if mean else None,
        class_names=tuple(map(str, weights.meta["categories"])) if with_classes else (),
    )


def hugging_face_expects(source: str, config: Any, *, download: bool) -> Expects:
    """From a network's configuration and the ``preprocessor_config.json`` next to it.

    Args:
        source: a local folder, or a name of the hub.
        config: a ``transformers`` configuration.
        download: the second file may be downloaded, as the weights were.

    Raises:
        UnderstudyError: if the file is damaged.
    """
    labels = getattr(config, "id2label", None) or {}
    texts = [str(labels[key]) for key in sorted(labels, key=int)]
    if all(text.startswith(_DEFAULT_LABEL) for text in texts):
        texts = []
    names, aliases = named(texts)
    path = _processor_file(source, download)
    if path is None:
        recorded = _sides(getattr(config, "image_size", None))
        return Expects(size=recorded, class_names=names, aliases=aliases)
    try:
        settings = json.loads(path.read_bytes())
        size, crop = _hugging_face_size(settings)
        normalisation = _hugging_face_normalisation(settings)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnderstudyError(
            f"{path} cannot be read ({one_line(error, limit=100)}): download the folder again"
        ) from error
    return Expects(
        size=size,
        interpolation=_PILLOW.get(settings.get("resample")),
        crop=crop,
        normalisation=normalisation,
        source=None if normalisation is None else "weights",
        class_names=names,
        aliases=aliases,
    )


def _processor_file(source: str, download: bool) -> Path | None:
    """The file in a local folder, or of the hub; ``None`` without one."""
    if Path(source).is_dir():
        local = Path(source, _PROCESSOR)
        return local if local.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(source, _PROCESSOR, local_files_only=not download))
    except (EntryNotFoundError, OSError):
        return None


def _hugging_face_size(settings: Mapping[str, Any]) -> tuple[tuple[int, int] | None, float | None]:
    """(height, width) and the share that is cut out, from the many ways of writing them."""
    resized = _sides(settings.get("size")) if settings.get("do_resize", True) else None
    if settings.get("do_center_crop") and settings.get("crop_size") is not None:
        size = _sides(settings["crop_size"])
        crop = min(1.0, min(size) / min(resized)) if size and resized else None
        return size, crop
    crop = settings.get("crop_pct")
    if resized is None or crop is None or min(resized) >= _FEW_PIXELS:
        return resized, None if resized is None else 1.0
    return resized, float(crop)


def _sides(value: Any) -> tuple[int, int] | None:
    """(height, width) of a number, a pair, or one of Hugging Face's mappings."""
    if isinstance(value, Mapping):
        if "height" in value and "width" in value:
            return int(value["height"]), int(value["width"])
        value = value.get("shortest_edge")
    if isinstance(value, list | tuple) and len(value) == 2:
        return int(value[0]), int(value[1])
    side = _side(value)
    return None if side is None else (side, side)


def _side(value: Any) -> int | None:
    """A number of pixels, or the one in a list of one."""
    if isinstance(value, list | tuple) and len(set(value)) == 1:
        value = value[0]
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _hugging_face_normalisation(settings: Mapping[str, Any]) -> Normalisation | None:
    """What scaling and normalising come to for images in [0, 1]."""
    rescales, normalises = settings.get("do_rescale", True), settings.get("do_normalize", True)
    factor = 255 * float(settings.get("rescale_factor", 1 / 255)) if rescales else 255.0
    if normalises and ("image_mean" not in settings or "image_std" not in settings):
        return None
    mean = _channels(settings["image_mean"]) if normalises else (0.0,) * 3
    std = _channels(settings["image_std"]) if normalises else (1.0,) * 3
    offset = 1.0 if rescales and settings.get("rescale_offset") else 0.0
    return Normalisation(
        tuple((value + offset) / factor for value in mean), tuple(value / factor for value in std)
    )


def _channels(value: Any) -> tuple[float, ...]:
    """One number per channel; a single one is for all three."""
    return tuple(map(float, value)) if isinstance(value, list) else (float(value),) * 3
