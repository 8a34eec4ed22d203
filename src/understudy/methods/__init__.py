"""The distillation methods: a plain table, one file each. ``docs/adding-a-method.md`` shows how to add one."""

import importlib
from collections.abc import Mapping
from typing import Any

from understudy.config import parse, unknown_key
from understudy.errors import UnderstudyError
from understudy.methods.base import Method, MethodConfig, MethodContext
from understudy.methods.ce import CE
from understudy.methods.kd import KD, kd_loss
from understudy.models.base import Classifier

METHODS: dict[str, type[Method]] = {
    "ce": CE,
    "kd": KD,
}

__all__ = [
    "METHODS",
    "Method",
    "MethodConfig",
    "MethodContext",
    "build_method",
    "describe_methods",
    "kd_loss",
    "method_class",
    "method_config",
]


def method_class(name: str) -> type[Method]:
    """The class behind a method's id, or behind a dotted path to a subclass of :class:`Method` outside the package.

    Raises:
        UnderstudyError: if there is no such method, or the path leads to something else.
    """
    if name in METHODS:
        return METHODS[name]
    module_name, _, class_name = name.replace(":", ".").rpartition(".")
    if not module_name:
        raise UnderstudyError(unknown_key(name, name, METHODS).replace("unknown key", "unknown method"))
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise UnderstudyError(f"cannot load the method {name}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UnderstudyError(f"{name} is not a subclass of understudy.methods.Method")
    return found


def method_config(values: Mapping[str, Any]) -> MethodConfig:
    """A method's validated options from ``{"name": ..., option: value, ...}``.

    Raises:
        UnderstudyError: for an unknown method, an unknown option or a bad value.
    """
    return parse(method_class(str(values["name"])).config_class, values, "method")


def build_method(config: MethodConfig, student: Classifier, context: MethodContext) -> Method:
    """The method named by ``config`` around a student."""
    return method_class(config.name)(student, config, context)


def describe_methods() -> list[dict[str, Any]]:
    """Every method's name, reference, needs, one-line summary, whole card and options."""
    return [
        {
            "name": name,
            "reference": kind.reference,
            "needs": kind.needs,
            "summary": kind.card().splitlines()[0],
            "card": kind.card(),
            "options": kind.options(),
        }
        for name, kind in METHODS.items()
    ]
