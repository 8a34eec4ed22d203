"""OpenVINO IR in fp32: a folder with ``model.xml`` and ``model.bin``, made from the ONNX graph."""

import re
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from understudy.errors import UnderstudyError, one_line
from understudy.export.card import KEY, Card
from understudy.export.deployable import Deployable
from understudy.export.onnx import onnx_graph
from understudy.export.runtime import LARGEST_BATCH, check_images, check_signature, in_batches

FILE = "model.xml"
"""The file of the folder that is opened; ``model.bin`` has the weights."""
_TELEMETRY = "openvino_telemetry"


def import_openvino() -> ModuleType:
    """``openvino``, which is imported nowhere else: without its telemetry.

    With it, the import alone writes an identifier into the user's home folder and reports to
    Google Analytics. Where the telemetry package is absent, openvino takes a stub of its own.

    Raises:
        UnderstudyError: if it is not installed.
    """
    if sys.modules.get("openvino") is None:
        telemetry = sys.modules.get(_TELEMETRY)
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # Python's mark of "absent"
        try:
            import openvino  # noqa: F401
        except ImportError as error:
            raise UnderstudyError(
                "OpenVINO files need the package openvino: "
                "install it by pip install 'understudy[openvino]'"
            ) from error
        finally:
            del sys.modules[_TELEMETRY]
            if telemetry is not None:
                sys.modules[_TELEMETRY] = telemetry
    return sys.modules["openvino"]


def write(deployable: Deployable, out: Path) -> None:
    """Write the folder ``out``; one that is there is replaced.

    Raises:
        UnderstudyError: naming operation and layer if ONNX lacks one.
    """
    openvino = import_openvino()
    model = openvino.Core().read_model(onnx_graph(deployable).SerializeToString())
    _number_names(model)
    model.set_rt_info(deployable.card("openvino", "fp32").to_text(), [KEY])
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        folder = Path(scratch, out.name)
        folder.mkdir()
        openvino.save_model(model, folder / FILE, compress_to_fp16=False)
        if out.is_dir():
            shutil.rmtree(out)
        folder.replace(out)


def _number_names(model: Any) -> None:
    """Replace names with a number of the process by a number of the model: the same bytes again."""
    for number, operation in enumerate(model.get_ordered_ops()):
        kind = operation.get_type_name()
        if re.fullmatch(rf"{kind}_\d+", operation.get_friendly_name()):
            operation.set_friendly_name(f"{kind}_{number}")


class OpenVinoRuntime:
    """A folder of :func:`write` in OpenVINO, in fp32 also where bf16 would be faster.

    Attributes:
        card: of the folder.
    """

    def __init__(self, file: Path, threads: int = 1) -> None:
        core = import_openvino().Core()
        try:
            model = core.read_model(file)
        except RuntimeError as error:
            reason = one_line(error).rpartition(": ")[2]
            raise UnderstudyError(
                f"{file} is not a model that OpenVINO can load ({reason}): export it again"
            ) from error
        text = model.get_rt_info([KEY]).value if model.has_rt_info([KEY]) else None
        self.card = Card.from_text(text, str(file))
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            raise UnderstudyError(f"{file} does not map images to probabilities")
        images, probabilities = (
            [part.get_length() if part.is_static else None for part in port.partial_shape]
            for port in (model.input(0), model.output(0))
        )
        check_signature(images, probabilities, self.card, str(file))
        compiled = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_NUM_THREADS": threads,
                "INFERENCE_PRECISION_HINT": "f32",
                "NUM_STREAMS": 1,
                # Two processes would bind themselves to the same core.
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._request = compiled.create_infer_request()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities fp32 ``[N, K]`` of uint8 ``[N, C, H, W]``."""
        check_images(images, self.card)
        return in_batches(self._run, images, LARGEST_BATCH)

    def _run(self, images: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._request.infer([np.ascontiguousarray(images)], share_inputs=True)[
            0
        ]
        return found.copy()


def open_file(path: Path, threads: int = 1) -> OpenVinoRuntime:
    """Load a folder of :func:`write`, or the ``.xml`` file in one.

    Args:
        path: the folder or file.
        threads: of the CPU.

    Raises:
        UnderstudyError: if it is missing, damaged, without a card, or does not fit its card.
    """
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise UnderstudyError(f"there is no file {file}")
    return OpenVinoRuntime(file, threads)
