"""What the benchmark can measure: the formats with a runtime, and PyTorch itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.errors import UnderstudyError, suggest
from understudy.evaluation.deploy_results import Missing
from understudy.export.formats import FORMATS, Format
from understudy.export.settings import QuantisationSettings

if TYPE_CHECKING:
    from understudy.export.deployable import Deployable, Examples

_WEIGHTS = "weights alone"
_GRAPH = "graph and weights"


@dataclass(frozen=True)
class Contender:
    """A runtime that takes part.

    Attributes:
        format: what writes and opens its file.
        content: what the file holds.
        imports: packages that its import time includes.
    """

    format: Format
    content: str
    imports: tuple[str, ...]

    @property
    def name(self) -> str:
        """As in ``--runtimes``."""
        return self.format.name

    def require(self) -> None:
        """Check that it can run on this machine.

        Raises:
            UnderstudyError: naming what is missing.
        """
        self.format.require()
        if self.name == "torch-compile":
            from understudy.export.torch_compiled import require_compiler

            require_compiler()

    def write(self, deployable: "Deployable", path: Path, examples: "Examples") -> None:
        """Write a network as its file; one in int8 is calibrated, and not measured.

        Raises:
            UnderstudyError: if the runtime lacks an operation of the network.
        """
        module = self.format.load()
        if self.format.dtype == "int8":
            module.write(deployable, path, examples, QuantisationSettings())
        else:
            module.write(deployable, path)


_TABLE = (
    Contender(
        Format("torch", "torch_file", "network.safetensors", "fp32", "PyTorch, eager"),
        _WEIGHTS,
        ("torch",),
    ),
    Contender(
        Format(
            "torch-compile",
            "torch_file",
            "network.safetensors",
            "fp32",
            "PyTorch, compiled",
            runtime="torch_compiled",
        ),
        _WEIGHTS,
        ("torch",),
    ),
    Contender(FORMATS["onnx"], _GRAPH, ("onnxruntime",)),
    Contender(FORMATS["onnx-int8"], _GRAPH, ("onnxruntime",)),
    Contender(FORMATS["openvino"], _GRAPH, ("openvino",)),
    Contender(FORMATS["executorch"], _GRAPH, ("executorch.runtime",)),
    Contender(FORMATS["executorch-int8"], _GRAPH, ("executorch.runtime",)),
)
CONTENDERS: Mapping[str, Contender] = {entry.name: entry for entry in _TABLE}
"""Name -> runtime, in the order in which they are shown."""
ALL = "all"


def contenders_of(names: str) -> tuple[list[Contender], list[Missing]]:
    """The runtimes named in ``--runtimes``, in the order of the table, each once.

    Args:
        names: with commas between them; ``all`` for those that are installed.

    Returns:
        What takes part; with ``all`` also what is missing on this machine.

    Raises:
        UnderstudyError: for an unknown name, or a named runtime that is missing.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if wanted == [ALL]:
        return _installed()
    for name in wanted:
        if name not in CONTENDERS:
            raise UnderstudyError(f"unknown runtime {name!r}: {suggest(name, [*CONTENDERS, ALL])}")
    if not wanted:
        raise UnderstudyError(f"--runtimes names none: there are {', '.join([*CONTENDERS, ALL])}")
    found = [entry for name, entry in CONTENDERS.items() if name in wanted]
    for entry in found:
        entry.require()
    return found, []


def _installed() -> tuple[list[Contender], list[Missing]]:
    found, missing = [], []
    for entry in CONTENDERS.values():
        try:
            entry.require()
        except UnderstudyError as error:
            missing.append(Missing(runtime=entry.name, reason=str(error)))
        else:
            found.append(entry)
    return found, missing
