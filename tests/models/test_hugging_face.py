"""Networks of transformers in local folders, with the real library."""

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.models import build_model
from understudy.models.checkpoints import read_checkpoint
from understudy.models.expects import expects
from understudy.models.fitting import classes_in_file, load
from understudy.models.libraries import build_module
from understudy.models.normalisation import Normalisation
from understudy.models.stages import propose_stages

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def transformers() -> Any:
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed (extra: hf)")
    if importlib.util.find_spec("torchvision") is not None:
        import tests.torchvision_operators  # noqa: F401

    return importlib.import_module("transformers")


@pytest.fixture(scope="module")
def vit(transformers: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        id2label={0: "tench, Tinca tinca", 1: "cat", 2: "dog"},
    )
    network = transformers.ViTForImageClassification(config).eval()
    transformers.utils.logging.disable_progress_bar()
    network.save_pretrained(folder)
    processor = {"size": {"height": 32, "width": 32}, "resample": 2}
    processor |= {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder, network


IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_a_pretrained_network_has_its_own_classes_and_images(vit: tuple[Path, nn.Module]) -> None:
    folder, original = vit
    own: dict[str, Any] = {"pretrained": True}
    model = build_model(f"hf:{folder}", None, image_size=None, options=own).eval()
    torch.testing.assert_close(model(IMAGES), original(IMAGES).logits)
    found = expects(model)
    assert found.class_names == ("tench", "cat", "dog") and found.aliases[0] == ("Tinca tinca",)
    assert (found.size, found.interpolation) == ((32, 32), "bilinear")
    assert found.normalisation == Normalisation((0.5,) * 3, (0.25,) * 3)
    other = build_model(f"hf:{folder}", 7, image_size=32, options=own)
    assert other.num_classes == 7 and expects(other).class_names == ()  # type: ignore[attr-defined]


def test_its_folder_is_a_checkpoint_although_names_differ(vit: tuple[Path, nn.Module]) -> None:
    folder, original = vit
    fresh = build_module(f"hf:{folder}", None)
    assert load(read_checkpoint(folder), fresh) == ""
    torch.testing.assert_close(fresh.eval()(IMAGES).logits, original(IMAGES).logits)
    other = build_module(f"hf:{folder}", 5)
    assert classes_in_file(read_checkpoint(folder), other) == 3
    with pytest.raises(UnderstudyError, match="another class count: 3 in the file, 5 here"):
        load(read_checkpoint(folder), other)


def test_blocks_are_proposed_as_stages(vit: tuple[Path, nn.Module]) -> None:
    found = propose_stages(vit[1], ImageSpec(3, 32, 32))
    assert len(found) == 4 and found[-1].endswith("3")


def test_stages_of_a_convolutional_network(transformers: Any) -> None:
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 1, 1], num_labels=4
    )
    network = transformers.ResNetForImageClassification(config)
    found = propose_stages(network, ImageSpec(3, 64, 64))
    assert found == tuple(f"resnet.encoder.stages.{number}" for number in range(4))
