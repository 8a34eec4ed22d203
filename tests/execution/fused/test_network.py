"""The stacked network and its dropout against K of torch's own."""

import pytest
import torch
from tests.execution.few_networks import images, networks
from torch import Tensor, nn

from understudy.errors import UnderstudyError
from understudy.execution.fused.network import StackedDropout, StackedNetwork, architecture
from understudy.kernels import norm_relu
from understudy.models.base import Classifier, Outputs


@pytest.mark.parametrize(
    "name", ["founding_student", "tiny_wide", "tiny_res", "tiny_dw", "resnet8"]
)
@pytest.mark.parametrize(
    ("seeds", "one_operation"),
    [((0, 0, 0), False), ((0, 1, 2), False), ((0, 0, 1), False), ((0, 0, 0), True)],
)
def test_stack_computes_and_learns_like_its_networks(
    name: str, seeds: tuple[int, ...], one_operation: bool, monkeypatch: pytest.MonkeyPatch
):
    """Logits, running statistics and gradients in training mode.

    On shared images, each network's own, and two sources for three networks. With ``one_operation``
    batch norm, pool and ReLU of all K networks go through ``norm_relu``, as they do at full size.
    fp32 sums in another order: at most a thousandth of the largest gradient of each tensor. A bias
    before a batch norm is left out: its gradient is only rounding.
    """
    alone = networks(
        name, **({"dropout1": 0.0, "dropout2": 0.0} if name == "founding_student" else {})
    )
    stack = StackedNetwork(alone, images()).train()
    stack.share([seeds.count(seed) for seed in sorted(set(seeds))])
    shown = [images(seed) for seed in seeds]
    if one_operation:
        monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
        monkeypatch.setattr(norm_relu, "_FEWEST_ELEMENTS", 1)
        shown = [one.contiguous(memory_format=torch.channels_last) for one in shown]
    used = []
    apply = norm_relu._NormReLU.apply
    monkeypatch.setattr(
        norm_relu._NormReLU, "apply", lambda *given: used.append(given) or apply(*given)
    )
    together = stack(
        torch.cat([images(seed) for seed in sorted(set(seeds))], 1)
        if len(set(seeds)) > 1
        else shown[0]
    )
    assert bool(used) == one_operation
    together.square().sum().backward()
    for row, network in enumerate(alone):
        logits = network.train()(shown[row])
        logits.square().sum().backward()
        torch.testing.assert_close(together[row], logits, rtol=1e-4, atol=1e-4)
        own = dict(network.named_parameters()) | dict(network.named_buffers())
        names = [name for name, _ in stack.rows()]
        assert sorted(names) == sorted(own)
        for key, value in stack.rows():
            torch.testing.assert_close(value[row], own[key], rtol=1e-4, atol=1e-5)
            if value.grad is not None and not (key.endswith("conv.bias")):
                scale = float(own[key].grad.abs().max())
                torch.testing.assert_close(
                    value.grad[row], own[key].grad, rtol=1e-3, atol=1e-3 * scale + 1e-5
                )


def test_stack_in_eval_mode_equals_its_networks():
    alone = networks("founding_student")
    stack = StackedNetwork(alone, images()).eval()
    with torch.no_grad():
        together = stack(images(1))
        for row, network in enumerate(alone):
            torch.testing.assert_close(
                together[row], network.eval()(images(1)), rtol=1e-5, atol=1e-6
            )


def test_network_with_nan_weights_does_not_change_the_others():
    alone = networks("tiny_wide")
    with torch.no_grad():
        alone[1].fc.weight.fill_(float("nan"))
    stack = StackedNetwork(alone, images()).train()
    logits = stack(images())
    logits.square().sum().backward()
    finite = [
        all(
            bool(value.grad[row].isfinite().all())
            for _, value in stack.rows()
            if value.grad is not None
        )
        for row in range(3)
    ]
    assert finite == [True, False, True]


class Mixing(Classifier):
    """Reverses its channels, which only a network on its own may do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 2)
        self.feature_channels, self.embedding_dim = (4,), 4

    def outputs(self, images: Tensor) -> Outputs:
        embedding = self.conv(images).relu().mean((2, 3)).flip(1)
        return Outputs(self.classify(embedding), (), embedding)

    def classify(self, embedding: Tensor) -> Tensor:
        return self.fc(embedding)


def test_code_that_mixes_channels_is_refused():
    with pytest.raises(UnderstudyError, match="Mixing cannot be stacked: its code mixes channels"):
        StackedNetwork([Mixing() for _ in range(2)], images())


def test_mask_covers_the_channels_of_each_student():
    layers = StackedDropout([nn.Dropout(0.5), nn.Dropout(0.5)]).train()
    layers.mask = torch.tensor([[2.0, 0.0, 0.0, 2.0]])
    assert layers(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).tolist() == [[2.0, 0.0, 0.0, 8.0]]
    assert layers.width == 2


def test_networks_that_differ_only_in_weights_have_one_architecture():
    """Flags of the code, such as where a stage pools, are not in a printed network."""
    first, second, *_ = networks("founding_student")
    assert architecture(first) == architecture(second.eval())
    for name, options in (
        ("founding_student", {"pool_first": False}),
        ("founding_student", {"dropout1": 0.1}),
        ("fast_teacher", {"residual": True}),
        ("fast_teacher", {"pool": "avg"}),
        ("fast_teacher", {"logit_scale": 0.5}),
    ):
        plain, other = networks(name)[0], networks(name, **options)[0]
        assert architecture(plain) != architecture(other), options
    assert str(networks("founding_student")[0]) == str(
        networks("founding_student", pool_first=False)[0]
    )
