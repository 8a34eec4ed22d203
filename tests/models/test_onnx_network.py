"""An ONNX file from somebody else gives logits like any network, but does not train."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from understudy.errors import UnderstudyError
from understudy.models import build_model
from understudy.models.expects import expects
from understudy.models.normalisation import Normalisation
from understudy.models.onnx_network import OnnxNetwork
from understudy.teachers.output_store import teacher_fingerprint
from understudy.training.weights import load_weights, save_weights

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")

WEIGHT = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)


def write(
    path: Path,
    shape: tuple[Any, ...] = ("batch", 3, 16, 16),
    *,
    kind: str = "FLOAT",
    last: bool = False,
    outputs: tuple[str, ...] = ("scores",),
    metadata: dict[str, str] | None = None,
    scale: float = 1.0,
    classes: int = 5,
) -> Path:
    """Mean colour times a matrix: five logits of a file that takes such images."""
    from onnx import TensorProto, helper, numpy_helper

    axes = [1, 2] if last else [2, 3]
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weight"], [outputs[-1]]),
    ]
    if len(outputs) > 1:
        nodes.append(helper.make_node("Neg", [outputs[-1]], [outputs[0]]))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", getattr(TensorProto, kind), shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, (shape[0], classes))
            for name in outputs
        ],
        [
            numpy_helper.from_array(scale * WEIGHT[:, :classes], "weight"),
            numpy_helper.from_array(np.array(axes), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, str(path))
    return path


def wanted(images: torch.Tensor) -> torch.Tensor:
    return images.mean((2, 3)) @ torch.from_numpy(WEIGHT)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(70, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "shape", [("batch", 3, 16, 16), (None, 3, None, None), (1, 3, 16, 16), (8, 3, 16, 16)]
)
def test_any_number_of_images_is_run_in_pieces(
    tmp_path: Path, images: torch.Tensor, shape: tuple[Any, ...]
) -> None:
    network = build_model(f"onnx:{write(tmp_path / 't.onnx', shape)}", 5, image_size=16)
    torch.testing.assert_close(network(images), wanted(images))
    assert network.outputs(images).features == () and network.outputs(images).embedding is None


def test_half_precision_and_channels_last_inputs(tmp_path: Path, images: torch.Tensor) -> None:
    half = OnnxNetwork(write(tmp_path / "half.onnx", kind="FLOAT16"))
    torch.testing.assert_close(half(images), wanted(images), rtol=0.01, atol=0.01)
    last = OnnxNetwork(write(tmp_path / "last.onnx", ("batch", 16, 16, 3), last=True))
    torch.testing.assert_close(last(images), wanted(images))
    assert expects(last).size == (16, 16)


def test_the_output_called_logits_is_taken(tmp_path: Path, images: torch.Tensor) -> None:
    first = OnnxNetwork(write(tmp_path / "a.onnx", outputs=("first", "second")))
    torch.testing.assert_close(first(images), -wanted(images))
    named = OnnxNetwork(write(tmp_path / "b.onnx", outputs=("first", "logits")))
    torch.testing.assert_close(named(images), wanted(images))


def test_bytes_are_expected_in_their_own_scale(tmp_path: Path) -> None:
    network = OnnxNetwork(write(tmp_path / "t.onnx", kind="UINT8"))
    own = expects(network)
    assert own.normalisation == Normalisation((0.0,) * 3, (1 / 255,) * 3)
    assert own.source == "weights" and own.size == (16, 16)
    pixels = torch.randint(256, (2, 3, 16, 16)).float()
    normalised = (pixels / 255 - 0) / (1 / 255)
    torch.testing.assert_close(network(normalised), wanted(pixels))


def test_probabilities_of_our_own_files_become_logits(tmp_path: Path) -> None:
    card = {"understudy": json.dumps({"classes": list("abcde")})}
    network = OnnxNetwork(write(tmp_path / "t.onnx", kind="UINT8", metadata=card))
    pixels = torch.full((1, 3, 16, 16), 7.0)
    positive = wanted(pixels).clamp_min(torch.finfo(torch.float32).tiny)
    torch.testing.assert_close(network(pixels), positive.log())
    assert expects(network).class_names == tuple("abcde")


def test_class_names_in_the_metadata_are_read(tmp_path: Path) -> None:
    names = {"names": "{0: 'ant', 1: 'bee', 2: 'cat', 3: 'dog', 4: 'eel'}"}
    found = OnnxNetwork(write(tmp_path / "t.onnx", metadata=names))
    assert expects(found).class_names == ("ant", "bee", "cat", "dog", "eel")
    for bad in ("{0: 'ant'}", "__import__('os')", "("):
        other = OnnxNetwork(write(tmp_path / "t.onnx", metadata={"names": bad}))
        assert expects(other).class_names == ()


def test_a_copy_runs_and_the_content_is_in_the_fingerprint(
    tmp_path: Path, images: torch.Tensor
) -> None:
    network = OnnxNetwork(write(tmp_path / "t.onnx"))
    twin = copy.deepcopy(network)
    assert torch.equal(twin(images), network(images))
    same = OnnxNetwork(write(tmp_path / "same.onnx"))
    other = OnnxNetwork(write(tmp_path / "other.onnx", scale=2.0))
    assert teacher_fingerprint(network, "") == teacher_fingerprint(same, "")
    assert teacher_fingerprint(network, "") != teacher_fingerprint(other, "")


def test_weights_outside_of_the_file_are_in_the_fingerprint(tmp_path: Path) -> None:
    model = onnx.load(str(write(tmp_path / "t.onnx")))
    digests = []
    for scale in (1.0, 2.0):
        changed = copy.deepcopy(model)
        values = onnx.numpy_helper.from_array((scale * WEIGHT).repeat(1, 0), "weight")
        changed.graph.initializer[0].CopyFrom(values)
        onnx.save_model(
            changed,
            str(tmp_path / "out.onnx"),
            save_as_external_data=True,
            location="out.data",
            size_threshold=80,
        )
        digests.append(OnnxNetwork(tmp_path / "out.onnx").sha256)
        (tmp_path / "out.data").unlink()
    assert not torch.equal(*digests)


def test_a_run_notices_another_file_in_the_same_place(tmp_path: Path) -> None:
    path = write(tmp_path / "t.onnx")
    save_weights(tmp_path / "teacher.safetensors", OnnxNetwork(path))
    load_weights(tmp_path / "teacher.safetensors", OnnxNetwork(path))
    assert load_weights(path, OnnxNetwork(path)) == "", "the file is its own weights"
    write(path, scale=2.0)
    with pytest.raises(UnderstudyError, match="is not the file that taught here before"):
        load_weights(tmp_path / "teacher.safetensors", OnnxNetwork(path))


def test_class_count_and_image_size_are_checked(tmp_path: Path) -> None:
    name = f"onnx:{write(tmp_path / 't.onnx')}"
    assert build_model(name, None, image_size=None).num_classes == 5  # type: ignore[attr-defined]
    with pytest.raises(UnderstudyError, match=r"shape \[2, 5\] for 2 images of 7 classes"):
        build_model(name, 7, image_size=16)
    with pytest.raises(UnderstudyError, match="takes images of 3x16x16, not 3x32x32"):
        build_model(name, 5)
    with pytest.raises(UnderstudyError, match="takes no options: remove pretrained"):
        build_model(name, 5, options={"pretrained": True})


def test_files_that_are_no_such_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnderstudyError, match="there is no file"):
        OnnxNetwork(tmp_path / "nowhere.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    with pytest.raises(UnderstudyError, match="is not an ONNX file that ONNX Runtime can load"):
        OnnxNetwork(tmp_path / "bad.onnx")
    with pytest.raises(UnderstudyError, match=r"not a batch of images"):
        OnnxNetwork(write(tmp_path / "ints.onnx", kind="INT64"))


def test_its_features_are_not_known(tmp_path: Path) -> None:
    with pytest.raises(UnderstudyError, match="which shows no features"):
        OnnxNetwork(write(tmp_path / "t.onnx")).classify(torch.zeros(1, 3))


def test_it_has_nothing_to_train(tmp_path: Path) -> None:
    network: nn.Module = OnnxNetwork(write(tmp_path / "t.onnx"))
    assert list(network.parameters()) == []
