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
        module: file of ``understudy.export`` with ``write`` and, if a runtime exists, ``open_file``.
        file: name of what it writes into ``--out``; a folder if it has no suffix.
        dtype: ``fp32`` or ``int8``.
        extra: the optional dependency, empty without one; ``packages`` are its modules.
        description: one line for ``--help`` and documentation.
    """

    name: str
    module: str
    file: str
    dtype: str
    extra: str
    packages: tuple[str, ...]
    description: str

    def load(self) -> ModuleType:
        """Its module.

        Raises:
            UnderstudyError: if its extra is not installed.
        """
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                raise UnderstudyError(
                    f"{self.name} needs the package {package}: "
                    f"install it by pip install 'understudy[{self.extra}]'"
                )
        return importlib.import_module(f"understudy.export.{self.module}")


_ONNX = ("onnx", "onnxscript", "onnxruntime")
FORMATS = {
    entry.name: entry
    for entry in (
        Format("onnx", "onnx", "student.onnx", "fp32", "onnx", _ONNX, "ONNX, fp32"),
        Format(
            "onnx-int8", "onnx_int8", "student-int8.onnx", "int8", "onnx", _ONNX, "ONNX, int8 (QDQ)"
        ),
        Format(
            "openvino",
            "openvino",
            "student-openvino",
            "fp32",
            "openvino",
            ("openvino", *_ONNX),
            "OpenVINO IR, fp32",
        ),
        Format(
            "executorch",
            "executorch",
            "student.pte",
            "fp32",
            "executorch",
            ("executorch",),
            "ExecuTorch with XNNPACK, fp32",
        ),
        Format(
            "executorch-int8",
            "executorch_int8",
            "student-int8.pte",
            "int8",
            "executorch",
            ("executorch",),
            "ExecuTorch with XNNPACK, int8",
        ),
        Format("web", "web.folder", "student-web", "fp32", "", (), "a web page in a folder"),
        Format(
            "web-single", "web.single", "student.html", "fp32", "", (), "a web page in one file"
        ),
        Format("c", "c.source", "student-c", "int8", "", (), "C99 for a microcontroller, int8"),
        Format(
            "hub", "hub", "student-hub", "fp32", "", (), "a folder in the layout of Hugging Face"
        ),
    )
}


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
