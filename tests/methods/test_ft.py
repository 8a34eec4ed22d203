"""Factor transfer: the paraphraser learns first and alone, then stands still."""

import pytest
import torch
from tests.methods.small_pair import ask, make_batch, make_method

from understudy.errors import UnderstudyError
from understudy.methods.ft import ft_loss


def random_map(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_is_the_mean_distance_of_factors_of_length_one():
    student, teacher = random_map(2, 3, 4, 4), random_map(2, 3, 4, 4, seed=1)
    total = 0.0
    for a, b in zip(student.double(), teacher.double(), strict=True):
        total += (a / a.square().sum().sqrt() - b / b.square().sum().sqrt()).abs().sum()
    torch.testing.assert_close(ft_loss(student, teacher).double(), total / (2 * 3 * 4 * 4))


def test_scale_does_not_count_but_sign_does():
    factor = random_map(2, 3, 4, 4)
    assert ft_loss(7 * factor, factor).item() == pytest.approx(0, abs=1e-8)
    assert ft_loss(-factor, factor) > 0


def test_a_dead_factor_is_finite():
    dead = torch.zeros(2, 3, 4, 4, requires_grad=True)
    loss = ft_loss(dead, random_map(2, 3, 4, 4))
    loss.backward()
    assert loss.isfinite() and dead.grad.isfinite().all()


def gradients(method, teacher, epoch):
    method.epoch = epoch
    method.zero_grad()
    batch = make_batch(8, 5)
    losses, _ = method(batch, ask(teacher, batch))
    torch.stack(list(losses.values())).sum().backward()
    parts = ("encoder", "decoder", "translator")
    return list(losses), {
        p: sum(float(w.grad.abs().sum()) for w in getattr(method.factors[0], p).parameters())
        for p in parts
    }


def test_first_the_paraphraser_then_the_translator():
    method, teacher = make_method("ft", paraphraser_epochs=2)
    for epoch in (0, 1):
        names, size = gradients(method, teacher, epoch)
        assert names == ["ce", "reconstruction"]  # the student trains on its labels meanwhile
        assert size["encoder"] > 0 and size["decoder"] > 0 and size["translator"] == 0
    names, size = gradients(method, teacher, 2)
    assert names == ["ce", "ft"]
    assert size["encoder"] == 0 and size["decoder"] == 0 and size["translator"] > 0


def test_the_paraphraser_learns_and_then_stands_still_under_decay_and_momentum():
    method, teacher = make_method("ft", paraphraser_epochs=1, ce_weight=0.0)
    trained = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, 0.05, momentum=0.9, weight_decay=0.1)
    batch = make_batch(8, 5)
    answer = ask(teacher, batch)

    def step():
        losses, _ = method(batch, answer)
        loss = torch.stack(list(losses.values())).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    reconstruction = [step() for _ in range(10)]
    assert reconstruction[-1] < reconstruction[0]
    method.epoch = 1
    before = {k: v.clone() for k, v in method.factors[0].paraphraser.state_dict().items()}
    moved = method.factors[0].encoder[0].weight.detach().clone()
    factor = [step() for _ in range(10)]
    assert factor[-1] < factor[0]
    assert all(
        torch.equal(before[k], v) for k, v in method.factors[0].paraphraser.state_dict().items()
    )
    assert not torch.equal(
        moved, method.factors[0].encoder[0].weight
    )  # the optimizer's own copy decays; nobody reads it


def test_what_is_transferred_is_what_was_learnt():
    method, teacher = make_method("ft")
    batch = make_batch(8, 5)
    method(batch, ask(teacher, batch))
    learnt, kept = method.factors[0].encoder, method.factors[0].paraphraser
    assert all(
        torch.equal(a, b) for a, b in zip(learnt.parameters(), kept.parameters(), strict=True)
    )
    assert not any(p.requires_grad for p in kept.parameters())


def test_the_first_stage_is_a_tenth_of_the_run_and_never_all_of_it():
    assert make_method("ft", epochs=25)[0].paraphraser_epochs == 3
    with pytest.raises(UnderstudyError, match="leaves none"):
        make_method("ft", epochs=1)
    with pytest.raises(UnderstudyError, match="leaves none"):
        make_method("ft", epochs=5, paraphraser_epochs=5)
    with pytest.raises(UnderstudyError, match="paraphraser_epochs"):
        make_method("ft", paraphraser_epochs=0)
