"""Deep mutual learning: peers that differ, learn from one another, and stay behind."""

import itertools

import pytest
import torch
from tests.methods.small_pair import SmallNet, make_batch, make_method
from torch import nn

from understudy.errors import UnderstudyError
from understudy.methods.base import cross_entropy
from understudy.methods.divergence import kd_loss
from understudy.methods.dml import dml_loss, fresh_copy


def logits(count, seed=0):
    return list(torch.randn(count, 4, 5, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("peers", [2, 3, 5])
def test_each_peer_has_the_mean_of_its_divergences(peers):
    all_logits = logits(peers)
    expected = 0.0
    for own in range(peers):
        others = [
            kd_loss(all_logits[own], all_logits[other], 2.0)
            for other in range(peers)
            if other != own
        ]
        expected += sum(others) / len(others)
    torch.testing.assert_close(dml_loss(all_logits, 2.0), expected)


def test_peers_that_agree_have_nothing_to_learn():
    same = [torch.randn(4, 5, generator=torch.Generator().manual_seed(1))] * 3
    shifted = [same[0], same[0] + 7, same[0] - 2]
    assert dml_loss(same, 1.0).item() == pytest.approx(0, abs=1e-7)
    assert dml_loss(shifted, 1.0).item() == pytest.approx(0, abs=1e-6)


def test_the_other_peer_is_a_target_not_a_pupil():
    first, second = logits(2)
    first.requires_grad_()
    dml_loss([first, second], 1.0).backward()
    own = first.detach().clone().requires_grad_()
    kd_loss(own, second, 1.0).backward()
    torch.testing.assert_close(
        first.grad, own.grad
    )  # nothing from the divergence in which it is the target


def test_extreme_logits_are_finite():
    values = [1e4 * torch.eye(3), 1e4 * torch.eye(3).flip(0), -1e4 * torch.eye(3)]
    assert dml_loss(values, 1.0).isfinite()


@pytest.mark.parametrize("peers", [2, 3])
def test_peers_are_alike_in_shape_and_different_in_weights(peers):
    method, _ = make_method("dml", peers=peers)
    networks = [method.student, *method.peers]
    assert len(networks) == peers
    for one, other in itertools.combinations(networks, 2):
        assert [p.shape for p in one.parameters()] == [p.shape for p in other.parameters()]
        assert not torch.equal(one.stages[0][0].weight, other.stages[0][0].weight)
        assert not torch.equal(one.head.weight, other.head.weight)
    again, _ = make_method("dml", peers=peers)
    assert all(
        torch.equal(v, again.state_dict()[k]) for k, v in method.state_dict().items()
    )  # one seed fixes all


def test_the_student_is_left_as_it_is():
    student = SmallNet(5, (4, 6, 8))
    before = {k: v.clone() for k, v in student.state_dict().items()}
    peer = fresh_copy(student)
    assert all(torch.equal(before[k], v) for k, v in student.state_dict().items())
    assert peer.stages[0][1].weight.eq(1).all()  # a norm starts as a norm does


def test_a_student_that_cannot_draw_new_weights_is_refused():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

    with pytest.raises(UnderstudyError, match="reset_parameters"):
        fresh_copy(Bare())


def test_every_peer_trains_and_only_the_student_is_deployed():
    method, _ = make_method("dml", peers=3)
    batch = make_batch(8, 5)
    losses, answer = method(batch)  # no teacher at all
    assert list(losses) == ["ce", "peers_ce", "mutual"]
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None for p in method.parameters())
    assert method.deployed() is method.student
    assert torch.equal(answer, method.student(batch.images))


def test_mutual_learning_brings_the_peers_together():
    gaps = {}
    for weight in (0.0, 5.0):
        method, _ = make_method("dml", weight=weight, ce_weight=0.2)
        optimizer = torch.optim.Adam(method.parameters(), 1e-2)
        for step in range(15):
            losses, _ = method(make_batch(16, 5, step % 2))
            torch.stack(list(losses.values())).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        images = make_batch(16, 5, 5).images
        with torch.no_grad():
            gaps[weight] = float(dml_loss([method.student(images), method.peers[0](images)], 1.0))
    assert gaps[5.0] < gaps[0.0]


@pytest.mark.parametrize(("option", "value"), [("peers", 1), ("alpha", 0.5)])
def test_one_peer_or_a_teachers_share_is_refused(option, value):
    with pytest.raises(UnderstudyError, match=option):
        make_method("dml", **{option: value})


def test_losses_are_each_peers_cross_entropy_and_a_mutual_term():
    method, _ = make_method("dml", peers=3, weight=2.5, temperature=3.0, ce_weight=0.4)
    method.label_smoothing = 0.1
    batch = make_batch(8, 5)
    losses, answer = method.eval()(batch)
    every = [network(batch.images) for network in (method.student, *method.peers)]
    hard = [nn.functional.cross_entropy(one, batch.labels, label_smoothing=0.1) for one in every]
    torch.testing.assert_close(losses["ce"], 0.4 * hard[0])
    torch.testing.assert_close(losses["peers_ce"], 0.4 * (hard[1] + hard[2]))
    torch.testing.assert_close(losses["mutual"], 2.5 * dml_loss(every, 3.0))
    torch.testing.assert_close(answer, every[0])


def test_the_cross_entropies_have_weight_one_unless_set():
    method, _ = make_method("dml")
    batch = make_batch(8, 5)
    losses, answer = method.eval()(batch)
    torch.testing.assert_close(losses["ce"], nn.functional.cross_entropy(answer, batch.labels))
    without, _ = make_method("dml", ce_weight=0.0)
    losses, _ = without(batch)
    assert losses["ce"] == 0 and losses["peers_ce"] == 0 and losses["mutual"] > 0


def test_the_temperature_of_the_epoch_reaches_the_mutual_term():
    method, _ = make_method("dml", epochs=3, temperature={"start": 6, "end": 2})
    batch = make_batch(8, 5)
    method.eval()
    every = [network(batch.images) for network in (method.student, *method.peers)]
    for epoch, temperature in enumerate((6.0, 4.0, 2.0)):
        method.epoch = epoch
        torch.testing.assert_close(method(batch)[0]["mutual"], dml_loss(every, temperature))


def test_mixed_images_count_both_labels_for_every_peer():
    method, _ = make_method("dml")
    batch = make_batch(4, 5)
    mixed = batch._replace(
        partner_labels=batch.labels.flip(0), lam=torch.tensor([1.0, 0.7, 0.4, 0.1])
    )
    losses, answer = method.eval()(mixed)
    torch.testing.assert_close(losses["ce"], cross_entropy(answer, mixed, 0.0))
    torch.testing.assert_close(
        losses["peers_ce"], cross_entropy(method.peers[0](batch.images), mixed, 0.0)
    )


def test_a_student_that_draws_some_new_weights_is_taken():
    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.layer = nn.Parameter(torch.ones(2)), nn.Linear(2, 2)

    student = Part()
    peer = fresh_copy(student)
    assert torch.equal(peer.scale, student.scale) and not torch.equal(
        peer.layer.weight, student.layer.weight
    )
