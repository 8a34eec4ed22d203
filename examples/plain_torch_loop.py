"""Losses and the cached teacher alone, inside a plain loop of torch.

``DistillationBatches`` gives the teacher's logits for exactly the view that is in the batch; the
teacher runs once for each view, whatever the number of epochs and students. Run it by

    python examples/plain_torch_loop.py [--epochs 6]
"""

import argparse

import torch
from torch import nn

import understudy
from understudy.methods import dkd_loss, kd_loss


def main(epochs: int) -> None:
    """Train a teacher by the package, and two students by a loop of your own."""
    data = understudy.load_dataset("digits")
    digits = {"flip": False, "padding": 2}
    teacher = understudy.train("resnet8", data, epochs=3, batch_size=64, augment=digits)
    batches = understudy.DistillationBatches(teacher, data, batch_size=64, augment=digits)

    for name in ("kd", "dkd"):
        torch.manual_seed(0)
        student = understudy.create_model("tiny_dw", num_classes=10).to(batches.device)
        optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2)
        steps = epochs * len(batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
        for epoch in range(epochs):
            student.train()
            batches.set_epoch(epoch)
            for images, labels, teacher_logits, *_ in batches:
                logits = student(images)
                loss = 0.3 * nn.functional.cross_entropy(logits, labels)
                if name == "kd":
                    loss = loss + 0.7 * kd_loss(logits, teacher_logits, temperature=4.0)
                else:
                    loss = loss + 0.1 * dkd_loss(logits, teacher_logits, labels, 4.0, 1.0, 8.0)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        result = batches.student(student)  # classes, normalisation, preprocessing: ready to use
        print(f"{name}: {100 * result.evaluate(data).accuracy:.1f} % on test images")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--epochs", type=int, default=6)
    main(arguments.parse_args().epochs)
