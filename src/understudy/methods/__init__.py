"""The distillation methods: a plain table, one file each. ``docs/adding-a-method.md`` shows how to add one."""

import importlib
from collections.abc import Mapping
from typing import Any

from understudy.config.parse import parse, unknown_key
from understudy.config.schedules import bounds
from understudy.errors import UnderstudyError, one_line
from understudy.methods.adversarial import Adversarial
from understudy.methods.at import AT, at_loss
from understudy.methods.base import Method, MethodConfig, MethodContext
from understudy.methods.born_again import BornAgain
from understudy.methods.cc import CC, cc_loss
from understudy.methods.ce import CE
from understudy.methods.combined import CombinedConfig, combination
from understudy.methods.costs import added_parameters, measured_costs
from understudy.methods.crd import CRD
from understudy.methods.dist import DIST, dist_loss
from understudy.methods.dkd import DKD, dkd_loss
from understudy.methods.dml import DML
from understudy.methods.fitnets import FitNets
from understudy.methods.ft import FT
from understudy.methods.kd import KD, kd_loss
from understudy.methods.lskd import LSKD, lskd_loss
from understudy.methods.multi_teacher import ManyTeachers
from understudy.methods.nst import NST, nst_loss
from understudy.methods.pkt import PKT, pkt_loss
from understudy.methods.reviewkd import ReviewKD, hcl_loss
from understudy.methods.rkd import RKD, rkd_loss
from understudy.methods.simkd import SimKD
from understudy.methods.sp import SP, sp_loss
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

__all__ = [
    "METHODS",
    "Method",
    "MethodConfig",
    "MethodContext",
    "at_loss",
    "build_method",
    "cc_loss",
    "describe_methods",
    "dist_loss",
    "dkd_loss",
    "hcl_loss",
    "kd_loss",
    "lskd_loss",
    "method_class",
    "method_config",
    "nst_loss",
    "pkt_loss",
    "rkd_loss",
    "sp_loss",
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
        raise UnderstudyError(
            unknown_key(name, name, METHODS).replace("unknown key", "unknown method")
        )
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

    ``a+b`` takes the founding loss's options as they are, and each part's own under its name.

    Raises:
        UnderstudyError: for an unknown method, an unknown option or a bad value.
    """
    names = str(values["name"]).split("+")
    if len(names) == 1:
        return parse(method_class(names[0]).config_class, values, "method")
    parts = {}
    for name in names:
        own = values.get(name, {})
        if not isinstance(own, Mapping):
            raise UnderstudyError(
                f"method.{name} must be a section of {name}'s options, not {own!r}"
            )
        parts[name] = parse(
            method_class(name).config_class, {"name": name, **own}, f"method.{name}"
        )
    shared = {key: value for key, value in values.items() if key not in parts}
    shared.setdefault(
        "alpha", max((part.alpha for part in parts.values()), key=lambda alpha: bounds(alpha)[1])
    )
    shared.setdefault(
        "ce_weight",
        next((part.ce_weight for part in parts.values() if part.ce_weight is not None), None),
    )
    return parse(CombinedConfig, shared | {"parts": parts}, "method")


def needs_of(config: MethodConfig) -> str:
    """What of the teacher a method reads under these options: ``nothing``, ``logits`` or ``features``."""
    return _class_of(config).needs_with(config)


def build_method(config: MethodConfig, student: Classifier, context: MethodContext) -> Method:
    """The method named by ``config`` around a student; for an ensemble of teachers, around each of them."""
    kind = _class_of(config)
    several = isinstance(context.teacher, Ensemble)
    return (
        ManyTeachers(kind, student, config, context) if several else kind(student, config, context)
    )


def _class_of(config: MethodConfig) -> type[Method]:
    if not isinstance(config, CombinedConfig):
        return method_class(config.name)
    return combination(
        config.name, {name: method_class(name) for name in config.parts}, config.parts
    )


def describe_methods() -> list[dict[str, Any]]:
    """Every method's name, needs, costs, reference, one-line summary, whole card and options.

    ``extra_parameters`` train beside the student, ``inference_parameters`` stay with it when it is deployed (both counted for
    the pair of :mod:`understudy.methods.costs`); ``cost_per_step`` is the measured time of a step over that of plain training.
    """
    costs = measured_costs()["cost_per_step"]
    entries = []
    for name, kind in METHODS.items():
        trained, kept = added_parameters(kind, name)
        entries.append(
            {
                "name": name,
                "reference": kind.reference,
                "needs": kind.needs_with(kind.config_class(name)),
                "extra_parameters": trained,
                "inference_parameters": kept,
                "cost_per_step": costs.get(name),
                "summary": kind.card().splitlines()[0],
                "card": kind.card(),
                "options": kind.options(),
            }
        )
    return entries
