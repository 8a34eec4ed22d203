"""The mean over a map: one number in every layout, a gradient in the map's own order."""

import torch

from understudy.kernels.average import global_average


def test_it_is_the_mean_and_its_gradient_in_both_layouts() -> None:
    torch.manual_seed(0)
    for layout in (torch.channels_last, torch.contiguous_format):
        x = torch.randn(5, 7, 3, 4).contiguous(memory_format=layout).requires_grad_()
        out = global_average(x)
        torch.testing.assert_close(out, x.mean((2, 3)))
        (gradient,) = torch.autograd.grad(out.square().sum(), x)
        torch.testing.assert_close(gradient, (out / 6)[:, :, None, None].expand_as(x))


def test_its_gradient_is_close_to_the_order_of_a_channels_last_map() -> None:
    x = torch.randn(5, 7, 3, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    (gradient,) = torch.autograd.grad(global_average(x).sum(), x)
    assert gradient.stride(1) == 1, "neighbours are channels"


def test_an_exported_network_keeps_the_pooling_that_runtimes_know() -> None:
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return global_average(x)

    program = torch.export.export(Net().eval(), (torch.randn(1, 3, 4, 4),))
    assert "adaptive_avg_pool2d" in program.graph_module.code
