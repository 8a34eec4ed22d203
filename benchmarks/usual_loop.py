"""The usual PyTorch training loop, as tutorials write it: the yardstick of ``plain_epoch.py``.

PIL transforms for each image in ``__getitem__``, a DataLoader, fp32, NCHW, ReLU before the max-
pool, plain Adam, ``loss.item()`` in every step, and the teacher live on every batch.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import our_loop
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, RandomSampler

from understudy.data.dataset import Split


class UsualImages(Dataset[tuple[Tensor, int]]):
    """torchvision's RandomCrop(32, padding=4), RandomHorizontalFlip, ToTensor and Normalize,
    without torchvision."""

    def __init__(self, split: Split) -> None:
        self.images: np.ndarray = split.images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels: list[int] = split.labels.tolist()
        self.mean, self.std = torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = ImageOps.expand(Image.fromarray(self.images[index]), 4)
        top, left = int(torch.randint(9, (1,))), int(torch.randint(9, (1,)))
        image = image.crop((left, top, left + 32, top + 32))
        if torch.rand(1) < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        return tensor.sub_(self.mean).div_(self.std), self.labels[index]


def build(images: int, batch_size: int, path: str | None) -> Callable[..., float]:
    """``measure(kind, workers, threads, steps) -> seconds``: so many steps, the DataLoader's queue
    in its steady state."""
    dataset = UsualImages(our_loop.training_data(images, path).train)
    student, teacher = (
        our_loop.network("founding_student", pool_first=False),
        our_loop.network("founding_teacher").eval(),
    )
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-3, weight_decay=1e-4)
    loaders: dict[int, Iterator[Any]] = {}

    def step(kind: str, batch: tuple[Tensor, Tensor]) -> float:
        pixels, labels = batch
        optimizer.zero_grad()
        logits = student(pixels)
        loss = F.cross_entropy(logits, labels)
        if kind == "distilled":
            with torch.no_grad():
                taught = teacher(pixels)
            soft = F.kl_div(
                F.log_softmax(logits / 4, 1), F.softmax(taught / 4, 1), reduction="batchmean"
            )
            loss = 0.3 * loss + 0.7 * 16 * soft
        loss.backward()
        optimizer.step()
        return loss.item()

    def measure(kind: str, workers: int, threads: int, steps: int) -> float:
        torch.set_num_threads(threads)
        if workers not in loaders:
            endless = RandomSampler(dataset, replacement=True, num_samples=10**9)
            # Forked, as is usual on Linux: a spawned process like this one would spawn its own,
            # too, unless told.
            how = "fork" if workers else None
            loader = DataLoader(
                dataset,
                batch_size,
                sampler=endless,
                num_workers=workers,
                multiprocessing_context=how,
            )
            loaders[workers] = iter(loader)
        student.train()
        # While others had their turn the workers filled the queue (two batches each): use that up
        # before timing.
        for _ in range(2 * workers + 1):
            step(kind, next(loaders[workers]))
        began = time.perf_counter()
        for _ in range(steps):
            step(kind, next(loaders[workers]))
        return time.perf_counter() - began

    return measure
