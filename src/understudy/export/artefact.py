"""Opening an exported file, whatever its format."""

import importlib
from collections.abc import Callable
from pathlib import Path

from understudy.errors import UnderstudyError
from understudy.export.formats import FORMATS, Format
from understudy.export.runtime import Runtime

_RULES: tuple[tuple[str, Callable[[Path], bool]], ...] = (
    ("onnx", lambda path: path.suffix == ".onnx"),
    ("executorch", lambda path: path.suffix == ".pte"),
    ("openvino", lambda path: path.suffix == ".xml" or (path / "model.xml").is_file()),
    ("hub", lambda path: (path / "model.safetensors").is_file()),
)
"""Name of a format and how to know its files; fp32 and int8 are opened alike."""


def format_of(path: Path) -> Format:
    """The format that a file or folder is opened as; its card has the exact one.

    Raises:
        UnderstudyError: if there is none, or no runtime opens it.
    """
    if not path.exists():
        raise UnderstudyError(f"there is no file or folder {path}")
    for name, fits in _RULES:
        if fits(path):
            return FORMATS[name]
    raise UnderstudyError(
        f"{path} is not an exported file: give a .onnx or .pte file, or a folder that "
        "understudy export wrote"
    )


def open_artefact(path: Path, threads: int = 1) -> Runtime:
    """Load an exported file or folder.

    Args:
        path: of any format that has a runtime.
        threads: of the CPU.

    Raises:
        UnderstudyError: if it is missing, damaged, without a card, or its runtime not installed.
    """
    module = importlib.import_module(f"understudy.export.{format_of(path).module}")
    runtime: Runtime = module.open_file(path, threads)
    return runtime
