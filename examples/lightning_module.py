"""Distillation inside a LightningModule: your module, Lightning's trainer, our teacher and loss.

Needs ``pip install 'understudy[examples]'``. Run it by

    python examples/lightning_module.py [--epochs 6]
"""

import argparse

import lightning
import torch
from torch import Tensor, nn

import understudy
from understudy.methods import kd_loss


class DistilledDigits(lightning.LightningModule):
    """A student that learns from labels and from its teacher's logits."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.student(images)

    def training_step(self, batch: understudy.TaughtBatch, number: int) -> Tensor:
        """0.3 x cross-entropy + 0.7 x soft labels."""
        logits = self(batch.images)
        hard = nn.functional.cross_entropy(logits, batch.labels)
        return 0.3 * hard + 0.7 * kd_loss(logits, batch.teacher_logits, temperature=4.0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Any."""
        return torch.optim.AdamW(self.parameters(), lr=5e-3)


def main(epochs: int) -> None:
    """Train the teacher, then the student by Lightning's trainer."""
    data = understudy.load_dataset("digits")
    digits = {"flip": False, "padding": 2}
    teacher = understudy.train("resnet8", data, epochs=3, batch_size=64, augment=digits)
    # Each iteration over the batches is the next epoch, with its own views.
    batches = understudy.DistillationBatches(
        teacher, data, batch_size=64, device="cpu", augment=digits
    )
    module = DistilledDigits(understudy.create_model("tiny_dw", num_classes=10))
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, batches)
    result = batches.student(module.student)
    print(f"{100 * result.evaluate(data).accuracy:.1f} % on test images")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--epochs", type=int, default=6)
    main(arguments.parse_args().epochs)
