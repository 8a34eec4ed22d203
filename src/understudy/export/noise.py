"""Known chatter of other libraries, silenced where it arises; errors stay errors."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

_WARNINGS = (
    r".*isinstance\(treespec, LeafSpec\).*",  # torch about itself, while it exports
    r".*`torch\.jit\.\w+` is deprecated.*",  # torch about itself
    r".*is deprecated\. Use files\(\) instead.*",  # ExecuTorch reads its own tables
)
_LOGGERS = (
    "torch.onnx",  # "torchvision is not installed"
    "torch.utils._pytree",  # about an enumeration of torchao
    "torch.fx.experimental.symbolic_shapes",  # hints about a network that it cannot export
    "torchao",  # its kernels for accelerators do not load on a CPU
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings and log lines above; not for threads that run side by side."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in _WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Without what is written to standard error.

    For a few calls of torch and ExecuTorch, which print there what they raise as well, or that they
    miss files that only an ARM board has.
    """
    with contextlib.redirect_stderr(io.StringIO()):
        yield
