"""The ONNX file in fp32: what it holds, and that ONNX Runtime gives what PyTorch gives."""

from dataclasses import replace

import pytest
from tests.export.exported import (
    WithOddLayer,
    check_cards,
    check_damaged,
    check_probabilities,
    check_wrong_images,
    pooled,
)
from tests.export.networks import randomised

from understudy.data.preprocess import Preprocessing
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.models import build_model

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
from understudy.export.onnx import open_file, write  # noqa: E402


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "student.onnx"
    write(pooled(), path)
    return path


def test_probabilities_are_those_of_pytorch(path):
    check_probabilities(open_file(path), pooled())


def test_network_of_another_seed_gives_others(path):
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_probabilities(open_file(path), pooled(seed=1))


def test_file_is_alone_valid_and_bare(path):
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    graph = model.graph
    kinds = {node.op_type for node in graph.node}
    assert not kinds & {"BatchNormalization", "Dropout"}
    assert [graph.input[0].name, graph.output[0].name] == ["images", "probabilities"]
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [entry.key for entry in model.metadata_props] == ["understudy"]
    parts = [graph, *graph.node, *graph.input, *graph.output, *graph.initializer]
    assert not graph.value_info
    assert not any(part.metadata_props or part.doc_string for part in parts)


def test_layers_have_the_names_of_their_modules(path):
    names = [node.name for node in onnx.load(path).graph.node if node.op_type in ("Conv", "Gemm")]
    assert names == ["stem", "mixed", "fc1", "fc2"]


def test_card_is_in_the_file(path):
    card = open_file(path).card
    assert (card.format, card.dtype, card.classes) == ("onnx", "fp32", ("a", "b", "c"))
    assert card == pooled().card("onnx", "fp32")


def test_same_network_gives_the_same_bytes(path, tmp_path):
    write(pooled(), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


def test_founding_student_has_its_weights_and_little_else(tmp_path):
    network = randomised(build_model("founding_student", 10))
    image = Preprocessing(image=ImageSpec())
    names = tuple("abcdefghij")
    write(
        replace(pooled(), network=network, classes=names, preprocessing=image), tmp_path / "s.onnx"
    )
    weights = 4 * (106_826 - 2 * 240)  # the scales and shifts of its batch norms are folded in
    assert weights < (tmp_path / "s.onnx").stat().st_size < weights + 5_000


def test_wrong_images_are_refused(path):
    check_wrong_images(open_file(path))


def test_damaged_file_is_refused(path):
    check_damaged(open_file, path, path, (0, 0.1, 0.5, 0.99))


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(UnderstudyError, match="there is no file"):
        open_file(tmp_path / "no.onnx")


def test_card_that_does_not_fit_is_refused(tmp_path, monkeypatch):
    check_cards(write, open_file, tmp_path, monkeypatch)


def test_file_of_another_tool_is_refused(path, tmp_path):
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(UnderstudyError, match=r"bare\.onnx has no card of understudy"):
        open_file(tmp_path / "bare.onnx")


def test_file_that_takes_floats_is_refused(path, tmp_path):
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(model, tmp_path / "floats.onnx")
    with pytest.raises(UnderstudyError, match="does not map uint8 images to probabilities"):
        open_file(tmp_path / "floats.onnx")


def test_operation_that_onnx_lacks_is_named_with_its_layer(tmp_path):
    with pytest.raises(
        UnderstudyError, match=r"ONNX lacks the operation understudy_tests\.odd of layer middle:"
    ):
        write(replace(pooled(), network=WithOddLayer().eval()), tmp_path / "no.onnx")
    assert list(tmp_path.iterdir()) == []
