"""One method, several teachers: the student is taught by each of them, and the losses are averaged by the teachers' weights.

Averaging the members' KL terms gives the gradient of the KL term with the mean of their probabilities, at every temperature.
Adapters (regressors, discriminators, banks) come once for each teacher, since the teachers' features have nothing in common.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.methods.base import Method, MethodConfig, MethodContext, adopt
from understudy.models.base import Classifier, Outputs
from understudy.models.ensemble import Ensemble

Build = Callable[[Classifier, MethodConfig, MethodContext], Method]
"""A method's class, or anything that makes one for a single teacher."""


class ManyTeachers(Method):
    """The weighted mean of a method's losses over the members of an ensemble.

    Args:
        build: makes the method for one of them.
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
                    f"method {config.name} listens to one teacher: it cannot go with teacher.members"
                )
            adopt(self, f"teacher_{number}", part)

    def losses(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        assert teacher is not None and len(teacher.members) == len(self.weights), (
            "an ensemble's outputs have its members'"
        )
        result: dict[str, Tensor] = {}
        for part, share, answer in zip(self._parts(), self.weights, teacher.members, strict=True):
            part.epoch = self.epoch
            for name, value in part.losses(student, answer, batch).items():
                result[name] = share * value if name not in result else result[name] + share * value
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
