"""The network in compiled PyTorch, from the same file as :mod:`understudy.export.torch_file`."""

import os
import shutil
from pathlib import Path

import numpy as np
import torch

from understudy.errors import UnderstudyError
from understudy.export.card import Card
from understudy.export.torch_file import read


def require_compiler() -> None:
    """Check that ``torch.compile`` finds a C++ compiler.

    Raises:
        UnderstudyError: naming the one that is missing.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise UnderstudyError(
            f"torch-compile needs the C++ compiler {compiler}: install it, or set CXX to another"
        )


class _CompiledRuntime:
    """Compiled at the first call with each batch size."""

    def __init__(self, path: Path, threads: int) -> None:
        torch.set_num_threads(threads)  # compiled into the code
        deployable = read(path)
        self.card: Card = deployable.card("torch-compile", "fp32")
        self._module = torch.compile(deployable.module(), dynamic=False)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found: np.ndarray = self._module(torch.from_numpy(images)).numpy()
        return found


def open_file(path: Path, threads: int = 1) -> _CompiledRuntime:
    """The network of a file that the benchmark wrote, compiled."""
    return _CompiledRuntime(path, threads)
