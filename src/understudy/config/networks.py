"""A network in a configuration, and the texts that stand for one."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy.config.parse import STRICT

_WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".tar")


def named(text: str) -> dict[str, Any]:
    """``model: tiny_res``: the network's name."""
    return {"name": text}


def with_model(text: str) -> dict[str, Any]:
    """``student: tiny_res``: the name of the section's network."""
    return {"model": named(text)}


def with_model_or_path(text: str) -> dict[str, Any]:
    """``teacher: teacher.pt`` or ``teacher: timm:resnet18``: trained weights, or a network's
    name."""
    return {"path": text} if is_weights_file(text) else with_model(text)


def is_weights_file(text: str) -> bool:
    """Whether a text for a teacher is the path of trained weights, not the name of a network: it
    ends as such files do, or has a folder and no ``LIBRARY:``."""
    has_folder = any(mark and mark in text for mark in (os.sep, os.altsep, "/"))
    return text.endswith(_WEIGHTS) or (has_folder and ":" not in text)


@dataclass(frozen=True)
class ModelConfig:
    """A network by name, with the options of its constructor."""

    __pydantic_config__ = STRICT
    of_text = staticmethod(named)

    name: str
    """A name from ``understudy models``, or ``timm:NAME``, ``torchvision:NAME``, ``hf:NAME``,
    ``onnx:FILE`` (a teacher alone), or a dotted path. An override with another name drops the
    options and stages of the previous one."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of that network (``understudy models NAME`` lists them)."""

    @property
    def own_file(self) -> str | None:
        """The file that the network is, weights included: of ``onnx:FILE``."""
        source, _, file = self.name.partition(":")
        return str(Path(file).expanduser()) if source == "onnx" else None
