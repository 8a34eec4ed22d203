"""A new method in one file: options, a pure loss, a small class; used by its dotted path.

What it does: adds ``weight * mean(1 - cosine)`` of the two networks' centred logits.
When to use it: as a pattern. docs/adding-a-method.md explains each part.
Cost: one product of the logits.
Options: ``weight`` of the term; ``alpha`` and ``temperature`` are those of the base loss.
Reference: none; an example.

Run it by

    python examples/new_method.py [--epochs 6]

or, on the command line and from this folder,

    PYTHONPATH=. understudy run digits method=new_method.Cosine method.weight=2
"""

import argparse
from dataclasses import dataclass

import torch
from torch import Tensor

import understudy
from understudy.data.loader import Batch
from understudy.methods import Method, MethodConfig
from understudy.models.base import Outputs


@dataclass(frozen=True)
class CosineConfig(MethodConfig):
    """Options of the example."""

    alpha: float = 0.5
    """Weight of the soft labels."""
    weight: float = 1.0
    """Weight of the term."""


def cosine_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Mean ``1 - cosine`` of centred logits ``[B, K]``: 0 if both rank and space classes alike."""
    pair = [logits - logits.mean(1, keepdim=True) for logits in (student_logits, teacher_logits)]
    return (1 - torch.cosine_similarity(*pair, dim=1)).mean()


class Cosine(Method):
    """The base loss and the angle between the logits."""

    config_class = CosineConfig
    config: CosineConfig
    needs = "logits"
    reference = "an example"

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The method's own terms; the base class adds cross-entropy and soft labels."""
        return {"cosine": self.config.weight * cosine_loss(student.logits, teacher.logits)}


def main(epochs: int) -> None:
    """Compare the method with plain soft labels."""
    data = understudy.load_dataset("digits")
    settings = {"batch_size": 64, "lr": 1e-2, "augment": {"flip": False, "padding": 2}}
    teacher = understudy.train("resnet8", data, epochs=3, **settings)
    for method in ("kd", {"name": f"{__name__}.Cosine", "weight": 2.0}):
        student = understudy.distill(teacher, "tiny_dw", data, method, epochs=epochs, **settings)
        terms = ", ".join(student.history[-1].losses)
        print(f"{terms}: {100 * student.evaluate(data).accuracy:.1f} % on test images")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="A new method in one file.")
    arguments.add_argument("--epochs", type=int, default=6)
    main(arguments.parse_args().epochs)
