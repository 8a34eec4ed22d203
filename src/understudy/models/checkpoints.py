"""A file of trained weights, of whatever training code: the state dicts that it holds.

No code of a file is run: it is read as safetensors, or by ``torch.load`` with ``weights_only``.
What fits which network is found out by :mod:`understudy.models.fitting`.
"""

import contextlib
import json
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from understudy.data.names import shown
from understudy.errors import UnderstudyError, one_line
from understudy.models.stand_ins import Array, is_module, stand_ins

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Of a folder of Hugging Face; of large networks several files, listed in ``NAME.index.json``."""
_MOST = 50
"""State dicts of a file that are compared with a network, the largest ones."""
_DEPTH = 5
"""Mappings inside of each other that are searched for weights."""
_RESAVE = "torch.save(model.state_dict(), 'weights.pt')"
_OPENINGS = {
    b"version https://git-lfs": "is the pointer of Git LFS and not the file: run git lfs pull",
    b"<!DOCTYPE": "is a web page and not the file: download it again",
    b"<html": "is a web page and not the file: download it again",
    b"\x89HDF": "is an HDF5 file (Keras): give weights of PyTorch",
}
"""How a file begins that is often taken for weights, and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        path: of the file or folder.
        state_dicts: place in the file (empty for its top, ``ema.state_dict``) -> name -> tensor;
            at least one of them, at most fifty. The tensors may be views of the file, of any type.
    """

    path: Path
    state_dicts: Mapping[str, Mapping[str, Tensor]]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file of weights: safetensors, or whatever ``torch.save`` wrote that holds tensors.

    Args:
        path: the file, or a folder of Hugging Face with ``model.safetensors`` or
            ``pytorch_model.bin``, in one piece or several.

    Raises:
        UnderstudyError: if it is missing, damaged, of another kind, or holds no weights.
    """
    if path.is_dir():
        return Checkpoint(path, {"": _read_folder(path)})
    found = _read_file(path)
    if is_module(found):
        raise UnderstudyError(
            f"{_name(path)} is a whole network, whose code would have to be run to read it: load "
            f"it where it was trained and save its weights alone, {_RESAVE}"
        )
    state_dicts = dict(_state_dicts(found, "", _DEPTH, set()))
    if not state_dicts:
        raise UnderstudyError(f"{_name(path)} holds no weights: {_advice(found)}")
    largest = sorted(state_dicts, key=lambda place: -len(state_dicts[place]))[:_MOST]
    return Checkpoint(path, {k: v for k, v in state_dicts.items() if k in set(largest)})


def _read_folder(folder: Path) -> Mapping[str, Tensor]:
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return _tensors(_read_file(folder / name))
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _read_parts(index)
    raise UnderstudyError(
        f"{_name(folder)} is a folder without {' or '.join(_WEIGHTS)}: give the file of the weights"
    )


def _read_parts(index: Path) -> Mapping[str, Tensor]:
    """The tensors of all files that an index lists."""
    try:
        files = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        outside = [name for name in files if Path(name).name != name]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnderstudyError(
            f"{_name(index)} cannot be read ({one_line(error, limit=100)}): download the folder "
            "again"
        ) from error
    if outside:
        raise UnderstudyError(
            f"{_name(index)} names a file outside of its folder, {shown(outside[0])}: "
            "download the folder again"
        )
    found: dict[str, Tensor] = {}
    for name in files:
        found |= _tensors(_read_file(index.parent / name))
    return found


def _read_file(path: Path) -> Any:
    """What a file holds, as plain containers and tensors.

    Raises:
        UnderstudyError: if it is missing, empty, damaged, or neither of the two kinds.
    """
    if not path.is_file():
        raise UnderstudyError(f"there is no weights file {_name(path)}")
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        raise UnderstudyError(f"{_name(path)} is empty: save or download it again")
    for opening, advice in _OPENINGS.items():
        if start.startswith(opening):
            raise UnderstudyError(f"{_name(path)} {advice}")
    if path.suffix == ".onnx":
        raise UnderstudyError(
            f"{_name(path)} is an ONNX file, a network with its weights: "
            f"name it as the model, onnx:{_name(path)}"
        )
    try:
        if start[8:9] == b"{":  # after the length of the header of safetensors
            from safetensors.torch import load_file

            return load_file(path)
        return _load_without_code(path, is_zip=start.startswith(b"PK"))
    except Exception as error:
        raise UnderstudyError(_reason(path, error)) from error


def _load_without_code(path: Path, *, is_zip: bool) -> Any:
    """``torch.load`` with ``weights_only``; of a zip, foreign classes are replaced by stand-ins.

    A zip is mapped into memory: what is not needed of it (an optimizer's state) is never read.
    """
    known: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if is_zip:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        known = torch.serialization.safe_globals(stand_ins(foreign))
    with known, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about old formats of pickle and storage
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip or None)


def _reason(path: Path, error: Exception) -> str:
    text = str(error)
    if "torchscript" in text.lower():
        return (
            f"{_name(path)} is a TorchScript archive: "
            f"save its weights alone, torch.save(torch.jit.load(...).state_dict(), 'weights.pt')"
        )
    foreign = re.search(r"GLOBAL (\S+)", text)
    if isinstance(error, pickle.UnpicklingError) and foreign:
        return (
            f"{_name(path)} cannot be read as weights: it needs the code of "
            f"{shown(foreign[1])}, and no code of a file is run; load it where it was trained and "
            f"save the weights alone, {_RESAVE}"
        )
    return (
        f"{_name(path)} cannot be read as weights ({type(error).__name__}): it is damaged, or no "
        f"safetensors file and no file of torch.save; save the weights by {_RESAVE}"
    )


def _state_dicts(
    found: Any, place: str, depth: int, seen: set[int]
) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Every mapping of names to tensors inside what a file holds, outer ones first.

    After them come the mappings of parts (``{"backbone": {...}, "head": {...}}``) as one, whose
    place ends in ``*``.
    """
    if depth == 0 or id(found) in seen:  # a pickle may contain itself
        return
    seen.add(id(found))
    if isinstance(found, list | tuple):
        found = {str(number): part for number, part in enumerate(found) if isinstance(part, dict)}
    if not isinstance(found, Mapping):
        return
    own = _tensors(found)
    if own:
        yield place, own
    parts: dict[str, Tensor] = {}
    number = 0
    for key, value in found.items():
        inner: dict[str, Mapping[str, Tensor]] = {}
        if isinstance(key, str) and isinstance(value, Mapping | list | tuple):
            inner = dict(_state_dicts(value, f"{place}.{key}" if place else key, depth - 1, seen))
        yield from inner.items()
        number += bool(inner)
        for tensors in list(inner.values())[:1]:
            parts |= {f"{key}.{name}": tensor for name, tensor in tensors.items()}
    if number > 1:
        yield f"{place}.*" if place else "*", {**own, **parts}


def _tensors(found: Any) -> Mapping[str, Tensor]:
    """The entries of a mapping that are tensors, or arrays of numbers."""
    if not isinstance(found, Mapping):
        return {}
    tensors = {key: _tensor(value) for key, value in found.items() if isinstance(key, str)}
    return {key: tensor for key, tensor in tensors.items() if tensor is not None}


def _tensor(value: Any) -> Tensor | None:
    if isinstance(value, Array):
        return value.tensor()
    return value.detach() if isinstance(value, Tensor) else None


def _advice(found: Any) -> str:
    if isinstance(found, Mapping):
        if any(is_module(value) for value in found.values()):
            return (
                "it holds a whole network, whose code would have to be run to read it; save the "
                f"weights alone, {_RESAVE}"
            )
        if "param_groups" in found or "optimizer" in found:
            return f"it is the state of an optimizer; save the network's, {_RESAVE}"
        if not found:
            return f"it is an empty mapping; save the network's, {_RESAVE}"
    return f"it is a {type(found).__name__} and no state dict; save one by {_RESAVE}"


def _name(path: Path) -> str:
    return shown(str(path))
