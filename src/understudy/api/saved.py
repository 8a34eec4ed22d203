"""A saved student: the file's metadata as a record, and the network that it describes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from understudy.api.networks import unwrapped
from understudy.data.preprocess import VERSION, Preprocessing
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError, one_line
from understudy.events import EpochResult
from understudy.files import from_json
from understudy.models.base import Classifier
from understudy.models.foreign import ForeignClassifier, probe
from understudy.models.normalisation import Normalisation
from understudy.models.registry import MODELS, build_model, deployed
from understudy.runs.given import KEY as KEY
from understudy.teachers.acceptance import TeacherCheck

SCHEMA = 1
"""Of the file's metadata."""


def read_saved(path: Path, network: nn.Module | None) -> dict[str, Any]:
    """The fields of a saved student; its network has the weights of the file.

    Args:
        path: the file.
        network: the module to fill, in place, for a network that was not built by name.

    Raises:
        UnderstudyError: if the file is missing, damaged, no saved student, or of another network;
            or if it needs ``network``.
    """
    metadata, tensors = _read(path)
    try:
        known = [key for key in _Saved.__dataclass_fields__ if key != "preprocessing"]
        values = _Saved(
            **{key: metadata[key] for key in known},
            preprocessing=metadata.get("preprocessing"),
        )
        found = values.fields(path, network)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnderstudyError(
            f"{path} is damaged: its metadata cannot be read ({one_line(error, limit=100)})"
        ) from error
    try:
        deployed(found["network"]).load_state_dict(tensors)
    except (RuntimeError, TypeError) as error:
        raise UnderstudyError(f"{path} does not fit the network: {one_line(error)}") from error
    return found


@dataclass(frozen=True)
class _Saved:
    """The metadata of a file, as JSON has it; ``preprocessing`` is missing in older files."""

    architecture: dict[str, Any] | None
    network: str
    class_names: list[str]
    mean: list[float]
    std: list[float]
    image: dict[str, int]
    history: list[dict[str, Any]]
    teachers: list[dict[str, Any]]
    preprocessing: dict[str, Any] | None

    def fields(self, path: Path, network: nn.Module | None) -> dict[str, Any]:
        """Those of the student, with a network whose weights are not loaded yet."""
        image = ImageSpec(**{name: int(value) for name, value in self.image.items()})
        built = self._build(path, image) if network is None else self._given(network, image)
        return {
            "network": built,
            "history": tuple(EpochResult(**epoch) for epoch in self.history),
            "class_names": tuple(map(str, self.class_names)),
            "mean": tuple(map(float, self.mean)),
            "std": tuple(map(float, self.std)),
            "image": image,
            "teachers": tuple(map(_teacher_check, self.teachers)),
            "preprocessing": self._rule(path, image),
        }

    def _rule(self, path: Path, image: ImageSpec) -> Preprocessing:
        if self.preprocessing is None:
            return Preprocessing(image=image)
        rule = from_json(Preprocessing, self.preprocessing, str(path), "save it again")
        if rule.version != VERSION:
            raise UnderstudyError(
                f"{path} was saved for version {rule.version} of the preprocessing, this version "
                f"has {VERSION}: update understudy"
            )
        return rule

    def _build(self, path: Path, image: ImageSpec) -> Classifier:
        if not self._is_known():
            raise UnderstudyError(
                f"{path} holds the weights of a {self.network} that was not built by name: "
                "give the module, Student.load(path, network=...)"
            )
        assert self.architecture is not None
        with torch.random.fork_rng(devices=[]):  # the drawn weights are replaced by the file's
            return build_model(
                self.architecture["name"],
                len(self.class_names),
                image,
                stages=tuple(self.architecture["stages"]),
                options=self.architecture["options"],
            )

    def _is_known(self) -> bool:
        """Whether the network can be built from its name without running code that the file names.

        Options of another library's constructor could make it read or download other files.
        """
        if self.architecture is None:
            return False
        source, _, rest = str(self.architecture["name"]).partition(":")
        if source in MODELS:
            return not rest
        plain = rest.replace("_", "").replace(".", "").replace("-", "").isalnum()
        return source in ("timm", "torchvision") and plain and not self.architecture["options"]

    def _given(self, network: nn.Module, image: ImageSpec) -> Classifier:
        if not isinstance(network, nn.Module):
            raise UnderstudyError(f"network must be a torch module, not {type(network).__name__}")
        network = unwrapped(network)
        if isinstance(network, Classifier):
            probe(network, len(self.class_names), image, type(network).__name__)
            return network
        return ForeignClassifier(
            network,
            len(self.class_names),
            name=type(network).__name__,
            in_channels=image.channels,
            image_size=image.size,
        )


def _teacher_check(check: Mapping[str, Any]) -> TeacherCheck:
    return TeacherCheck(**{**check, "normalisation": Normalisation(**check["normalisation"])})


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The metadata and the tensors of a file.

    Raises:
        UnderstudyError: if it is no file that :meth:`Student.save` wrote.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UnderstudyError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UnderstudyError(
            f"{path} is not a saved student: give a file that Student.save wrote"
        ) from error
    if text is None:
        raise UnderstudyError(
            f"{path} holds weights alone, without classes and normalisation: "
            "give a file that Student.save wrote"
        )
    try:
        metadata = json.loads(text)
        schema = metadata["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise UnderstudyError(f"{path} is damaged: its metadata cannot be read") from error
    if schema != SCHEMA:
        raise UnderstudyError(
            f"{path} has schema {schema}, this version reads {SCHEMA}: update understudy"
        )
    return metadata, tensors
