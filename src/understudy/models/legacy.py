"""The legacy pair: the teacher and the student that the original project trained on CIFAR-10.

Recipes know them as ``founding_teacher`` and ``founding_student``.
"""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from understudy.kernels.average import global_average
from understudy.kernels.norm_relu import norm_relu
from understudy.models.base import Classifier, Outputs


def founding_teacher(num_classes: int = 10, in_channels: int = 3) -> "LegacyTeacher":
    """The legacy teacher: 4,664,970 parameters at 10 classes.

    The original project calls it "ResNet18", because stem and widths are those of ResNet-18. It has
    7 convolutions and **no residual connection**, so it is a plain network.
    """
    return LegacyTeacher(num_classes, in_channels)


def founding_student(
    num_classes: int = 10,
    in_channels: int = 3,
    dropout1: float = 0.5,
    dropout2: float = 0.3,
    pool_first: bool = True,
) -> "LegacyStudent":
    """The legacy student: 106,826 parameters at 10 classes.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        dropout1: dropout of the pooled features; 0 for none.
        dropout2: dropout of the head's hidden layer; 0 for none.
        pool_first: ReLU after the max-pool, not before it as in the original code. Maximum and ReLU
            commute, so it is the same function and state dict at a quarter of the ReLU's work.
    """
    return LegacyStudent(num_classes, in_channels, dropout1, dropout2, pool_first)


class LegacyTeacher(Classifier):
    """Stem (7x7 stride 2, max-pool) and three stages of two 3x3 convolutions.

    Stage maps of a 32x32 image: ``[B, 64, 8, 8]``, ``[B, 128, 8, 8]``, ``[B, 256, 4, 4]`` and
    ``[B, 512, 2, 2]``.
    """

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.feature_channels = (64, 128, 256, 512)
        self.embedding_dim = 512
        self.stem = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(in_channels, 64, 7, 2, 3),
                bn=nn.BatchNorm2d(64),
                relu=nn.ReLU(),
                pool=nn.MaxPool2d(3, 2, 1),
            )
        )
        self.stage1 = _TeacherStage(64, 128, stride=1)
        self.stage2 = _TeacherStage(128, 256, stride=2)
        self.stage3 = _TeacherStage(256, 512, stride=2)
        self.fc = nn.Linear(512, num_classes)

    def outputs(self, images: Tensor) -> Outputs:
        stem = self.stem(images)
        stage1 = self.stage1(stem)
        stage2 = self.stage2(stage1)
        stage3 = self.stage3(stage2)
        embedding = global_average(stage3)
        return Outputs(self.classify(embedding), (stem, stage1, stage2, stage3), embedding)

    def classify(self, embedding: Tensor) -> Tensor:
        logits: Tensor = self.fc(embedding)
        return logits


class _TeacherStage(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return norm_relu(self.bn2, self.conv2(norm_relu(self.bn1, self.conv1(x))))


class LegacyStudent(Classifier):
    """Four 3x3 convolutions, a max-pool after each of the first three, a two-layer head.

    Stage maps of a 32x32 image: ``[B, 16, 16, 16]``, ``[B, 32, 8, 8]``, ``[B, 64, 4, 4]`` and
    ``[B, 128, 4, 4]``.
    """

    def __init__(
        self, num_classes: int, in_channels: int, dropout1: float, dropout2: float, pool_first: bool
    ) -> None:
        super().__init__()
        self.feature_channels = (16, 32, 64, 128)
        self.embedding_dim = 128
        self.stage1 = _StudentStage(in_channels, 16, pool=True, pool_first=pool_first)
        self.stage2 = _StudentStage(16, 32, pool=True, pool_first=pool_first)
        self.stage3 = _StudentStage(32, 64, pool=True, pool_first=pool_first)
        self.stage4 = _StudentStage(64, 128, pool=False, pool_first=pool_first)
        self.dropout1 = nn.Dropout(dropout1)
        self.fc1 = nn.Linear(128, 64)
        self.dropout2 = nn.Dropout(dropout2)
        self.fc2 = nn.Linear(64, num_classes)

    def outputs(self, images: Tensor) -> Outputs:
        stage1 = self.stage1(images)
        stage2 = self.stage2(stage1)
        stage3 = self.stage3(stage2)
        stage4 = self.stage4(stage3)
        embedding = global_average(stage4)
        return Outputs(self.classify(embedding), (stage1, stage2, stage3, stage4), embedding)

    def classify(self, embedding: Tensor) -> Tensor:
        hidden = F.relu(self.fc1(self.dropout1(embedding)))
        logits: Tensor = self.fc2(self.dropout2(hidden))
        return logits


class _StudentStage(nn.Module):
    def __init__(self, in_channels: int, channels: int, *, pool: bool, pool_first: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, 1, 1)
        self.bn = nn.BatchNorm2d(channels)
        self.pool, self.pool_first = pool, pool_first

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.conv(x)
        if self.pool and not self.pool_first:
            return F.max_pool2d(F.relu(self.bn(mixed)), 2)
        return norm_relu(self.bn, mixed, pool=self.pool)
