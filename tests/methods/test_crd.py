"""Contrastive distillation: the loss in closed form, the sampler, and banks that survive a stop."""

import copy
import math

import pytest
import torch
import torch.distributed as dist
from tests.methods.small_pair import SmallNet, ask, make_batch, make_method

from understudy.errors import UnderstudyError
from understudy.methods.crd import NegativeSampler, _of_all_ranks, nce_loss


def test_agrees_with_the_definition_in_probabilities():
    rng = torch.Generator().manual_seed(0)
    positive, negative = (
        torch.randn(3, generator=rng).double(),
        torch.randn(3, 7, generator=rng).double(),
    )
    normaliser, images = 20.0, 50
    p, q, noise = positive.exp() / normaliser, negative.exp() / normaliser, 7 / images
    expected = -((p / (p + noise)).log() + (noise / (q + noise)).log().sum(1)).mean()
    torch.testing.assert_close(
        nce_loss(positive, negative, torch.tensor(normaliser).double().log(), images), expected
    )


def test_without_knowledge_it_is_the_entropy_of_the_draw():
    """All scores alike and Z right: each of the M + 1 candidates is the image with probability 1 /
    (M + 1)."""
    m, n = 9, 40
    loss = nce_loss(torch.zeros(2), torch.zeros(2, m), torch.tensor(float(n)).log(), n)
    assert loss.item() == pytest.approx(math.log(m + 1) + m * math.log(1 + 1 / m))


def test_extreme_scores_are_finite():
    loss = nce_loss(torch.tensor([-1e4]), torch.full((1, 4), 1e4), torch.tensor(0.0), 10)
    assert loss.item() == pytest.approx(5e4, rel=1e-3)
    assert nce_loss(torch.tensor([1e4]), torch.full((1, 4), -1e4), torch.tensor(0.0), 10) == 0


def test_negatives_are_all_images_of_other_classes_and_no_others():
    labels = torch.tensor([2, 0, 1, 1, 0, 2, 2, 1, 0, 2])
    sampler = NegativeSampler(labels, 4)  # class 3 is empty
    assert sampler.fewest == 6
    torch.manual_seed(0)
    drawn = sampler(torch.tensor([0, 1, 2, 3]), 400)
    for label, row in enumerate(drawn):
        assert set(row.tolist()) == set(torch.nonzero(labels != label).flatten().tolist())
    share = torch.bincount(drawn[0], minlength=10) / 400
    assert share[labels != 0].min() > 0.08  # uniform: one seventh each


def test_few_images_cap_the_negatives():
    method, _ = make_method("crd", num_classes=4, num_images=64)
    assert method.negatives == 48
    method, _ = make_method("crd", num_classes=4, num_images=64, negatives=10)
    assert method.negatives == 10


def test_one_class_has_no_negatives():
    sampler = NegativeSampler(torch.zeros(5, dtype=torch.int64), 2)
    assert sampler.fewest == 0
    with pytest.raises(UnderstudyError, match="needs at least 2 classes"):
        make_method("crd", num_classes=1)


def test_banks_move_towards_the_newest_embeddings_of_this_batch_only():
    method, teacher = make_method("crd", momentum=0.25, num_images=32)
    batch = make_batch(8, 5, num_images=32)
    before = method.student_bank.clone()
    with torch.no_grad():
        outputs = copy.deepcopy(method.student).outputs(batch.images)
        newest = torch.nn.functional.normalize(method.project_student(outputs.embedding), dim=1)
    method(batch, ask(teacher, batch))
    mixed = 0.25 * before[batch.index] + 0.75 * newest
    torch.testing.assert_close(
        method.student_bank[batch.index], mixed / mixed.norm(dim=1, keepdim=True)
    )
    rest = torch.ones(32, dtype=torch.bool)
    rest[batch.index] = False
    assert torch.equal(method.student_bank[rest], before[rest])
    torch.testing.assert_close(method.teacher_bank[batch.index].norm(dim=1), torch.ones(8))


def test_validation_leaves_the_banks_alone():
    method, teacher = make_method("crd")
    before = copy.deepcopy(method.state_dict())
    batch = make_batch(8, 5)
    method.eval()(batch, ask(teacher, batch))
    assert all(torch.equal(before[k], v) for k, v in method.state_dict().items())


def test_the_normalisers_come_from_the_first_batch_and_stay():
    method, teacher = make_method("crd")
    assert method.student_normaliser == 0
    batch = make_batch(8, 5)
    method(batch, ask(teacher, batch))
    first = method.student_normaliser.clone(), method.teacher_normaliser.clone()
    assert first[0] > 0 and first[1] > 0
    batch = make_batch(8, 5, seed=1)
    method(batch, ask(teacher, batch))
    assert (method.student_normaliser, method.teacher_normaliser) == first


def test_gradients_see_the_banks_as_they_were_before_the_update():
    """The step's loss and gradient are those of a step that does not write to the banks."""
    method, teacher = make_method("crd")
    frozen = copy.deepcopy(method)
    frozen._remember = lambda *a: None
    batch = make_batch(8, 5)
    answer = ask(teacher, batch)
    grads = []
    for one in (method, frozen):
        torch.manual_seed(4)
        one(batch, answer)[0]["crd"].backward()
        grads.append((one.project_student.weight.grad, one.project_teacher.weight.grad))
    torch.testing.assert_close(*grads)
    assert not torch.equal(method.student_bank, frozen.student_bank)


def test_checkpoint_holds_banks_and_normalisers_but_no_lists():
    method, _ = make_method("crd")
    buffers = {
        name for name in method.state_dict() if not name.startswith(("student.", "project_"))
    }
    assert buffers == {"student_bank", "teacher_bank", "student_normaliser", "teacher_normaliser"}
    assert method.student_bank.shape == (64, 128)


def test_the_pair_is_pulled_together_and_the_others_apart():
    rng = torch.Generator().manual_seed(0)
    positive, negative = (
        torch.randn(3, generator=rng).requires_grad_(),
        torch.randn(3, 7, generator=rng).requires_grad_(),
    )
    nce_loss(positive, negative, torch.tensor(3.0), 50).backward()
    assert (positive.grad < 0).all() and (negative.grad > 0).all()
    # A score at which pair and noise are equally likely leaves a probability of 1 / 2 to be gained.
    even = torch.tensor([3.0 + math.log(7 / 50)], requires_grad=True)
    nce_loss(even, even.detach()[:, None].expand(1, 7), torch.tensor(3.0), 50).backward()
    assert even.grad.item() == pytest.approx(-0.5)


def test_ranks_with_unequal_batches_exchange_rows_in_order(monkeypatch):
    """This rank has two rows, the other has one; both must end with the same three."""
    ours = (torch.tensor([3, 4]), torch.tensor([[1.0, 1.0], [2.0, 2.0]]))
    theirs = {0: (torch.tensor([7]), torch.tensor([[9.0, 9.0]]))}

    def all_gather(parts, own):
        other = (
            torch.tensor([1])
            if own.shape == (1,)
            else next(t for t in theirs[0] if t.ndim == own.ndim)
        )
        parts[0].copy_(own)
        parts[1].zero_()
        parts[1][: len(other)] = other

    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_gather", all_gather)
    index, rows = _of_all_ranks(*ours)
    assert index.tolist() == [3, 4, 7]
    assert rows.tolist() == [[1.0, 1.0], [2.0, 2.0], [9.0, 9.0]]


def test_the_loss_is_both_directions_against_the_other_networks_bank():
    """Scores are cosines with the other network's bank over tau; each normaliser is N times the
    mean of their exponentials."""
    method, teacher = make_method("crd", weight=3.0, nce_temperature=0.5, negatives=6, dimension=7)
    batch = make_batch(8, 5)
    answer = ask(teacher, batch)
    chosen = torch.randint(0, 64, (8, 6), generator=torch.Generator().manual_seed(2))
    asked = []
    method.sampler.forward = lambda labels, number: asked.append((labels, number)) or chosen
    banks = method.student_bank.clone(), method.teacher_bank.clone()
    with torch.no_grad():
        own = copy.deepcopy(method.student).outputs(batch.images).embedding
        ours = torch.nn.functional.normalize(method.project_student(own), dim=1)
        theirs = torch.nn.functional.normalize(method.project_teacher(answer.embedding), dim=1)
        expected, normalisers = 0.0, []
        for vectors, bank in ((ours, banks[1]), (theirs, banks[0])):
            positive = (vectors * bank[batch.index]).sum(1) / 0.5
            negative = (vectors[:, None] * bank[chosen]).sum(2) / 0.5
            normalisers.append(64 * torch.cat([positive[:, None], negative], 1).exp().mean())
            expected += nce_loss(positive, negative, normalisers[-1].log(), 64)
    losses, _ = method(batch, answer)
    torch.testing.assert_close(losses["crd"].detach(), 3 * expected)
    assert asked[0][1] == 6 and torch.equal(asked[0][0], batch.labels)
    torch.testing.assert_close(method.teacher_normaliser, normalisers[0])
    torch.testing.assert_close(method.student_normaliser, normalisers[1])


def test_a_known_normaliser_is_used_and_validation_sets_none():
    method, teacher = make_method("crd", negatives=6)
    batch = make_batch(8, 5)
    answer = ask(teacher, batch)
    values = []
    for normaliser in (0.0, 1.0, 1e6):
        one = copy.deepcopy(method).eval()
        one.student_normaliser.fill_(normaliser)
        one.teacher_normaliser.fill_(normaliser)
        torch.manual_seed(1)
        values.append(float(one(batch, answer)[0]["crd"].detach()))
        assert one.student_normaliser == normaliser and one.teacher_normaliser == normaliser
    assert len(set(values)) == 3


def test_both_banks_move_by_the_momentum():
    method, teacher = make_method("crd", momentum=0.2)
    batch = make_batch(8, 5)
    answer = ask(teacher, batch)
    before = method.teacher_bank.clone()
    with torch.no_grad():
        newest = torch.nn.functional.normalize(method.project_teacher(answer.embedding), dim=1)
    method(batch, answer)
    mixed = 0.2 * before[batch.index] + 0.8 * newest
    torch.testing.assert_close(
        method.teacher_bank[batch.index], mixed / mixed.norm(dim=1, keepdim=True)
    )
    rest = torch.ones(64, dtype=torch.bool)
    rest[batch.index] = False
    assert torch.equal(method.teacher_bank[rest], before[rest])


def test_the_banks_start_at_vectors_of_about_unit_length():
    method, _ = make_method("crd", dimension=400)
    for bank in (method.student_bank, method.teacher_bank):
        assert bank.norm(dim=1).mean().item() == pytest.approx(1, abs=0.05)
        assert bank.abs().max() <= math.sqrt(3 / 400) and bank.mean().abs() < 0.005
        assert bank.min() < 0 < bank.max()
    assert not torch.equal(method.student_bank, method.teacher_bank)
    assert method.project_student.weight.shape == (
        400,
        8,
    ) and method.project_teacher.weight.shape == (400, 12)


def test_a_batch_of_every_rank_is_remembered(monkeypatch):
    """With two ranks each writes the rows of both, so that the banks stay equal."""
    method, _ = make_method("crd", momentum=0.0, dimension=4)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    both = [torch.tensor([3, 9]), torch.eye(4)[:2], torch.eye(4)[2:]]
    monkeypatch.setattr("understudy.methods.crd._of_all_ranks", lambda *own: both)
    method._remember(torch.tensor([3]), torch.eye(4)[:1], torch.eye(4)[2:3])
    assert torch.equal(method.student_bank[[3, 9]], torch.eye(4)[:2])
    assert torch.equal(method.teacher_bank[[3, 9]], torch.eye(4)[2:])


def test_wrapping_for_several_ranks_leaves_the_banks_out():
    assert make_method("crd")[0]._ddp_params_and_buffers_to_ignore == [
        "student_bank",
        "teacher_bank",
    ]


def test_a_draw_at_the_very_end_of_the_range_is_still_an_image(monkeypatch):
    """rand times the number of others may round up to that number."""
    labels = torch.tensor([0, 0, 1, 1, 1])
    sampler = NegativeSampler(labels, 2)
    monkeypatch.setattr(torch, "rand", lambda *size, device: torch.ones(*size))
    assert labels[sampler(torch.tensor([0, 1]), 3)].tolist() == [[1, 1, 1], [0, 0, 0]]


def test_networks_without_embedding_are_refused(monkeypatch):
    monkeypatch.setattr(
        SmallNet,
        "outputs",
        lambda self, x, old=SmallNet.outputs: old(self, x)._replace(embedding=None),
    )
    with pytest.raises(
        UnderstudyError,
        match=r"crd compares embeddings, but the student shows none: set student\.stages",
    ):
        make_method("crd")


def test_half_precision_embeddings_are_projected_in_full():
    method, teacher = make_method("crd")
    batch = make_batch(8, 5)
    answer = ask(teacher, batch)
    loss = method.eval().terms(
        method.student.outputs(batch.images)._replace(embedding=torch.randn(8, 8).bfloat16()),
        answer._replace(embedding=answer.embedding.bfloat16()),
        batch,
    )["crd"]
    assert loss.dtype == torch.float32 and loss.isfinite()
