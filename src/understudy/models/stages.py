"""Where a network of another library can be read for feature-based methods: its stages, found."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.models.foreign import is_channels_last
from understudy.models.modes import evaluating

MOST = 4
"""Stages that are proposed, the deepest ones."""
_PREFERRED = ("layer", "stage", "block", "features", "down", "level")
"""Names of modules that are meant as stages, if two give the same map."""


@dataclass(frozen=True)
class _Seen:
    """The output of one module in one run.

    Attributes:
        path: of the module.
        shape: of its output, without the batch.
        maker: which output it is: modules around each other give the same one.
    """

    path: str
    shape: tuple[int, ...]
    maker: int


def propose_stages(network: nn.Module, image: ImageSpec) -> tuple[str, ...]:
    """Module paths of up to four stages, shallow to deep; empty if none are found.

    Those of timm are its own. In other networks it is, for each resolution on the way to the
    logits, the last module with a map of it; in a transformer, or if the resolution never changes,
    blocks at equal distances.

    Args:
        network: images ``[B, C, H, W]`` to logits; its modes and statistics do not change.
        image: the shape of the images.
    """
    return library_stages(network, image) or _observed_stages(network, image)


def library_stages(network: nn.Module, image: ImageSpec) -> tuple[str, ...]:
    """The stages of timm's feature interface; empty for other networks, or if one gives no map."""
    listed = getattr(network, "feature_info", None)
    if not isinstance(listed, list) or not all(isinstance(entry, Mapping) for entry in listed):
        return ()
    modules = dict(network.named_modules())
    paths = [str(entry.get("module", "")) for entry in listed]
    if not paths or not all(path and path in modules for path in paths):
        return ()
    seen = {each.path: each for each in _run(network, image)[0]}
    maps = [path for path in paths if path in seen and _is_readable(seen[path].shape)]
    return _evenly(maps) if _one_shape(maps, seen) else tuple(maps[-MOST:])


def _observed_stages(network: nn.Module, image: ImageSpec) -> tuple[str, ...]:
    seen, classes = _run(network, image)
    maps = [each for each in seen if len(each.shape) == 3]
    while maps and maps[-1].shape[0] == classes:  # logits as a map, before they are pooled
        maps.pop()
    main: list[_Seen] = []
    for each in reversed(maps):  # a later map that is larger shows a side branch
        if not main or _area(each) >= _area(main[-1]):
            main.append(each)
    last: dict[int, _Seen] = {}
    for each in main:
        last.setdefault(_area(each), each)
    found = [_outermost(each, seen) for each in reversed(list(last.values()))]
    if len(found) > 1:
        return tuple(found[-MOST:])
    return _blocks(seen) or tuple(found)


def _run(network: nn.Module, image: ImageSpec) -> tuple[list[_Seen], int]:
    """The maps and tokens of one run, in the order in which they are finished, and how many logits.

    Left out are modules without parameters inside, but for activations: a pooling is no stage. Maps
    are turned to ``[C, H, W]``.
    """
    found: list[_Seen] = []
    makers: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no two outputs have one id

    def note(path: str, output: Any) -> None:
        output = output[0] if isinstance(output, tuple | list) and output else output
        if isinstance(output, Tensor) and output.ndim in (3, 4):
            alive.append(output)
            maker = makers.setdefault(id(output), len(makers))
            found.append(_Seen(path, _without_batch(output, image.size), maker))

    handles = [
        module.register_forward_hook(lambda _, __, output, path=path: note(path, output))
        for path, module in network.named_modules()
        if path and _may_be_stage(module)
    ]
    parameter = next(network.parameters(), torch.empty(0))
    images = torch.rand(2, *image.shape, generator=torch.Generator().manual_seed(0)).to(parameter)
    try:
        with evaluating(network), torch.no_grad():
            result = network(images)
    except (RuntimeError, ValueError, AssertionError, TypeError, UnderstudyError):
        return [], 0  # whoever builds it runs it too, and reports why
    finally:
        for handle in handles:
            handle.remove()
    logits = getattr(result, "logits", result)
    return found, logits.shape[-1] if isinstance(logits, Tensor) else 0


def _without_batch(output: Tensor, size: tuple[int, int]) -> tuple[int, ...]:
    shape = tuple(output.shape)
    if len(shape) == 4 and min(shape) > 0 and is_channels_last(shape, size):
        return shape[3], shape[1], shape[2]
    return shape[1:]


def _may_be_stage(module: nn.Module) -> bool:
    if next(module.parameters(), None) is not None:
        return True
    return type(module).__module__ == "torch.nn.modules.activation"


def _outermost(last: _Seen, seen: list[_Seen]) -> str:
    """Of the modules around each other that give the same map the one that is meant as a stage."""
    same = [each.path for each in seen if each.maker == last.maker and each.shape == last.shape]
    named = [path for path in same if path.rpartition(".")[2].rstrip("0123456789_") in _PREFERRED]
    return min(named or same, key=lambda path: path.count("."))


def _blocks(seen: list[_Seen]) -> tuple[str, ...]:
    """Members of the longest list of modules that give one shape, at equal distances."""
    lists: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for each in seen:
        parent, _, leaf = each.path.rpartition(".")
        if leaf.isdigit() and _is_readable(each.shape):
            lists.setdefault((parent, each.shape), []).append(each.path)
    longest = max(lists.values(), key=len, default=[])
    return _evenly(longest)


def _evenly(paths: list[str]) -> tuple[str, ...]:
    """At most four, at equal distances; the last one is among them."""
    count = min(MOST, len(paths))
    return tuple(paths[math.ceil(len(paths) * (i + 1) / count) - 1] for i in range(count))


def _one_shape(paths: list[str], seen: Mapping[str, _Seen]) -> bool:
    return len({seen[path].shape for path in paths}) == 1


def _is_readable(shape: tuple[int, ...]) -> bool:
    return len(shape) in (2, 3) and min(shape) > 0


def _area(each: _Seen) -> int:
    return each.shape[1] * each.shape[2]
