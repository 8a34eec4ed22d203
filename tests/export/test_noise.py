"""Known chatter is silent, anything else is not."""

import logging
import sys
import warnings

import pytest

from understudy.export.noise import quiet, quiet_stderr

LEAF = "`isinstance(treespec, LeafSpec)` is deprecated, use ..."


def test_known_warnings_and_log_lines_are_silent_for_a_while(caplog):
    logger = logging.getLogger("torchao")
    with quiet():
        warnings.warn(LEAF, FutureWarning, stacklevel=1)
        logger.warning("a library for GPUs does not load")
    assert caplog.messages == []
    logger.warning("later")
    assert caplog.messages == ["later"]
    with pytest.raises(FutureWarning):
        warnings.warn(LEAF, FutureWarning, stacklevel=1)


def test_errors_and_other_warnings_are_not(caplog):
    with quiet():
        logging.getLogger("torch.onnx").error("it fails")
        with pytest.raises(RuntimeWarning):
            warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    assert caplog.messages == ["it fails"]


def test_levels_return_after_an_exception():
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    with pytest.raises(ValueError, match="inside"), quiet():
        raise ValueError("inside")
    assert logger.level == before


def test_standard_error_returns_after_an_exception(capsys):
    def fails():
        print("[tensor_impl.cpp:1] chatter", file=sys.stderr)
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"), quiet_stderr():
        fails()
    print("after", file=sys.stderr)
    assert capsys.readouterr().err == "after\n"
