"""One method, several teachers: the mean of the losses, with adapters of its own for each."""

import pytest
import torch
from tests.methods.small_pair import SmallNet, make_batch, make_method, make_teacher

from understudy.errors import UnderstudyError
from understudy.methods import METHODS, MethodContext, build_method, kd_loss, method_config
from understudy.models.ensemble import Ensemble

TAUGHT = [*(name for name in METHODS if name not in ("ce", "dml", "simkd")), "at+kd"]


def teachers(num_classes: int = 5) -> list[SmallNet]:
    first, second = make_teacher(num_classes), make_teacher(num_classes)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return [first, second]


def make_several(name: str, weights: list[float], **options):
    ensemble = Ensemble(teachers(), weights).eval().requires_grad_(False)
    torch.manual_seed(0)
    student = SmallNet(5, (4, 6, 8))
    images = make_batch(2, 5).images
    with torch.no_grad():
        examples = student.eval().outputs(images), ensemble.outputs(images)
    context = MethodContext(5, torch.arange(64) % 5, 40, 0.0, *examples, ensemble)
    return build_method(
        method_config({"name": name, **options}), student, context
    ).train(), ensemble


@pytest.mark.parametrize("name", TAUGHT)
def test_every_method_takes_several_teachers(name: str):
    """Each trained parameter, of every teacher's adapters too, gets a gradient; the student is
    saved once."""
    method, ensemble = make_several(name, [1, 3])
    batch = make_batch(16, 5)
    with torch.no_grad():
        answer = ensemble.outputs(batch.images)
    for epoch in (0, 30):
        method.epoch = epoch
        losses, _ = method(batch, answer)
        torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)
    assert all(p.grad is None for p in ensemble.parameters())
    names = list(method.state_dict())
    assert len(names) == len(set(names)) and not any(".student." in n for n in names)
    assert method.deployed() is method.student


@pytest.mark.parametrize("name", ["kd", "dkd", "at", "sp+kd"])
def test_the_losses_are_the_weighted_mean_of_each_teachers(name: str):
    several, ensemble = make_several(name, [1, 3])
    batch = make_batch(16, 5)
    with torch.no_grad():
        answer = ensemble.outputs(batch.images)
        together, _ = several.eval()(batch, answer)
        alone = [make_method(name)[0].eval()(batch, member)[0] for member in answer.members]
    for term, value in together.items():
        torch.testing.assert_close(value, 0.25 * alone[0][term] + 0.75 * alone[1][term])


def test_methods_with_a_head_of_the_teacher_are_refused():
    with pytest.raises(UnderstudyError, match="simkd takes one teacher"):
        make_several("simkd", [1, 1])


def test_what_is_reported_is_the_mean_over_the_teachers():
    method, _ = make_several("adversarial", [1, 1])
    method.get_submodule("teacher_0").discriminator_accuracy.fill_(0.9)
    assert float(method.measures()["discriminator_accuracy"]) == pytest.approx(0.7)


def test_the_parts_learn_the_epoch():
    """dkd warms up over 20 epochs: at epoch 30 it weighs 20 times what it does at epoch 0."""
    method, ensemble = make_several("dkd", [1, 3])
    batch = make_batch(16, 5)
    with torch.no_grad():
        answer = ensemble.outputs(batch.images)
        values = {}
        for epoch in (0, 4, 30):
            method.eval().epoch = epoch
            values[epoch] = method(batch, answer)[0]["dkd"]
    torch.testing.assert_close(values[30], 20 * values[0])
    torch.testing.assert_close(values[4], 5 * values[0])


def test_each_part_is_built_for_its_own_teacher():
    """A discriminator, a bank or a regressor of each teacher, sized by that teacher's outputs."""
    narrow = SmallNet(5, (6, 10, 12)).eval().requires_grad_(False)
    wide = SmallNet(5, (6, 10, 20)).eval().requires_grad_(False)
    ensemble = Ensemble([narrow, wide], [1, 1]).eval()
    student = SmallNet(5, (4, 6, 8)).eval()
    images = make_batch(2, 5).images
    with torch.no_grad():
        examples = student.outputs(images), ensemble.outputs(images)
    context = MethodContext(5, torch.arange(64) % 5, 40, 0.1, *examples, ensemble)
    method = build_method(method_config({"name": "crd"}), student, context)
    parts = [method.get_submodule(f"teacher_{number}") for number in (0, 1)]
    assert [part.project_teacher.in_features for part in parts] == [12, 20]
    assert all(
        part.student is student and part.label_smoothing == 0.1 and part.epochs == 40
        for part in parts
    )


@pytest.mark.parametrize("weights", [[1, 3], [3, 1]])
def test_the_order_of_the_weights_is_the_teachers(weights):
    several, ensemble = make_several("kd", weights, alpha=1.0)
    batch = make_batch(16, 5)
    with torch.no_grad():
        answer = ensemble.outputs(batch.images)
        together, logits = several.eval()(batch, answer)
    soft = [kd_loss(logits, member.logits, 4.0) for member in answer.members]
    shares = [weight / sum(weights) for weight in weights]
    torch.testing.assert_close(together["kd"], shares[0] * soft[0] + shares[1] * soft[1])
    assert not torch.allclose(soft[0], soft[1])


def test_an_answer_of_another_number_of_teachers_is_our_own_mistake():
    several, ensemble = make_several("kd", [1, 3])
    batch = make_batch(4, 5)
    with torch.no_grad():
        answer = ensemble.outputs(batch.images)
    with pytest.raises(AssertionError, match="ensemble"):
        several(batch, answer._replace(members=answer.members[:1]))
