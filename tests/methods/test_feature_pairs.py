"""Maps in pairs, brought to one size, and vectors of length one."""

import pytest
import torch

from understudy.errors import UnderstudyError
from understudy.methods.feature_pairs import l2_normalize, match_spatial, require_norm_samples


def random_map(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_maps_of_one_size_are_left_alone():
    student, teacher = random_map(2, 3, 4, 5), random_map(2, 6, 4, 5, seed=1)
    found = match_spatial(student, teacher)
    assert found[0] is student and found[1] is teacher


@pytest.mark.parametrize(
    ("student", "teacher", "size"),
    [((8, 6), (4, 3), (4, 3)), ((4, 6), (8, 3), (4, 3)), ((2, 3), (8, 9), (2, 3))],
)
def test_each_side_is_averaged_to_the_smaller(student, teacher, size):
    maps = random_map(2, 3, *student), random_map(2, 6, *teacher, seed=1)
    found = match_spatial(*maps)
    assert [one.shape[:2] for one in found] == [(2, 3), (2, 6)] and all(
        one.shape[2:] == size for one in found
    )
    for before, after in zip(maps, found, strict=True):
        b, c, h, w = before.shape
        cells = before.reshape(b, c, size[0], h // size[0], size[1], w // size[1]).mean((3, 5))
        torch.testing.assert_close(after, cells)


def test_a_vector_is_the_last_axis():
    vectors = random_map(3, 4, 5)
    torch.testing.assert_close(l2_normalize(vectors).square().sum(-1), torch.ones(3, 4))
    torch.testing.assert_close(
        l2_normalize(vectors) * vectors.square().sum(-1, keepdim=True).sqrt(), vectors
    )


def test_short_vectors_are_scaled_too():
    torch.testing.assert_close(
        l2_normalize(torch.tensor([[3e-6, -4e-6]])), torch.tensor([[0.6, -0.8]])
    )
    assert torch.equal(l2_normalize(torch.zeros(2, 3)), torch.zeros(2, 3))


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (1, 3, 2, 1), (1, 3, 1, 2)])
def test_two_values_for_each_channel_are_enough_for_a_batch_norm(shape):
    require_norm_samples("ft", torch.zeros(shape))
    with pytest.raises(UnderstudyError, match=r"ft trains a batch norm on a 1x1 map"):
        require_norm_samples("ft", torch.zeros(1, 3, 1, 1))
