"""A network by the dotted path of what builds it: a function or a class of the user's own."""

import contextlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from understudy.errors import UnderstudyError, one_line, suggest

_CLASSES = ("num_classes", "n_classes", "num_labels", "num_class", "n_class", "classes")
"""Names by which code calls the number of classes, the likeliest first."""
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def build_dotted(
    name: str,
    num_classes: int | None,
    in_channels: int,
    image_size: tuple[int, int] | None,
    options: Mapping[str, Any],
) -> nn.Module:
    """Call the function or class at ``package.module:callable``.

    Modules of the current folder are found, as ``python -m`` finds them. The callable is given the
    number of classes if its signature takes it, by one of the usual names or as its one argument
    without a default; ``in_channels`` and ``image_size`` if its signature names them.

    Args:
        name: the dotted path.
        num_classes: number of logits; ``None`` leaves it to the callable.
        in_channels: channels of the images.
        image_size: (height, width) in pixels; ``None`` leaves it to the callable.
        options: further keyword arguments; they win.

    Raises:
        UnderstudyError: if it cannot be imported or called, or returns no network.
    """
    with _current_folder():
        constructor = _imported(name)
        arguments, keywords = _arguments(constructor, num_classes, in_channels, image_size, options)
        try:
            model = constructor(*arguments, **keywords)
        except UnderstudyError:
            raise
        except Exception as error:
            reason = one_line(error, with_type=True, first_line=True)
            raise UnderstudyError(f"model {name} cannot be built: {reason}") from error
    if not isinstance(model, nn.Module):
        raise UnderstudyError(f"model {name} gives {type(model).__name__}, not a torch module")
    return model


def _imported(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":") if ":" in name else name.rpartition(".")
    if module_name.endswith(".py") or "/" in module_name:
        stem = Path(module_name).stem
        raise UnderstudyError(
            f"model {name}: name the module and not its file, {stem}:{attribute}, in the folder "
            "where it is"
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UnderstudyError(
            f"model {name}: there is no module {error.name!r} to import, neither installed nor in "
            "the current folder"
        ) from error
    except Exception as error:
        reason = one_line(error, with_type=True, first_line=True)
        raise UnderstudyError(f"model {name}: {module_name} fails to import: {reason}") from error
    constructor = getattr(module, attribute, None)
    if not callable(constructor):
        callables = [key for key, value in vars(module).items() if callable(value)]
        near = suggest(attribute, callables, matches=5, most=12)
        raise UnderstudyError(f"model {name}: {module_name} has no callable {attribute!r}: {near}")
    found: Callable[..., Any] = constructor
    return found


def _arguments(
    constructor: Callable[..., Any],
    num_classes: int | None,
    in_channels: int,
    image_size: tuple[int, int] | None,
    options: Mapping[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments that the signature takes."""
    try:
        parameters = inspect.signature(constructor).parameters
    except (TypeError, ValueError):  # of a builtin: nothing is known
        return (), dict(options)
    named = [key for key, each in parameters.items() if each.kind in _NAMED]
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    keywords: dict[str, Any] = {}
    if "in_channels" in named:
        keywords["in_channels"] = in_channels
    if image_size is not None and "image_size" in named:
        height, width = image_size
        keywords["image_size"] = height if height == width else (height, width)
    keywords |= options
    if num_classes is None or any(key in options for key in _CLASSES):
        return (), keywords
    known = next((key for key in _CLASSES if key in named), None)
    required = [
        key
        for key, each in parameters.items()
        if each.kind in _POSITIONAL and each.default is each.empty and key not in keywords
    ]
    if known is None and len(required) == 1 and required == list(parameters)[:1]:
        return (num_classes,), keywords
    if known is not None or takes_any:
        keywords[known or _CLASSES[0]] = num_classes
    return (), keywords


@contextlib.contextmanager
def _current_folder() -> Iterator[None]:
    """The current folder in front of where modules are looked for, for a moment.

    A console script does not have it there.
    """
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
