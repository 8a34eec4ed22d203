"""Opening a file by what it is."""

import sys

import pytest
from tests.export.exported import EXAMPLES, check_probabilities, pooled

from understudy.errors import UnderstudyError
from understudy.export.artefact import format_of, is_artefact, open_artefact
from understudy.export.formats import FORMATS
from understudy.export.settings import QuantisationSettings


@pytest.mark.parametrize("name", ["onnx", "onnx-int8", "openvino"])
def test_what_was_written_is_opened(tmp_path, name):
    entry = FORMATS[name]
    for package in entry.packages:
        pytest.importorskip(package, reason=f"{package} is not installed")
    extra = (EXAMPLES, QuantisationSettings()) if entry.dtype == "int8" else ()
    entry.load().write(pooled(), tmp_path / entry.file, *extra)
    runtime = open_artefact(tmp_path / entry.file)
    assert runtime.card.format == name
    check_probabilities(runtime, pooled(), 2e-3 if extra else 0.0)


@pytest.mark.parametrize(
    ("files", "opened", "name"),
    [
        (["student.pte"], "student.pte", "executorch"),
        (["REJECTED-student-int8.onnx"], "REJECTED-student-int8.onnx", "onnx"),
        (["ov/model.xml", "ov/model.bin"], "ov", "openvino"),
        (["ov/model.xml"], "ov/model.xml", "openvino"),
        (["student.html"], "student.html", "web-single"),
        (["web/index.html", "web/model.json"], "web", "web"),
        (["c/card.json", "c/student.safetensors"], "c", "c"),
        (["hub/config.json", "hub/model.safetensors", "hub/student.onnx"], "hub", "hub"),
        (["run/config.yaml", "run/models/distilled-seed0.safetensors"], "run", None),
        (["distilled-seed0.safetensors"], "distilled-seed0.safetensors", None),
    ],
)
def test_format_is_known_by_names(tmp_path, files, opened, name):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    found = format_of(tmp_path / opened)
    assert (found and found.name) == name
    assert is_artefact(tmp_path / opened) == (name is not None)


def test_what_is_missing_or_nothing_of_ours_is_refused(tmp_path):
    with pytest.raises(UnderstudyError, match="there is no file or folder"):
        open_artefact(tmp_path / "student.onnx")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UnderstudyError, match=r"notes\.txt is not an exported file"):
        open_artefact(tmp_path / "notes.txt")
    assert not is_artefact(tmp_path / "student.onnx")


@pytest.mark.parametrize(
    ("file", "package", "extra"),
    [
        ("student.onnx", "onnxruntime", "onnx"),
        ("model.xml", "openvino", "openvino"),
        ("student.pte", "executorch.extension.pybindings", "executorch"),
    ],
)
def test_runtime_that_is_not_installed_is_named(tmp_path, monkeypatch, file, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / file).touch()
    with pytest.raises(UnderstudyError, match=rf"pip install 'understudy\[{extra}\]'"):
        open_artefact(tmp_path / file)
