"""The mean over a map: one number in every layout, a gradient in the map's own order."""

import torch

from understudy.kernels.average import global_average


def test_mean_and_gradient_are_right_in_both_memory_orders() -> None:
    torch.manual_seed(0)
    for layout in (torch.channels_last, torch.contiguous_format):
        x = torch.randn(5, 7, 3, 4).contiguous(memory_format=layout).requires_grad_()
        out = global_average(x)
        torch.testing.assert_close(out, x.mean((2, 3)))
        (gradient,) = torch.autograd.grad(out.square().sum(), x)
        torch.testing.assert_close(gradient, (out / 6)[:, :, None, None].expand_as(x))


def test_gradient_is_in_channels_last_order() -> None:
    x = torch.randn(5, 7, 3, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    (gradient,) = torch.autograd.grad(global_average(x).sum(), x)
    assert gradient.stride(1) == 1, "neighbours are channels"


def test_exported_network_has_standard_pooling() -> None:
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return global_average(x)

    program = torch.export.export(Net().eval(), (torch.randn(1, 3, 4, 4),))
    assert "adaptive_avg_pool2d" in program.graph_module.code
