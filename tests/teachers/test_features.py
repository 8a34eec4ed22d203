"""The features before a head: of each view once, cached, whatever the head was."""

from pathlib import Path

import torch
from tests.worlds import SeenEvents, tiny_data, tiny_net

from understudy.data.loader import TrainBatches
from understudy.models.heads import find_head, head_inputs
from understudy.teachers.features import Features

CPU = torch.device("cpu")


def features(cache: Path, seed: int = 0, fc: float = 1.0, observer: SeenEvents | None = None):
    data, network = tiny_data(size=16, view_seed=0), tiny_net(seed).eval()
    network.fc.weight.data.fill_(fc)
    head = find_head(network, data.image, "tiny")
    return Features(network, head, data, cache=str(cache), observer=observer or SeenEvents())


def batches() -> TrainBatches:
    data = tiny_data(size=16, view_seed=0)
    return TrainBatches(data.train, data.config, 8, 0, CPU)


def test_the_first_view_is_the_image_itself_and_the_others_are_those_of_epochs(
    tmp_path: Path,
) -> None:
    found = features(tmp_path)
    plain, first, second = found.train(batches(), 3)
    assert plain.shape == (24, 8) and plain.dtype == torch.float32
    own = batches()
    for rows, views in (
        (plain, own.policy.identity_views()),
        (first, own.policy.epoch(0)),
        (second, own.policy.epoch(1)),
    ):
        batch = own.render(torch.arange(24), views)
        with torch.no_grad(), head_inputs(found.network, found.head) as expected:
            found.network(batch.images)
        assert torch.allclose(rows, expected[0], rtol=2e-3, atol=1e-3)  # half precision on disk


def test_a_policy_with_one_view_gives_one(tmp_path: Path) -> None:
    data = tiny_data(size=16, padding=0, flip=False)
    own = TrainBatches(data.train, data.config, 8, 0, CPU)
    assert len(list(features(tmp_path).train(own, 4))) == 1


def test_validation_images_have_features_of_their_own(tmp_path: Path) -> None:
    assert features(tmp_path).val(CPU).shape == (6, 8)


def test_the_cache_is_found_again_whatever_the_head_was_but_not_by_other_weights(
    tmp_path: Path,
) -> None:
    first = list(features(tmp_path).train(batches(), 2))
    seen, other = SeenEvents(), SeenEvents()
    again = list(features(tmp_path, fc=2.0, observer=seen).train(batches(), 2))
    assert seen.steps == [] and all(map(torch.equal, first, again))
    list(features(tmp_path, seed=1, observer=other).train(batches(), 2))
    assert len(other.steps) == 2
