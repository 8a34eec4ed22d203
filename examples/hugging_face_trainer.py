"""Distillation inside a Hugging Face ``Trainer``: its loop, arguments and callbacks, our teacher.

Needs ``pip install 'understudy[examples]'``. The student is any module; one of ``transformers``
returns an object with ``logits``, as here. Run it by

    python examples/hugging_face_trainer.py [--epochs 6]
"""

import argparse
import tempfile
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments

import understudy
from understudy.methods import kd_loss


class Rows:
    """The batches as dictionaries, which is what a ``Trainer`` reads."""

    def __init__(self, batches: understudy.DistillationBatches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.batches.set_epoch(epoch)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for images, labels, teacher_logits, *_ in self.batches:
            yield {"pixel_values": images, "labels": labels, "teacher_logits": teacher_logits}


class DistillationTrainer(Trainer):
    """A trainer with another loss, and batches that carry the teacher's logits."""

    def __init__(self, batches: understudy.DistillationBatches, **options: Any) -> None:
        super().__init__(**options)
        self.batches = batches

    def get_train_dataloader(self) -> Rows:
        """Our batches in place of a DataLoader."""
        return Rows(self.batches)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Any:
        """0.3 x cross-entropy + 0.7 x soft labels."""
        outputs = model(pixel_values=inputs["pixel_values"])
        hard = nn.functional.cross_entropy(outputs.logits, inputs["labels"])
        soft = kd_loss(outputs.logits, inputs["teacher_logits"], temperature=4.0)
        loss = 0.3 * hard + 0.7 * soft
        return (loss, outputs) if return_outputs else loss


def main(epochs: int) -> None:
    """Train the teacher, then the student by Hugging Face's trainer."""
    data = understudy.load_dataset("digits")
    digits = {"flip": False, "padding": 2}
    teacher = understudy.train("resnet8", data, epochs=3, batch_size=64, augment=digits)
    config = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 32],
        depths=[1, 1, 1],
        layer_type="basic",
        num_labels=10,
    )
    student = ResNetForImageClassification(config)
    batches = understudy.DistillationBatches(
        teacher, data, batch_size=64, device="cpu", augment=digits
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=epochs,
            learning_rate=1e-2,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        DistillationTrainer(batches, model=student, args=arguments).train()
    result = batches.student(student)
    print(f"{100 * result.evaluate(data).accuracy:.1f} % on test images")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--epochs", type=int, default=6)
    main(arguments.parse_args().epochs)
