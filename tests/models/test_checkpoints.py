"""Files of weights as training codes write them: envelopes are opened, and no code is run."""

import argparse
import collections
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from understudy.errors import UnderstudyError
from understudy.models.checkpoints import read_checkpoint
from understudy.models.fitting import classes_in_file, load


class Small(nn.Module):
    """Convolution, batch norm and a classifier, as somebody else might write them."""

    def __init__(self, num_classes: int = 3, width: int = 4, channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3)
        self.bn = nn.BatchNorm2d(width)
        self.inner = nn.Conv2d(width, 2 * width, 3)
        self.fc = nn.Linear(2 * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.inner(self.bn(self.conv(images))).mean((2, 3)))


class Wrapped(nn.Module):
    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


class Odd(collections.OrderedDict):
    """A kind of dict that no other code knows."""


@pytest.fixture
def network() -> Small:
    torch.manual_seed(1)
    return Small()


@pytest.fixture
def fresh() -> Small:
    torch.manual_seed(2)
    return Small()


def written(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def loads(path: Path, network: nn.Module, original: nn.Module) -> str:
    """What is reported of a file; the network has the original's weights afterwards."""
    line = load(read_checkpoint(path), network)
    ours, theirs = network.state_dict(), original.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    return line


def refusal(path: Path, network: nn.Module) -> str:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(UnderstudyError) as caught:
        load(read_checkpoint(path), network)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "it was changed"
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    return str(caught.value)


ENVELOPES = (
    "state_dict",
    "model",
    "model_state_dict",
    "ema",
    "ema_state_dict",
    "model_ema",
    "net",
    "network",
    "teacher",
    "my_own_word",
)
PREFIXES = (
    "module.",
    "_orig_mod.",
    "model.",
    "backbone.",
    "net.",
    "network.",
    "encoder.",
    "module.model.",
    "_orig_mod.module.my_own_word.",
)


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_envelopes_are_opened_and_named(
    tmp_path: Path, network: Small, fresh: Small, envelope: str
) -> None:
    path = written(tmp_path / "w.pt", {"epoch": 3, envelope: network.state_dict(), "lr": 0.1})
    assert loads(path, fresh, network) == f"weights from {envelope}"


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_are_found_from_the_names(
    tmp_path: Path, network: Small, fresh: Small, prefix: str
) -> None:
    state = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    path = written(tmp_path / "w.pt", {"state_dict": state})
    assert loads(path, fresh, network) == f"weights from state_dict, prefix {prefix} removed"


def test_a_plain_state_dict_needs_no_words(tmp_path: Path, network: Small, fresh: Small) -> None:
    assert loads(written(tmp_path / "w.pt", network.state_dict()), fresh, network) == ""


def test_a_network_may_have_a_wrapper_that_the_file_lacks(tmp_path: Path, network: Small) -> None:
    wrapper = Wrapped(net=Small())
    path = written(tmp_path / "w.pt", {"module." + k: v for k, v in network.state_dict().items()})
    assert load(read_checkpoint(path), wrapper) == "prefix module. removed, prefix net. added"
    assert torch.equal(wrapper.net.fc.weight, network.fc.weight)


def test_wrappers_inside_of_names_are_removed(tmp_path: Path, network: Small, fresh: Small) -> None:
    state = network.state_dict()
    state = {name.replace("bn.", "bn._orig_mod."): tensor for name, tensor in state.items()}
    line = loads(written(tmp_path / "w.pt", state), fresh, network)
    assert line == "_orig_mod removed inside names"


def test_a_whole_wrapper_around_the_network_is_passed_over(
    tmp_path: Path, network: Small, fresh: Small
) -> None:
    """As Lightning saves it: the module has a loss with weights of its own."""
    around = Wrapped(model=network, loss=nn.Linear(2, 2))
    content = {"state_dict": around.state_dict(), "hyper_parameters": {"lr": 0.1}}
    line = loads(written(tmp_path / "last.ckpt", content), fresh, network)
    assert line == (
        "weights from state_dict, prefix model. removed, 2 tensors passed over: "
        "loss.weight, loss.bias"
    )


def test_an_average_of_weights_is_preferred(tmp_path: Path, network: Small, fresh: Small) -> None:
    content = {"state_dict": Small().state_dict(), "state_dict_ema": network.state_dict()}
    line = loads(written(tmp_path / "w.pt", content), fresh, network)
    assert line == "weights from state_dict_ema"


def test_a_teacher_is_preferred_to_its_student(
    tmp_path: Path, network: Small, fresh: Small
) -> None:
    both = Wrapped(student=Small(), teacher=network)
    line = loads(written(tmp_path / "w.pt", both.state_dict()), fresh, network)
    assert line.startswith("prefix teacher. removed, 11 tensors passed over: student.conv.weight")


def test_torchs_own_average_of_weights_is_read(
    tmp_path: Path, network: Small, fresh: Small
) -> None:
    average = torch.optim.swa_utils.AveragedModel(network)
    line = loads(written(tmp_path / "w.pt", average.state_dict()), fresh, network)
    assert line == "prefix module. removed, 1 tensor passed over: n_averaged"


def test_counters_of_other_tools_are_passed_over(
    tmp_path: Path, network: Small, fresh: Small
) -> None:
    state = {**network.state_dict(), "total_ops": torch.zeros(1), "fc.total_params": torch.ones(1)}
    line = loads(written(tmp_path / "w.pt", state), fresh, network)
    assert line == "2 tensors passed over: total_ops, fc.total_params"


def test_old_files_lack_the_counters_of_batch_norm(
    tmp_path: Path, network: Small, fresh: Small
) -> None:
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("batches_tracked")}
    line = load(read_checkpoint(written(tmp_path / "w.pt", state)), fresh)
    assert line == "without 1 counter of batch norm"
    assert torch.equal(fresh.fc.weight, network.fc.weight)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_fp32(tmp_path: Path, network: Small, kind: torch.dtype) -> None:
    state = {k: v.to(kind) if v.is_floating_point() else v for k, v in network.state_dict().items()}
    fresh = Small()
    line = load(read_checkpoint(written(tmp_path / "w.pt", state)), fresh)
    assert line == f"{str(kind).removeprefix('torch.')} converted to float32"
    assert fresh.fc.weight.dtype == torch.float32
    torch.testing.assert_close(fresh.fc.weight, network.fc.weight, rtol=0.01, atol=0.01)


def test_arrays_of_numpy_become_tensors(tmp_path: Path, network: Small, fresh: Small) -> None:
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    state["conv.weight"] = np.asfortranarray(state["conv.weight"])
    state["fc.weight"] = state["fc.weight"].astype(">f4")
    path = written(tmp_path / "w.pt", {"model": state, "best": np.float64(0.9)})
    assert loads(path, fresh, network) == "weights from model"


def test_parts_in_mappings_of_their_own_are_joined(
    tmp_path: Path, network: Small, fresh: Small
) -> None:
    content = {name: part.state_dict() for name, part in network.named_children()}
    line = loads(written(tmp_path / "w.pt", content), fresh, network)
    assert line == "weights joined from the parts"
    line = loads(written(tmp_path / "w.pt", {"net": content}), Small(), network)
    assert line == "weights joined from the parts of net"


class Setup:
    """Settings of a training, whose code is not there where the file is read."""

    def __init__(self) -> None:
        self.lr = 0.1


def test_objects_of_other_code_are_passed_over_without_running_it(
    tmp_path: Path, network: Small, fresh: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {
        "args": argparse.Namespace(lr=0.1),
        "setup": Setup(),
        "where": Path("runs"),
        "counts": collections.defaultdict(list, a=[1]),
        "state_dict": Odd(network.state_dict()),
    }
    path = written(tmp_path / "w.pt", content)
    monkeypatch.delattr(f"{__name__}.Setup")
    monkeypatch.delattr(f"{__name__}.Odd")
    assert loads(path, fresh, network) == "weights from state_dict"


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path, function: Any) -> None:
        self.target, self.function = target, function

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return self.function, (str(self.target),)


def open_for_writing(path: str) -> Any:
    return Path(path).write_text("run")


def test_code_in_a_file_is_replaced_and_not_run(
    tmp_path: Path, network: Small, fresh: Small
) -> None:
    target = tmp_path / "hacked"
    content = {"state_dict": network.state_dict(), "bomb": Bomb(target, open_for_writing)}
    assert loads(written(tmp_path / "w.pt", content), fresh, network) == "weights from state_dict"
    assert not target.exists()


def test_calls_of_the_system_are_refused(tmp_path: Path, network: Small) -> None:
    content = {"state_dict": network.state_dict(), "bomb": Bomb(tmp_path / "hacked", os.mkdir)}
    message = refusal(written(tmp_path / "w.pt", content), Small())
    assert "needs the code of posix.mkdir, and no code of a file is run" in message
    assert not (tmp_path / "hacked").exists()


def test_a_whole_network_is_refused_with_the_way_out(tmp_path: Path, network: Small) -> None:
    for content in (network, {"model": network, "epoch": 1}, nn.DataParallel(network)):
        message = refusal(written(tmp_path / "w.pt", content), Small())
        assert "a whole network" in message and "torch.save(model.state_dict()" in message


def test_a_folder_of_hugging_face_is_read(tmp_path: Path, network: Small, fresh: Small) -> None:
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    assert loads(tmp_path, fresh, network) == ""


def test_a_folder_may_have_its_weights_in_several_files(
    tmp_path: Path, network: Small, fresh: Small
) -> None:
    state = network.state_dict()
    parts = {"a.safetensors": list(state)[:4], "b.safetensors": list(state)[4:]}
    places = {}
    for file, names in parts.items():
        save_file({name: state[name] for name in names}, tmp_path / file)
        places |= dict.fromkeys(names, file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert loads(tmp_path, fresh, network) == ""
    index.write_text(json.dumps({"weight_map": {"conv.weight": "../secret.safetensors"}}))
    assert "outside of its folder" in refusal(tmp_path, fresh)
    index.write_text("[]")
    assert "cannot be read" in refusal(tmp_path, fresh)


def test_a_folder_without_weights_is_refused(tmp_path: Path, network: Small) -> None:
    assert "is a folder without model.safetensors" in refusal(tmp_path, network)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "is a web page"),
        (b"<html><body>", "is a web page"),
        (b"\x89HDF\r\n", "Keras"),
        (b"PK\x03\x04 not a zip", "cannot be read as weights"),
        (b"\0" * 4096, "cannot be read as weights"),
        (struct.pack("<Q", 2**62) + b"{", "cannot be read as weights"),
        (b"\x80\x02" + b"\xff" * 64, "cannot be read as weights"),
    ],
)
def test_other_files_are_refused_in_one_line(
    tmp_path: Path, network: Small, content: bytes, message: str
) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    assert message in refusal(tmp_path / "w.pt", network)


def test_a_zip_that_is_no_checkpoint_is_refused(tmp_path: Path, network: Small) -> None:
    np.savez(tmp_path / "w.npz", a=np.zeros(3))
    assert "cannot be read as weights" in refusal(tmp_path / "w.npz", network)


def test_an_onnx_file_is_no_weights_file(tmp_path: Path, network: Small) -> None:
    (tmp_path / "w.onnx").write_bytes(b"\x08\x08")
    assert "name it as the model, onnx:" in refusal(tmp_path / "w.onnx", network)


def test_a_missing_file_is_named_with_its_escapes_visible(network: Small) -> None:
    assert r"no weights file \x1b[31mred.pt" in refusal(Path("\x1b[31mred.pt"), network)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "an empty mapping"),
        ([1, 2], "is a list and no state dict"),
        ({"epoch": 3}, "is a dict and no state dict"),
        ({"ema": [torch.zeros(2)] * 3}, "no state dict"),
    ],
)
def test_files_without_weights_are_refused(
    tmp_path: Path, network: Small, content: Any, message: str
) -> None:
    assert message in refusal(written(tmp_path / "w.pt", content), network)


def test_the_state_of_an_optimizer_is_no_network(tmp_path: Path, network: Small) -> None:
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.randn(2, 3, 16, 16)).sum().backward()
    optimizer.step()
    message = refusal(written(tmp_path / "w.pt", optimizer.state_dict()), network)
    assert "the state of an optimizer" in message


def test_a_mapping_that_contains_itself_ends(tmp_path: Path, network: Small, fresh: Small) -> None:
    content: dict[str, Any] = {"state_dict": network.state_dict()}
    content["self"] = content
    assert loads(written(tmp_path / "w.pt", content), fresh, network) == "weights from state_dict"


def test_another_class_count_is_recognised(tmp_path: Path, fresh: Small) -> None:
    state = {"module." + name: tensor for name, tensor in Small(7).state_dict().items()}
    path = written(tmp_path / "w.pt", {"model": state})
    assert classes_in_file(read_checkpoint(path), fresh) == 7
    message = refusal(path, fresh)
    assert "fc.weight is [7, 8] in the file, [3, 8] here" in message
    assert message.endswith("another class count: 7 in the file, 3 here")
    with pytest.raises(UnderstudyError, match="3 here; train another head"):
        load(read_checkpoint(path), fresh, "; train another head")


def test_a_file_may_lack_the_last_layer(tmp_path: Path, fresh: Small) -> None:
    state = {k: v for k, v in Small().state_dict().items() if not k.startswith("fc.")}
    path = written(tmp_path / "w.pt", state)
    assert classes_in_file(read_checkpoint(path), fresh) == 0
    assert "weights without a last layer" in refusal(path, fresh)


def test_a_missing_layer_inside_is_no_missing_head(tmp_path: Path, fresh: Small) -> None:
    state = {k: v for k, v in Small().state_dict().items() if not k.startswith("inner.")}
    path = written(tmp_path / "w.pt", state)
    assert classes_in_file(read_checkpoint(path), fresh) is None


def test_the_class_count_is_known_of_nothing_else(tmp_path: Path, fresh: Small) -> None:
    fitting = written(tmp_path / "same.pt", Small().state_dict())
    wide = written(tmp_path / "wide.pt", Small(7, width=8).state_dict())
    assert classes_in_file(read_checkpoint(fitting), fresh) is None
    assert classes_in_file(read_checkpoint(wide), fresh) is None


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (Small(width=12), "another width: 3 times as wide in the file"),
        (Small(channels=1), "images of another number of channels: 1 in the file, 3 here"),
        (nn.Sequential(nn.Linear(5, 3)), "another architecture"),
        (Wrapped(conv=nn.Conv2d(3, 4, 3)), "another architecture"),
    ],
)
def test_why_a_file_does_not_fit_is_guessed(
    tmp_path: Path, fresh: Small, other: nn.Module, reason: str
) -> None:
    message = refusal(written(tmp_path / "w.pt", other.state_dict()), fresh)
    assert message.endswith(reason)


def test_three_differences_are_shown_each_kind_first(tmp_path: Path, fresh: Small) -> None:
    state = Small(width=8).state_dict()
    del state["bn.weight"]
    state["\x1b[31mhidden"] = torch.zeros(2)
    message = refusal(written(tmp_path / "w.pt", state), fresh)
    assert message.count(" in the file, [") == 1
    assert "bn.weight is missing in the file" in message
    assert r"\x1b[31mhidden is unexpected and 7 more" in message


def test_a_layer_inside_another_network_is_not_taken_for_it(tmp_path: Path) -> None:
    many = Wrapped(**{f"layer{number}": nn.Linear(2, 2) for number in range(9)})
    path = written(tmp_path / "w.pt", many.state_dict())
    assert "does not fit" in refusal(path, nn.Linear(2, 2))


def test_tensors_without_their_numbers_are_refused(tmp_path: Path, network: Small) -> None:
    for bad, reason in (
        (network.fc.weight.detach().to(torch.int8), "is int8, not floating point"),
        (network.fc.weight.detach().to("meta"), "has a shape and no values"),
        (network.fc.weight.detach().to_sparse(), "is quantised or sparse"),
    ):
        state = {**network.state_dict(), "fc.weight": bad}
        assert reason in refusal(written(tmp_path / "w.pt", state), Small())


def test_a_tensor_that_claims_to_be_huge_is_not_filled(tmp_path: Path, fresh: Small) -> None:
    huge = torch.zeros(1).expand(2**40)
    message = refusal(written(tmp_path / "w.pt", {"fc.weight": huge}), fresh)
    assert "[1099511627776]" in message


def test_many_names_are_compared_in_time(tmp_path: Path, fresh: Small) -> None:
    one = torch.zeros(1)
    nested = {str(number): {"weight": one} for number in range(5_000)}
    assert "another architecture" in refusal(written(tmp_path / "w.pt", nested), fresh)
    state = {f"a.b.c.d.{number}.weight": one for number in range(20_000)}
    assert "another architecture" in refusal(written(tmp_path / "w.pt", state), fresh)


def test_old_files_of_torch_are_read(tmp_path: Path, network: Small, fresh: Small) -> None:
    path = tmp_path / "w.pth"
    torch.save(
        {"net": network.state_dict(), "acc": 90.1}, path, _use_new_zipfile_serialization=False
    )
    assert loads(path, fresh, network) == "weights from net"


def test_compiled_archives_are_refused_by_their_name(tmp_path: Path, network: Small) -> None:
    with pytest.deprecated_call():
        traced = torch.jit.trace(network.eval(), torch.zeros(1, 3, 16, 16))
    traced.save(str(tmp_path / "w.pt"))
    assert "TorchScript" in refusal(tmp_path / "w.pt", network)
