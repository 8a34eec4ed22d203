"""The reused classifier: what is copied, what is dropped, what stays."""

import copy
import itertools

import pytest
import torch
from tests.methods.small_pair import SmallNet, ask, make_batch, make_method, make_teacher
from torch import nn

from understudy.errors import UnderstudyError
from understudy.methods.simkd import ReusedHead, TeacherHead, simkd_loss
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
