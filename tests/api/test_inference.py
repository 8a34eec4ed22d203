"""Use and measure a network: images in every form, in the network's own normalisation."""

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.worlds import MEAN, STD, tiny_config, tiny_net, tiny_split
from torch import Tensor, nn

import understudy
from understudy.api import Student, Teacher
from understudy.data.dataset import SealedSplit
from understudy.data.loader import plain_batches
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.evaluation.metrics import metrics
from understudy.models.normalisation import Normalisation, record_normalisation


def student() -> Student:
    return Student(tiny_net(1), (), ("a", "b", "c"), MEAN, STD, ImageSpec(3, 8, 8))


def expected_logits(network: nn.Module | None = None) -> Tensor:
    split, config = tiny_split(10), tiny_config()
    (batch,) = plain_batches(split, config, 10, torch.device("cpu"))
    with torch.no_grad():
        return (network or student().network).eval()(batch.images)


def forms() -> dict[str, Any]:
    nchw = tiny_split(10).images
    nhwc = nchw.permute(0, 2, 3, 1).contiguous()
    return {
        "split": tiny_split(10),
        "uint8 NCHW tensor": nchw,
        "uint8 NHWC tensor": nhwc,
        "uint8 NHWC array": nhwc.numpy(),
        "uint8 NCHW array": nchw.contiguous().numpy(),
        "float NCHW tensor": nchw.float() / 255,
        "float NHWC array": nhwc.numpy().astype(np.float64) / 255,
        "strided array": np.repeat(nhwc.numpy(), 2, axis=0)[::2],
    }


@pytest.mark.parametrize("form", forms())
def test_images_in_every_form_give_the_same_predictions(form: str) -> None:
    probabilities = student().predict(forms()[form], probabilities=True)
    torch.testing.assert_close(probabilities, expected_logits().softmax(1))
    classes = student().predict(forms()[form])
    assert classes.dtype == torch.int64 and torch.equal(classes, expected_logits().argmax(1))


def test_batches_do_not_change_predictions_nor_order() -> None:
    whole = student().predict(tiny_split(10), probabilities=True)
    parts = student().predict(tiny_split(10).images, probabilities=True, batch_size=3)
    torch.testing.assert_close(whole, parts)


def test_predicting_leaves_the_modes_alone() -> None:
    trained = student()
    trained.network.train()
    trained.network.bn.eval()
    trained.predict(tiny_split(4))
    assert trained.network.training and not trained.network.bn.training


PIXELS = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (PIXELS[0], r"give images\[None\] for a single one"),
        (PIXELS[:0], "N above 0"),
        (torch.zeros(2, 3, 8, 9), "the images are 3x8x9, but the network was trained on 3x8x8"),
        (torch.zeros(2, 1, 8, 8), r"the images are 8x1x8|the images are 1x8x8"),
        (PIXELS.long(), "must be uint8 or floats, not torch.int64"),
        (PIXELS.numpy().astype(np.int32), "not an array of int32"),
        (PIXELS.float() + 2, r"float images must lie in \[0, 1\]"),
        (PIXELS.float() - 1, r"float images must lie in \[0, 1\]"),
        (PIXELS.float() * torch.nan, r"float images must lie in \[0, 1\]"),
        ([1, 2, 3], "not list"),
        (SealedSplit(tiny_split(4)), "does not open a sealed test split"),
        (tiny_split(4, size=9), "the images are 3x9x9"),
    ],
)
def test_other_images_are_refused_in_one_line(images: Any, message: str) -> None:
    for predict in (student().predict, lambda x: understudy.predict(student(), x)):
        with pytest.raises(UnderstudyError, match=message) as caught:
            predict(images)
        assert "\n" not in str(caught.value)


def test_module_has_the_given_or_the_recorded_normalisation() -> None:
    network = tiny_net(1)
    with pytest.raises(UnderstudyError, match=r"normalisation of TinyNet is not known: give"):
        understudy.predict(network, tiny_split(10))
    given = understudy.predict(network, tiny_split(10).images, mean=MEAN, std=STD)
    assert torch.equal(given, expected_logits().argmax(1))
    record_normalisation(network, Normalisation(MEAN, STD))
    assert torch.equal(understudy.predict(network, tiny_split(10)), given)


def test_given_normalisation_replaces_that_of_a_student() -> None:
    other = Student(tiny_net(1), (), ("a", "b", "c"), (0.0,) * 3, (1.0,) * 3, ImageSpec(3, 8, 8))
    found = understudy.predict(other, tiny_split(10), mean=MEAN, std=STD, probabilities=True)
    torch.testing.assert_close(found, expected_logits().softmax(1))


def test_module_without_class_that_gives_an_object_with_logits() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = tiny_net(1)

        def forward(self, images: Tensor) -> Any:
            from types import SimpleNamespace

            return SimpleNamespace(logits=self.inner(images))

    found = understudy.predict(Wrapped(), tiny_split(10), mean=MEAN, std=STD)
    assert torch.equal(found, expected_logits().argmax(1))


@pytest.mark.parametrize("shape", [(2, 8, 8, 1), (2, 1, 8, 8)])
def test_images_of_other_channels_are_refused_for_a_module(shape: tuple[int, ...]) -> None:
    with pytest.raises(UnderstudyError, match=r"with C = 3, not \[2, "):
        understudy.predict(tiny_net(1), torch.zeros(shape), mean=MEAN, std=STD)


def test_student_is_evaluated_in_its_own_normalisation() -> None:
    expected = metrics(expected_logits(), tiny_split(10).labels)
    assert student().evaluate(tiny_split(10)) == expected
    assert understudy.evaluate(student(), tiny_split(10)) == expected
    assert understudy.evaluate(student(), SealedSplit(tiny_split(10))) == expected
    assert understudy.evaluate(tiny_net(1), tiny_split(10), tiny_config()) == expected


def test_evaluation_uses_the_recorded_or_default_normalisation() -> None:
    network = tiny_net(1)
    default = understudy.evaluate(network, tiny_split(10))
    config = tiny_config()
    halves = type(config)(mean=(0.5,) * 3, std=(0.25,) * 3)
    assert default == understudy.evaluate(network, tiny_split(10), halves)
    record_normalisation(network, Normalisation(MEAN, STD))
    assert understudy.evaluate(network, tiny_split(10)) == student().evaluate(tiny_split(10))


def test_teacher_is_compared_in_its_own_normalisation() -> None:
    """The same function of the pixels in two normalisations agrees with itself on every image."""

    class Unnormalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = tiny_net(1).eval()

        def forward(self, images: Tensor) -> Tensor:
            mean, std = torch.tensor(MEAN), torch.tensor(STD)
            return self.inner((images - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1))

    teacher = Teacher(Unnormalised(), mean=(0.0,) * 3, std=(1.0,) * 3)
    found = understudy.evaluate(student(), tiny_split(10), teacher=teacher)
    assert found.agreement == 1 and found.teacher_kl == pytest.approx(0, abs=1e-9)
    wrong = understudy.evaluate(student(), tiny_split(10), teacher=teacher.network)
    assert wrong.teacher_kl > 1e-3


@pytest.mark.parametrize(
    ("network", "split", "message"),
    [
        (tiny_net(1, num_classes=2), tiny_split(10), "2 logits, but the labels go up to 2"),
        (nn.Conv2d(1, 3, 3), tiny_split(10), "Conv2d does not run on 3x8x8 images"),
        (nn.Conv2d(3, 3, 3), tiny_split(10), r"does not give logits \[N, K\]"),
        (tiny_net(1), tiny_net(1), "data is .*TinyNet, which is a network: call evaluate"),
        (type(tiny_net(1)), tiny_split(10), "the network is the class TinyNet"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(
    network: Any, split: Any, message: str
) -> None:
    with pytest.raises(UnderstudyError, match=message) as caught:
        understudy.evaluate(network, split)
    assert "\n" not in str(caught.value)


def test_created_model_has_options_and_the_weights_of_a_file(tmp_path: Any) -> None:
    first = understudy.create_model("founding_student", num_classes=5, dropout1=0.0)
    save_file(first.state_dict(), tmp_path / "a.safetensors")
    second = understudy.create_model(
        "founding_student", num_classes=5, weights=tmp_path / "a.safetensors"
    )
    assert first.dropout1.p == 0.0 and second.dropout1.p == 0.5
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in first.state_dict().items())
    with pytest.raises(UnderstudyError, match="did you mean dropout1"):
        understudy.create_model("founding_student", dropuot1=0.1)
    with pytest.raises(UnderstudyError, match="does not fit the network"):
        understudy.create_model("resnet8", weights=tmp_path / "a.safetensors")
