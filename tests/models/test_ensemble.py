"""Several networks as one: their mean, each member's outputs, and learning from all of them."""

import pytest
import torch
from tests.worlds import tiny_net

from understudy.errors import UnderstudyError
from understudy.methods import kd_loss
from understudy.models.base import Outputs
from understudy.models.ensemble import Ensemble, mean_outputs


def random_logits(seed: int, num: int = 6) -> torch.Tensor:
    return 3 * torch.randn(num, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("shares", [(1 / 3, 1 / 3, 1 / 3), (0.75, 0.25, 0.0)])
def test_the_mean_is_that_of_the_probabilities(
    temperature: float, shares: tuple[float, ...]
) -> None:
    said = [random_logits(seed) for seed in range(3)]
    answer = mean_outputs([Outputs(z) for z in said], shares, temperature)
    mean = sum(share * (z / temperature).softmax(1) for share, z in zip(shares, said, strict=True))
    torch.testing.assert_close((answer.logits / temperature).softmax(1), mean)
    assert all(member.logits is z for member, z in zip(answer.members, said, strict=True))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_mean_kl_has_the_gradient_of_the_mean_probabilities(
    temperature: float,
) -> None:
    """The identity that lets one cache of the members' logits serve every temperature."""
    said, shares = [random_logits(seed) for seed in range(3)], (0.5, 0.3, 0.2)
    student = random_logits(9).requires_grad_()
    pool = mean_outputs([Outputs(z) for z in said], shares, temperature).logits
    (of_the_mean,) = torch.autograd.grad(kd_loss(student, pool, temperature), student)
    separate = sum(
        share * kd_loss(student, z, temperature) for share, z in zip(shares, said, strict=True)
    )
    (of_the_members,) = torch.autograd.grad(separate, student)
    torch.testing.assert_close(of_the_mean, of_the_members, rtol=1e-5, atol=1e-6)


def test_the_mean_at_one_temperature_is_not_the_mean_at_another() -> None:
    """Why the members' logits are kept and not the mean's."""
    said = [random_logits(seed) for seed in range(2)]
    at_one = mean_outputs([Outputs(z) for z in said], (0.5, 0.5)).logits
    at_four = mean_outputs([Outputs(z) for z in said], (0.5, 0.5), 4.0).logits
    assert not torch.allclose((at_one / 4).softmax(1), (at_four / 4).softmax(1), atol=1e-2)


def test_a_network_of_networks_answers_with_features_of_each() -> None:
    networks = [tiny_net(seed).eval() for seed in range(2)]
    images = torch.randn(5, 3, 8, 8)
    with torch.no_grad():
        answer = Ensemble(networks, [1, 3]).outputs(images)
        mean = 0.25 * networks[0](images).softmax(1) + 0.75 * networks[1](images).softmax(1)
        torch.testing.assert_close(answer.logits.softmax(1), mean)
        assert torch.equal(answer.members[1].features[0], networks[1].outputs(images).features[0])
    assert answer.features == () and answer.embedding is None


def test_each_member_sees_its_own_normalisation() -> None:
    network = tiny_net().eval()
    scale, shift = torch.full((1, 3, 1, 1), 2.0), torch.full((1, 3, 1, 1), -1.0)
    images = torch.randn(5, 3, 8, 8)
    with torch.no_grad():
        answer = Ensemble([network, network], renormalise=[None, (scale, shift)]).outputs(images)
        assert torch.equal(answer.members[0].logits, network(images))
        torch.testing.assert_close(answer.members[1].logits, network(2 * images - 1))


def test_outputs_in_fp32_are_so_for_the_members_too() -> None:
    half = Outputs(
        torch.zeros(2, 3).bfloat16(), members=(Outputs(torch.zeros(2, 3).bfloat16()),)
    ).float()
    assert half.logits.dtype == half.members[0].logits.dtype == torch.float32


def test_an_impossible_ensemble_is_refused() -> None:
    with pytest.raises(UnderstudyError, match="at least one teacher"):
        Ensemble([])
    for weights in ([1.0, 1.0], [-1.0], [0.0]):
        with pytest.raises(UnderstudyError, match="one weight of at least 0"):
            Ensemble([tiny_net()], weights)
    with pytest.raises(UnderstudyError, match="no classifier of its own"):
        Ensemble([tiny_net()]).classify(torch.zeros(1, 8))


def test_the_weights_decide_nothing_that_is_saved() -> None:
    states = [
        Ensemble([tiny_net(0), tiny_net(1)], weights).state_dict() for weights in ([1, 1], [1, 9])
    ]
    assert set(states[0]) == set(states[1]) and all(
        torch.equal(states[0][k], states[1][k]) for k in states[0]
    )
