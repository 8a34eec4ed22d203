"""Adversarial distillation: one loss, two players."""

import csv
import math
from pathlib import Path

import pytest
import torch
from tests.methods.small_pair import SmallNet, ask, make_batch, make_method
from tests.worlds import tiny_data, tiny_net, untrained

import understudy
from understudy.errors import UnderstudyError
from understudy.methods import method_config, needs_of
from understudy.methods.adversarial import adversarial_loss, reverse_gradient
from understudy.runs.history import write_history


def test_reversal_keeps_the_values_and_turns_the_gradient():
    values = torch.tensor([1e4, -3e-7, 0.1], requires_grad=True)
    reversed_values = reverse_gradient(values, 0.5)
    assert torch.equal(reversed_values, values)
    (reversed_values * torch.tensor([1.0, 2.0, 4.0])).sum().backward()
    assert values.grad.tolist() == [-0.5, -1.0, -2.0]


def test_is_the_binary_cross_entropy_of_both_halves():
    student, teacher = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([0.5, -0.2, 1.0])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.cat([student, teacher]), torch.tensor([0.0, 0, 0, 1, 1, 1])
    )
    torch.testing.assert_close(adversarial_loss(student, teacher), expected)


def test_a_blind_discriminator_pays_log_two_a_sure_one_nothing():
    assert adversarial_loss(torch.zeros(4), torch.zeros(4)).item() == pytest.approx(math.log(2))
    assert adversarial_loss(torch.full((4,), -1e4), torch.full((4,), 1e4)) == 0


@pytest.mark.parametrize("compare", ["logits", "features"])
def test_the_student_climbs_where_the_discriminator_descends(compare):
    method, teacher = make_method("adversarial", compare=compare, reversal=1.0)
    batch = make_batch(16, 5)
    answer = ask(teacher, batch)
    parts = {
        "student": list(method.student.parameters()) + list(method.align.parameters()),
        "discriminator": list(method.discriminator.parameters()),
    }

    def loss():
        return method(batch, answer)[0]["adversarial"]

    method.student.eval()  # no batch statistics: the loss is one function of the weights
    start = loss()
    start.backward()
    for name, direction in (("student", 1), ("discriminator", -1)):
        moved = {p: p.detach().clone() for p in parts[name]}
        with torch.no_grad():
            for p in parts[name]:
                if p.grad is not None:
                    p -= 1e-2 * p.grad
        assert direction * (loss() - start) > 0, name
        with torch.no_grad():
            for p in parts[name]:
                p.copy_(moved[p])


def test_the_strength_of_the_reversal_reaches_the_student_alone():
    batch, grads = make_batch(8, 5), []
    for reversal in (1.0, 0.25):
        method, teacher = make_method("adversarial", reversal=reversal)
        method(batch, ask(teacher, batch))[0]["adversarial"].backward()
        grads.append((method.student.head.weight.grad, method.discriminator[0].weight.grad))
    torch.testing.assert_close(grads[1][0], 0.25 * grads[0][0])
    torch.testing.assert_close(grads[1][1], grads[0][1])


def test_the_accuracy_follows_the_discriminator():
    method, teacher = make_method("adversarial")
    assert method.discriminator_accuracy == 0.5
    batch = make_batch(16, 5)
    answer = ask(teacher, batch)
    optimizer = torch.optim.Adam(method.discriminator.parameters(), 1e-2)
    answer = answer._replace(
        logits=answer.logits + 3
    )  # easy to tell from the student's, which stands still
    for _ in range(60):
        method(batch, answer)[0]["adversarial"].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert 0.6 < method.discriminator_accuracy <= 1
    assert "discriminator_accuracy" in method.state_dict()
    before = method.discriminator_accuracy.clone()
    method.eval()(batch, answer)
    assert method.discriminator_accuracy == before


def test_it_goes_beside_kd():
    method, teacher = make_method("adversarial")
    batch = make_batch(8, 5)
    assert list(method(batch, ask(teacher, batch))[0]) == ["ce", "kd", "adversarial"]


def test_features_are_needed_only_where_they_are_compared(monkeypatch):
    monkeypatch.setattr(
        SmallNet,
        "outputs",
        lambda self, x, old=SmallNet.outputs: old(self, x)._replace(features=(), embedding=None),
    )
    method, teacher = make_method("adversarial")
    batch = make_batch(8, 5)
    assert method(batch, ask(teacher, batch))[0]["adversarial"].isfinite()
    with pytest.raises(UnderstudyError, match=r"student\.stages"):
        make_method("adversarial", compare="features")


def test_logits_are_enough_unless_features_are_compared():
    assert needs_of(method_config({"name": "adversarial"})) == "logits"
    assert needs_of(method_config({"name": "adversarial", "compare": "features"})) == "features"
    assert (
        needs_of(method_config({"name": "adversarial+kd", "adversarial": {"compare": "features"}}))
        == "features"
    )


def test_the_discriminators_accuracy_is_in_every_epochs_result(tmp_path: Path):
    result = understudy.distill(
        untrained(tiny_net(1)),
        tiny_net(2),
        tiny_data(),
        "adversarial+kd",
        epochs=2,
        batch_size=8,
        device="cpu",
        outputs="live",
    )
    values = [epoch.measures["discriminator_accuracy"] for epoch in result.history]
    assert all(0 <= value <= 1 for value in values) and values[0] != values[1] and values[0] != 0.5
    write_history(tmp_path / "history.csv", [("distilled", 0, epoch) for epoch in result.history])
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [float(row["discriminator_accuracy"]) for row in rows] == values


def test_the_accuracy_moves_a_hundredth_of_the_way():
    method, teacher = make_method("adversarial")
    batch = make_batch(4, 5)
    answer = ask(teacher, batch)

    class Scores(torch.nn.Module):
        """First the student's scores, then the teacher's: three of four and one of four are told
        apart."""

        def __init__(self):
            super().__init__()
            self.given = [
                torch.tensor([[-1.0], [-2.0], [-0.5], [0.5]]),
                torch.tensor([[-1.0], [-2.0], [-0.5], [0.5]]),
            ]

        def forward(self, values):
            return self.given.pop(0) + 0 * values.sum()

    method.discriminator = Scores()
    method.discriminator_accuracy.fill_(0.9)
    method(batch, answer)
    assert method.discriminator_accuracy.item() == pytest.approx(
        0.9 + 0.01 * (0.5 * (0.75 + 0.25) - 0.9)
    )


@pytest.mark.parametrize("compare", ["logits", "features"])
def test_the_term_is_the_weighted_loss_of_the_discriminators_scores(compare):
    method, teacher = make_method("adversarial", compare=compare, weight=2.5, hidden=9)
    batch = make_batch(8, 5)
    answer, own = ask(teacher, batch), method.eval().student.outputs(batch.images)
    losses, _ = method(batch, answer)
    if compare == "features":
        ours, theirs = method.align(own.embedding), answer.embedding
        assert method.align.weight.shape == (12, 8)
    else:
        ours, theirs = own.logits, answer.logits
    expected = adversarial_loss(method.discriminator(ours), method.discriminator(theirs))
    torch.testing.assert_close(losses["adversarial"], 2.5 * expected)
    linear = [m for m in method.discriminator if isinstance(m, torch.nn.Linear)]
    width = 12 if compare == "features" else 5
    assert [tuple(m.weight.shape) for m in linear] == [(9, width), (9, 9), (1, 9)]
    assert [
        m.negative_slope for m in method.discriminator if not isinstance(m, torch.nn.Linear)
    ] == [0.2, 0.2]


def test_each_half_is_averaged_on_its_own():
    student, teacher = torch.tensor([0.3]), torch.tensor([0.5, -0.2, 1.0])
    halves = (
        torch.nn.functional.softplus(student).mean(),
        torch.nn.functional.softplus(-teacher).mean(),
    )
    torch.testing.assert_close(adversarial_loss(student, teacher), (halves[0] + halves[1]) / 2)


@pytest.mark.parametrize("missing_in", [(4, 6, 8), (6, 10, 12)], ids=["student", "teacher"])
@pytest.mark.parametrize(
    ("name", "options"),
    [("adversarial", {"compare": "features"}), ("crd", {}), ("reviewkd", {})],
    ids=lambda part: str(part),
)
def test_an_embedding_that_only_one_network_has_cannot_be_compared(
    monkeypatch, name, options, missing_in
):
    def outputs(self, images, old=SmallNet.outputs):
        found = old(self, images)
        hidden = self.feature_channels == missing_in
        return found._replace(embedding=None) if hidden else found

    monkeypatch.setattr(SmallNet, "outputs", outputs)
    with pytest.raises(UnderstudyError, match=rf"{name} .*embedding.*: set "):
        make_method(name, **options)
