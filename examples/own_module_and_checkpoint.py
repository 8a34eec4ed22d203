"""Your own network, trained by your own code, as the teacher; your own module as the student.

The checkpoint is what most training code writes: ``torch.save({"state_dict": ..., "epoch": ...})``.
Run it by

    python examples/own_module_and_checkpoint.py [--epochs 6]
"""

import argparse
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

import understudy

MEAN, STD = (0.4, 0.4, 0.4), (0.3, 0.3, 0.3)
"""The normalisation of your training code."""


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU, and half the size."""
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU(), nn.MaxPool2d(2))


class MyNetwork(nn.Module):
    """Any module will do: normalised images ``[B, 3, H, W]`` to logits ``[B, K]``."""

    def __init__(self, width: int, num_classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(block(3, width), block(width, 2 * width))
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.features(images).mean((2, 3)))


def your_training_code(images: Tensor, labels: Tensor, path: Path, epochs: int) -> None:
    """A plain loop that knows nothing of this package, and its checkpoint."""
    network = MyNetwork(width=16)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    for epoch in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            pixels = (images[rows].float() / 255 - mean) / std
            loss = nn.functional.cross_entropy(network(pixels), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        torch.save({"state_dict": network.state_dict(), "epoch": epoch}, path)


def main(folder: Path, epochs: int) -> None:
    """Train by your code, load the checkpoint, distill, save and load the student."""
    torch.manual_seed(0)
    data = understudy.load_dataset("digits")
    mine = folder / "mine.pt"
    your_training_code(data.train.images, data.train.labels, mine, max(epochs, 4))

    network = MyNetwork(width=16)
    checkpoint = torch.load(mine, weights_only=True)
    network.load_state_dict(checkpoint["state_dict"])
    teacher = understudy.Teacher(network, mean=MEAN, std=STD)  # it sees its own normalisation
    digits = {"flip": False, "padding": 2}  # a mirrored 3 is no 3
    student = understudy.distill(
        teacher, MyNetwork(width=8), data, "kd", epochs=epochs, lr=1e-2, augment=digits
    )
    print(student)
    print(f"{100 * student.evaluate(data).accuracy:.1f} % on test images")

    student.save(folder / "student.safetensors")  # weights under your module's own names, no code
    loaded = understudy.Student.load(folder / "student.safetensors", network=MyNetwork(width=8))
    images = data.test.open_for_final_evaluation().images[:8]
    assert torch.equal(loaded.predict(images), student.predict(images))
    print(f"loaded again: {loaded.predict(images).tolist()}")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--epochs", type=int, default=6)
    with tempfile.TemporaryDirectory() as place:
        main(Path(place), arguments.parse_args().epochs)
