"""A small teacher and student with stage maps, and everything a method is built from."""

import torch
from torch import Tensor, nn

from understudy.data.loader import Batch
from understudy.methods import Method, MethodContext, build_method, method_config
from understudy.models.base import Classifier, Outputs


class SmallNet(Classifier):
    """Three stages of convolution, batch norm and ReLU, each halving the map: 16 x 16 images end on
    2 x 2."""

    def __init__(self, num_classes: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, stride=2, padding=1), nn.BatchNorm2d(o), nn.ReLU())
            for i, o in zip((3, *widths), widths, strict=False)
        )
        self.head = nn.Linear(widths[-1], num_classes)
        self.feature_channels, self.embedding_dim = widths, widths[-1]

    def outputs(self, images: Tensor) -> Outputs:
        features = []
        for stage in self.stages:
            images = stage(images)
            features.append(images)
        embedding = images.mean((2, 3))
        return Outputs(self.classify(embedding), tuple(features), embedding)

    def classify(self, embedding: Tensor) -> Tensor:
        return self.head(embedding)


def make_batch(size: int, num_classes: int, seed: int = 0, num_images: int = 64) -> Batch:
    """Random 16 x 16 images whose colour tells the class, with labels ``index % num_classes``."""
    rng = torch.Generator().manual_seed(seed)
    index = torch.randperm(num_images, generator=rng)[:size]
    labels = index % num_classes
    images = torch.randn(size, 3, 16, 16, generator=rng)
    images[torch.arange(size), labels % 3] += 1.0 + (labels // 3).float().view(-1, 1, 1)
    return Batch(images, labels, index)


def make_teacher(num_classes: int) -> SmallNet:
    torch.manual_seed(1)
    teacher = SmallNet(num_classes, (6, 10, 12))
    with torch.no_grad():  # give its batch norms statistics of the data, as training would have
        for seed in range(3):
            teacher.train()(make_batch(16, num_classes, seed).images)
    return teacher.eval().requires_grad_(False)


def make_method(
    name: str, num_classes: int = 5, epochs: int = 40, num_images: int = 64, **options
) -> tuple[Method, SmallNet]:
    """A method around a fresh student, and its teacher."""
    teacher = make_teacher(num_classes)
    torch.manual_seed(0)
    student = SmallNet(num_classes, (4, 6, 8))
    images = make_batch(2, num_classes).images
    with torch.no_grad():
        student_example, teacher_example = student.eval().outputs(images), teacher.outputs(images)
    labels = torch.arange(num_images) % num_classes
    context = MethodContext(
        num_classes, labels, epochs, 0.0, student_example, teacher_example, teacher
    )
    method = build_method(method_config({"name": name, **options}), student, context)
    return method.train(), teacher


@torch.no_grad()
def ask(teacher: SmallNet, batch: Batch) -> Outputs:
    return teacher.outputs(batch.images)
