"""Other libraries' networks behind the Classifier interface."""

import copy
import importlib.util
import sys
import types
from collections import OrderedDict

import pytest
import torch
from torch import nn

from understudy.errors import UnderstudyError
from understudy.models import build_model, deployed
from understudy.models.foreign import ForeignClassifier
from understudy.models.normalisation import Normalisation, known_normalisation


def small_net(num_classes, in_channels=3, width=8):
    """A network as somebody else might write it, reached below as ``MODULE:small_net``."""
    return nn.Sequential(
        OrderedDict(
            body=nn.Sequential(nn.Conv2d(in_channels, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU()),
            top=nn.Sequential(nn.Conv2d(4, width, 3, 2, 1), nn.ReLU()),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            head=nn.Linear(width, num_classes),
        )
    )


class Tokens(nn.Module):
    """Four patches behind one class token, as a transformer has them."""

    def __init__(self, num_classes):
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 8, 8)
        self.block = nn.Identity()
        self.head = nn.Linear(6, num_classes)

    def forward(self, images):
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = self.block(torch.cat([torch.full_like(patches[:, :1], 9.0), patches], 1))
        return types.SimpleNamespace(logits=self.head(tokens[:, 0]))


@pytest.fixture(autouse=True)
def library(monkeypatch):
    torch.manual_seed(0)
    module = types.ModuleType("somebodys_models")
    module.small_net, module.Tokens, module.NOTHING = small_net, Tokens, None
    module.not_a_network = lambda num_classes: {"classes": num_classes}
    monkeypatch.setitem(sys.modules, "somebodys_models", module)


def test_a_callable_becomes_a_classifier():
    model = build_model(
        "somebodys_models:small_net", 5, stages=("body", "top"), options={"width": 12}
    ).eval()
    batch = torch.randn(2, 3, 32, 32)
    outputs = model.outputs(batch)
    assert model.feature_channels == (4, 12)
    assert model.embedding_dim == 12
    assert [tuple(f.shape) for f in outputs.features] == [(2, 4, 16, 16), (2, 12, 8, 8)]
    torch.testing.assert_close(outputs.logits, model(batch))
    torch.testing.assert_close(model.classify(outputs.embedding), outputs.logits)
    assert build_model("somebodys_models.small_net", 5, in_channels=1)(
        torch.randn(1, 1, 32, 32)
    ).shape == (1, 5)


def test_height_and_width_reach_a_callable_that_takes_an_image_size(monkeypatch):
    seen = []

    def sized_net(num_classes, image_size):
        seen.append(image_size)
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))

    monkeypatch.setattr(sys.modules["somebodys_models"], "sized_net", sized_net, raising=False)
    model = build_model("somebodys_models:sized_net", 5, image_size=(16, 24))
    assert model(torch.randn(2, 3, 16, 24)).shape == (2, 5)
    with pytest.raises(UnderstudyError, match="does not run on 3x24x15 images"):
        ForeignClassifier(model.model, 5, name="net", image_size=(24, 15))
    build_model("somebodys_models:sized_net", 5, image_size=16)
    assert seen == [(16, 24), 16]


def test_stages_are_part_of_what_is_printed():
    """The caches of teacher outputs tell networks apart by it: other maps may have one shape."""
    assert "stages=('top',)" in repr(build_model("somebodys_models:small_net", 5, stages=("top",)))
    assert "stages" not in repr(build_model("somebodys_models:small_net", 5))


def test_the_saved_file_has_the_foreign_keys():
    model = build_model("somebodys_models:small_net", 5, stages=("top",))
    plain = small_net(5)
    plain.load_state_dict(deployed(model).state_dict())
    batch = torch.randn(2, 3, 32, 32)
    assert torch.equal(plain.eval()(batch), model.eval()(batch))


def test_a_copy_reads_its_own_stages():
    """An average of weights is a deep copy; its features must not come from the original."""
    model = build_model("somebodys_models:small_net", 5, stages=("top",)).eval()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    batch = torch.randn(2, 3, 32, 32)
    assert model.outputs(batch).features[0].any()
    assert not twin.outputs(batch).features[0].any()


def test_gradients_pass_and_nothing_is_kept():
    model = build_model("somebodys_models:small_net", 5, stages=("body",))
    model.outputs(torch.randn(2, 3, 32, 32)).features[0].sum().backward()
    assert model.model.body[0].weight.grad is not None
    assert all(capture.output is None for capture in model._captures)


def test_probing_leaves_mode_statistics_and_random_numbers_alone():
    net = small_net(5).train()
    net.body.eval()
    before = copy.deepcopy(net.state_dict())
    state = torch.get_rng_state()
    model = ForeignClassifier(net, 5, name="net", stages=("body",))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert net.training
    assert not net.body.training
    assert model.training


def test_tokens_become_a_square_map_and_logits_are_unpacked():
    model = build_model("somebodys_models:Tokens", 5, image_size=16, stages=("block",)).eval()
    outputs = model.outputs(torch.randn(2, 3, 16, 16))
    assert outputs.logits.shape == (2, 5)
    assert outputs.features[0].shape == (2, 6, 2, 2)
    assert not (outputs.features[0] == 9.0).any()  # the class token is not part of the map


def test_a_head_that_does_not_follow_the_last_stage_is_not_taken():
    """The head of Tokens reads the class token: the averaged patches would give other logits."""
    model = build_model("somebodys_models:Tokens", 5, image_size=16, stages=("block",))
    with pytest.raises(UnderstudyError, match="does not feed a linear layer"):
        model.classify(torch.zeros(1, 6))
    with pytest.raises(UnderstudyError, match="give the model's `stages`"):
        build_model("somebodys_models:small_net", 5).classify(torch.zeros(1, 8))


def test_one_of_our_classifiers_by_its_path_is_not_wrapped():
    model = build_model("understudy.models.resnet:resnet8", 10)
    assert type(model).__name__ == "ResNet"
    assert deployed(model) is model


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("somebodys_models:small_nett", {}, "has no callable 'small_nett': did you mean small_net"),
        ("somebodys_models:NOTHING", {}, "has no callable"),
        ("nobodys_models:net", {}, "there is no module 'nobodys_models'"),
        ("somebodys_models:small_net", {"stages": ("bodi",)}, "no stage 'bodi': did you mean body"),
        (
            "somebodys_models:small_net",
            {"stages": ("flat",)},
            r"must give a map .* but gives shape \[2, 8\]",
        ),
        (
            "somebodys_models:small_net",
            {"options": {"depth": 3}},
            "unexpected keyword argument 'depth'",
        ),
        ("somebodys_models:Tokens", {"in_channels": 1}, "does not run on 1x32x32 images"),
        ("somebodys_models:not_a_network", {}, "gives dict, not a torch module"),
        ("torch.nn:Sequential", {}, r"gives \[2, 3, 32, 32\] for 2 images, which are no"),
        ("torch.nn:Conv2d", {}, "cannot be built: TypeError: .*missing 2 required"),
    ],
)
def test_mistakes_are_named(name, arguments, message):
    with pytest.raises(UnderstudyError, match=message):
        build_model(name, 5, **arguments)


def test_a_long_module_is_not_listed_to_its_end():
    with pytest.raises(UnderstudyError, match=r"there are (\w+, ){12}\.\.\.$"):
        build_model("torch.nn:qqqq", 5)


def test_only_the_first_line_of_a_networks_error_is_shown():
    class Failing(nn.Module):
        def forward(self, images):
            raise RuntimeError("too small\nat line 1\nat line 2")

    with pytest.raises(UnderstudyError, match=r"images: too small$"):
        ForeignClassifier(Failing(), 5, name="net")


def test_a_wrong_number_of_logits_is_refused():
    with pytest.raises(
        UnderstudyError, match=r"logits of shape \[2, 4\] for 2 images of 5 classes"
    ):
        ForeignClassifier(small_net(4), 5, name="net")


@pytest.mark.parametrize(
    ("library", "name", "extra"),
    [
        ("timm", "timm:resnet18", "timm"),
        ("torchvision", "torchvision:resnet18", "torchvision"),
        ("transformers", "hf:some/model", "hf"),
    ],
)
def test_a_missing_library_names_its_extra(monkeypatch, library, name, extra):
    for loaded in [key for key in sys.modules if key.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setattr(sys, "meta_path", [_Hidden(library), *sys.meta_path])
    with pytest.raises(
        UnderstudyError, match=rf"needs {library}: pip install 'understudy\[{extra}\]'"
    ):
        build_model(name, 10)


class _Hidden:
    """An import hook for which one library is not installed."""

    def __init__(self, library):
        self.library = library

    def find_spec(self, name, path=None, target=None):
        if name == self.library:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_hugging_face_models_start_from_their_configuration(monkeypatch, tmp_path):
    """Stand-ins for transformers: what is asked of it, without 500 MB of it."""
    calls = {}

    class AutoConfig:
        @staticmethod
        def from_pretrained(where, **options):
            calls["config"] = (where, options)
            return types.SimpleNamespace(num_channels=3, **options)

    class AutoModelForImageClassification:
        @staticmethod
        def from_config(config):
            calls["channels"] = config.num_channels
            return small_net(config.num_labels, config.num_channels)

    fake = types.ModuleType("transformers")
    fake.AutoConfig, fake.AutoModelForImageClassification = (
        AutoConfig,
        AutoModelForImageClassification,
    )
    monkeypatch.setitem(sys.modules, "transformers", fake)
    with pytest.raises(UnderstudyError, match=r"the folder has no config.json"):
        build_model(f"hf:{tmp_path}", 5)
    (tmp_path / "config.json").write_text("{}")
    model = build_model(f"hf:{tmp_path}", 5, in_channels=1, stages=("top",))
    assert calls == {"config": (str(tmp_path), {"num_labels": 5}), "channels": 1}
    assert model(torch.randn(1, 1, 32, 32)).shape == (1, 5)


def test_pretrained_weights_are_checked_and_get_a_head_for_the_classes(monkeypatch):
    """A stand-in for torchvision: what is requested of it, without a download."""
    trained, requested = small_net(7), {}

    class Weights:
        meta = types.MappingProxyType({"categories": ["a"] * 7})

        def get_state_dict(self, **options):
            requested.update(options)
            return trained.state_dict()

        def transforms(self):
            return types.SimpleNamespace(mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6])

    models = types.SimpleNamespace(
        list_models=lambda module: ["net"],
        get_model_builder=lambda name: lambda weights, num_classes: small_net(num_classes),
        get_model_weights=lambda name: types.SimpleNamespace(DEFAULT=Weights()),
    )
    fake = types.ModuleType("torchvision")
    fake.models = models
    monkeypatch.setitem(sys.modules, "torchvision", fake)
    model = build_model("torchvision:net", 5, options={"pretrained": True})
    assert requested == {"progress": False, "check_hash": True, "weights_only": True}
    assert torch.equal(model.model.top[0].weight, trained.top[0].weight)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 5)
    assert known_normalisation(model)[0] == Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.fixture
def torchvision():
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed (extra: torchvision)")
    import tests.torchvision_operators  # noqa: F401

    return importlib.import_module("torchvision")


@pytest.fixture
def timm(torchvision):
    return pytest.importorskip("timm", reason="timm is not installed (extra: timm)")


def test_torchvision_resnet18(torchvision):
    model = build_model(
        "torchvision:resnet18", 10, stages=("relu", "layer1", "layer2", "layer3", "layer4")
    ).eval()
    assert model.feature_channels == (64, 64, 128, 256, 512)
    assert set(deployed(model).state_dict()) == set(
        torchvision.models.resnet18(num_classes=10).state_dict()
    )
    outputs = model.outputs(torch.randn(1, 3, 32, 32))
    torch.testing.assert_close(model.classify(outputs.embedding), outputs.logits)
    with pytest.raises(UnderstudyError, match="did you mean resnet18"):
        build_model("torchvision:resnet81", 10)
    with pytest.raises(UnderstudyError, match="takes 3-channel images, not 1"):
        build_model("torchvision:resnet18", 10, in_channels=1)


def test_timm_resnet10t(timm):
    model = build_model(
        "timm:resnet10t", 10, in_channels=1, stages=("layer1", "layer2", "layer3", "layer4")
    ).eval()
    assert model.feature_channels == (64, 128, 256, 512)
    assert set(deployed(model).state_dict()) == set(
        timm.create_model("resnet10t", num_classes=10, in_chans=1).state_dict()
    )
    outputs = model.outputs(torch.randn(1, 1, 32, 32))
    torch.testing.assert_close(model.classify(outputs.embedding), outputs.logits)
    with pytest.raises(
        UnderstudyError, match="timm has no model 'resnet10': did you mean resnet10t"
    ):
        build_model("timm:resnet10", 10)
