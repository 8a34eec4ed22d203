"""ONNX in int8: QDQ nodes from static calibration (Jacob et al. 2018), weights per channel.

Weights have 7 of the 8 bits. On an x86 processor without VNNI, ONNX Runtime adds two products of
8 bits in 16 bits, which overflow in silence: the founding student lost 4.7 points there. With 7
bits none can, so every processor gives the same classes; the file has the same size.
"""

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from understudy.export.calibration import (
    RangeFinder,
    calibration_images,
    check_layers,
    worst_first,
)
from understudy.export.capture import INPUT, OUTPUT
from understudy.export.deployable import Deployable, Examples
from understudy.export.onnx import WITH_WEIGHTS, onnx_graph, to_bytes
from understudy.export.onnx_runtime import open_file as open_file
from understudy.export.runtime import in_batches
from understudy.export.settings import QuantisationSettings
from understudy.files import write_bytes
from understudy.models.onnx_session import import_onnxruntime, session_of

_BATCH = 64
"""Images whose activations are in memory at once."""


def write(
    deployable: Deployable, out: Path, examples: Examples, settings: QuantisationSettings
) -> None:
    """Write the file ``out``.

    Raises:
        UnderstudyError: for a layer that does not exist, or an operation that ONNX lacks.
    """
    model = _Quantiser(deployable, examples, settings).quantised(settings.float_layers)
    write_bytes(out, to_bytes(model, deployable.card("onnx-int8", "int8")))


def damage(deployable: Deployable, examples: Examples, settings: QuantisationSettings) -> list[str]:
    """The layers that can stay in floating point, those whose return helps the output most first.

    Measured on the calibration images, in ONNX Runtime.
    """
    quantiser = _Quantiser(deployable, examples, settings)

    def with_float(name: str) -> np.ndarray:
        model = quantiser.quantised((*settings.float_layers, name))
        return _probabilities(model, quantiser.images)

    names = [name for name in quantiser.layers if name not in settings.float_layers]
    return worst_first(names, _probabilities(quantiser.model, quantiser.images), with_float)


class _Quantiser:
    """A network, its calibration images and the ranges of its tensors.

    Attributes:
        model: in fp32.
        images: uint8 ``[N, C, H, W]``.
        layers: names of the convolutions and linear layers.
    """

    def __init__(
        self, deployable: Deployable, examples: Examples, settings: QuantisationSettings
    ) -> None:
        import onnx

        self.model = onnx.shape_inference.infer_shapes(onnx_graph(deployable))
        self.images = calibration_images(examples.train, settings)
        nodes = self.model.graph.node
        self.layers = [node.name for node in nodes if node.op_type in WITH_WEIGHTS]
        self._ranges = self._find_ranges(settings)

    def quantised(self, float_layers: Sequence[str]) -> Any:
        """An ``onnx.ModelProto`` in int8 but for these layers."""
        import_onnxruntime()
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
        from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

        check_layers(float_layers, self.layers)
        quantizer = QDQQuantizer(
            copy.deepcopy(self.model),
            per_channel=True,
            reduce_range=True,  # see above
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8,
            tensors_range=self._ranges,
            nodes_to_quantize=[],
            nodes_to_exclude=[*float_layers, *self._normalisation()],
            op_types_to_quantize=sorted({*QDQRegistry, *QLinearOpsRegistry} - {"Softmax"}),
            extra_options={},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        model = quantizer.model.model
        _leave_logits(model.graph)
        del model.graph.value_info[:]
        return model

    def _normalisation(self) -> list[str]:
        """Names of its nodes: their input is exact, only their output is rounded."""
        constants = {"scale", "shift"}
        return [node.name for node in self.model.graph.node if constants & set(node.input)]

    def _find_ranges(self, settings: QuantisationSettings) -> Any:
        """Run the calibration images through the network with every tensor as an output."""
        import onnx

        import_onnxruntime()
        from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData

        model = copy.deepcopy(self.model)
        inner = [value for value in model.graph.value_info if value.name != OUTPUT]
        kind = onnx.TensorProto.FLOAT
        model.graph.output.extend(v for v in inner if v.type.tensor_type.elem_type == kind)
        session = session_of(model.SerializeToString())
        finders = {o.name: RangeFinder(settings.calibration) for o in session.get_outputs()}
        for start in range(0, len(self.images), _BATCH):
            values = session.run(None, {INPUT: self.images[start : start + _BATCH]})
            for finder, value in zip(finders.values(), values, strict=True):
                finder.add(value)
        ranges = {
            name: tuple(np.array(limit, np.float32) for limit in finder.range())
            for name, finder in finders.items()
        }
        # MinMax is how the tool names ranges that it is to take without further ado.
        return TensorsData(CalibrationMethod.MinMax, ranges)


def _leave_logits(graph: Any) -> None:
    """Drop the rounding between the last layer and the softmax.

    It would clip the logits of images unlike those of the calibration. The last layer's weights
    stay in int8.
    """
    maker = {name: node for node in graph.node for name in node.output}
    softmax = maker[OUTPUT]
    restored = maker[softmax.input[0]]
    if restored.op_type != "DequantizeLinear":
        return
    rounded = maker[restored.input[0]]
    softmax.input[0] = rounded.input[0]
    graph.node.remove(restored)
    graph.node.remove(rounded)


def _probabilities(model: Any, images: np.ndarray) -> np.ndarray:
    session = session_of(model.SerializeToString())
    return in_batches(partial(_run, session), images, _BATCH)


def _run(session: Any, images: np.ndarray) -> np.ndarray:
    found: np.ndarray = session.run([OUTPUT], {INPUT: images})[0]
    return found
