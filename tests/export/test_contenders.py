"""Which runtimes take part: a missing one that was named is an error, one of `all` is a remark."""

from collections.abc import Callable

import pytest

from understudy.errors import UnderstudyError
from understudy.export.contenders import CONTENDERS, contenders_of
from understudy.export.formats import FORMATS


def without(package: str) -> Callable[[str], object | None]:
    """``importlib.util.find_spec`` on a machine that lacks one package."""
    return lambda name: None if name == package else object()


def test_every_format_that_runs_in_python_takes_part() -> None:
    others = {"c", "web", "web-single", "hub"}
    assert set(CONTENDERS) == {"torch", "torch-compile", *FORMATS} - others


def test_names_are_taken_once_and_in_the_order_of_the_table() -> None:
    found, missing = contenders_of("torch-compile, torch,torch")
    assert [entry.name for entry in found] == ["torch", "torch-compile"]
    assert missing == []


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("onx", "unknown runtime 'onx': did you mean onnx?"),
        ("", "names none: there are torch, torch-compile"),
        ("torch,all", "unknown runtime 'all'"),
    ],
)
def test_unknown_names_are_refused(names: str, message: str) -> None:
    with pytest.raises(UnderstudyError, match=message):
        contenders_of(names)


def test_missing_runtime_is_an_error_if_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", without("openvino"))
    assert contenders_of("torch,onnx")[0]
    with pytest.raises(UnderstudyError, match=r"openvino needs the package openvino: install"):
        contenders_of("torch,openvino")


def test_missing_runtime_of_all_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", without("openvino"))
    found, missing = contenders_of("all")
    assert [entry.runtime for entry in missing] == ["openvino"]
    assert "pip install 'understudy[openvino]'" in missing[0].reason
    assert {entry.name for entry in found} == set(CONTENDERS) - {"openvino"}


def test_compiled_torch_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UnderstudyError, match=r"needs the C\+\+ compiler no-such-compiler"):
        contenders_of("torch-compile")
