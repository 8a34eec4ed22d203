"""The fast teacher's options."""

import torch

from understudy.models.fast import FastNet, fast_teacher


def test_logits_are_scaled():
    torch.manual_seed(0)
    scaled = fast_teacher(logit_scale=0.25).eval()
    plain = fast_teacher(logit_scale=1.0).eval()
    plain.load_state_dict(scaled.state_dict())
    batch = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(scaled(batch), plain(batch) / 4)


def test_the_shortcut_adds_no_weights_but_changes_the_function():
    torch.manual_seed(0)
    plain, residual = fast_teacher().eval(), fast_teacher(residual=True).eval()
    residual.load_state_dict(plain.state_dict())
    batch = torch.randn(2, 3, 32, 32)
    assert not torch.allclose(plain(batch), residual(batch))


def test_stem_and_global_pooling():
    model = fast_teacher(stem_kernel=3, pool="avg").eval()
    outputs = model.outputs(torch.randn(1, 3, 32, 32))
    assert [f.shape[2] for f in outputs.features] == [32, 16, 8, 4]
    torch.testing.assert_close(outputs.embedding, outputs.features[-1].mean((2, 3)))
    outputs = fast_teacher().eval().outputs(torch.randn(1, 3, 32, 32))
    assert [f.shape[2] for f in outputs.features] == [31, 15, 7, 3]
    assert torch.equal(outputs.embedding, outputs.features[-1].amax((2, 3)))


def test_the_class_and_its_constructor_have_the_same_defaults():
    torch.manual_seed(0)
    one, other = FastNet(10).eval(), fast_teacher().eval()
    other.load_state_dict(one.state_dict())
    batch = torch.randn(2, 3, 32, 32)
    assert torch.equal(one(batch), other(batch))
