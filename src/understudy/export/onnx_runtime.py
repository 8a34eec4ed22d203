"""ONNX files in ONNX Runtime, fp32 and int8 alike."""

from pathlib import Path

import numpy as np

from understudy.errors import UnderstudyError, one_line
from understudy.export.card import KEY, Card
from understudy.export.runtime import LARGEST_BATCH, check_images, check_signature, in_batches
from understudy.models.onnx_session import session_of


class OnnxRuntime:
    """An ONNX file in ONNX Runtime.

    Attributes:
        card: of the file.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        try:
            self._session = session_of(str(path), threads)
        except UnderstudyError:
            raise
        except Exception as error:
            raise UnderstudyError(
                f"{path} is not an ONNX file that ONNX Runtime can load "
                f"({one_line(error, first_line=True, limit=120)}): export it again"
            ) from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.card = Card.from_text(metadata.get(KEY), str(path))
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type != "tensor(uint8)":
            raise UnderstudyError(f"{path} does not map uint8 images to probabilities")
        check_signature(inputs[0].shape, outputs[0].shape, self.card, str(path))
        self._input = inputs[0].name

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities fp32 ``[N, K]`` of uint8 ``[N, C, H, W]``."""
        check_images(images, self.card)
        return in_batches(self._run, images, LARGEST_BATCH)

    def _run(self, images: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._session.run(None, {self._input: images})[0]
        return found


def open_file(path: Path, threads: int = 1) -> OnnxRuntime:
    """Load a file.

    Args:
        path: the file.
        threads: of the CPU.

    Raises:
        UnderstudyError: if it is missing, damaged, without a card, or does not fit its card.
    """
    if not path.is_file():
        raise UnderstudyError(f"there is no file {path}")
    return OnnxRuntime(path, threads)
