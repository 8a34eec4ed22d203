"""Where a network of another library can be read for feature-based methods: its stages, found."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from understudy.data.names import shown
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.models.foreign import is_channels_last, random_images
from understudy.models.modes import evaluating

MOST = 4
"""Stages that are proposed, the deepest ones."""


@dataclass(frozen=True)
class _Call:
    """One module in one run; shapes are without the batch, and of maps ``[C, H, W]``.

    Attributes:
        path: of the module.
        given, made: shapes of its input and output.
        tensor: which output it is: modules around each other give the same one.
        start, end: when it began and ended, counted in beginnings and ends of modules.
        is_stage: whether it may be one: a pooling is none.
    """

    path: str
    given: tuple[int, ...]
    made: tuple[int, ...]
    tensor: int
    start: int
    end: int
    is_stage: bool

    @property
    def area(self) -> int:
        """Pixels of its output; 0 of tokens."""
        return self.made[1] * self.made[2] if len(self.made) == 3 else 0

    @property
    def area_before(self) -> int:
        """Pixels of its input."""
        return self.given[1] * self.given[2] if len(self.given) == 3 else 0


def propose_stages(network: nn.Module, image: ImageSpec) -> tuple[str, ...]:
    """Module paths of up to four stages, shallow to deep; empty if none are found.

    Those of timm are its own. In other networks it is, for each resolution on the way to the
    logits, the last module before the next one is reached; in a transformer, or if the resolution
    never changes, blocks at equal distances.

    Args:
        network: images ``[B, C, H, W]`` to logits; its modes and statistics do not change.
        image: the shape of the images.
    """
    return library_stages(network, image) or _observed_stages(network, image)


def stage_setting(role: str, stages: Sequence[str]) -> str:
    """The setting that names stages, as it is typed: names that are numbers need quotes.

    Args:
        role: ``teacher`` or ``student``.
        stages: module paths.
    """
    names = [shown(stage) for stage in stages]
    if any(name[:1].isdigit() for name in names):
        quoted = ",".join(f'"{name}"' for name in names)
        return f"'{role}.stages=[{quoted}]'"
    return f"{role}.stages=[{','.join(names)}]"


def library_stages(network: nn.Module, image: ImageSpec) -> tuple[str, ...]:
    """The stages of timm's feature interface; empty for other networks, or if one gives no map."""
    listed = getattr(network, "feature_info", None)
    if not isinstance(listed, list) or not all(isinstance(entry, Mapping) for entry in listed):
        return ()
    modules = dict(network.named_modules())
    paths = [str(entry.get("module", "")) for entry in listed]
    if not paths or not all(path and path in modules for path in paths):
        return ()
    made = {call.path: call.made for call in _calls(network, image)[0]}
    maps = [path for path in paths if path in made and _is_readable(made[path])]
    same = len({made[path] for path in maps}) == 1
    return _evenly(maps) if same else tuple(maps[-MOST:])


def _observed_stages(network: nn.Module, image: ImageSpec) -> tuple[str, ...]:
    """The last module before each loss of resolution on the way to the logits, and the last one."""
    calls, classes = _calls(network, image)
    maps = [call for call in calls if call.area and call.is_stage]
    while maps and maps[-1].made[0] == classes:  # logits as a map, before they are pooled
        maps.pop()
    areas: list[int] = []
    for call in reversed(maps):  # a later map that is larger shows a side branch
        if not areas or call.area > areas[-1]:
            areas.append(call.area)
    areas.reverse()
    if areas[-1:] == [1] and not any(call.area == 1 < call.area_before for call in maps):
        areas.pop()  # behind the global pooling
    found = []
    for area, smaller in itertools.pairwise([*areas, 0]):
        leaving = [each.start for each in calls if (each.area_before, each.area) == (area, smaller)]
        last = _last(maps, area, min(leaving, default=None))
        if last is not None:
            found.append(_outermost(last, maps))
    if len(found) > 1:
        return tuple(found[-MOST:])
    return _blocks(calls) or tuple(found)


def _last(maps: list[_Call], area: int, before: int | None) -> _Call | None:
    """The last map of a resolution that is finished before a moment."""
    same = [call for call in maps if call.area == area]
    return next((call for call in reversed(same) if before is None or call.end < before), None)


def _calls(network: nn.Module, image: ImageSpec) -> tuple[list[_Call], int]:
    """What one run gives, in the order in which modules are finished, and how many logits."""
    found: list[_Call] = []
    begun: dict[str, int] = {}
    tensors: dict[int, Tensor] = {}  # alive, so that no two have one id
    ticks = itertools.count()

    def begin(path: str) -> None:
        begun[path] = next(ticks)

    def end(path: str, module: nn.Module, given: Any, made: Any) -> None:
        given, made = _first(given), _first(made)
        if isinstance(made, Tensor) and made.ndim in (3, 4):
            tensors[id(made)] = made
            before = _shape(given, image) if isinstance(given, Tensor) else ()
            shapes = (before, _shape(made, image), id(made))
            found.append(_Call(path, *shapes, begun[path], next(ticks), _may_be_stage(module)))

    handles = []
    for path, module in network.named_modules():
        if path and not isinstance(module, nn.AdaptiveAvgPool2d):
            handles.append(module.register_forward_pre_hook(lambda *_, path=path: begin(path)))
            handles.append(
                module.register_forward_hook(
                    lambda module, given, made, path=path: end(path, module, given, made)
                )
            )
    images = random_images(network, image)
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


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple | list) and value else value


def _shape(tensor: Tensor, image: ImageSpec) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    if len(shape) == 4 and min(shape) > 0 and is_channels_last(shape, image.size):
        return shape[3], shape[1], shape[2]
    return shape[1:]


def _may_be_stage(module: nn.Module) -> bool:
    """Modules with parameters, and activations."""
    if next(module.parameters(), None) is not None:
        return True
    return type(module).__module__ == "torch.nn.modules.activation"


def _outermost(last: _Call, maps: list[_Call]) -> str:
    """The outermost of the modules around each other that give the same map."""
    same = [call.path for call in maps if call.tensor == last.tensor and call.made == last.made]
    return min(same, key=lambda path: path.count("."))


def _blocks(calls: list[_Call]) -> tuple[str, ...]:
    """Members of the longest numbered list of modules that give one shape, at equal distances."""
    lists: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for call in calls:
        name = call.path.rstrip("0123456789")
        if name != call.path and _is_readable(call.made) and call.is_stage:
            lists.setdefault((name, call.made), []).append(call.path)
    longest = max(lists.values(), key=len, default=[])
    return _evenly(longest)


def _evenly(paths: list[str]) -> tuple[str, ...]:
    """At most four, at equal distances; the last one is among them."""
    count = min(MOST, len(paths))
    return tuple(paths[math.ceil(len(paths) * (i + 1) / count) - 1] for i in range(count))


def _is_readable(shape: tuple[int, ...]) -> bool:
    return len(shape) in (2, 3) and min(shape) > 0
