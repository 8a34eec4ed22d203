"""Several methods at once: ``at+kd``, ``sp+dkd``, any sum of terms with one base loss.

What it does: adds the weighted terms of all named methods to ``(1 - alpha) * CE + alpha * T^2 *
KL``. ``kd`` in the name switches the soft term on with its own default alpha; ``ce`` adds nothing.
When to use it: when two methods teach different things, such as where to look and what to predict.
Try each alone first.
Cost: the sum of the parts; one forward pass of either network.
Options: ``temperature``, ``alpha``, ``ce_weight`` for the base loss, and each part's own options
under its name: ``method=at+kd method.at.weight=500``.
Reference: Zagoruyko and Komodakis 2017 report ``at+kd``; the others are sums.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.methods.base import NEEDS, Method, MethodConfig, MethodContext, attach_part
from understudy.models.base import Classifier, Outputs


@dataclass(frozen=True)
class CombinedConfig(MethodConfig):
    """Options of a combination."""

    parts: dict[str, MethodConfig] = field(default_factory=dict)
    """Each part's validated options by its name."""


class Combined(Method):
    """The base loss once, and every part's term."""

    config_class = CombinedConfig
    reference = "the parts' own"
    kinds: ClassVar[Mapping[str, type[Method]]] = {}
    configs: ClassVar[Mapping[str, MethodConfig]] = {}

    def __init__(self, student: Classifier, config: MethodConfig, context: MethodContext) -> None:
        super().__init__(student, config, context)
        for name, kind in self.kinds.items():
            part = kind(student, self.configs[name], context)
            if kind.keeps_adapter:
                raise UnderstudyError(
                    f"method {config.name}: {name} replaces the student's own head "
                    "and cannot be combined"
                )
            attach_part(self, f"part_{name}", part)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        result: dict[str, Tensor] = {}
        for name in self.kinds:
            part = self.get_submodule(f"part_{name}")
            assert isinstance(part, Method)
            part.epoch = self.epoch
            result |= part.terms(student, teacher, batch)
        return result

    def measures(self) -> dict[str, Tensor]:
        result: dict[str, Tensor] = {}
        for name in self.kinds:
            part = self.get_submodule(f"part_{name}")
            assert isinstance(part, Method)
            result |= part.measures()
        return result


def combination(
    name: str, classes: Mapping[str, type[Method]], configs: Mapping[str, MethodConfig]
) -> type[Combined]:
    """The class that sums these methods.

    Args:
        name: as the user wrote it, for messages.
        classes: the methods by name.
        configs: their validated options.

    Raises:
        UnderstudyError: for a method that replaces the student's forward pass and so cannot be
            summed.
    """
    for part, kind in classes.items():
        if (
            kind.forward is not Method.forward
            or kind.losses is not Method.losses
            or kind.deployed is not Method.deployed
        ):
            raise UnderstudyError(
                f"method {name}: {part} has a forward pass of its own and cannot be combined"
            )
    needs = max((kind.needs_with(configs[part]) for part, kind in classes.items()), key=NEEDS.index)
    terms = {part: kind for part, kind in classes.items() if kind.terms is not Method.terms}
    members = {
        "kinds": terms,
        "configs": dict(configs),
        "needs": needs,
        "min_classes": max(kind.min_classes for kind in classes.values()),
    }
    return type("Combined", (Combined,), members)
