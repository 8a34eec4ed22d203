"""The reused classifier: what is copied, what is dropped, what stays."""

import copy
import itertools

import pytest
import torch
from tests.methods.small_pair import SmallNet, ask, make_batch, make_method, make_teacher
from torch import nn

from understudy.errors import UnderstudyError
from understudy.methods import MethodContext, build_method, method_config
from understudy.methods.simkd import (
    ReusedHead,
    TeacherHead,
    _pools_by_maximum,
    called_modules,
    remove_head,
    simkd_loss,
)
from understudy.models.fast import FastNet
from understudy.models.foreign import ForeignClassifier
from understudy.models.legacy import founding_student
from understudy.models.resnet import ResNet


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def random_map(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_loss_is_a_mean_squared_error_of_equal_sizes():
    projected, teacher = random_map(2, 3, 2, 2), random_map(2, 3, 4, 4, seed=1)
    cells = teacher.reshape(2, 3, 2, 2, 2, 2).mean((3, 5))
    torch.testing.assert_close(simkd_loss(projected, teacher), (projected - cells).square().mean())
    assert simkd_loss(teacher, teacher) == 0


def test_a_perfect_projection_predicts_what_the_teacher_predicts():
    method, teacher = make_method("simkd")
    answer = ask(teacher, make_batch(8, 5))
    method.student.projector = nn.Identity()
    method.student.student.outputs = lambda images: answer  # a student whose map is the teacher's
    losses, logits = method(make_batch(8, 5), answer)
    assert losses["simkd"] == 0
    torch.testing.assert_close(logits, answer.logits)


def test_labels_play_no_part_by_default():
    method, teacher = make_method("simkd")
    batch = make_batch(8, 5)
    answer = ask(teacher, batch)
    losses, _ = method(batch, answer)
    assert list(losses) == ["simkd"]
    both, _ = make_method("simkd", ce_weight=1.0)
    assert list(both(batch, answer)[0]) == ["ce", "simkd"]


def foreign():
    stage = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU())
    return nn.Sequential(stage, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))


@pytest.mark.parametrize(
    ("make", "layers"),
    [
        (lambda: make_teacher(5), ["head"]),
        (lambda: ResNet((1, 1), (4, 4, 6), 5), ["fc"]),
        (
            lambda: FastNet(5, widths=(4, 6, 8), stem_width=3),
            ["fc"],
        ),  # its logits are scaled beside the layer
        (lambda: founding_student(5), ["fc1", "fc2"]),  # two layers, with dropout and ReLU
        (lambda: ForeignClassifier(foreign(), 5, name="foreign", stages=("0",)), ["model.3"]),
    ],
)
def test_the_head_is_the_teachers_and_nothing_more(make, layers):
    torch.manual_seed(0)
    teacher = make()
    teacher.train()
    embedding = torch.randn(4, teacher.embedding_dim)
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    head = TeacherHead(teacher, embedding)
    assert teacher.training  # as it was
    assert parameters(head) == sum(parameters(teacher.get_submodule(layer)) for layer in layers)
    teacher.eval()
    torch.testing.assert_close(head(embedding), teacher.classify(embedding))
    head.train()
    torch.testing.assert_close(
        head(embedding), teacher.classify(embedding)
    )  # no dropout: it stays in eval mode
    assert not any(p.requires_grad for p in head.parameters())
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
    assert all(
        torch.equal(before[k], v) for k, v in teacher.state_dict().items()
    )  # a copy, not a view


@pytest.mark.parametrize(
    "student", [lambda: founding_student(5), lambda: ResNet((1, 1), (4, 4, 6), 5)]
)
@pytest.mark.parametrize(
    "teacher",
    [lambda: ResNet((1, 1), (4, 6, 8), 5), lambda: FastNet(5, widths=(4, 6, 8), stem_width=3)],
    ids=["mean", "max"],
)
def test_pairs_of_other_networks(student, teacher):
    torch.manual_seed(0)
    student, teacher = student().eval(), teacher().eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        ours, theirs = student.outputs(images), teacher.outputs(images)
    heads = sum(parameters(m) for n, m in student.named_children() if n.startswith("fc"))
    backbone = parameters(student) - heads
    network = ReusedHead(student, teacher, ours, theirs, 2)
    assert network.max_pool is isinstance(teacher, FastNet)
    assert parameters(network) == backbone + parameters(network.projector) + parameters(teacher.fc)
    outputs = network.eval().outputs(images)
    torch.testing.assert_close(outputs.logits, teacher.classify(outputs.embedding))
    assert outputs.features[-1].shape[1] == teacher.feature_channels[-1]
    network.train()(images).sum().backward()
    assert all(
        p.grad is not None
        for p in itertools.chain(student.parameters(), network.projector.parameters())
    )


def test_what_is_deployed_needs_neither_teacher_nor_method():
    method, teacher = make_method("simkd")
    deployed = copy.deepcopy(method.deployed()).eval()
    images = make_batch(4, 5).images
    expected = method.eval().student(images)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.zero_()
    torch.testing.assert_close(deployed(images), expected)
    # Student without its head 4-6-8, projector 8-6-6-12 with its norms, the teacher's head 12-5.
    convolutions = sum(i * o * 9 + 3 * o for i, o in ((3, 4), (4, 6), (6, 8)))
    assert parameters(deployed) == convolutions + (8 * 6 + 6 * 6 * 9 + 6 * 12) + 2 * (
        6 + 6 + 12
    ) + (12 * 5 + 5)


def test_a_teacher_that_pools_otherwise_is_refused(monkeypatch):
    monkeypatch.setattr(
        SmallNet,
        "outputs",
        lambda self, x, old=SmallNet.outputs: old(self, x)._replace(
            embedding=7 + old(self, x).embedding
        ),
    )
    with pytest.raises(UnderstudyError, match="pooled by mean or maximum"):
        make_method("simkd")


def test_one_image_with_a_map_of_one_place_is_refused():
    student, teacher = SmallNet(5, (4, 6, 8)).eval(), make_teacher(5)
    images = torch.randn(2, 3, 8, 8)  # ends on 1 x 1
    with torch.no_grad():
        network = ReusedHead(student, teacher, student.outputs(images), teacher.outputs(images), 2)
    network.train().student.eval()  # the student's own norms would refuse it first
    with pytest.raises(UnderstudyError, match="batch_size"):
        network.outputs(images[:1])
    assert network.eval()(images[:1]).isfinite().all()


def test_term_and_predictions_have_weights_of_their_own():
    method, teacher = make_method("simkd", weight=4.0, ce_weight=0.3)
    batch = make_batch(8, 5)
    answer = ask(teacher, batch)
    losses, logits = method.eval()(batch, answer)
    projected = method.student.outputs(batch.images).features[-1]
    torch.testing.assert_close(
        losses["simkd"], 4 * (projected - answer.features[-1]).square().mean()
    )
    torch.testing.assert_close(
        losses["ce"], 0.3 * nn.functional.cross_entropy(logits, batch.labels)
    )


@pytest.mark.parametrize(("reduction", "inner"), [(1, 12), (2, 6), (5, 2), (100, 1)])
def test_the_projector_narrows_by_the_reduction(reduction, inner):
    method, _ = make_method("simkd", reduction=reduction)
    layers = [m for m in method.student.projector if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in layers] == [
        (8, inner),
        (inner, inner),
        (inner, 12),
    ]
    assert [m.kernel_size for m in layers] == [(1, 1), (3, 3), (1, 1)]
    assert [m.padding for m in layers] == [(0, 0), (1, 1), (0, 0)] and all(
        m.bias is None for m in layers
    )
    assert [type(m).__name__ for m in method.student.projector] == [
        "Conv2d",
        "BatchNorm2d",
        "ReLU",
    ] * 3
    assert method.student.feature_channels == (12,) and method.student.embedding_dim == 12


def reused(student_size, teacher_size):
    """A network around a student and a teacher whose last maps have these sizes."""
    torch.manual_seed(0)
    student, teacher = SmallNet(5, (4, 6, 8)).eval(), make_teacher(5)
    with torch.no_grad():
        examples = [
            net.outputs(torch.randn(2, 3, *size))
            for net, size in ((student, student_size), (teacher, teacher_size))
        ]
    return ReusedHead(student, teacher, *examples, 2)


def test_each_axis_of_the_map_is_pooled_to_the_smaller_size():
    assert reused((16, 32), (32, 16)).size == (2, 2)
    assert reused((32, 48), (40, 24)).size == (4, 3)
    network = reused((32, 32), (16, 32)).eval()
    outputs = network.outputs(torch.randn(2, 3, 32, 32))
    assert network.size == (2, 4) and outputs.features[-1].shape == (2, 12, 2, 4)
    torch.testing.assert_close(outputs.embedding, outputs.features[-1].mean((2, 3)))


def test_the_pooled_map_is_what_is_projected():
    network = reused((32, 32), (16, 16)).eval()
    images = torch.randn(2, 3, 32, 32)
    deep = network.student.outputs(images).features[-1]
    pooled = deep.reshape(2, 8, 2, 2, 2, 2).mean((3, 5))
    torch.testing.assert_close(network.outputs(images).features[-1], network.projector(pooled))


def test_a_teacher_that_pools_by_maximum_is_imitated_in_it():
    network = reused((16, 16), (16, 16)).eval()
    network.max_pool = True
    outputs = network.outputs(torch.randn(2, 3, 16, 16))
    torch.testing.assert_close(outputs.embedding, outputs.features[-1].amax((2, 3)))


@pytest.mark.parametrize(("by", "largest"), [("mean", False), ("amax", True)])
def test_how_the_teacher_pools_is_recognised_through_bf16(by, largest):
    feature_map = random_map(2, 6, 3, 3)
    exact = getattr(feature_map, by)((2, 3))
    assert _pools_by_maximum(feature_map, exact.bfloat16().float()) is largest
    with pytest.raises(UnderstudyError, match="pooled by mean or maximum"):
        _pools_by_maximum(feature_map, exact * 1.05 + 0.01)
    with pytest.raises(UnderstudyError, match="pooled by mean or maximum"):
        _pools_by_maximum(feature_map, exact[:, :5])


def test_looking_for_the_classifier_leaves_no_trace():
    teacher = make_teacher(5).train()
    teacher.stages[1].eval()
    modes = {name: module.training for name, module in teacher.named_modules()}
    assert called_modules(teacher, torch.randn(2, 12)) == {"head"}
    assert {name: module.training for name, module in teacher.named_modules()} == modes
    assert not any(module._forward_hooks for module in teacher.modules())


def test_layers_with_weights_leave_and_the_others_stay():
    student = founding_student(5)
    with torch.no_grad():
        embedding = student.eval().outputs(torch.randn(2, 3, 32, 32)).embedding
    remove_head(student, embedding)
    gone = {name for name, module in student.named_children() if isinstance(module, nn.Identity)}
    assert gone == {"fc1", "fc2"}


def test_a_run_without_one_live_teacher_is_refused():
    student = SmallNet(5, (4, 6, 8)).eval()
    with torch.no_grad():
        example = student.outputs(torch.randn(2, 3, 16, 16))
    context = MethodContext(5, torch.zeros(2), 5, 0.0, example, example, None)
    with pytest.raises(UnderstudyError, match="no single teacher network runs live here"):
        build_method(method_config({"name": "simkd"}), student, context)


@pytest.mark.parametrize(
    "change", [lambda logits: logits + 7, lambda logits: 1.01 * logits], ids=["shift", "scale"]
)
def test_a_classifier_that_reads_more_than_features_is_refused(change):
    class Peeking(SmallNet):
        """Its classifier looks at the backbone, which the copy leaves out."""

        def classify(self, embedding):
            logits = self.head(embedding)
            return change(logits) if isinstance(self.stages, nn.ModuleList) else logits

    torch.manual_seed(0)
    with pytest.raises(UnderstudyError, match="cannot separate the classifier"):
        TeacherHead(Peeking(5, (6, 10, 12)).eval(), torch.randn(2, 12))


def test_modules_around_the_classifier_are_not_copied():
    """A transformer's position embedding is in a module with the classifier, and is not read."""

    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.position = nn.Parameter(torch.randn(100))
            self.register_buffer("mask", torch.zeros(50))
            self.head = nn.Linear(12, 5)

    class Nested(SmallNet):
        def __init__(self):
            super().__init__(5, (6, 10, 12))
            self.head = nn.Identity()
            self.body = Body()

        def classify(self, embedding):
            return self.body.head(embedding)

    teacher, embedding = Nested().eval(), torch.randn(2, 12)
    head = TeacherHead(teacher, embedding)
    assert set(head.state_dict()) == {"network.body.head.weight", "network.body.head.bias"}
    torch.testing.assert_close(head(embedding), teacher.classify(embedding))
    assert teacher.body.position is not None and teacher.body.mask is not None
