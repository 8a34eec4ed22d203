"""The table of formats: name -> module, file, extra. Importing this loads no runtime."""

import importlib
import importlib.util
from dataclasses import dataclass
from types import ModuleType

from understudy.errors import UnderstudyError, suggest


@dataclass(frozen=True)
class Format:
    """A line of the table.

    Attributes:
        name: as in ``--to``.
        module: file of ``understudy.export`` with ``write`` and ``open_file``.
        file: name of what it writes into ``--out``; a folder if it has no suffix.
        dtype: ``fp32`` or ``int8``.
        description: a few words.
        extra: the optional dependency, empty without one; ``packages`` are its modules.
        runtime: the file with ``open_file``, if it is another one.
    """

    name: str
    module: str
    file: str
    dtype: str
    description: str
    extra: str = ""
    packages: tuple[str, ...] = ()
    runtime: str = ""

    def require(self) -> None:
        """Check that its packages are installed; imports none of them.

        Raises:
            UnderstudyError: naming the first that is missing.
        """
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                raise UnderstudyError(
                    f"{self.name} needs the package {package}: "
                    f"install it by pip install 'understudy[{self.extra}]'"
                )

    def load(self) -> ModuleType:
        """The module that writes it.

        Raises:
            UnderstudyError: if its extra is not installed.
        """
        self.require()
        return importlib.import_module(f"understudy.export.{self.module}")

    def load_runtime(self) -> ModuleType:
        """The module whose ``open_file`` runs it."""
        name = self.runtime or self.module
        return importlib.import_module(f"understudy.export.{name}")


_ONNX = ("onnx", "onnxscript", "onnxruntime")
_OPENVINO = ("openvino", *_ONNX)
_ET = ("executorch",)
_HEADLESS = "web.headless"
_XNNPACK = "ExecuTorch, XNNPACK"
_TABLE = (
    Format("onnx", "onnx", "student.onnx", "fp32", "ONNX", "onnx", _ONNX, "onnx_runtime"),
    Format(
        "onnx-int8",
        "onnx_int8",
        "student-int8.onnx",
        "int8",
        "ONNX (QDQ)",
        "onnx",
        _ONNX,
        "onnx_runtime",
    ),
    Format("openvino", "openvino", "student-openvino", "fp32", "OpenVINO", "openvino", _OPENVINO),
    Format("executorch", "executorch", "student.pte", "fp32", _XNNPACK, "executorch", _ET),
    Format(
        "executorch-int8",
        "executorch_int8",
        "student-int8.pte",
        "int8",
        _XNNPACK,
        "executorch",
        _ET,
    ),
    Format("c", "c.source", "student-c", "int8", "C99 for a microcontroller"),
    Format("web", "web.folder", "student-web", "fp32", "a page in a folder", runtime=_HEADLESS),
    Format("web-single", "web.single", "student.html", "fp32", "a single page", runtime=_HEADLESS),
    Format("hub", "hub", "student-hub", "fp32", "a folder in Hugging Face's layout"),
)
FORMATS = {entry.name: entry for entry in _TABLE}
"""In the order in which they are written: ``hub`` takes in what is there already."""


def formats_of(names: str) -> list[Format]:
    """The formats named in ``--to``, in the order of the table, each once.

    Raises:
        UnderstudyError: for a name that is not in the table.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in FORMATS:
            raise UnderstudyError(f"unknown format {name!r}: {suggest(name, FORMATS)}")
    if not wanted:
        raise UnderstudyError(f"--to names no format: there are {', '.join(FORMATS)}")
    return [entry for name, entry in FORMATS.items() if name in wanted]
