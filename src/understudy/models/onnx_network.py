"""An ONNX file as a network: it gives logits, and cannot be trained."""

import ast
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from understudy.data.names import counted, shown
from understudy.errors import UnderstudyError, one_line
from understudy.models.base import Classifier, Outputs
from understudy.models.expects import Expects, record_expects
from understudy.models.normalisation import Normalisation
from understudy.models.onnx_session import session_of

_TYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(double)": torch.float64,
    "tensor(uint8)": torch.uint8,
}
_BATCH = 64
"""Images in one call if the file takes any number, which bounds the memory."""
_CARD = "understudy"
"""The key of our own files' metadata; their outputs are probabilities."""
_LARGEST_CHANNELS = 4
"""By which images in the order height, width, channels are recognised."""
_BLOCK = 2**20


@dataclass(frozen=True)
class _Port:
    """An input or output: its name, its type, and its shape, names or ``None`` for any number."""

    name: str
    type: str
    shape: tuple[Any, ...]

    @classmethod
    def of(cls, port: Any) -> "_Port":
        """Of an ``onnxruntime.NodeArg``, which cannot be copied."""
        return cls(port.name, port.type, tuple(port.shape))


class OnnxNetwork(Classifier):
    """An ONNX file, run by ONNX Runtime on the CPU.

    It takes normalised images as every network here does. A file that takes bytes expects the
    normalisation mean 0, std 1/255, and one of ``understudy export`` gives logarithms of its
    probabilities, which have the softmax of the logits at every temperature. The only tensor in its
    state dict is the SHA-256 of the file, so that weights of one file are not taken for another's.

    Args:
        path: the file; weights that it has outside of it are found by ONNX Runtime.

    Attributes:
        num_bytes: size of the file and of the weights outside of it.
        num_parameters: numbers among its weights; 0 without the package onnx.

    Raises:
        UnderstudyError: if the file is missing or damaged, has several inputs, or takes no images.
    """

    feature_channels = ()
    embedding_dim = 0
    sha256: Tensor

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        if not path.is_file():
            raise UnderstudyError(f"there is no file {shown(str(path))}")
        graph = _graph(path)
        files = (path, *_outside(path, graph))
        self.register_buffer("sha256", _digest(files))
        self.num_bytes = sum(file.stat().st_size for file in files)
        self.num_parameters = _count(graph)
        self._session: Any = None
        session = self._runtime()
        inputs = [_Port.of(port) for port in session.get_inputs()]
        outputs = [_Port.of(port) for port in session.get_outputs()]
        if len(inputs) != 1:
            raise UnderstudyError(
                f"{self._name} takes {counted(len(inputs), 'input')}, not images alone: export it "
                "with one"
            )
        self.input = inputs[0]
        self.output = next((port for port in outputs if port.name == "logits"), outputs[0])
        if len(self.input.shape) != 4 or self.input.type not in _TYPES:
            raise UnderstudyError(
                f"{self._name} takes {self.input.type} {list(self.input.shape)}, not a batch of "
                "images [B, C, H, W] as float or bytes: export it again"
            )
        self._metadata = dict(session.get_modelmeta().custom_metadata_map)
        record_expects(self, self._expects())

    @property
    def num_classes(self) -> int | None:
        """Number of logits; ``None`` if the file does not record it."""
        count = self.output.shape[1] if len(self.output.shape) > 1 else None
        return count if isinstance(count, int) else None

    @property
    def in_channels(self) -> int | None:
        """Channels of its images; ``None`` if it takes any number."""
        channels = self._wanted()[0]
        return channels if isinstance(channels, int) else None

    def is_file(self, path: Path) -> bool:
        """Whether this network is that file."""
        return path.absolute() == self.path.absolute()

    def forward(self, images: Tensor) -> Tensor:
        return self.outputs(images).logits

    def outputs(self, images: Tensor) -> Outputs:
        """Logits alone, on the device of the images."""
        self._check(images)
        array = self._as_input(images)
        batch = self.input.shape[0]
        size = batch if isinstance(batch, int) and batch > 0 else _BATCH
        starts = range(0, len(array), size)
        parts = [self._run(array[start : start + size], size) for start in starts]
        logits = torch.from_numpy(np.concatenate(parts)).float().flatten(1)
        if _CARD in self._metadata:
            logits = logits.clamp_min(torch.finfo(torch.float32).tiny).log()
        return Outputs(logits.to(images.device))

    def classify(self, embedding: Tensor) -> Tensor:
        """Raises UnderstudyError: a file shows no embedding."""
        raise UnderstudyError(f"{self._name} is an ONNX file, which shows no features")

    def __getstate__(self) -> dict[str, Any]:
        """Without the session: a copy opens the file itself."""
        return {**self.__dict__, "_session": None}

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *others: Any) -> None:
        recorded = state_dict.get(f"{prefix}sha256")
        if recorded is not None and not torch.equal(recorded.cpu(), self.sha256.cpu()):
            raise UnderstudyError(
                f"{self._name} is not the file that taught here before: put that one back"
            )
        super()._load_from_state_dict(state_dict, prefix, *others)

    @property
    def _name(self) -> str:
        return shown(str(self.path))

    @property
    def _is_last(self) -> bool:
        """Whether the channels are the last axis of its images, as TensorFlow has them."""
        first, last = self.input.shape[1], self.input.shape[3]
        few = [isinstance(n, int) and n <= _LARGEST_CHANNELS for n in (first, last)]
        return few == [False, True]

    def _wanted(self) -> tuple[Any, ...]:
        """(C, H, W) of its images; a name or ``None`` where any number is taken."""
        shape = self.input.shape[1:]
        return (shape[2], *shape[:2]) if self._is_last else tuple(shape)

    def _runtime(self) -> Any:
        if self._session is None:
            try:
                self._session = session_of(str(self.path), torch.get_num_threads())
            except UnderstudyError:
                raise
            except Exception as error:
                raise UnderstudyError(
                    f"{self._name} is not an ONNX file that ONNX Runtime can load "
                    f"({one_line(error, first_line=True)})"
                ) from error
        return self._session

    def _check(self, images: Tensor) -> None:
        pairs = zip(self._wanted(), images.shape[1:], strict=True)
        if any(isinstance(own, int) and own != given for own, given in pairs):
            wanted = "x".join(str(n) if isinstance(n, int) else "any" for n in self._wanted())
            given = "x".join(map(str, images.shape[1:]))
            raise UnderstudyError(f"{self._name} takes images of {wanted}, not {given}")

    def _as_input(self, images: Tensor) -> np.ndarray:
        kind = _TYPES[self.input.type]
        images = images.detach().cpu().float()
        if kind == torch.uint8:
            images = images.round().clamp(0, 255)
        if self._is_last:
            images = images.permute(0, 2, 3, 1)
        array: np.ndarray = images.to(kind).contiguous().numpy()
        return array

    def _run(self, part: np.ndarray, size: int) -> np.ndarray:
        """The outputs of one call; a file for a fixed number of images gets the last one again."""
        count = len(part)
        if count < size and isinstance(self.input.shape[0], int):
            part = np.concatenate([part, np.repeat(part[-1:], size - count, 0)])
        try:
            found: np.ndarray = self._runtime().run([self.output.name], {self.input.name: part})[0]
        except UnderstudyError:
            raise
        except Exception as error:
            raise UnderstudyError(
                f"{self._name} does not run on images of {list(part.shape)}: "
                f"{one_line(error, first_line=True)}"
            ) from error
        if found.ndim < 2 or len(found) < count or math.prod(found.shape[2:]) != 1:
            raise UnderstudyError(
                f"{self._name} gives an output {shown(self.output.name)} of shape "
                f"{list(found.shape)}, not logits [B, K]"
            )
        return found[:count]

    def _expects(self) -> Expects:
        channels, height, width = self._wanted()
        sized = isinstance(height, int) and isinstance(width, int)
        normalisation = None
        if self.input.type == "tensor(uint8)":
            count = channels if isinstance(channels, int) else 3
            normalisation = Normalisation((0.0,) * count, (1 / 255,) * count)
        return Expects(
            size=(height, width) if sized else None,
            normalisation=normalisation,
            source=None if normalisation is None else "weights",
            interpolation="bilinear" if _CARD in self._metadata else None,
            class_names=self._class_names(),
        )

    def _class_names(self) -> tuple[str, ...]:
        """From our own card, or the ``names`` that Ultralytics writes."""
        try:
            if _CARD in self._metadata:
                names = json.loads(self._metadata[_CARD])["classes"]
            else:
                names = ast.literal_eval(self._metadata.get("names", "[]"))
            listed = names.values() if isinstance(names, Mapping) else names
            found = tuple(map(str, listed))
        except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError):
            return ()
        return found if self.num_classes in (None, len(found)) else ()


def _graph(path: Path) -> Any:
    """The graph of a file without the weights outside of it; ``None`` if it cannot be read."""
    try:
        import onnx

        return onnx.load(path, load_external_data=False).graph
    except Exception:  # ONNX Runtime opens it next, and its message is shown
        return None


def _count(graph: Any) -> int:
    tensors = () if graph is None else graph.initializer
    return sum(math.prod(tensor.dims) for tensor in tensors)


def _digest(files: Iterable[Path]) -> Tensor:
    """SHA-256 of files, one after the other, uint8 ``[32]``."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)


def _outside(path: Path, graph: Any) -> list[Path]:
    """The files that hold weights of an ONNX file outside of it; the format has them in its
    folder."""
    tensors = () if graph is None else graph.initializer
    entries = [entry for tensor in tensors for entry in tensor.external_data]
    names = {entry.value for entry in entries if entry.key == "location"}
    folder = path.parent.resolve()
    found = [folder / name for name in sorted(names)]
    return [each for each in found if each.is_file() and folder in each.resolve().parents]
