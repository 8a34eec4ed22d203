"""A user's own function or class builds the network, however its signature names the classes."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from understudy.errors import UnderstudyError
from understudy.models import build_model


def net(classes: int = 5, channels: int = 3) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
    )


class Net(nn.Sequential):
    def __init__(self, num_classes: int) -> None:
        super().__init__(*net(num_classes))


def broken(num_classes: int) -> nn.Module:
    raise KeyError("the weights\nare not there")


@pytest.fixture(autouse=True)
def own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("own_code")
    factories = {
        "by_name": lambda num_classes=10: net(num_classes),
        "by_another_name": lambda n_classes: net(n_classes),
        "as_labels": lambda width=3, num_labels=2: net(num_labels),
        "by_position": lambda k, /: net(k),
        "by_its_only_argument": lambda outputs, width=3: net(outputs),
        "by_any_keyword": lambda **options: net(options["num_classes"]),
        "always_five": lambda: net(5),
        "Net": Net,
        "broken": broken,
    }
    for name, factory in factories.items():
        setattr(module, name, factory)
    monkeypatch.setitem(sys.modules, "own_code", module)


@pytest.mark.parametrize(
    "factory",
    [
        "by_name",
        "by_another_name",
        "as_labels",
        "by_position",
        "by_its_only_argument",
        "by_any_keyword",
        "Net",
    ],
)
def test_the_number_of_classes_reaches_every_signature(factory: str) -> None:
    assert build_model(f"own_code:{factory}", 7).num_classes == 7  # type: ignore[attr-defined]


def test_a_factory_without_the_argument_must_give_the_right_number() -> None:
    assert build_model("own_code:always_five", 5).num_classes == 5  # type: ignore[attr-defined]
    with pytest.raises(UnderstudyError, match=r"shape \[2, 5\] for 2 images of 7 classes"):
        build_model("own_code:always_five", 7)


def test_an_option_wins() -> None:
    own: dict[str, Any] = {"n_classes": 4}
    assert build_model("own_code:by_another_name", 4, options=own).num_classes == 4  # type: ignore[attr-defined]


def test_a_network_may_have_its_own_number_of_classes() -> None:
    for factory, count in (("always_five", 5), ("by_name", 10), ("as_labels", 2)):
        assert build_model(f"own_code:{factory}", None).num_classes == count  # type: ignore[attr-defined]
    with pytest.raises(UnderstudyError, match="missing 1 required positional argument"):
        build_model("own_code:Net", None)
    with pytest.raises(UnderstudyError, match="give the number of classes"):
        build_model("resnet20", None)


def test_every_error_of_the_users_code_is_one_line() -> None:
    with pytest.raises(
        UnderstudyError, match=r"cannot be built: KeyError: .*the weights"
    ) as caught:
        build_model("own_code:broken", 3)
    assert "\n" not in str(caught.value)


def test_modules_of_the_current_folder_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The console script has no current folder among the places of modules."""
    (tmp_path / "folder_net.py").write_text(
        "from torch import nn\n"
        "def make(num_classes):\n"
        "    from folder_part import Head\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), Head(3, num_classes))\n"
    )
    (tmp_path / "folder_part.py").write_text("from torch.nn import Linear as Head\n")
    (tmp_path / "folder_bad.py").write_text("import torch\nsyntax error\n")
    monkeypatch.chdir(tmp_path)
    places = [place for place in sys.path if place not in ("", str(tmp_path))]
    monkeypatch.setattr(sys, "path", list(places))
    assert build_model("folder_net:make", 4).num_classes == 4  # type: ignore[attr-defined]
    assert sys.path == places
    with pytest.raises(UnderstudyError, match="folder_bad fails to import: SyntaxError"):
        build_model("folder_bad:make", 4)
    with pytest.raises(UnderstudyError, match="name the module and not its file, folder_net:make"):
        build_model("folder_net.py:make", 4)
    with pytest.raises(UnderstudyError, match="neither installed nor in the current folder"):
        build_model("folder_nett:make", 4)
