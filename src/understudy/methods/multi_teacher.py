"""One method with several teachers: the losses of each, averaged by the teachers' weights.

Averaging the members' KL terms gives the gradient of the KL term with the mean of their
probabilities, at every temperature. Adapters (regressors, discriminators, banks) exist once for
each teacher, because the features of two teachers have nothing in common.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.methods.base import Method, MethodConfig, MethodContext, attach_part
from understudy.models.base import Classifier, Outputs
from understudy.models.ensemble import Ensemble

Build = Callable[[Classifier, MethodConfig, MethodContext], Method]
"""A method's class, or another callable that makes a method for a single teacher."""


class MultiTeacher(Method):
    """The weighted mean of a method's losses over the members of an ensemble.

    Args:
        build: makes the method for one teacher.
        student, config, context: as for any method; the context's teacher is the ensemble.

    Raises:
        UnderstudyError: for a method that replaces the student's own forward pass or head.
    """

    def __init__(
        self, build: Build, student: Classifier, config: MethodConfig, context: MethodContext
    ) -> None:
        super().__init__(student, config, context)
        assert isinstance(context.teacher, Ensemble) and context.teacher_example is not None
        self.weights = context.teacher.weights
        for number, example in enumerate(context.teacher_example.members):
            member = context.teacher.networks[number]
            assert isinstance(member, Classifier)
            part = build(student, config, replace(context, teacher_example=example, teacher=member))
            kind = type(part)
            if (
                kind.forward is not Method.forward
                or kind.deployed is not Method.deployed
                or kind.keeps_adapter
            ):
                raise UnderstudyError(
                    f"method {config.name} takes one teacher: remove teacher.members"
                )
            attach_part(self, f"teacher_{number}", part)

    def losses(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        assert teacher is not None and len(teacher.members) == len(self.weights), (
            "the outputs of an ensemble hold those of its members"
        )
        result: dict[str, Tensor] = {}
        for part, weight, outputs in zip(self._parts(), self.weights, teacher.members, strict=True):
            part.epoch = self.epoch
            for name, value in part.losses(student, outputs, batch).items():
                result[name] = result[name] + weight * value if name in result else weight * value
        return result

    def measures(self) -> dict[str, Tensor]:
        found = [part.measures() for part in self._parts()]
        return {name: torch.stack([one[name] for one in found]).mean() for name in found[0]}

    def _parts(self) -> list[Method]:
        return [
            part
            for name, part in self.named_children()
            if name != "student" and isinstance(part, Method)
        ]
