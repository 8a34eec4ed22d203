"""The ONNX file in int8: what is rounded, what is not, and that processors cannot overflow."""

from dataclasses import replace

import numpy as np
import pytest
from tests.export.exported import (
    EXAMPLES,
    INT8_LOSS,
    check_damaged,
    check_probabilities,
    check_wrong_images,
    in_torch,
    pixels,
    pooled,
)
from tests.export.networks import randomised

from understudy.data.preprocess import Preprocessing
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.export.calibration import divergence
from understudy.export.settings import QuantisationSettings
from understudy.models import build_model

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
from understudy.export.onnx_int8 import damage, open_file, write  # noqa: E402

SETTINGS = QuantisationSettings()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "student-int8.onnx"
    write(pooled(), path, EXAMPLES, SETTINGS)
    return path


def weights_of(path):
    """Name -> int8 weights of the layers that have any."""
    graph = onnx.load(path).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return {
        name: array
        for name, array in arrays.items()
        if array.dtype == np.int8 and array.ndim > 1 and array.size > 1
    }


def test_probabilities_are_near_those_of_pytorch(path):
    check_probabilities(open_file(path), pooled(), INT8_LOSS)


@pytest.mark.parametrize("calibration", ["percentile", "entropy"])
def test_other_calibrations_are_near_too(tmp_path, calibration):
    path = tmp_path / "student.onnx"
    write(pooled(), path, EXAMPLES, SETTINGS.but(calibration=calibration))
    check_probabilities(open_file(path), pooled(), 10 * INT8_LOSS)


def test_every_layer_is_int8_and_the_logits_are_not(path):
    assert len(weights_of(path)) == 4
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    makers = {name: node for node in model.graph.node for name in node.output}
    assert makers[makers["probabilities"].input[0]].op_type == "Gemm"
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_normalisation_rounds_once(path):
    """Its input, 0 to 255, is exact; only what the first convolution reads is rounded."""
    nodes = onnx.load(path).graph.node
    first = [node.op_type for node in nodes if node.op_type != "DequantizeLinear"][:4]
    assert first == ["Cast", "Mul", "Add", "QuantizeLinear"]


def test_two_products_fit_16_bits_on_every_processor(path):
    """x86 without VNNI adds two products of uint8 and int8 in 16 bits, and clips in silence."""
    largest = max(int(np.abs(weights.astype(int)).max()) for weights in weights_of(path).values())
    assert largest > 32  # the range is used
    assert 2 * 255 * largest <= 2**15 - 1


def test_fused_arithmetic_is_that_of_the_graph(path):
    """ONNX Runtime's integer kernels against the same graph computed step by step in fp32."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    images = pixels(64)
    np.testing.assert_allclose(
        open_file(path)(images), plain.run(None, {"images": images})[0], atol=0.02
    )


def test_float_layers_stay_in_float(path, tmp_path):
    write(pooled(), tmp_path / "s.onnx", EXAMPLES, SETTINGS.but(float_layers=("stem", "fc1")))
    left = set(weights_of(path)) - set(weights_of(tmp_path / "s.onnx"))
    assert {name.split(".")[1] for name in left} == {"stem", "fc1"}
    check_probabilities(open_file(tmp_path / "s.onnx"), pooled(), INT8_LOSS)


def test_unknown_float_layer_is_refused(tmp_path):
    with pytest.raises(UnderstudyError, match="no layer 'stm': did you mean stem"):
        write(pooled(), tmp_path / "s.onnx", EXAMPLES, SETTINGS.but(float_layers=("stm",)))
    assert list(tmp_path.iterdir()) == []


def test_damage_names_the_worst_layer_first_and_its_return_helps(tmp_path):
    order = damage(pooled(), EXAMPLES, SETTINGS)
    assert sorted(order) == ["fc1", "fc2", "mixed", "stem"]
    images = pixels(200)
    wanted = in_torch(pooled(), images)
    losses = {}
    for name in (order[0], order[-1]):
        write(pooled(), tmp_path / name, EXAMPLES, SETTINGS.but(float_layers=(name,)))
        losses[name] = divergence(wanted, open_file(tmp_path / name)(images))
    assert losses[order[0]] < losses[order[-1]]
    assert order[0] not in damage(pooled(), EXAMPLES, SETTINGS.but(float_layers=(order[0],)))


def test_same_settings_give_the_same_bytes(path, tmp_path):
    write(pooled(), tmp_path / "s.onnx", EXAMPLES, SETTINGS)
    assert (tmp_path / "s.onnx").read_bytes() == path.read_bytes()


def test_card_names_the_format_and_steps(path):
    card = open_file(path).card
    assert card == pooled().card("onnx-int8", "int8") and card.dtype == "int8"


def test_wrong_images_and_damaged_files_are_refused(path):
    check_wrong_images(open_file(path))
    check_damaged(open_file, path, path, (0, 0.5, 0.99))


def test_founding_student_fits_its_budget(tmp_path):
    from tests.worlds import tiny_split

    network = randomised(build_model("founding_student", 10))
    image = Preprocessing(image=ImageSpec())
    deployable = replace(
        pooled(), network=network, classes=tuple("abcdefghij"), preprocessing=image
    )
    examples = replace(EXAMPLES, train=tiny_split(60, size=32))
    write(deployable, tmp_path / "s.onnx", examples, SETTINGS)
    assert 106_000 < (tmp_path / "s.onnx").stat().st_size <= 140_000
