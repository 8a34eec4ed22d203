"""A network with a pool and a head, and what must hold for it in every runtime."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.export.networks import randomised, tiny_examples
from tests.worlds import MEAN, STD
from torch import Tensor, nn

from understudy.data.preprocess import Preprocessing
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.export.calibration import divergence
from understudy.export.card import Card
from understudy.export.deployable import Deployable
from understudy.export.runtime import Runtime
from understudy.models.normalisation import Normalisation

EXAMPLES = tiny_examples(30)
INT8_LOSS = 2e-3
"""Kullback-Leibler divergence from fp32; the network below changes by a tenth of it."""


class Pooled(nn.Module):
    """Pools before the ReLU as the zoo's students do; a shortcut, dropout, two linear layers."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.mixed = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.fc1 = nn.Linear(8, 6)
        self.dropout = nn.Dropout(0.5)
        self.fc2 = nn.Linear(6, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.bn1(self.stem(images)), 2).relu()
        x = (self.bn2(self.mixed(x)) + x).relu()
        x = self.fc1(x.mean((2, 3))).relu()
        logits: Tensor = self.fc2(self.dropout(x))
        return logits


@torch.library.custom_op("understudy_tests::odd", mutates_args=())
def odd(x: Tensor) -> Tensor:
    """An operation that no runtime has."""
    return x + 1


@odd.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class OddLayer(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return odd(x)


class WithOddLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.middle, self.fc = OddLayer(), nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.middle(images).mean((2, 3)))
        return logits


def pooled(seed: int = 0) -> Deployable:
    """Random weights; its classes depend on the image."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = randomised(Pooled(), seed)
    return Deployable(
        network=network,
        classes=("a", "b", "c"),
        preprocessing=Preprocessing(image=ImageSpec(3, 8, 8)),
        normalisation=Normalisation(MEAN, STD),
    )


def pixels(count: int, seed: int = 0) -> np.ndarray:
    """uint8 ``[count, 3, 8, 8]``, like the training images."""
    rows = torch.randint(
        len(EXAMPLES.train), (count,), generator=torch.Generator().manual_seed(seed)
    )
    return EXAMPLES.train.gather(rows).permute(0, 3, 1, 2).contiguous().numpy()


def in_torch(deployable: Deployable, images: np.ndarray) -> np.ndarray:
    """The network's probabilities in PyTorch."""
    with torch.no_grad():
        found: np.ndarray = deployable.module()(torch.from_numpy(images)).numpy()
    return found


def check_probabilities(runtime: Runtime, deployable: Deployable, loss: float = 0.0) -> None:
    """Those of PyTorch, for one image, several, and more than a runtime takes at once.

    Args:
        loss: how far an int8 file may be off; 0 for fp32, where only rounding differs.
    """
    for count in (1, 2, 15, 16, 128, 129, 300):
        images = pixels(count, seed=count)
        found, wanted = runtime(images), in_torch(deployable, images)
        assert found.shape == wanted.shape and found.dtype == np.float32
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
        if loss:
            assert divergence(wanted, found) < loss
        else:
            np.testing.assert_allclose(found, wanted, atol=2e-6)
    turned = pixels(5).transpose(0, 1, 3, 2)
    assert not turned.flags.c_contiguous
    np.testing.assert_array_equal(runtime(turned), runtime(np.ascontiguousarray(turned)))


def check_wrong_images(runtime: Runtime) -> None:
    """Another type, size or layout is refused; a runtime alone would compute on some of them."""
    for images in (
        pixels(2).astype(np.float32),
        pixels(2)[:, :, :7],
        pixels(2).transpose(0, 2, 3, 1),
        pixels(2)[0],
        pixels(2)[:0],
    ):
        with pytest.raises(UnderstudyError, match=r"images must be uint8 \[N, 3, 8, 8\] with N"):
            runtime(images)


def check_damaged(
    open_file: Callable[[Path], Runtime], path: Path, file: Path, cuts: tuple[float, ...]
) -> None:
    """A file cut short is refused in one line.

    Args:
        open_file: of the format.
        path: what is opened.
        file: what is cut: ``path`` or a file in it.
        cuts: the shares of its bytes that are left.
    """
    whole = file.read_bytes()
    for share in cuts:
        file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(UnderstudyError) as found:
            open_file(path)
        assert "\n" not in str(found.value) and str(path.name) in str(found.value)
    file.write_bytes(whole)
    open_file(path)


def check_cards(
    write: Callable[[Deployable, Path], None],
    open_file: Callable[[Path], Runtime],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A card that is missing or does not fit the network is refused."""
    network = pooled()
    write(replace(network, classes=("a", "b")), folder / "two")
    with pytest.raises(UnderstudyError, match=r"outputs of shape \[3\].*names 2 classes"):
        open_file(folder / "two")
    monkeypatch.setattr(Card, "to_text", lambda card: "{}")
    write(network, folder / "empty")
    with pytest.raises(UnderstudyError, match="has schema None"):
        open_file(folder / "empty")
