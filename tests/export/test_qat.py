"""Fake quantisation rounds as int8 does, lets gradients through, and changes no batch norm."""

import numpy as np
import pytest
import torch
from tests.export.networks import randomised
from tests.worlds import TinyNet, tiny_data, tiny_net
from torch import nn

from understudy.config.schema import TrainConfig
from understudy.data.spec import ImageSpec
from understudy.export.graph import Conv
from understudy.export.module import GraphModule
from understudy.export.qat import FakeQuantised, fake_quantised, fake_quantised_weight, tune
from understudy.export.tracing import trace
from understudy.methods import method_config
from understudy.models import build_model


def test_values_are_rounded_to_256_steps_with_zero_among_them() -> None:
    low, high = torch.tensor(-1.0), torch.tensor(2.0)
    x = torch.linspace(-3, 4, 10_001)
    found = fake_quantised(x, low, high)
    assert found.unique().numel() == 256
    assert 0.0 in found
    inside = (x > low) & (x < high)
    assert float((found - x)[inside].abs().max()) <= 3 / 255 / 2 * 1.01 + 1e-6
    assert float(found.max()) == pytest.approx(2, abs=3 / 255)


def test_each_channel_of_a_weight_has_its_own_scale() -> None:
    weight = torch.tensor([[1.0, 0.5, -1.0], [0.001, 0.0005, -0.001]])
    found = fake_quantised_weight(weight)
    assert torch.allclose(found[1] * 1000, found[0], atol=1e-6)
    assert torch.allclose(found, weight, rtol=1 / 127, atol=0)


def test_gradient_passes_through_the_rounding_inside_the_range() -> None:
    x = torch.tensor([-2.0, -0.5, 0.5, 3.0], requires_grad=True)
    fake_quantised(x, torch.tensor(-1.0), torch.tensor(1.0)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 0]


def test_ranges_follow_the_batches_in_training_and_stay_in_eval_mode() -> None:
    torch.manual_seed(0)
    graph = trace(randomised(tiny_net()), ImageSpec(3, 8, 8))
    module = FakeQuantised(graph).train()
    images = torch.randn(16, 3, 8, 8)
    module(images)
    assert float(module.image_low) == pytest.approx(float(images.min()))
    assert float(module.image_high) == pytest.approx(float(images.max()))
    module.eval()
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    module(10 * images)
    assert all(torch.equal(buffer, before[name]) for name, buffer in module.named_buffers())


def test_int8_stays_close_to_fp32() -> None:
    torch.manual_seed(0)
    network = randomised(build_model("founding_student", 10))
    graph = trace(network, ImageSpec())
    images = torch.randn(32, 3, 32, 32)
    rounded, exact = FakeQuantised(graph).train(), GraphModule(graph)
    with torch.no_grad():
        rounded(images)
        difference = (rounded.eval()(images) - exact(images)).abs().max()
        spread = exact(images).std()
    assert 0 < float(difference) < 0.25 * float(spread)


@pytest.mark.parametrize("method", ["kd", "ce"])
def test_tuning_starts_from_the_student_and_leaves_it_unchanged(method: str) -> None:
    data = tiny_data(num_images=48)
    network = randomised(tiny_net())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    config = TrainConfig(epochs=2, batch_size=16, lr=1e-9, precision="fp32")
    graph = tune(network, data, None, method_config({"name": method}), config, epochs=1)
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    start = trace(network, data.image)
    for layer in start.of(Conv):
        tuned = graph[layer.name]
        assert isinstance(tuned, Conv)
        assert np.allclose(tuned.weight, layer.weight, atol=1e-6)


def test_tuning_repairs_what_rounding_broke() -> None:
    """One channel a thousand times as large as the others: its layer's outputs round to nothing."""
    torch.manual_seed(0)
    data = tiny_data(num_images=96)
    network = TinyNet()
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    config = data.config
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (config.mean, config.std))

    def normalised(images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = (images.float() / 255 - mean) / std
        return result

    for _ in range(60):
        optimizer.zero_grad()
        logits = network(normalised(data.train.images))
        nn.functional.cross_entropy(logits, data.train.labels).backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():  # the same function, with a channel that nothing reads
        network.bn.weight[0], network.bn.bias[0] = 0.0, 3000.0
        network.fc.weight[:, 0] = 0
    graph = trace(network, data.image)

    def loss(of: object) -> float:
        module = FakeQuantised(of).train()  # type: ignore[arg-type]
        with torch.no_grad():
            module(normalised(data.train.images))
            found = module.eval()(normalised(data.val.images))
        return float(nn.functional.cross_entropy(found, data.val.labels))

    broken = loss(graph)
    settings = TrainConfig(epochs=2, batch_size=16, lr=1.0, precision="fp32")
    tuned = tune(network, data, None, method_config({"name": "ce"}), settings, epochs=20)
    assert loss(tuned) < 0.8 * broken
