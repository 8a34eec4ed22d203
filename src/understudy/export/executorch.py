"""ExecuTorch in fp32, with XNNPACK for the CPU: one ``.pte`` file, the card a constant method."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from understudy.errors import UnderstudyError
from understudy.export.capture import capture, unsupported
from understudy.export.card import KEY, Card
from understudy.export.deployable import Deployable
from understudy.export.noise import quiet, quiet_stderr
from understudy.export.runtime import LARGEST_BATCH, check_images, check_signature, in_batches
from understudy.files import write_bytes

_BYTE = 0
"""uint8 in ExecuTorch's numbering of types, as in PyTorch's."""


def write(deployable: Deployable, out: Path) -> None:
    """Write the file ``out``.

    Raises:
        UnderstudyError: naming the operation if ExecuTorch lacks one.
    """
    # An example of fewer than 16 images would limit the program to 15, whatever the bound.
    program = capture(deployable, LARGEST_BATCH)
    write_bytes(out, lower(program, deployable.card("executorch", "fp32")))


def lower(program: ExportedProgram, card: Card) -> bytes:
    """The file of a captured network; XNNPACK computes what it can.

    Raises:
        UnderstudyError: naming the operation if ExecuTorch lacks one.
    """
    with quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        try:
            lowered = to_edge_transform_and_lower(
                program,
                partitioner=[XnnpackPartitioner()],
                constant_methods={KEY: card.to_text()},
            ).to_executorch()
        except Exception as error:
            raise unsupported(program, error, "ExecuTorch") from error
    found: bytes = lowered.buffer
    return found


class ExecuTorchRuntime:
    """A ``.pte`` file in ExecuTorch.

    The number of threads belongs to the process: the file that is opened last sets it for all.

    Attributes:
        card: of the file.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        library = _library()
        try:
            with quiet_stderr():
                library._unsafe_reset_threadpool(threads)
                # The program refers to the file's bytes: they live as long as it does.
                self._bytes = path.read_bytes()
                self._program = library._load_program_from_buffer(
                    self._bytes, program_verification=library.Verification.InternalConsistency
                )
                methods = [
                    self._program.get_method_name(number)
                    for number in range(self._program.num_methods())
                ]
                text = self._program.load_method(KEY)([])[0] if KEY in methods else None
                self.card = Card.from_text(text, str(path))
                self._method = self._program.load_method("forward")
        except RuntimeError as error:
            raise UnderstudyError(
                f"{path} is damaged, or no program of this version of ExecuTorch: export it again"
            ) from error
        about = self._program.method_meta("forward")
        images, probabilities = about.input_tensor_meta(0), about.output_tensor_meta(0)
        if images.dtype() != _BYTE:
            raise UnderstudyError(f"{path} does not map uint8 images to probabilities")
        check_signature(images.sizes(), probabilities.sizes(), self.card, str(path))
        self._most = images.sizes()[0]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities fp32 ``[N, K]`` of uint8 ``[N, C, H, W]``."""
        check_images(images, self.card)
        return in_batches(self._run, images, self._most)

    def _run(self, images: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._method([torch.from_numpy(np.ascontiguousarray(images))])[
            0
        ].numpy()
        return found


def _library() -> Any:
    """The native part of ExecuTorch alone: its Python part imports a compiler for seconds."""
    try:
        from executorch.extension.pybindings import _C
    except ImportError as error:
        raise UnderstudyError(
            ".pte files need the package executorch: "
            "install it by pip install 'understudy[executorch]'"
        ) from error
    return _C


def open_file(path: Path, threads: int = 1) -> ExecuTorchRuntime:
    """Load a file.

    Args:
        path: the file.
        threads: of the CPU, for every file of ExecuTorch in this process.

    Raises:
        UnderstudyError: if it is missing, damaged, without a card, or does not fit its card.
    """
    if not path.is_file():
        raise UnderstudyError(f"there is no file {path}")
    return ExecuTorchRuntime(path, threads)
