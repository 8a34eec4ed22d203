"""The table of methods: find one by name, check its options, build it around a student.

``docs/adding-a-method.md`` shows how to add one.
"""

import importlib
from collections.abc import Mapping
from typing import Any

from understudy.config.parse import parse
from understudy.config.schedules import bounds
from understudy.errors import UnderstudyError, one_line, suggest
from understudy.methods.adversarial import Adversarial
from understudy.methods.at import AT
from understudy.methods.base import Method, MethodConfig, MethodContext, Needs
from understudy.methods.born_again import BornAgain
from understudy.methods.cc import CC
from understudy.methods.ce import CE
from understudy.methods.combined import CombinedConfig, combination
from understudy.methods.costs import added_parameters, measured_costs
from understudy.methods.crd import CRD
from understudy.methods.dist import DIST
from understudy.methods.dkd import DKD
from understudy.methods.dml import DML
from understudy.methods.fitnets import FitNets
from understudy.methods.ft import FT
from understudy.methods.kd import KD
from understudy.methods.lskd import LSKD
from understudy.methods.multi_teacher import MultiTeacher
from understudy.methods.nst import NST
from understudy.methods.pkt import PKT
from understudy.methods.reviewkd import ReviewKD
from understudy.methods.rkd import RKD
from understudy.methods.simkd import SimKD
from understudy.methods.sp import SP
from understudy.methods.vid import VID
from understudy.models.base import Classifier
from understudy.models.ensemble import Ensemble

METHODS: dict[str, type[Method]] = {
    "ce": CE,
    "kd": KD,
    "lskd": LSKD,
    "dkd": DKD,
    "dist": DIST,
    "fitnets": FitNets,
    "at": AT,
    "sp": SP,
    "rkd": RKD,
    "cc": CC,
    "pkt": PKT,
    "vid": VID,
    "nst": NST,
    "ft": FT,
    "reviewkd": ReviewKD,
    "simkd": SimKD,
    "crd": CRD,
    "adversarial": Adversarial,
    "dml": DML,
    "born_again": BornAgain,
}
"""Name -> class."""


def list_methods() -> list[str]:
    """The names of the distillation methods, in the order of the table.

    Several are joined by ``+`` (``at+kd``); a dotted path names a method outside this package.
    """
    return list(METHODS)


def method_class(name: str) -> type[Method]:
    """The class of a method: by its name, or by the dotted path of a subclass of :class:`Method`.

    Raises:
        UnderstudyError: if there is no such method, or the path leads to something else.
    """
    if name in METHODS:
        return METHODS[name]
    module_name, _, class_name = name.replace(":", ".").rpartition(".")
    if not module_name:
        hint = suggest(name, sorted(METHODS), cutoff=0.5, otherwise="known:")
        raise UnderstudyError(f"unknown method {name}: {hint}")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        # The last two come from paths that are no module's name, such as "..".
        raise UnderstudyError(f"cannot load the method {name}: {one_line(error)}") from error
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UnderstudyError(f"{name} is not a subclass of understudy.methods.Method")
    return found


def method_config(values: Mapping[str, Any]) -> MethodConfig:
    """A method's validated options from ``{"name": ..., option: value, ...}``.

    ``a+b`` has the base loss's options at the top, and each part's own under the part's name.

    Raises:
        UnderstudyError: for an unknown method, an unknown option or a bad value.
    """
    names = str(values["name"]).split("+")
    if len(names) == 1:
        return parse(method_class(names[0]).config_class, values, "method")
    parts = {name: _part_config(name, values.get(name, {})) for name in names}
    shared = {key: value for key, value in values.items() if key not in parts}
    largest = max((part.alpha for part in parts.values()), key=lambda alpha: bounds(alpha)[1])
    weights = [part.ce_weight for part in parts.values() if part.ce_weight is not None]
    shared.setdefault("alpha", largest)
    shared.setdefault("ce_weight", weights[0] if weights else None)
    return parse(CombinedConfig, shared | {"parts": parts}, "method")


def _part_config(name: str, options: Any) -> MethodConfig:
    if not isinstance(options, Mapping):
        raise UnderstudyError(
            f"method.{name} must be a section of {name}'s options, not {options!r}"
        )
    return parse(method_class(name).config_class, {"name": name, **options}, f"method.{name}")


def needs_of(config: MethodConfig) -> Needs:
    """What a method reads of the teacher under these options: a value of :data:`NEEDS`."""
    return _class_of(config).needs_with(config)


def build_method(config: MethodConfig, student: Classifier, context: MethodContext) -> Method:
    """The method of ``config`` around a student; for an ensemble of teachers, once for each.

    Raises:
        UnderstudyError: if the method does not fit student and teacher, or the classes are too few.
    """
    kind = _class_of(config)
    kind.require_classes(config, context.num_classes)
    if isinstance(context.teacher, Ensemble):
        return MultiTeacher(kind, student, config, context)
    return kind(student, config, context)


def _class_of(config: MethodConfig) -> type[Method]:
    if not isinstance(config, CombinedConfig):
        return method_class(config.name)
    classes = {name: method_class(name) for name in config.parts}
    return combination(config.name, classes, config.parts)


def describe_methods() -> list[dict[str, Any]]:
    """Every method's name, needs, costs, reference, one-line summary, whole card and options.

    ``min_classes`` is the fewest classes for which it teaches anything; ``extra_parameters`` train
    in addition to the student, ``inference_parameters`` are deployed with it (both counted for the
    pair of :mod:`understudy.methods.costs`); ``cost_per_step`` is the measured time of a step over
    that of plain training.
    """
    costs = measured_costs()["cost_per_step"]
    entries = []
    for name, kind in METHODS.items():
        trained, deployed = added_parameters(kind, name)
        entries.append(
            {
                "name": name,
                "reference": kind.reference,
                "needs": kind.needs_with(kind.config_class(name)),
                "min_classes": kind.min_classes,
                "extra_parameters": trained,
                "inference_parameters": deployed,
                "cost_per_step": costs.get(name),
                "summary": kind.card().splitlines()[0],
                "card": kind.card(),
                "options": kind.options(),
            }
        )
    return entries
