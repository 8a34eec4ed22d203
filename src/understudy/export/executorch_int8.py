"""ExecuTorch in int8: PyTorch's quantisation of a captured network (PT2E), weights per channel."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from understudy.export.calibration import (
    RangeFinder,
    calibration_images,
    check_layers,
    worst_first,
)
from understudy.export.capture import WITHIN, capture, export, layer_of
from understudy.export.deployable import Deployable, Examples
from understudy.export.executorch import lower
from understudy.export.executorch import open_file as open_file
from understudy.export.noise import quiet
from understudy.export.runtime import LARGEST_BATCH, in_batches
from understudy.export.settings import Calibration, QuantisationSettings
from understudy.files import write_bytes

_aten = torch.ops.aten
_WITH_WEIGHTS = (_aten.conv2d.default, _aten.conv2d.padding, _aten.linear.default)


def write(
    deployable: Deployable, out: Path, examples: Examples, settings: QuantisationSettings
) -> None:
    """Write the file ``out``.

    Raises:
        UnderstudyError: for a layer that does not exist, or an operation that ExecuTorch lacks.
    """
    quantiser = _Quantiser(deployable, examples, settings)
    module = quantiser.quantised(settings.float_layers)
    program = export(module, deployable.preprocessing.image, LARGEST_BATCH)
    write_bytes(out, lower(program, deployable.card("executorch-int8", "int8")))


def damage(deployable: Deployable, examples: Examples, settings: QuantisationSettings) -> list[str]:
    """The layers that can stay in floating point, those whose return helps the output most first.

    Measured on the calibration images, in PyTorch, which computes int8 layers in fp32 with rounded
    numbers: a lowered file for each layer would take minutes.
    """
    quantiser = _Quantiser(deployable, examples, settings)
    expected = _probabilities(deployable.module(), quantiser.images)

    def with_float(name: str) -> np.ndarray:
        module = quantiser.quantised((*settings.float_layers, name))
        return _probabilities(module, quantiser.images)

    names = [name for name in quantiser.layers if name not in settings.float_layers]
    return worst_first(names, expected, with_float)


class _Quantiser:
    """A captured network and its calibration images.

    Attributes:
        images: uint8 ``[N, C, H, W]``.
        layers: names of what is in int8 by default: all convolutions and linear layers but the
            last, whose output, the logits, int8 would clip.
    """

    def __init__(
        self, deployable: Deployable, examples: Examples, settings: QuantisationSettings
    ) -> None:
        self.images = calibration_images(examples.train, settings)
        self._calibration = settings.calibration
        self._program = capture(deployable, LARGEST_BATCH)
        nodes = self._program.module().graph.nodes
        names = [_layer(node) for node in nodes if node.target in _WITH_WEIGHTS]
        self.layers, self._last = names[:-1], names[-1]

    def quantised(self, float_layers: Sequence[str]) -> GraphModule:
        """The network in int8 but for these layers: in PyTorch, with rounding made explicit."""
        check_layers(float_layers, self.layers)
        left_out = {*float_layers, self._last}
        with quiet():
            from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer
            from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

            def is_quantised(node: Node) -> bool:
                if node.op == "get_attr":  # a weight goes with the layer that reads it
                    return True
                if node.target in _WITH_WEIGHTS and _layer(node) in left_out:
                    return False
                return _is_in_network(node)

            quantizer = XNNPACKQuantizer().set_global(_config(self._calibration))
            quantizer.set_filter_function(is_quantised)
            prepared = prepare_pt2e(self._program.module(), quantizer)
            _probabilities(prepared, self.images)
            found: GraphModule = convert_pt2e(prepared)
        return found


def _layer(node: Node) -> str:
    weight: Any = node.args[1]
    return layer_of(weight.target)


def _is_in_network(node: Node) -> bool:
    """Not in the normalisation, whose inputs are exact, nor the softmax."""
    stack = node.meta.get("nn_module_stack") or {}
    return any(f"{path}.".startswith(WITHIN) for path, _ in stack.values())


def _probabilities(module: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    def run(batch: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            found: Tensor = module(torch.from_numpy(batch))
        return found.numpy()

    return in_batches(run, images, LARGEST_BATCH)


def _config(calibration: Calibration) -> Any:
    """XNNPACK's int8, with ranges from :class:`~understudy.export.calibration.RangeFinder`."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        get_symmetric_quantization_config,
    )

    config = get_symmetric_quantization_config(is_per_channel=True)
    observer = _observer().with_args(calibration=calibration, eps=2**-12)
    activation = replace(config.input_activation, observer_or_fake_quant_ctr=observer)
    return replace(config, input_activation=activation, output_activation=activation)


@functools.cache
def _observer() -> Any:
    from torchao.quantization.pt2e.observer import UniformQuantizationObserverBase

    class RangeObserver(UniformQuantizationObserverBase):
        """Records a tensor's values; the range is chosen once all are known."""

        def __init__(self, calibration: Calibration, **options: Any) -> None:
            super().__init__(**options)
            self.finder = RangeFinder(calibration)

        def forward(self, values: Tensor) -> Tensor:
            self.finder.add(values.detach().numpy())
            return values

        def calculate_qparams(self) -> tuple[Tensor, Tensor]:
            low, high = self.finder.range()
            found: tuple[Tensor, Tensor] = self._calculate_qparams(
                torch.tensor(low), torch.tensor(high)
            )
            return found

    return RangeObserver
