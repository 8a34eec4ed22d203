"""Of a network's logits those of the classes that are wanted, and the network itself to save."""

import torch
from tests.worlds import tiny_net

from understudy.models import deployed
from understudy.models.selected import SelectedClasses

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_logits_are_selected_and_features_pass_through() -> None:
    network = tiny_net().eval()
    chosen = SelectedClasses(network, (2, 0)).eval()
    whole, part = network.outputs(IMAGES), chosen.outputs(IMAGES)
    assert torch.equal(part.logits, whole.logits[:, [2, 0]])
    assert torch.equal(part.embedding, whole.embedding)
    assert torch.equal(part.features[0], whole.features[0])
    assert torch.equal(chosen.classify(part.embedding), part.logits)
    assert torch.equal(chosen(IMAGES), part.logits)
    assert chosen.feature_channels == network.feature_channels


def test_the_softmax_is_the_probability_given_that_the_class_is_one_of_them() -> None:
    network = tiny_net().eval()
    whole = network(IMAGES).softmax(1)[:, [2, 0]]
    part = SelectedClasses(network, (2, 0)).eval()(IMAGES).softmax(1)
    assert torch.allclose(part, whole / whole.sum(1, keepdim=True))


def test_what_is_saved_is_the_network_with_all_its_classes() -> None:
    network = tiny_net()
    assert deployed(SelectedClasses(network, (2, 0))) is network
