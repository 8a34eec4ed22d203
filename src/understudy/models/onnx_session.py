"""Sessions of ONNX Runtime on the CPU, without its telemetry."""

import os
from types import ModuleType
from typing import Any

from understudy.errors import UnderstudyError


def import_onnxruntime() -> ModuleType:
    """``onnxruntime``, which is imported nowhere else: without its telemetry.

    With it, the import alone writes to the user's cache folder and reports to Microsoft.

    Raises:
        UnderstudyError: if it is not installed.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise UnderstudyError(
            "ONNX files need the package onnxruntime: install it by pip install 'understudy[onnx]'"
        ) from error
    module: ModuleType = onnxruntime
    return module


def session_of(model: str | bytes, threads: int = 1) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU.

    Args:
        model: a file's path, or its bytes.
        threads: of each operation; they sleep between two calls instead of spinning.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors: warnings are about its own optimisations
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
