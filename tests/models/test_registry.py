"""Every network of the table: the sizes of the literature, and the contract of a Classifier."""

import importlib
import inspect
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from understudy.errors import UnderstudyError
from understudy.models import (
    MODELS,
    build_model,
    deployed,
    describe_model,
    describe_models,
    list_models,
    model_options,
)

# Too slow to run here on one core: their small relatives run the same code.
LARGE = {
    "resnet44",
    "resnet56",
    "resnet110",
    "resnet32x4",
    "wrn_16_4",
    "wrn_28_10",
    "wrn_40_1",
    "wrn_40_2",
}
SMALL = sorted(set(MODELS) - LARGE)

# Parameters at 100 classes as the distillation literature prints them (CRD and its successors);
# those at 10 classes are counted by hand.
PUBLISHED = [
    ("founding_teacher", 10, 4_664_970),
    ("founding_student", 10, 106_826),
    ("resnet8", 10, 78_042),
    ("resnet20", 10, 272_474),
    ("wrn_16_1", 10, 175_066),
    ("resnet18", 10, 11_173_962),
    ("wrn_28_10", 10, 36_479_194),
    ("resnet14", 100, 181_108),
    ("resnet20", 100, 278_324),
    ("resnet32", 100, 472_756),
    ("resnet44", 100, 667_188),
    ("resnet56", 100, 861_620),
    ("resnet110", 100, 1_736_564),
    ("resnet8x4", 100, 1_233_540),
    ("resnet32x4", 100, 7_433_860),
    ("wrn_16_2", 100, 703_284),
    ("wrn_40_1", 100, 569_780),
    ("wrn_40_2", 100, 2_255_156),
]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def images(batch=2, channels=3, size=32):
    return torch.randn(batch, channels, size, size)


@pytest.mark.parametrize(("name", "num_classes", "parameters"), PUBLISHED)
def test_parameters_agree_with_the_literature(name, num_classes, parameters):
    assert describe_model(name, num_classes)["parameters"] == parameters


def test_the_tiny_family_is_as_large_as_the_founding_student():
    sizes = {row["name"]: row["parameters"] for row in describe_models()}
    for name in ("tiny_wide", "tiny_res", "tiny_dw"):
        assert 0.95 * sizes["founding_student"] < sizes[name] <= sizes["founding_student"]
    assert 1.4 < sizes["tiny_large"] / sizes["founding_student"] < 1.6


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_network_is_for_ten_classes_and_colour_images_by_default(name):
    module = importlib.import_module(f"understudy.models.{MODELS[name].family}")
    given = inspect.signature(getattr(module, name)).parameters
    assert (given["num_classes"].default, given["in_channels"].default) == (10, 3)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_docstring_states_the_right_size(name):
    row = describe_model(name)
    assert f"{row['parameters']:,} parameters at 10 classes" in row["doc"]


@pytest.mark.parametrize("name", SMALL)
def test_outputs_have_the_promised_shapes(name):
    model = build_model(name, 7).eval()
    with torch.no_grad():
        outputs = model.outputs(images())
        logits = model(images(batch=1))
    assert outputs.logits.shape == (2, 7)
    assert logits.shape == (1, 7)
    assert outputs.embedding is not None
    assert outputs.embedding.shape == (2, model.embedding_dim)
    assert tuple(feature.shape[1] for feature in outputs.features) == model.feature_channels
    sizes = [feature.shape[2] for feature in outputs.features]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) >= 4
    # Stage maps are taken after the last non-linearity.
    assert all(feature.min() >= 0 for feature in outputs.features)


@pytest.mark.parametrize("name", SMALL)
def test_the_head_turns_the_embedding_into_the_logits(name):
    model = build_model(name, 5).eval()
    with torch.no_grad():
        outputs = model.outputs(images())
        assert torch.equal(model.classify(outputs.embedding), outputs.logits)


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_gets_a_gradient(name):
    model = build_model(name, 5)
    F.cross_entropy(model(images(batch=4)), torch.tensor([0, 1, 2, 3])).backward()
    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    assert [key for key, gradient in gradients.items() if gradient is None] == []
    # A batch norm subtracts the bias before it, so the gradient of the bias is zero up to rounding.
    assert [
        key for key, gradient in gradients.items() if key.endswith("weight") and not gradient.any()
    ] == []


@pytest.mark.parametrize("name", SMALL)
def test_a_state_dict_rebuilds_the_model(name):
    trained = build_model(name, 5)
    trained(images(batch=4))  # moves the running statistics
    rebuilt = build_model(name, 5)
    rebuilt.load_state_dict(deployed(trained).state_dict())
    batch = images()
    with torch.no_grad():
        assert torch.equal(trained.eval()(batch), rebuilt.eval()(batch))


@pytest.mark.parametrize("name", SMALL)
def test_memory_order_does_not_change_the_function(name):
    model = build_model(name, 5).eval().double()  # double, so that only a real difference is seen
    batch = images().double()
    with torch.no_grad():
        contiguous = model(batch)
        channels_last = model.to(memory_format=torch.channels_last)(
            batch.contiguous(memory_format=torch.channels_last)
        )
    torch.testing.assert_close(channels_last, contiguous)


@pytest.mark.parametrize(
    "name",
    ["founding_teacher", "founding_student", "fast_teacher", "tiny_dw", "resnet8", "wrn_16_1"],
)
@pytest.mark.parametrize("size", [16, 24, 48])
def test_other_image_sizes_and_grey_images(name, size):
    model = build_model(name, 4, in_channels=1, image_size=size).eval()
    with torch.no_grad():
        assert model(images(channels=1, size=size)).shape == (2, 4)


def test_one_seed_gives_one_set_of_weights():
    first = build_model("founding_student", 10).state_dict()
    torch.manual_seed(0)
    again = build_model("founding_student", 10).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet2O", {}, "did you mean .*resnet20"),
        ("founding_studnet", {}, "did you mean founding_student"),
        (
            "founding_student",
            {"dropuot1": 0.1},
            r"did you mean dropout1\? known: dropout1, dropout2, pool_first",
        ),
        ("resnet20", {"width": 2}, r"no option 'width': did you mean widths\? known: widths, stem"),
        ("resnet20", {"widths": [16, 32]}, "must be 4 positive whole numbers"),
        ("founding_teacher", {"width": 2}, "no option 'width': known: none"),
        ("founding_student", {"num_classes": 3}, "no option 'num_classes'"),
        (
            "founding_student",
            {"dropout1": "a lot"},
            "option dropout1 must be like 0.5, not 'a lot'",
        ),
        ("founding_student", {"dropout1": True}, "must be like 0.5"),
        ("founding_student", {"dropout1": 2.0}, "between 0 and 1"),
        ("founding_student", {"pool_first": 1}, "must be like True"),
        ("fast_teacher", {"widths": [64, 128]}, "must be 3 positive whole numbers"),
        ("fast_teacher", {"pool": "median"}, "pool must be max or avg"),
        ("fast_teacher", {"stem_kernel": 5}, "stem_kernel must be 2 or 3"),
    ],
)
def test_mistakes_are_named(name, options, message):
    with pytest.raises(UnderstudyError, match=message):
        build_model(name, 10, options=options)


def test_impossible_tasks_are_refused():
    with pytest.raises(UnderstudyError, match="needs at least 2 classes, not 1"):
        build_model("resnet8", 1)
    with pytest.raises(UnderstudyError, match="8-pixel images are too small"):
        build_model("resnet8", 10, image_size=8)
    with pytest.raises(UnderstudyError, match="has its own stages"):
        build_model("resnet8", 10, stages=("layer1",))


def test_options_reach_the_constructor():
    assert model_options("founding_student") == {
        "dropout1": 0.5,
        "dropout2": 0.3,
        "pool_first": True,
    }
    assert build_model("founding_student", 10, options={"dropout1": False}).dropout1.p == 0
    assert build_model(
        "fast_teacher", 10, options={"widths": [8, 16, 32], "stem_width": 4}
    ).feature_channels == (4, 8, 16, 32)


def test_list_models_is_the_table_or_what_matches_a_pattern():
    assert list_models() == list(MODELS)
    assert list_models("wrn_40_?") == ["wrn_40_1", "wrn_40_2"]
    assert list_models("vit*") == []


@pytest.mark.parametrize("name", ["founding_student", "founding_teacher", "tiny_dw", "resnet8"])
def test_images_need_not_be_square(name):
    model = build_model(name, 4, image_size=(16, 48)).eval()
    with torch.no_grad():
        assert model(torch.randn(2, 3, 16, 48)).shape == (2, 4)


def test_the_smaller_side_decides_whether_images_are_too_small():
    with pytest.raises(UnderstudyError, match="8-pixel images are too small"):
        build_model("resnet8", 10, image_size=(64, 8))


def test_the_table_is_read_without_torch():
    code = "import sys, understudy.models as m; assert m.MODELS; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
