"""Born again: one generation is plain soft-label training; the chain is the run's, or
``distill``'s."""

from pathlib import Path

import pytest
import torch
from tests.methods.small_pair import ask, make_batch, make_method
from tests.worlds import tiny_data, tiny_net, untrained

import understudy
from understudy.errors import UnderstudyError
from understudy.methods import kd_loss, method_config
from understudy.methods.born_again import generation_seed
from understudy.methods.dml import fresh_copy

QUICK = {
    "epochs": 2,
    "batch_size": 16,
    "lr": 1e-2,
    "precision": "fp32",
    "device": "cpu",
    "outputs": "live",
}


def test_one_generation_is_the_founding_loss():
    batch = make_batch(8, 5)
    values = []
    for name in ("born_again", "kd"):
        method, teacher = make_method(name, temperature=2.0, alpha=0.4)
        values.append(
            {k: float(v.detach()) for k, v in method(batch, ask(teacher, batch))[0].items()}
        )
    assert values[0] == values[1]


def test_a_chain_of_calls_is_a_sequence_of_single_generations(tmp_path: Path):
    """The last generation of three learnt from the second, which learnt from the first; all are
    fresh networks."""
    seen = []
    torch.manual_seed(1)
    chain = understudy.distill(
        untrained(tiny_net(3)),
        tiny_net(4),
        tiny_data(),
        {"name": "born_again", "generations": 3},
        checkpoint=tmp_path / "c.pt",
        on_epoch=seen.append,
        seed=2,
        **QUICK,
    )
    assert [epoch.epoch for epoch in seen] == [0, 1] * 3 and len(chain.history) == 2
    assert {path.name for path in tmp_path.glob("*.pt")} == {"c.pt", "c-gen1.pt", "c-gen2.pt"}
    firsts = [
        torch.load(tmp_path / f"c-gen{n}.pt", weights_only=True)["method"]["student.conv.weight"]
        for n in (1, 2)
    ]
    assert not torch.allclose(*firsts, atol=1e-2)
    again = understudy.distill(
        untrained(tiny_net(3)),
        tiny_net(4),
        tiny_data(),
        {"name": "born_again", "generations": 3},
        checkpoint=tmp_path / "c.pt",
        resume=True,
        seed=2,
        **QUICK,
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(chain.network.parameters(), again.network.parameters(), strict=True)
    )


def test_the_founding_loss_has_the_options_of_its_own():
    method, teacher = make_method("born_again", alpha=0.3, temperature=2.0)
    batch = make_batch(8, 5)
    answer = ask(teacher, batch)
    losses, logits = method.eval()(batch, answer)
    torch.testing.assert_close(losses["kd"], 0.3 * kd_loss(logits, answer.logits, 2.0))
    torch.testing.assert_close(
        losses["ce"], 0.7 * torch.nn.functional.cross_entropy(logits, batch.labels)
    )


def test_a_chain_of_calls_equals_generations_trained_one_by_one():
    """Generation k learns from generation k - 1; only the first learns from the teacher that is
    given."""
    options = {"name": "born_again", "alpha": 0.8}
    chain = understudy.distill(
        untrained(tiny_net(3)),
        tiny_net(4),
        tiny_data(),
        options | {"generations": 3},
        seed=2,
        **QUICK,
    )

    teacher, taught = tiny_net(3), []
    for generation in (1, 2, 3):
        student = tiny_net(4)
        if (
            generation < 3
        ):  # the last one is the student that was given, the others are fresh copies of it
            torch.manual_seed(generation_seed(2, generation))
            student = fresh_copy(student)
        teacher = understudy.distill(
            untrained(teacher), student, tiny_data(), options | {"generations": 1}, seed=2, **QUICK
        ).network
        taught.append(teacher)
    expected = taught[-1].state_dict()
    assert all(
        torch.equal(value, expected[name]) for name, value in chain.network.state_dict().items()
    )
    of_the_first = understudy.distill(
        untrained(tiny_net(3)),
        tiny_net(4),
        tiny_data(),
        options | {"generations": 1},
        seed=2,
        **QUICK,
    )
    assert not torch.equal(of_the_first.network.conv.weight, expected["conv.weight"]), (
        "else any teacher would do"
    )


def test_each_generation_starts_from_a_seed_of_its_own():
    seeds = {generation_seed(seed, generation) for seed in (0, 1) for generation in range(4)}
    assert len(seeds) == 8 and generation_seed(5, 0) == 5, "generation 0 is the run's own seed"
    assert generation_seed(1, 2) == generation_seed(1, 2)


@pytest.mark.parametrize("generations", [0, -1, 1.5])
def test_the_number_of_generations_is_a_whole_number_from_one(generations: float):
    with pytest.raises(UnderstudyError, match=r"method\.?.*generations"):
        method_config({"name": "born_again", "generations": generations})
