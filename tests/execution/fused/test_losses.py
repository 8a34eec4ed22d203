"""Each student's row of the stacked losses is its method's own loss, value and gradient."""

from typing import Any

import pytest
import torch
from tests.worlds import tiny_net

from understudy.data.loader import Batch
from understudy.execution.fused.losses import StackedLosses, why_no_stacked_loss
from understudy.methods import build_method, method_config, needs_of
from understudy.methods.base import Method, MethodContext
from understudy.models.base import Outputs

OPTIONS: list[dict[str, Any]] = [
    {"name": "ce", "alpha": 0.2},
    {"name": "kd", "temperature": 1.5, "alpha": 0.3},
    {"name": "kd", "temperature": 5.0, "alpha": 1.0},
    {"name": "lskd", "temperature": 3.0, "weight": 4.0},
    {"name": "lskd", "alpha": 0.5, "ce_weight": None},
    {"name": "dkd", "warmup_epochs": 4, "temperature": 2.0, "tckd_weight": 0.5},
    {"name": "dkd", "warmup_epochs": 0, "nckd_weight": 2.0, "alpha": 0.1},
    {"name": "dist", "beta": 2.0, "gamma": 0.5, "temperature": 3.0},
    {"name": "dkd+dist+kd", "dkd": {"weight": 0.3}, "dist": {"temperature": 2.0}},
]


def methods() -> list[Method]:
    example = Outputs(torch.zeros(2, 3))
    return [
        build_method(
            method_config(o),
            tiny_net(),
            MethodContext(
                3,
                torch.arange(3),
                4,
                0.1 * (n % 3),
                example,
                example,
                class_weights=torch.tensor([0.5, 1.0, 2.5]) if n % 2 else None,
            ),
        )
        for n, o in enumerate(OPTIONS)
    ]


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("epoch", [0, 2])
def test_each_row_equals_the_loss_of_its_method(mixed: bool, epoch: int):
    rng = torch.Generator().manual_seed(epoch)
    built, (count, batch) = methods(), (len(OPTIONS), 6)
    taught = [needs_of(method.config) != "nothing" for method in built]
    logits = (3 * torch.randn(count, batch, 3, generator=rng)).requires_grad_()
    teacher = 3 * torch.randn(count, batch, 3, generator=rng)
    labels, partners = (torch.randint(3, (count, batch), generator=rng) for _ in range(2))
    share = torch.rand(count, batch, generator=rng)
    losses = StackedLosses(built, taught, torch.device("cpu"))
    losses.set_epoch(epoch)
    terms = losses(logits, teacher, labels, partners if mixed else None, share if mixed else None)
    (gradient,) = torch.autograd.grad(terms.sum(), logits)
    for row, method in enumerate(built):
        method.epoch = epoch
        for part in method.modules():
            if isinstance(part, Method):
                part.epoch = epoch
        own = logits[row].detach().requires_grad_()
        extra = (partners[row], share[row]) if mixed else ()
        answer = Outputs(teacher[row]) if taught[row] else None
        expected = method.losses(
            Outputs(own), answer, Batch(torch.empty(0), labels[row], torch.empty(0), *extra)
        )
        has = [name for name, there in zip(losses.names, losses.has[row], strict=True) if there]
        assert sorted(has) == sorted(expected)
        for column, name in enumerate(losses.names):
            its = float(expected[name].detach()) if name in expected else 0.0
            assert float(terms[row, column].detach()) == pytest.approx(its, rel=1e-5)
        (alone,) = torch.autograd.grad(sum(expected.values()), own)
        torch.testing.assert_close(gradient[row], alone, rtol=1e-4, atol=1e-6)


def test_other_methods_are_refused_by_name():
    example = Outputs(torch.zeros(2, 3))
    student = tiny_net()
    method = build_method(
        method_config({"name": "dml"}), student, MethodContext(3, torch.arange(3), 4, 0.0, example)
    )
    assert "dml is not one of" in why_no_stacked_loss(method)
    assert [why_no_stacked_loss(method) for method in methods()] == [""] * len(OPTIONS)
