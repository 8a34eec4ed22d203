"""Knowledge review: the hierarchical context loss, and the fusion of levels."""

import pytest
import torch
from tests.methods.small_pair import SmallNet, ask, make_batch, make_method
from torch import nn

from understudy.errors import UnderstudyError
from understudy.methods import MethodContext, method_config
from understudy.methods.reviewkd import Fusion, ReviewKD, hcl_loss
from understudy.models.base import Outputs


def random_map(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cells(feature_map, size):
    """Averages over size x size cells of a map whose sides they divide."""
    b, c, h, w = feature_map.shape
    return feature_map.reshape(b, c, size, h // size, size, w // size).mean((3, 5))


@pytest.mark.parametrize(
    ("side", "weights"),
    [
        (8, {8: 1, 4: 1 / 2, 2: 1 / 4, 1: 1 / 8}),
        (
            4,
            {4: 1, 2: 1 / 2, 1: 1 / 4},
        ),  # sizes not below the map's are left out and take no weight
        (2, {2: 1, 1: 1 / 2}),
        (1, {1: 1}),
    ],
)
def test_agrees_with_the_definition(side, weights):
    student, teacher = random_map(2, 3, side, side), random_map(2, 3, side, side, seed=1)
    difference = student.double() - teacher.double()
    expected = sum(w * cells(difference, s).square().mean() for s, w in weights.items()) / sum(
        weights.values()
    )
    torch.testing.assert_close(hcl_loss(student, teacher).double(), expected)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 16])
def test_a_constant_difference_costs_its_square_at_every_size(side):
    teacher = random_map(2, 3, side, side)
    assert hcl_loss(teacher, teacher) == 0
    torch.testing.assert_close(hcl_loss(teacher + 0.5, teacher), torch.tensor(0.25))


def test_context_counts_more_than_detail():
    """Two errors of the same size per element: one that averages out within every cell, and one
    that does not."""
    teacher = torch.zeros(1, 1, 8, 8)
    checkers = ((torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2 - 1).float().view(1, 1, 8, 8)
    assert hcl_loss(checkers, teacher).item() == pytest.approx(1 / 1.875)
    assert hcl_loss(torch.ones(1, 1, 8, 8), teacher).item() == pytest.approx(1)


def test_fusion_weighs_places_and_enlarges_by_nearest():
    fusion = Fusion(3, 2, 5, fuse=True).eval()
    student_map, deeper = random_map(2, 3, 4, 4), random_map(2, 2, 2, 2, seed=1)
    reviewed, fused = fusion(student_map, deeper, torch.Size((8, 8)))
    assert reviewed.shape == (2, 5, 8, 8) and fused.shape == (2, 2, 8, 8)
    narrow, large = (
        fusion.narrow(student_map),
        deeper.repeat_interleave(2, 2).repeat_interleave(2, 3),
    )
    share = torch.sigmoid(fusion.attention(torch.cat([narrow, large], 1)))
    expected = narrow * share[:, :1] + large * share[:, 1:]
    torch.testing.assert_close(fused, expected.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_levels_go_from_the_pooled_embedding_to_the_shallowest_stage():
    method, _ = make_method("reviewkd")
    assert [fusion.out[0].out_channels for fusion in method.fusions] == [12, 12, 10]
    assert [fusion.attention is None for fusion in method.fusions] == [True, False, False]
    method, _ = make_method("reviewkd", stages=(0, -1), pooled=False)
    assert [fusion.out[0].out_channels for fusion in method.fusions] == [12, 6]


def test_the_shallow_level_teaches_the_deep_stages_too():
    method, teacher = make_method("reviewkd", ce_weight=0.0)
    batch = make_batch(8, 5)
    student, answer = method.student.outputs(batch.images), ask(teacher, batch)
    maps, deeper = method._maps(student), None
    for fusion, ours, theirs in zip(method.fusions, maps, method._maps(answer), strict=True):
        reviewed, deeper = fusion(ours, deeper, theirs.shape[2:])
    (grad,) = torch.autograd.grad(hcl_loss(reviewed, theirs), student.features[-1])
    assert grad.abs().sum() > 0


def test_the_weight_warms_up():
    method, teacher = make_method("reviewkd", weight=3.0, warmup_epochs=4)
    batch = make_batch(8, 5)
    answer = ask(teacher, batch)
    values = []
    for epoch in range(6):
        method.epoch = epoch
        values.append(method(batch, answer)[0]["reviewkd"].detach())
    torch.testing.assert_close(
        torch.stack(values) / values[-1], torch.tensor([0.25, 0.5, 0.75, 1, 1, 1])
    )
    without, _ = make_method("reviewkd", weight=3.0, warmup_epochs=0)
    torch.testing.assert_close(without(batch, answer)[0]["reviewkd"].detach(), values[-1])


def test_one_image_is_refused_where_the_embedding_is_reviewed():
    batch = make_batch(1, 5)
    method, teacher = make_method("reviewkd")
    with pytest.raises(UnderstudyError, match="batch_size"):
        method(batch, ask(teacher, batch))
    method, teacher = make_method("reviewkd", pooled=False)
    assert method(batch, ask(teacher, batch))[0]["reviewkd"].isfinite()


def test_the_term_is_the_weighted_sum_over_levels():
    method, teacher = make_method(
        "reviewkd", weight=3.0, warmup_epochs=4, stages=(0, -1), stage_weights=(0.5, 2.0)
    )
    method.eval().epoch = 1
    batch = make_batch(8, 5)
    answer, own = ask(teacher, batch), method.student.outputs(batch.images)
    losses, _ = method(batch, answer)
    levels = [
        (own.embedding[:, :, None, None], answer.embedding[:, :, None, None], 1.0),
        (own.features[2], answer.features[2], 2.0),
        (own.features[0], answer.features[0], 0.5),
    ]
    expected, deeper = 0.0, None
    for fusion, (student_map, teacher_map, share) in zip(method.fusions, levels, strict=True):
        reviewed, deeper = fusion(student_map, deeper, teacher_map.shape[2:])
        expected += share * hcl_loss(reviewed, teacher_map)
    torch.testing.assert_close(losses["reviewkd"], 3 * 0.5 * expected)


def test_fused_maps_are_as_wide_as_the_deepest_and_512_at_most():
    method, _ = make_method("reviewkd")  # the student's embedding has 8 numbers
    assert [(f.narrow[0].in_channels, f.narrow[0].out_channels) for f in method.fusions] == [
        (8, 8),
        (8, 8),
        (6, 8),
    ]
    example = Outputs(
        torch.zeros(2, 5),
        (torch.zeros(2, 600, 2, 2), torch.zeros(2, 600, 2, 2)),
        torch.zeros(2, 600),
    )
    config = method_config({"name": "reviewkd"})
    wide = ReviewKD(
        nn.Identity(), config, MethodContext(5, torch.zeros(2), 5, 0.0, example, example)
    )
    assert {f.narrow[0].out_channels for f in wide.fusions} == {512}


def test_the_layers_of_a_fusion():
    fusion = Fusion(3, 4, 5, fuse=True)
    narrow, attention, out = fusion.narrow[0], fusion.attention, fusion.out[0]
    assert (narrow.kernel_size, narrow.padding, narrow.bias) == ((1, 1), (0, 0), None)
    assert (out.kernel_size, out.padding, out.stride, out.bias) == ((3, 3), (1, 1), (1, 1), None)
    assert (attention.in_channels, attention.out_channels, attention.kernel_size) == (8, 2, (1, 1))
    assert (fusion.narrow[1].num_features, fusion.out[1].num_features) == (4, 5)
    # kaiming_uniform_ with a = 1: bounded by sqrt(6 / (2 * inputs)).
    for convolution, inputs in ((narrow, 3), (out, 4 * 9)):
        bound = (3 / inputs) ** 0.5
        assert 0.8 * bound < convolution.weight.abs().max() <= bound


def test_a_map_of_the_teachers_size_is_not_resized():
    fusion = Fusion(3, 2, 5, fuse=False).eval()
    student_map = random_map(2, 3, 4, 4)
    reviewed, fused = fusion(student_map, None, torch.Size((4, 4)))
    torch.testing.assert_close(fused, fusion.narrow(student_map))
    torch.testing.assert_close(reviewed, fusion.out(fused))


def test_a_teachers_map_of_one_value_is_refused_in_training_alone():
    method, teacher = make_method("reviewkd", pooled=False, stages=(-1,))
    batch = make_batch(1, 5)
    answer = ask(teacher, batch)
    flat = answer._replace(features=(*answer.features[:2], answer.features[2][:, :, :1, :1]))
    with pytest.raises(UnderstudyError, match=r"reviewkd trains a batch norm on a 1x1 map"):
        method(batch, flat)
    assert method.eval()(batch, flat)[0]["reviewkd"].isfinite()


def test_without_an_embedding_the_stages_alone_are_reviewed(monkeypatch):
    monkeypatch.setattr(
        SmallNet,
        "outputs",
        lambda self, x, old=SmallNet.outputs: old(self, x)._replace(embedding=None),
    )
    with pytest.raises(UnderstudyError, match=r"set method\.pooled=false"):
        make_method("reviewkd")
    method, teacher = make_method("reviewkd", pooled=False)
    batch = make_batch(8, 5)
    assert method(batch, ask(teacher, batch))[0]["reviewkd"].isfinite() and len(method.fusions) == 2
