"""Quantisation-aware distillation: the student is trained further with the rounding of int8.

Weights and activations are rounded in the forward pass and the gradient passes through the rounding
(Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference"); the loss is knowledge distillation from the same cached teacher
outputs as before (Mishra and Marr 2018, "Apprentice"). Batch norm is folded before the training
starts, so no running statistic, momentum or eps can change here.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from understudy.config.schema import TrainConfig
from understudy.data.prepare import TrainingData
from understudy.data.spec import ImageSpec
from understudy.events import SILENT, Observer
from understudy.export.graph import Activation, Conv, Graph, Layer, Linear
from understudy.export.module import GraphModule
from understudy.export.tracing import trace
from understudy.methods import method_config
from understudy.methods.base import MethodConfig
from understudy.models.base import Classifier, Outputs
from understudy.teachers.frozen import FrozenTeacher
from understudy.training.device import make_fabric
from understudy.training.setup import Teaching, fit

if TYPE_CHECKING:
    from torch.autograd.function import FunctionCtx

EPOCHS = 3
LEARNING_RATE = 0.05
"""Of the peak learning rate of the training that made the student: its weights are moved a
little."""
_LEVELS = 127
_MOMENTUM = 0.99


class _Round(torch.autograd.Function):
    """Rounds in the forward pass; the gradient passes through unchanged."""

    @staticmethod
    def forward(ctx: "FunctionCtx", x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: "FunctionCtx", *gradients: Tensor) -> Tensor:
        return gradients[0]


def fake_quantised(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """``x`` rounded to the 256 steps between ``low`` and ``high`` (both include zero)."""
    scale = ((high - low) / 255).clamp_min(1e-8)
    zero = (-low / scale).round()
    steps: Tensor = _Round.apply(x / scale)
    return ((steps + zero).clamp(0, 255) - zero) * scale


def fake_quantised_weight(weight: Tensor) -> Tensor:
    """A weight rounded to 255 symmetric steps, with one scale for each output channel."""
    largest = weight.detach().abs().flatten(1).amax(1).clamp_min(1e-8)
    scale = (largest / _LEVELS).view(-1, *[1] * (weight.dim() - 1))
    steps: Tensor = _Round.apply(weight / scale)
    return steps.clamp(-_LEVELS, _LEVELS) * scale


class FakeQuantised(GraphModule):
    """A graph whose weights and activations carry the rounding of int8.

    The range of an activation is a moving average of the batches' minimum and maximum in training,
    and fixed in eval mode. A layer whose only reader is an activation is not rounded on its own:
    int8 runtimes run the two as one. Neither are the logits.

    Args:
        graph: with batch norm folded.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        for layer in graph.layers:
            self.register_buffer(self.key(layer, "low"), torch.zeros(()))
            self.register_buffer(self.key(layer, "high"), torch.zeros(()))
        self.register_buffer("image_low", torch.zeros(()))
        self.register_buffer("image_high", torch.zeros(()))

    def weight(self, layer: Layer) -> Tensor:
        return fake_quantised_weight(super().weight(layer))

    def observe(self, layer: Layer | None, value: Tensor) -> Tensor:
        if layer is not None and self._is_unrounded(layer):
            return value
        low_key = "image_low" if layer is None else self.key(layer, "low")
        high_key = "image_high" if layer is None else self.key(layer, "high")
        low, high = self.get_buffer(low_key), self.get_buffer(high_key)
        if self.training:
            with torch.no_grad():
                for seen, range_end in (
                    (value.detach().amin().clamp_max(0), low),
                    (value.detach().amax().clamp_min(0), high),
                ):
                    # The first batch is taken as it is; no value is read on the host for that.
                    share = torch.where(range_end == 0, 1.0, 1 - _MOMENTUM)
                    range_end.add_(share * (seen.float() - range_end))
        return fake_quantised(value, low, high)

    def _is_unrounded(self, layer: Layer) -> bool:
        if layer.name == self.graph.output.name:
            return True
        readers = self.graph.readers(layer.name)
        return len(readers) == 1 and isinstance(readers[0], Activation)


class QuantisedStudent(Classifier):
    """A :class:`FakeQuantised` graph with the interface of the training loop."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.quantised = FakeQuantised(graph)
        self.feature_channels = ()
        self.embedding_dim = 0

    def outputs(self, images: Tensor) -> Outputs:
        return Outputs(self.quantised(images))

    def classify(self, embedding: Tensor) -> Tensor:
        raise NotImplementedError("only the logits of a quantised student are trained")

    def graph(self) -> Graph:
        """The graph with the trained weights, in fp32, unrounded."""
        module = self.quantised
        layers = [*module.graph.of(Conv), *module.graph.of(Linear)]
        weights = {
            layer.name: tuple(
                module.get_parameter(module.key(layer, part)).detach().cpu().numpy().copy()
                for part in ("weight", "bias")
            )
            for layer in layers
        }
        return module.graph.with_weights(weights)  # type: ignore[arg-type]


def tune(
    network: nn.Module,
    data: TrainingData,
    teacher: FrozenTeacher | None,
    method: MethodConfig,
    config: TrainConfig,
    *,
    seed: int = 0,
    epochs: int = EPOCHS,
    observer: Observer = SILENT,
) -> Graph:
    """Train a student for a few more epochs with the rounding of int8.

    Args:
        network: the trained student; unchanged.
        data: its training and validation images.
        teacher: whose cached outputs are read; ``None`` trains on the labels.
        method: that trained the student; its temperature and weights are used if it is ``kd``.
        config: of the student's training; shortened, with a smaller learning rate.
        seed: of order and views, so that the cache of the run is read.
        epochs: how many.
        observer: follows the training.

    Returns:
        The graph with the new weights, in fp32: every format quantises it in its own way.

    Raises:
        UnderstudyError: if the network has an operation that the graph does not have.
    """
    shape = ImageSpec.of(data.image_shape)
    student = QuantisedStudent(trace(network, shape))
    settings = replace(
        config,
        epochs=epochs,
        stop_epoch=None,
        optimizer="adamw",
        lr=_learning_rate(config),
        weight_decay=0.0,
        schedule="cosine",
        ema_decay=0.0,
        precision="fp32",
        compile="off",
        keep="best",
    )
    fabric = make_fabric("cpu", "fp32")
    torch.manual_seed(seed)
    fit(
        student,
        data,
        Teaching(_method(method, teacher), teacher),
        settings,
        fabric,
        seed=seed,
        observer=observer,
    )
    return student.graph()


def _method(method: MethodConfig, teacher: FrozenTeacher | None) -> MethodConfig:
    """``kd``, which needs the logits alone; the labels without a teacher."""
    if teacher is None:
        return method_config({"name": "ce"})
    if method.name == "kd":
        return replace(method, curriculum=None)
    return method_config({"name": "kd", "temperature": 4, "alpha": 0.9})


def _learning_rate(config: TrainConfig) -> float:
    """A share of the training's peak; SGD's rates are some fifty times those of AdamW."""
    peak = config.lr if config.optimizer != "sgd" else config.lr / 50
    return peak * LEARNING_RATE
