"""The weight gradient as a matrix product: same function, same gradient, same state dict."""

import pytest
import torch
from tests.worlds import tiny_net
from torch import nn

from understudy.kernels.conv_grad import SmallMapConv2d, _Conv2d, _worth_it, use_small_map_gradients

SHAPES = [
    # in, out, kernel, stride, padding, height, width
    (32, 32, 3, 1, 1, 2, 2),
    (32, 48, 3, 1, 1, 4, 4),
    (48, 32, 3, 2, 1, 7, 5),
    (32, 64, 1, 1, 0, 4, 3),
    (32, 40, 1, 2, 0, 5, 6),
    (64, 32, (3, 1), (1, 2), (1, 0), 2, 8),
    (32, 32, 2, 2, 0, 8, 8),
    (32, 32, 4, 1, 0, 4, 4),
]


@pytest.fixture
def slow_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without AVX-512, whatever this one is."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


def two_convolutions(*shape, bias: bool = True) -> tuple[nn.Conv2d, SmallMapConv2d, torch.Tensor]:
    in_channels, out_channels, kernel, stride, padding, height, width = shape
    torch.manual_seed(0)
    plain = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=bias)
    ours = SmallMapConv2d(in_channels, out_channels, kernel, stride, padding, bias=bias)
    ours.load_state_dict(plain.state_dict())
    return plain, ours, torch.randn(5, in_channels, height, width)


@pytest.mark.parametrize(
    "memory", [torch.channels_last, torch.contiguous_format], ids=["nhwc", "nchw"]
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_have_the_same_bits_and_gradients_the_same_numbers(
    shape: tuple, memory: torch.memory_format
) -> None:
    plain, ours, images = two_convolutions(*shape)
    assert _worth_it(ours, images), "else nothing is compared"
    results = []
    for conv in (plain, ours):
        conv.to(memory_format=memory)
        x = images.contiguous(memory_format=memory).requires_grad_()
        out = conv(x)
        out.square().sum().backward()
        results.append((out, x.grad, conv.weight.grad, conv.bias.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert results[1][0].grad_fn.name() == "_Conv2dBackward"
    for reference, gradient in zip(results[0][1:], results[1][1:], strict=True):
        torch.testing.assert_close(
            gradient, reference, rtol=1e-4, atol=1e-4 * reference.abs().max().item()
        )


@pytest.mark.parametrize(
    ("stride", "padding", "bias"),
    [((1, 1), (1, 1), True), ((2, 1), (0, 1), True), ((2, 2), (1, 0), False)],
    ids=str,
)
def test_gradient_is_the_derivative(
    stride: tuple[int, int], padding: tuple[int, int], bias: bool
) -> None:
    torch.manual_seed(0)
    x, weight, offset = (
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in ((2, 2, 4, 3), (3, 2, 3, 2), (3,))
    )
    inputs = (x, weight, offset if bias else None, stride, padding)
    assert torch.autograd.gradcheck(_Conv2d.apply, inputs, fast_mode=True)


def test_first_layer_needs_no_gradient_of_the_images() -> None:
    _, ours, images = two_convolutions(32, 32, 3, 1, 1, 4, 4, bias=False)
    ours(images).sum().backward()
    assert images.grad is None and ours.weight.grad is not None


def test_only_the_class_of_a_convolution_changes(slow_cpu: None) -> None:
    network = tiny_net()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    use_small_map_gradients(network)
    assert type(network.conv) is SmallMapConv2d
    after = network.state_dict()
    assert list(before) == list(after) and all(
        torch.equal(before[name], after[name]) for name in before
    )
    plain = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    plain.load_state_dict(network.conv.state_dict())


def test_nothing_changes_if_onednn_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    network = tiny_net()
    use_small_map_gradients(network)
    assert type(network.conv) is nn.Conv2d


def test_subclasses_of_conv2d_are_not_changed(slow_cpu: None) -> None:
    class Other(nn.Conv2d):
        pass

    network = nn.Sequential(Other(32, 32, 3))
    use_small_map_gradients(network)
    assert type(network[0]) is Other


@pytest.mark.parametrize(
    ("options", "size", "why"),
    [
        ({"groups": 2}, 4, "grouped"),
        ({"dilation": 2, "padding": 2}, 4, "dilated"),
        ({"padding_mode": "circular", "padding": 1}, 4, "not padded with zeros"),
        ({"padding": "same"}, 4, "padding by name"),
        ({"padding": 1}, 5, "25 output positions are too many"),
    ],
)
def test_other_convolutions_use_the_gradient_of_pytorch(options: dict, size: int, why: str) -> None:
    conv, images = SmallMapConv2d(32, 32, 3, **options), torch.randn(2, 32, size, size)
    assert not _worth_it(conv, images), why
    assert conv(images).grad_fn.name() == "ConvolutionBackward0", why


def test_few_channels_and_other_types_use_the_gradient_of_pytorch() -> None:
    images = torch.randn(2, 32, 4, 4)
    assert _worth_it(SmallMapConv2d(32, 32, 3), images)
    assert not _worth_it(SmallMapConv2d(16, 32, 3), images[:, :16])
    assert not _worth_it(SmallMapConv2d(32, 16, 3), images)
    assert not _worth_it(SmallMapConv2d(32, 32, 3).double(), images.double())
    assert not _worth_it(SmallMapConv2d(32, 32, 3), images.to("meta"))


def test_not_used_under_autocast_in_eval_mode_or_without_gradient() -> None:
    _, ours, images = two_convolutions(32, 32, 3, 1, 1, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        out = ours(images)
    assert out.dtype == torch.bfloat16 and "_Conv2d" not in out.grad_fn.name()
    assert ours.eval()(images).grad_fn.name() == "ConvolutionBackward0"
    with torch.no_grad():
        assert ours.train()(images).grad_fn is None
