"""The reused classifier: the student learns the teacher's last map and uses its classifier.

What it does: a projector (1x1, 3x3 and 1x1 convolutions, each with batch norm and ReLU) turns the
student's last map into one of the teacher's shape; the loss is the mean squared error between the
two. Predictions come from the pooled projected map through the teacher's classifier, frozen. The
larger of both maps is average-pooled to the smaller size. The student's own classifier plays no
part and is removed from it.
When to use it: when closeness to the teacher matters most and a slightly larger student is
acceptable.
Cost: the projector **stays at inference**, with the teacher's classifier: what is deployed,
exported and counted is student, projector and classifier together. The teacher runs live while
training.
Options: ``weight``, ``reduction`` (the projector's inner width is the teacher's divided by it).
Labels are not used (``ce_weight`` is 0) by default.
Reference: Chen et al. 2022, Knowledge Distillation with the Reused Teacher Classifier.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.data.loader import Batch
from understudy.errors import UnderstudyError
from understudy.methods.base import Method, MethodConfig, MethodContext, require_features
from understudy.methods.feature_pairs import match_spatial, require_norm_samples
from understudy.models.base import Classifier, Outputs
from understudy.models.modes import evaluating


@dataclass(frozen=True)
class SimKDConfig(MethodConfig):
    """Options of distillation with the reused classifier."""

    ce_weight: float | None = 0.0
    """Weight of the cross-entropy of the predictions through the teacher's classifier."""
    weight: float = 1.0
    """Weight of the map term."""
    reduction: int = 2
    """The projector's inner width is the teacher's divided by this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reduction < 1:
            raise ValueError("method.reduction must be at least 1")


def simkd_loss(projected_map: Tensor, teacher_map: Tensor) -> Tensor:
    """Mean squared error between the projected map and the teacher's last map (Chen et al. 2022).

    Args:
        projected_map, teacher_map: ``[B, C, H, W]``; if H or W differ, the larger is average-pooled
            to the smaller size.

    Returns:
        scalar, at least 0, averaged over all elements.
    """
    return F.mse_loss(*match_spatial(projected_map, teacher_map))


class TeacherHead(nn.Module):
    """A frozen copy of a teacher's classifier alone, always in eval mode.

    The copy is the teacher without the modules that :meth:`Classifier.classify` does not call, so
    that everything else that this method computes (a scale, a non-linearity) stays the same.

    Args:
        teacher: the network.
        embedding: an example of its pooled features ``[B, D]``.

    Raises:
        UnderstudyError: if the classifier cannot be separated from the rest.
    """

    def __init__(self, teacher: Classifier, embedding: Tensor) -> None:
        super().__init__()
        called = called_modules(teacher, embedding)
        above = {
            ".".join(path[:depth])
            for path in (name.split(".") for name in called)
            for depth in range(1, len(path))
        }
        below = tuple(name + "." for name in called)
        left_out = {
            id(module): nn.Identity()
            for name, module in teacher.named_modules()
            if name and name not in called and name not in above and not name.startswith(below)
        }
        # deepcopy uses what its memo holds in place of the original: the backbone is not copied.
        self.network = copy.deepcopy(teacher, memo=dict(left_out)).requires_grad_(False)
        for name in above - called:  # a transformer's position embedding, for instance
            shell = self.network.get_submodule(name)
            for own in [*shell._parameters, *shell._buffers]:
                setattr(shell, own, None)
        self.train(False)
        with torch.no_grad(), evaluating(teacher):
            copied, original = self(embedding), teacher.classify(embedding)
        if not torch.allclose(copied, original, rtol=1e-4, atol=1e-5):
            raise UnderstudyError(
                "simkd cannot separate the classifier from the rest of the teacher: "
                "use another method with it"
            )

    def train(self, mode: bool = True) -> "TeacherHead":
        """Stay in eval mode: the classifier is the teacher's."""
        return super().train(False)

    def forward(self, embedding: Tensor) -> Tensor:
        """Logits ``[B, K]`` of ``[B, D]``."""
        return self.network.classify(embedding)


def called_modules(model: Classifier, embedding: Tensor) -> set[str]:
    """Names of the modules that turn pooled features ``[B, D]`` into logits."""
    called: set[str] = set()

    def note(name: str) -> Any:
        return lambda module, args, output: called.add(name)

    handles = [
        module.register_forward_hook(note(name)) for name, module in model.named_modules() if name
    ]
    try:
        with torch.no_grad(), evaluating(model):
            model.classify(embedding)
    finally:
        for handle in handles:
            handle.remove()
    return called


def remove_head(student: Classifier, embedding: Tensor) -> None:
    """Put the identity in the place of every layer with weights in a network's classifier.

    Args:
        student: changed in place; its logits are its pooled features from now on.
        embedding: an example of its pooled features ``[B, D]``.
    """
    for name in called_modules(student, embedding):
        module = student.get_submodule(name)
        if module._parameters:
            parent, _, leaf = name.rpartition(".")
            setattr(student.get_submodule(parent), leaf, nn.Identity())


class ReusedHead(Classifier):
    """Student, projector and the teacher's classifier: what trains and what is deployed.

    Args:
        student: loses its own classifier.
        teacher: its classifier is copied.
        student_example, teacher_example: outputs for the same few images, for shapes and for the
            teacher's way of pooling.
        reduction: the projector's inner width is the teacher's divided by this.

    Raises:
        UnderstudyError: if either classifier cannot be separated, or the teacher's reads something
            else than its last map, averaged or maximised over its positions.
    """

    def __init__(
        self,
        student: Classifier,
        teacher: Classifier,
        student_example: Outputs,
        teacher_example: Outputs,
        reduction: int,
    ) -> None:
        super().__init__()
        assert student_example.embedding is not None and teacher_example.embedding is not None
        student_side, teacher_side = (
            student_example.features[-1],
            teacher_example.features[-1].float(),
        )
        embedding = teacher_example.embedding.float()
        self.head = TeacherHead(teacher, embedding)
        self.max_pool = _pools_by_maximum(teacher_side, embedding)
        remove_head(student, student_example.embedding.float())
        self.student = student
        self.feature_channels, self.embedding_dim = (teacher_side.shape[1],), teacher_side.shape[1]
        self.size = (
            min(student_side.shape[2], teacher_side.shape[2]),
            min(student_side.shape[3], teacher_side.shape[3]),
        )
        inner = max(1, teacher_side.shape[1] // reduction)
        layers: list[nn.Module] = []
        for before, after, kernel in (
            (student_side.shape[1], inner, 1),
            (inner, inner, 3),
            (inner, teacher_side.shape[1], 1),
        ):
            layers += [
                nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.projector = nn.Sequential(*layers)

    def outputs(self, images: Tensor) -> Outputs:
        student_map = self.student.outputs(images).features[-1]
        if tuple(student_map.shape[2:]) != self.size:
            student_map = F.adaptive_avg_pool2d(student_map, self.size)
        if self.training:
            require_norm_samples("simkd", student_map)
        projected = self.projector(student_map)
        embedding = projected.amax((2, 3)) if self.max_pool else projected.mean((2, 3))
        return Outputs(self.classify(embedding), (projected,), embedding)

    def classify(self, embedding: Tensor) -> Tensor:
        logits: Tensor = self.head(embedding)
        return logits


def _pools_by_maximum(teacher_map: Tensor, embedding: Tensor) -> bool:
    for maximum, pooled in ((False, teacher_map.mean((2, 3))), (True, teacher_map.amax((2, 3)))):
        # Wide enough for features in bf16, far narrower than the gap between a mean and a maximum.
        if pooled.shape == embedding.shape and torch.allclose(
            pooled, embedding, rtol=0.02, atol=1e-3
        ):
            return maximum
    raise UnderstudyError(
        "simkd needs a teacher whose classifier reads its last map pooled by mean or maximum: "
        "set teacher.stages so that the last one is the module before the pooling"
    )


class SimKD(Method):
    """The map term alone; predictions through the teacher's classifier."""

    config_class = SimKDConfig
    needs = "features"
    keeps_adapter = True
    reference = "Chen et al. 2022, Knowledge Distillation with the Reused Teacher Classifier"

    def __init__(self, student: Classifier, config: SimKDConfig, context: MethodContext) -> None:
        require_features(config.name, context)
        if context.teacher is None:
            raise UnderstudyError(
                "simkd uses the classifier of its one teacher, "
                "but no single teacher network runs live here"
            )
        assert context.teacher_example is not None
        reused = ReusedHead(
            student,
            context.teacher,
            context.student_example,
            context.teacher_example,
            config.reduction,
        )
        super().__init__(reused, config, context)
        self.weight = config.weight

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        return {
            "simkd": self.weight
            * simkd_loss(student.features[-1].float(), teacher.features[-1].float())
        }
