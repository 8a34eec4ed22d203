"""The founding pair, exactly."""

import torch
from torch import nn

from understudy.models.legacy import founding_student, founding_teacher


def test_relu_and_max_pool_commute():
    """The student that pools first is the same function of the same weights, gradients included."""
    torch.manual_seed(0)
    pool_first = founding_student(dropout1=0, dropout2=0)
    relu_first = founding_student(dropout1=0, dropout2=0, pool_first=False)
    relu_first.load_state_dict(pool_first.state_dict())
    batch = torch.randn(4, 3, 32, 32)
    ours, theirs = pool_first.outputs(batch), relu_first.outputs(batch)
    assert torch.equal(ours.logits, theirs.logits)
    assert all(torch.equal(a, b) for a, b in zip(ours.features, theirs.features, strict=True))
    ours.logits.square().sum().backward()
    theirs.logits.square().sum().backward()
    for mine, other in zip(pool_first.parameters(), relu_first.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_stage_maps_of_a_32_pixel_image():
    batch = torch.zeros(1, 3, 32, 32)
    teacher = founding_teacher().eval().outputs(batch).features
    student = founding_student().eval().outputs(batch).features
    assert [tuple(f.shape[1:]) for f in teacher] == [
        (64, 8, 8),
        (128, 8, 8),
        (256, 4, 4),
        (512, 2, 2),
    ]
    assert [tuple(f.shape[1:]) for f in student] == [
        (16, 16, 16),
        (32, 8, 8),
        (64, 4, 4),
        (128, 4, 4),
    ]


def test_convolutions_have_biases_and_torch_initialisation():
    torch.manual_seed(0)
    for model in (founding_teacher(), founding_student()):
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                assert module.bias is not None
                bound = (
                    module.weight[0].numel() ** -0.5
                )  # torch's default: uniform in +- 1 / sqrt(fan in)
                assert 0.95 * bound < module.weight.abs().max() <= bound


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    model = founding_student()
    embedding = torch.rand(8, 128)
    assert not torch.equal(model.classify(embedding), model.classify(embedding))
    model.eval()
    assert torch.equal(model.classify(embedding), model.classify(embedding))


def test_state_dict_names_are_stable():
    """Files written by one version load in the next: these names are an interface."""
    student = founding_student().state_dict()
    names = [
        f"stage{i}.{part}"
        for i in (1, 2, 3, 4)
        for part in ("conv.weight", "conv.bias", "bn.weight", "bn.running_var")
    ]
    assert set(names) < set(student)
    assert {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"} < set(student)
    teacher = founding_teacher().state_dict()
    assert {
        "stem.conv.weight",
        "stage1.conv1.weight",
        "stage3.bn2.running_mean",
        "fc.weight",
    } < set(teacher)
