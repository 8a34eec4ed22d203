"""The ExecuTorch file in int8: what is rounded, what is not, and what its tools are given."""

import numpy as np
import pytest
import torch
from tests.export.exported import (
    EXAMPLES,
    INT8_LOSS,
    check_damaged,
    check_probabilities,
    check_wrong_images,
    pixels,
    pooled,
)

from understudy.errors import UnderstudyError
from understudy.export.settings import QuantisationSettings

pytest.importorskip("executorch", reason="executorch is not installed")
from understudy.export.executorch_int8 import _Quantiser, damage, open_file, write

pytestmark = pytest.mark.slow
SETTINGS = QuantisationSettings()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("executorch") / "student-int8.pte"
    write(pooled(), path, EXAMPLES, SETTINGS)
    return path


def weights_in_int8(module):
    """Of each layer in order, whether its weights were rounded."""
    layers = ("aten::conv2d", "aten::linear")
    return [
        "dequantize" in str(node.args[1].target)
        for node in module.graph.nodes
        if node.op == "call_function" and node.target.name() in layers
    ]


def test_probabilities_are_near_those_of_pytorch(path):
    check_probabilities(open_file(path), pooled(), INT8_LOSS)


def test_every_layer_but_the_last_is_int8():
    module = _Quantiser(pooled(), EXAMPLES, SETTINGS).quantised(())
    assert weights_in_int8(module) == [True, True, True, False]


def test_float_layers_stay_in_float():
    module = _Quantiser(pooled(), EXAMPLES, SETTINGS).quantised(("stem", "fc1"))
    assert weights_in_int8(module) == [False, True, False, False]


@pytest.mark.parametrize("calibration", ["percentile", "entropy"])
def test_other_calibrations_choose_narrower_ranges(monkeypatch, calibration):
    monkeypatch.setattr("understudy.export.calibration.CUT", 0.1)  # of few values, to see a change

    def scales(settings):
        module = _Quantiser(pooled(), EXAMPLES, settings).quantised(())
        rounding = [n for n in module.graph.nodes if "quantize_per_tensor" in str(n.target)]
        return [node.args[1] for node in rounding]

    plain, other = scales(SETTINGS), scales(SETTINGS.but(calibration=calibration))
    assert all(mine <= full for mine, full in zip(other, plain, strict=True))
    assert min(mine / full for mine, full in zip(other, plain, strict=True)) < 0.95


def test_lowered_file_computes_what_the_quantised_network_does(path):
    module = _Quantiser(pooled(), EXAMPLES, SETTINGS).quantised(())
    images = pixels(64)
    with torch.no_grad():
        wanted = module(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(open_file(path)(images), wanted, atol=0.02)


def test_damage_names_every_layer_once():
    order = damage(pooled(), EXAMPLES, SETTINGS)
    assert sorted(order) == ["fc1", "mixed", "stem"]
    left = damage(pooled(), EXAMPLES, SETTINGS.but(float_layers=(order[0],)))
    assert sorted(left) == sorted(order[1:])


def test_unknown_float_layer_is_refused(tmp_path):
    with pytest.raises(UnderstudyError, match="no layer 'fc3': did you mean fc1"):
        write(pooled(), tmp_path / "s.pte", EXAMPLES, SETTINGS.but(float_layers=("fc3",)))
    assert list(tmp_path.iterdir()) == []


def test_card_names_the_format(path):
    assert open_file(path).card == pooled().card("executorch-int8", "int8")


def test_same_settings_give_the_same_bytes(path, tmp_path):
    write(pooled(), tmp_path / "s.pte", EXAMPLES, SETTINGS)
    assert (tmp_path / "s.pte").read_bytes() == path.read_bytes()


def test_wrong_images_and_damaged_files_are_refused(path):
    check_wrong_images(open_file(path))
    check_damaged(open_file, path, path, (0, 0.5, 0.99))
