"""The costs that `understudy methods` prints: counted if they can be counted, or measured."""

from understudy.methods import METHODS
from understudy.methods.costs import STUDENT, TEACHER, added_parameters, example_of, measured_costs
from understudy.models import build_model


def test_parameters_are_those_of_the_method_beyond_the_students_own():
    assert added_parameters(METHODS["kd"], "kd") == (0, 0)
    assert added_parameters(METHODS["dml"], "dml") == (
        sum(p.numel() for p in build_model(STUDENT, 10).parameters()),
        0,
    )
    method, _ = example_of(METHODS["fitnets"], "fitnets")
    beside = sum(p.numel() for n, p in method.named_parameters() if not n.startswith("student."))
    assert added_parameters(METHODS["fitnets"], "fitnets") == (beside, 0) and beside > 0


def test_only_simkd_keeps_something_at_inference():
    kept = {name: added_parameters(kind, name)[1] for name, kind in METHODS.items()}
    assert {name for name, number in kept.items() if number} == {"simkd"} and kept["simkd"] > 0


def test_every_method_was_measured_and_the_machine_is_named():
    costs = measured_costs()
    assert set(costs["cost_per_step"]) == set(METHODS) and costs["cost_per_step"]["ce"] == 1.0
    assert all(cost > 0 for cost in costs["cost_per_step"].values())
    assert costs["hardware"]["cpu"] and costs["settings"]["load_average_before"] >= 0
    assert costs["command"].startswith("python benchmarks/method_costs.py") and costs[
        "command"
    ].endswith("--package")


def test_counting_leaves_the_generator_where_it_was():
    import torch

    torch.manual_seed(3)
    before = torch.get_rng_state()
    example_of(METHODS["crd"], "crd")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_pair_is_the_founding_student_and_a_resnet44():
    method, context = example_of(METHODS["kd"], "kd")
    assert (STUDENT, TEACHER) == ("founding_student", "resnet44")
    assert (context.num_classes, context.epochs, context.label_smoothing) == (10, 40, 0.0)
    assert len(context.labels) == 512 and context.labels.bincount().tolist() == [52, 52] + [51] * 8
    assert context.student_example.logits.shape == context.teacher_example.logits.shape == (2, 10)
    assert context.teacher_example.embedding.shape[1] == context.teacher.embedding_dim
    assert not context.teacher.training and not any(
        p.requires_grad for p in context.teacher.parameters()
    )
    assert any(p.requires_grad for p in method.student.parameters())
    assert example_of(METHODS["kd"], "kd")[1].teacher is context.teacher, "built once"
