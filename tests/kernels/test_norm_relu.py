"""Batch norm, pool and ReLU as one operation: functions and gradients of PyTorch's three."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.kernels import norm_relu as module
from understudy.kernels.norm_relu import norm_relu
from understudy.models import build_model

MODES = ["plain", "pool", "add"]
SHAPES = [(32, 16, 16, 16), (40, 24, 15, 11), (1, 8, 181, 97)]
CASES = [(shape, mode) for shape in SHAPES for mode in MODES] + [
    ((700, 200, 1, 1), "plain"),
    ((700, 200, 1, 2), "add"),
]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our operation is for processes of one or two threads, whatever this machine has."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


def batch_norm(channels: int, dtype: torch.dtype = torch.float32) -> nn.BatchNorm2d:
    """With scales of both signs."""
    bn = nn.BatchNorm2d(channels)
    nn.init.normal_(bn.weight)
    nn.init.normal_(bn.bias)
    nn.init.normal_(bn.running_mean)
    return bn.to(dtype)


def pytorchs(bn: nn.BatchNorm2d, x: Tensor, mode: str, add: Tensor) -> Tensor:
    normed = bn(x)
    if mode == "pool":
        return F.relu(F.max_pool2d(normed, 2))
    return F.relu(normed + add if mode == "add" else normed)


def results(function, bn: nn.BatchNorm2d, x: Tensor, add: Tensor) -> dict[str, Tensor]:
    x, add = x.clone().requires_grad_(), add.clone().requires_grad_()
    out = function(bn, x, add)
    gradient = torch.randn(
        out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    gradient = gradient.to(torch.bfloat16).to(out.dtype)  # the same numbers for all
    out.backward(gradient)
    found = {
        "out": out.detach(),
        "x": x.grad,
        "add": add.grad,
        "weight": bn.weight.grad,
        "bias": bn.bias.grad,
    }
    found |= {"mean": bn.running_mean, "var": bn.running_var}
    assert bn.num_batches_tracked == 1
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("shape", "mode"), CASES, ids=str)
def test_outputs_and_gradients_equal_those_of_pytorch(
    shape: tuple[int, ...], dtype: torch.dtype, mode: str
) -> None:
    torch.manual_seed(0)
    # In fp64 the reference is as good as exact; a careless variance would fail at a mean far from
    # zero.
    x = (torch.randn(shape) + 5).to(dtype).contiguous(memory_format=torch.channels_last)
    add = torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last)
    bn = batch_norm(shape[1])
    exact = nn.BatchNorm2d(shape[1]).double()
    exact.load_state_dict(bn.state_dict())
    ours = results(
        lambda b, a, c: norm_relu(b, a, pool=mode == "pool", add=c if mode == "add" else None),
        bn,
        x,
        add,
    )
    theirs = results(lambda b, a, c: pytorchs(b, a, mode, c), exact, x.double(), add.double())
    assert ours.keys() == theirs.keys()
    assert ours["out"].dtype == dtype and ours["out"].is_contiguous(
        memory_format=torch.channels_last
    )
    for name, value in ours.items():
        # One rounding at the end, or fp32 sums: nothing in between is rounded to bf16.
        step = 2**-8 if value.dtype == torch.bfloat16 else 2e-5
        scale = 1.0 if value.dtype == torch.bfloat16 else float(theirs[name].abs().max())
        torch.testing.assert_close(
            value.double(),
            theirs[name],
            rtol=step,
            atol=2e-5 * max(scale, 1.0),
            msg=lambda m, n=name: f"{n}: {m}",
        )


def test_first_of_equal_values_gets_the_gradient_as_in_pytorch() -> None:
    x = torch.randint(0, 2, (32, 16, 16, 16)).float().contiguous(memory_format=torch.channels_last)
    ours = results(lambda b, a, _: norm_relu(b, a, pool=True), nn.BatchNorm2d(16), x, x)
    theirs = results(lambda b, a, _: F.relu(F.max_pool2d(b(a), 2)), nn.BatchNorm2d(16), x, x)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_nan_in_the_input_is_nan_in_the_output(dtype: torch.dtype, mode: str) -> None:
    x = torch.randn(32, 16, 16, 16).to(dtype).contiguous(memory_format=torch.channels_last)
    x[3, 5, 7, 9] = float("nan")
    bn = batch_norm(16)
    out = norm_relu(
        bn, x.requires_grad_(), pool=mode == "pool", add=x.detach() if mode == "add" else None
    )
    assert out[:, 5].isnan().all() and bn.running_mean[5].isnan() and bn.running_var[5].isnan()
    assert out[:, 4].isfinite().all()
    out[:, 4].sum().backward()
    assert x.grad[:, 4].isfinite().all()


def is_ours(out: Tensor) -> bool:
    return out.grad_fn is not None and out.grad_fn.name() == "_NormReLUBackward"


def test_used_only_if_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(32, 16, 16, 16).contiguous(memory_format=torch.channels_last)
    bn = batch_norm(16)
    assert (
        is_ours(norm_relu(bn, x))
        and is_ours(norm_relu(bn, x.bfloat16()))
        and is_ours(norm_relu(bn, x, pool=True))
    )
    assert is_ours(norm_relu(bn, x, add=x))
    assert not is_ours(norm_relu(bn, x, add=x.contiguous())), "another layout"
    assert not is_ours(norm_relu(bn, x, add=x[:, :, :1, :1])), "a sum that broadcasts"
    assert not is_ours(norm_relu(bn, x.contiguous())), "channels first"
    assert not is_ours(norm_relu(bn, x[:8])), "small"
    assert not is_ours(norm_relu(batch_norm(16, torch.float64), x.double())), "fp64"
    for other in (
        nn.BatchNorm2d(16, affine=False),
        nn.BatchNorm2d(16, momentum=None),
        nn.InstanceNorm2d(16),
    ):
        assert not is_ours(norm_relu(other, x.requires_grad_()))
    with torch.no_grad():
        assert not is_ours(norm_relu(bn, x))
    assert not is_ours(norm_relu(bn.eval(), x)), "in evaluation the running statistics are used"
    bn.train()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert not is_ours(norm_relu(bn, x)), "with several threads PyTorch's is faster"


@pytest.mark.parametrize(("threads", "ours"), [(1, True), (2, True), (3, False)])
def test_used_with_two_threads_at_most(
    threads: int, ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(32, 16, 16, 16).contiguous(memory_format=torch.channels_last)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert is_ours(norm_relu(batch_norm(16), x)) is ours


def test_used_for_maps_of_at_least_131072_elements() -> None:
    x = torch.randn(32, 16, 16, 16).contiguous(memory_format=torch.channels_last)
    assert x.numel() == 1 << 17 == module._FEWEST_ELEMENTS and is_ours(norm_relu(batch_norm(16), x))
    assert not is_ours(norm_relu(batch_norm(16), x[:31]))


def test_other_types_and_norms_without_statistics_use_pytorch() -> None:
    x = torch.randn(32, 16, 16, 16).contiguous(memory_format=torch.channels_last)
    assert not is_ours(norm_relu(batch_norm(16), x, add=x.bfloat16()))
    without = nn.BatchNorm2d(16, track_running_stats=False)
    assert not is_ours(norm_relu(without, x))
    half = batch_norm(16)
    half.weight.data = half.weight.data.double()
    assert not module._fits(half, x)
    assert not module._fits(batch_norm(16), x.flatten(1)), "no map"


def test_module_with_is_batch_norm_is_used_as_one() -> None:
    """The weights of several networks at once, for instance, in another shape."""

    class Other(nn.Module):
        is_batch_norm = True

        def __init__(self) -> None:
            super().__init__()
            self.plain = batch_norm(16)
            for name in ("weight", "bias"):
                setattr(
                    self, name, nn.Parameter(getattr(self.plain, name).detach().view(1, 16, 1, 1))
                )
            self.running_mean, self.running_var = torch.zeros(1, 16, 1, 1), torch.ones(1, 16, 1, 1)
            self.num_batches_tracked, self.momentum, self.eps = torch.tensor(0), 0.3, 0.01

    torch.manual_seed(0)
    x = torch.randn(32, 16, 16, 16).contiguous(memory_format=torch.channels_last)
    other = Other()
    out = norm_relu(other, x)
    expected = nn.BatchNorm2d(16, momentum=0.3, eps=0.01)
    expected.load_state_dict(
        {
            "weight": other.weight.flatten(),
            "bias": other.bias.flatten(),
            "running_mean": torch.zeros(16),
        }
        | {"running_var": torch.ones(16), "num_batches_tracked": torch.tensor(0)}
    )
    assert is_ours(out) and other.num_batches_tracked == 1
    torch.testing.assert_close(out, F.relu(expected(x)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(other.running_mean.flatten(), expected.running_mean)
    torch.testing.assert_close(other.running_var.flatten(), expected.running_var)
    other.is_batch_norm = False
    assert not module._fits(other, x)


@pytest.mark.parametrize("mode", MODES)
def test_momentum_and_epsilon_of_the_batch_norm_are_used(mode: str) -> None:
    torch.manual_seed(0)
    x = (0.05 * torch.randn(32, 16, 16, 16)).contiguous(memory_format=torch.channels_last)
    ours, theirs = (nn.BatchNorm2d(16, momentum=0.3, eps=0.01) for _ in range(2))
    found = results(
        lambda b, a, c: norm_relu(b, a, pool=mode == "pool", add=c if mode == "add" else None),
        ours,
        x,
        x,
    )
    expected = results(lambda b, a, c: pytorchs(b, a, mode, c), theirs, x, x)
    for name in found:
        torch.testing.assert_close(
            found[name], expected[name], rtol=1e-3, atol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_gradient_in_another_order_or_type_is_converted() -> None:
    torch.manual_seed(0)
    x = torch.randn(32, 16, 16, 16).contiguous(memory_format=torch.channels_last)
    gradient = torch.randn(32, 16, 16, 16)
    grads = []
    for one in (gradient.contiguous(), gradient.contiguous(memory_format=torch.channels_last)):
        own = x.clone().requires_grad_()
        norm_relu(nn.BatchNorm2d(16), own).backward(one)
        grads.append(own.grad)
    assert torch.equal(*grads) and grads[0].is_contiguous(memory_format=torch.channels_last)


def test_normalised_value_of_zero_or_below_has_no_gradient() -> None:
    """Where ReLU is exactly 0, PyTorch lets nothing through."""
    x = torch.ones(32, 16, 16, 16).contiguous(memory_format=torch.channels_last)
    x[:16] = -1
    own = x.requires_grad_()
    bn = nn.BatchNorm2d(16)
    nn.init.zeros_(bn.weight)  # all values are the bias, 0
    out = norm_relu(bn, own)
    out.sum().backward()
    assert is_ours(out) and (out == 0).all() and (bn.bias.grad == 0).all() and (own.grad == 0).all()


def test_by_pytorch_runs_the_three_operations_in_order() -> None:
    x, add = torch.randn(2, 3, 4, 6), torch.randn(2, 3, 4, 6)
    bn = nn.BatchNorm2d(3)
    nn.init.normal_(bn.weight)
    nn.init.normal_(bn.bias)
    normed = bn.eval()(x)
    torch.testing.assert_close(norm_relu(bn, x), normed.relu())
    torch.testing.assert_close(module.by_pytorch(bn, x), normed.relu())
    torch.testing.assert_close(norm_relu(bn, x, add=add), (normed + add).relu())
    windows = normed.reshape(2, 3, 2, 2, 3, 2).amax((3, 5))
    torch.testing.assert_close(norm_relu(bn, x, pool=True), windows.relu())


@pytest.mark.parametrize("mode", MODES)
def test_bf16_is_fp32_rounded_once_to_nearest_even(mode: str) -> None:
    """The same bits as the fp32 result of the same numbers, rounded by PyTorch."""
    torch.manual_seed(0)
    x, add = (
        torch.randn(32, 16, 16, 16).bfloat16().contiguous(memory_format=torch.channels_last)
        for _ in range(2)
    )

    def function(b, a, c):
        return norm_relu(b, a, pool=mode == "pool", add=c if mode == "add" else None)

    half = results(function, nn.BatchNorm2d(16), x, add)
    full = results(function, nn.BatchNorm2d(16), x.float(), add.float())
    assert half.keys() == full.keys() and half["out"].dtype == torch.bfloat16
    for name, value in half.items():
        assert torch.equal(value, full[name].to(value.dtype)), name


def test_one_value_per_channel_is_refused_by_pytorch() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm_relu(nn.BatchNorm2d(1 << 17), torch.randn(1, 1 << 17, 1, 1))


def test_pool_with_add_is_refused() -> None:
    x = torch.randn(2, 3, 4, 4)
    with pytest.raises(ValueError, match="not both"):
        norm_relu(nn.BatchNorm2d(3), x, pool=True, add=x)


def test_torch_func_gets_the_operations_of_pytorch() -> None:
    bn = batch_norm(16)
    x = torch.randn(2, 32, 16, 16, 16)
    x = torch.stack([part.contiguous(memory_format=torch.channels_last) for part in x])
    together = torch.func.vmap(
        lambda part: norm_relu(bn, part, pool=True).sum(), in_dims=0, randomness="same"
    )
    bn.track_running_stats, bn.running_mean, bn.running_var = (
        False,
        None,
        None,
    )  # PyTorch's own condition
    alone = torch.stack([F.relu(F.max_pool2d(bn(part), 2)).sum() for part in x])
    torch.testing.assert_close(together(x), alone)


@pytest.mark.parametrize(
    "name",
    [
        "founding_student",
        "founding_teacher",
        "fast_teacher",
        "resnet8",
        "wrn_16_1",
        "tiny_wide",
        "tiny_res",
        "tiny_dw",
    ],
)
def test_networks_learn_the_same_in_both_memory_orders(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Channels-last uses this operation, channels-first PyTorch's: same loss and gradients."""
    monkeypatch.setattr(module, "_FEWEST_ELEMENTS", 1)
    torch.manual_seed(0)
    options = {"dropout1": 0.0, "dropout2": 0.0} if name == "founding_student" else {}
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8)
    networks = [build_model(name, 10, options=options) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    used = []
    monkeypatch.setattr(
        module._NormReLU,
        "apply",
        lambda *a, apply=module._NormReLU.apply: used.append(1) or apply(*a),
    )
    for network, layout in zip(
        networks, (torch.channels_last, torch.contiguous_format), strict=True
    ):
        network.to(memory_format=layout).train()
        F.cross_entropy(network(images.contiguous(memory_format=layout)), labels).backward()
    assert used, "else nothing is compared"
    for (key, ours), theirs in zip(
        networks[0].named_parameters(), networks[1].parameters(), strict=True
    ):
        norm = theirs.grad.norm() + 1e-3  # a bias before a batch norm has no gradient but noise
        assert (ours.grad - theirs.grad).norm() < 2e-3 * norm, key
    for (key, ours), theirs in zip(
        networks[0].state_dict().items(), networks[1].state_dict().values(), strict=True
    ):
        torch.testing.assert_close(
            ours, theirs, rtol=1e-3, atol=1e-4, msg=lambda m, k=key: f"{k}: {m}"
        )


def test_repeated_step_gives_the_same_bits() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 16, 16, 16).bfloat16().contiguous(memory_format=torch.channels_last)
    first, second = (
        results(lambda b, a, _: norm_relu(b, a, pool=True), nn.BatchNorm2d(16), x, x)
        for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_numba_is_imported_only_when_needed() -> None:
    code = (
        "import sys, understudy.models, understudy.training.loop; sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_a_cache_folder_code_is_compiled_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from understudy.kernels import loops

    asked = []

    def njit(**flags: object):
        asked.append(flags.get("cache", False))
        if flags.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(loops, "njit", njit)
    assert loops._compiled(len) is len and asked == [True, False]


def test_private_functorch_check_of_torch_exists() -> None:
    """``torch._C._functorch.is_functorch_wrapped_tensor``, seen in torch 2.13; it is private."""
    x = torch.ones(2)
    assert not module._is_transformed(x)
    seen = []
    torch.func.vmap(lambda row: (seen.append(module._is_transformed(row)), row)[1])(x)
    assert seen == [True]
