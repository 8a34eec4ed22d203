"""From fp32 to integers: what is fused, what is folded, and how near the result is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.export.c.networks import MEAN, STD, WORLDS, deployable, examples, images_of

from understudy.errors import UnderstudyError
from understudy.export.deployable import DeployedModule
from understudy.export.graph import INPUT, Activation, Conv, GlobalPool, Graph, Linear
from understudy.export.int8.calibration import Range, calibrate
from understudy.export.int8.network import (
    Convolution,
    Input,
    IntegerNetwork,
    Lookup,
    MaxPool,
    Operation,
)
from understudy.export.int8.quantise import Steps, common_shift, quantise, quantise_weight
from understudy.export.int8.reference import run
from understudy.export.settings import QuantisationSettings
from understudy.export.tracing import trace
from understudy.models import MODELS
from understudy.models.normalisation import Normalisation


def quantised(name: str) -> IntegerNetwork:
    subject = deployable(name)
    graph = trace(subject.network, subject.preprocessing.image)
    ranges = calibrate(
        graph, subject.normalisation, examples(name).train, QuantisationSettings(images=64)
    )
    return quantise(graph, subject.normalisation, ranges)


def kinds(network: IntegerNetwork) -> list[type[Operation]]:
    return [type(one) for one in network.operations]


@pytest.mark.parametrize("name", WORLDS)
def test_logits_are_near_those_of_fp32(name: str) -> None:
    subject, network = deployable(name), quantised(name)
    images = images_of(name, 64, seed=1)
    with torch.no_grad():
        normalised = DeployedModule(subject.network, subject.normalisation).normalise(
            torch.from_numpy(images)
        )
        result = subject.network(normalised)
    true = getattr(result, "logits", result).numpy()
    error = run(network, images) * network.logit_scale - true
    assert true.std(0).mean() > 1.5
    # Random weights of many layers blow up small errors; trained ones do not.
    bound = 0.35 if name in MODELS else 0.1
    assert np.sqrt((error**2).mean()) < bound * true.std()


def test_relu_takes_no_operation_behind_a_pool() -> None:
    network = quantised("founding_student")
    assert Lookup not in kinds(network)
    first, pool = network.operations[1:3]
    assert isinstance(first, Convolution) and isinstance(pool, MaxPool)
    assert (first.zero_point, pool.zero_point) == (-128, -128)
    assert first.scale == pool.scale


def test_relu_with_other_readers_of_its_input_is_a_table() -> None:
    assert kinds(quantised("pooled")).count(Lookup) == 3


def test_image_goes_through_a_table_where_no_convolution_reads_it() -> None:
    first = quantised("pooled").operations[0]
    assert isinstance(first, Input) and first.table is not None
    steps = Steps(first.scale, first.zero_point)
    for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
        value = (200 / 255 - mean) / std
        expected = steps.quantise(np.array(value))
        assert first.table[channel, 200] == expected


def one_convolution(weight: np.ndarray, bias: np.ndarray, normalisation: Normalisation) -> Graph:
    outputs = len(weight)
    return Graph(
        (3, 4, 4),
        (
            Conv(
                name="conv",
                inputs=(INPUT,),
                shape=(outputs, 4, 4),
                weight=weight,
                bias=bias,
                padding=(1, 1),
            ),
            GlobalPool(name="mean", inputs=("conv",), shape=(outputs,), kind="avg"),
        ),
    )


def test_normalisation_is_folded_and_the_border_is_the_mean_colour() -> None:
    normalisation = Normalisation((0.5, 0.25, 1.0), (0.5, 0.25, 0.125))
    weight = np.random.default_rng(0).normal(size=(2, 3, 3, 3)).astype(np.float32)
    graph = one_convolution(weight, np.zeros(2, np.float32), normalisation)
    ranges = {name: Range(-30.0, 30.0) for name in (INPUT, "conv", "mean")}
    network = quantise(graph, normalisation, ranges)
    conv = network.operations[1]
    assert isinstance(conv, Convolution)
    # 255 mean - 128, to the nearest byte.
    assert conv.border.tolist() == [0, -64, 127]
    # An image of the mean colour is zero after the normalisation, as is all around it.
    image = np.broadcast_to(
        (conv.border.astype(int) + 128).astype(np.uint8)[:, None, None], (3, 4, 4)
    )[None]
    reach = 0.5 / 255 / np.array(normalisation.std) @ np.abs(weight).sum((2, 3)).T
    logits = run(network, image) * network.logit_scale
    assert (np.abs(logits) <= reach + network.logit_scale).all()


def test_channel_of_almost_no_weights_has_room_for_its_bias() -> None:
    weight = np.stack([np.full((3, 3, 3), 1e-20), np.ones((3, 3, 3))])
    integers, scale = quantise_weight(weight, np.array([5.0, 0.0]), 1 / 255)
    assert np.abs(integers[0]).max() == 0
    assert np.abs(integers[1]).max() == 127
    assert 5.0 * 255 / scale[0] <= 2**30


def test_dead_channels_change_nothing() -> None:
    normalisation = Normalisation((0.5,) * 3, (0.25,) * 3)
    weight = np.zeros((2, 3, 3, 3), np.float32)
    graph = one_convolution(weight, np.array([0.75, 0.0], np.float32), normalisation)
    network = quantise(graph, normalisation, dict.fromkeys((INPUT, "conv", "mean"), Range(-1, 1)))
    logits = run(network, np.full((1, 3, 4, 4), 9, np.uint8)) * network.logit_scale
    np.testing.assert_allclose(logits, [[0.75, 0.0]], atol=0.01)


def test_sums_of_more_than_32_bits_are_an_error() -> None:
    count = 2**31 // (128 * 127) + 1
    graph = Graph(
        (3, 4, 4),
        (
            Activation(name="relu", inputs=(INPUT,), shape=(3, 4, 4), kind="relu"),
            GlobalPool(name="mean", inputs=("relu",), shape=(3,), kind="avg"),
            Linear(
                name="fc",
                inputs=("mean",),
                shape=(2,),
                weight=np.ones((2, count), np.float32),
                bias=np.zeros(2, np.float32),
            ),
        ),
    )
    graph = Graph(graph.image, (replace(graph["mean"], shape=(count,)), graph["fc"]))
    graph = Graph(graph.image, (replace(graph["mean"], inputs=(INPUT,)), graph["fc"]))
    ranges = dict.fromkeys((INPUT, "mean", "fc"), Range(0.0, 1.0))
    with pytest.raises(UnderstudyError, match="layer fc needs sums of more than 32 bits"):
        quantise(graph, Normalisation((0.5,) * 3, (0.25,) * 3), ranges)


@pytest.mark.parametrize("low", [-3.0, 0.0, -1e-9])
def test_zero_is_exact_in_every_range(low: float) -> None:
    steps = Steps.of(Range(low, 2.0))
    assert steps.quantise(np.zeros(1))[0] == steps.zero_point
    assert (steps.quantise(np.array([2.0])) >= 126).all()


def test_range_of_nothing_but_zero_is_a_value() -> None:
    assert Steps.of(Range(0.0, 0.0)).quantise(np.zeros(2)).tolist() == [-128, -128]


@pytest.mark.parametrize(("first", "second"), [(1.0, 1.0), (0.9, 1e-5), (3e-4, 2e-4), (300.0, 7.0)])
def test_two_factors_under_one_shift_fit_into_32_bits(first: float, second: float) -> None:
    (left, right), shift = common_shift(first, second)
    assert left / 2**shift == pytest.approx(first, rel=1e-3 if first < 1e-3 else 1e-5)
    assert 255 * (left + right) + 2 ** (shift - 1) < 2**31
