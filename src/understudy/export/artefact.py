"""Opening an exported file, whatever its format."""

from collections.abc import Callable
from pathlib import Path

from understudy.errors import UnderstudyError
from understudy.export.formats import FORMATS, Format
from understudy.export.runtime import Runtime


def _has(*names: str) -> Callable[[Path], bool]:
    """Whether a folder has all of these files."""
    return lambda path: all((path / name).is_file() for name in names)


def _ends(suffix: str) -> Callable[[Path], bool]:
    """Whether a file's name ends like this."""
    return lambda path: path.suffix == suffix and path.is_file()


_RULES: tuple[tuple[str, Callable[[Path], bool]], ...] = (
    ("onnx", _ends(".onnx")),
    ("executorch", _ends(".pte")),
    ("openvino", _ends(".xml")),
    ("openvino", _has("model.xml")),
    ("web-single", _ends(".html")),
    ("web", _has("index.html", "model.json")),
    ("c", _has("card.json", "student.safetensors")),
    ("hub", _has("config.json", "model.safetensors")),
)
"""Name of a format and how to know its files; fp32 and int8 are opened alike."""


def format_of(path: Path) -> Format | None:
    """The format that a file or folder is opened as; its card has the exact one.

    ``None`` if it is none that understudy exports, for instance a run's folder.
    """
    return next((FORMATS[name] for name, fits in _RULES if fits(path)), None)


def is_artefact(path: Path) -> bool:
    """Whether :func:`open_artefact` is the way to open it, by names alone."""
    return format_of(path) is not None


def open_artefact(path: Path, threads: int = 1) -> Runtime:
    """Load an exported file or folder.

    Args:
        path: of any format that has a runtime.
        threads: of the CPU.

    Raises:
        UnderstudyError: if it is missing, damaged, without a card, or its runtime not installed.
    """
    if not path.exists():
        raise UnderstudyError(f"there is no file or folder {path}")
    found = format_of(path)
    if found is None:
        raise UnderstudyError(
            f"{path} is not an exported file: give a .onnx or .pte file, or a folder that "
            "understudy export wrote"
        )
    runtime: Runtime = found.load_runtime().open_file(path, threads)
    return runtime
