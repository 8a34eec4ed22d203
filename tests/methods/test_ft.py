"""Factor transfer: the paraphraser learns first and alone, then stands still."""

import pytest
import torch
from tests.methods.small_pair import ask, make_batch, make_method

from understudy.errors import UnderstudyError
from understudy.methods.ft import Factors, ft_loss


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


def test_the_paraphraser_stands_still_after_it_has_learnt():
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


def test_the_copy_follows_the_optimizer_until_the_stage_ends():
    """Else the student would imitate the random factors of a paraphraser that never learnt."""
    method, teacher = make_method("ft", paraphraser_epochs=1)
    factors = method.factors[0]
    first = [p.clone() for p in factors.paraphraser.parameters()]
    optimizer = torch.optim.SGD(list(factors.encoder.parameters()), 0.5)
    batch = make_batch(8, 5)
    answer = ask(teacher, batch)
    for _ in range(3):
        method(batch, answer)[0]["reconstruction"].backward()
        optimizer.step()
        optimizer.zero_grad()
    method(batch, answer)
    for kept, trained, start in zip(
        factors.paraphraser.parameters(), factors.encoder.parameters(), first, strict=True
    ):
        assert torch.equal(kept, trained) and not torch.equal(kept, start)
    method.epoch = 1
    _, after = method(batch, answer), [p.clone() for p in factors.paraphraser.parameters()]
    with torch.no_grad():
        for parameter in factors.encoder.parameters():
            parameter.add_(1.0)
    method(batch, answer)
    assert all(
        torch.equal(a, b) for a, b in zip(after, factors.paraphraser.parameters(), strict=True)
    )


def test_validation_leaves_the_copy_alone():
    method, teacher = make_method("ft", paraphraser_epochs=1)
    factors = method.factors[0]
    with torch.no_grad():
        for parameter in factors.encoder.parameters():
            parameter.add_(1.0)
    before = [p.clone() for p in factors.paraphraser.parameters()]
    batch = make_batch(8, 5)
    method.eval()(batch, ask(teacher, batch))
    assert all(
        torch.equal(a, b) for a, b in zip(before, factors.paraphraser.parameters(), strict=True)
    )


def test_reconstruction_errors_are_summed_over_stages():
    method, teacher = make_method(
        "ft", paraphraser_epochs=2, stages=(-2, -1), stage_weights=(5.0, 0.0), weight=7.0
    )
    batch = make_batch(8, 5)
    answer = ask(teacher, batch)
    losses, _ = method(batch, answer)
    expected = 0.0
    for factors, stage in zip(method.factors, (-2, -1), strict=True):
        teacher_map = answer.features[stage]
        expected += (factors.decoder(factors.encoder(teacher_map)) - teacher_map).square().mean()
    torch.testing.assert_close(
        losses["reconstruction"], expected
    )  # neither weight counts: the paraphraser is no student


def test_the_factor_term_is_weighted_stage_by_stage():
    method, teacher = make_method(
        "ft", paraphraser_epochs=2, stages=(-2, -1), stage_weights=(0.5, 3.0), weight=7.0
    )
    method.eval().epoch = 2
    batch = make_batch(8, 5)
    answer, own = ask(teacher, batch), method.student.outputs(batch.images)
    losses, _ = method(batch, answer)
    shallow, deep = (
        ft_loss(
            factors.translator(own.features[stage]), factors.paraphraser(answer.features[stage])
        )
        for factors, stage in zip(method.factors, (-2, -1), strict=True)
    )
    torch.testing.assert_close(losses["ft"], 7 * (0.5 * shallow + 3 * deep))


def test_the_factors_have_their_share_of_the_teachers_channels():
    method, _ = make_method(
        "ft", rate=0.3
    )  # the teacher's deepest map has 12 channels, the student's 8
    factors = method.factors[0]

    def widths(part):
        return [(m.in_channels, m.out_channels) for m in part if hasattr(m, "in_channels")]

    assert widths(factors.encoder) == widths(factors.paraphraser) == [(12, 12), (12, 3), (3, 3)]
    assert widths(factors.decoder) == [(3, 3), (3, 12), (12, 12)]
    assert widths(factors.translator) == [(8, 8), (8, 3), (3, 3)]
    kinds = [type(module).__name__ for module in factors.translator]
    assert kinds == ["Conv2d", "BatchNorm2d", "LeakyReLU"] * 3
    assert [type(module).__name__ for module in factors.encoder] == [
        "Conv2d",
        "Identity",
        "LeakyReLU",
    ] * 3
    assert [type(module).__name__ for module in factors.decoder] == [
        "ConvTranspose2d",
        "LeakyReLU",
    ] * 3
    leaks = [
        m.negative_slope
        for part in (factors.encoder, factors.decoder)
        for m in part
        if hasattr(m, "negative_slope")
    ]
    assert set(leaks) == {0.1}
    maps = random_map(2, 12, 4, 4)
    assert (
        factors.encoder(maps).shape == (2, 3, 4, 4)
        and factors.decoder(factors.encoder(maps)).shape == maps.shape
    )


def test_a_tiny_rate_leaves_one_factor():
    encoder = make_method("ft", rate=0.01)[0].factors[0].encoder
    assert encoder[-3].out_channels == 1


def test_maps_of_unequal_size_are_compared_at_the_smaller_one():
    student, teacher = random_map(2, 3, 8, 8), random_map(2, 3, 4, 4, seed=1)
    pooled = student.reshape(2, 3, 4, 2, 4, 2).mean((3, 5))
    torch.testing.assert_close(ft_loss(student, teacher), ft_loss(pooled, teacher))


def test_a_single_image_without_extent_is_refused_in_training_alone():
    factors = Factors(3, 5, 0.5)
    with pytest.raises(UnderstudyError, match=r"ft trains a batch norm on a 1x1 map"):
        factors.transfer(random_map(1, 3, 1, 1), random_map(1, 5, 1, 1))
    assert factors.eval().transfer(random_map(1, 3, 1, 1), random_map(1, 5, 1, 1)).isfinite()


@pytest.mark.parametrize(("epochs", "first"), [(2, 1), (10, 1), (11, 2), (20, 2), (21, 3)])
def test_the_first_stage_is_rounded_up(epochs, first):
    assert make_method("ft", epochs=epochs)[0].paraphraser_epochs == first


def test_an_idle_part_adds_nothing_even_if_all_its_weights_are_zero():
    """It is in the sum for the sake of data-parallel training, with a gradient of zero."""
    factors = Factors(3, 5, 0.5)
    with torch.no_grad():
        for parameter in factors.translator.parameters():
            parameter.zero_()
    loss = factors.reconstruction(random_map(2, 5, 4, 4))
    loss.backward()
    assert loss.isfinite() and all((p.grad == 0).all() for p in factors.translator.parameters())
