"""Images that the page shows because student and teacher give them different classes."""

import base64
import io
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Sample:
    """An image with what both networks make of it. Whether it may be published is not known here.

    Attributes:
        image: a data URL, such as ``data:image/png;base64,...``.
        label, student, teacher: indices of classes.
        student_probability, teacher_probability: of the class that each of them gives, in [0, 1].
    """

    image: str
    label: int
    student: int
    student_probability: float
    teacher: int
    teacher_probability: float

    @classmethod
    def of(
        cls, image: np.ndarray, label: int, student: np.ndarray, teacher: np.ndarray
    ) -> "Sample":
        """A sample from pixels.

        Args:
            image: uint8 ``[3, H, W]``.
            label: the true class.
            student, teacher: probabilities ``[K]``.
        """
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(file, "PNG", optimize=True)
        return cls(
            image=f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}",
            label=int(label),
            student=int(student.argmax()),
            student_probability=round(float(student.max()), 6),
            teacher=int(teacher.argmax()),
            teacher_probability=round(float(teacher.max()), 6),
        )


def differing(
    images: np.ndarray, labels: np.ndarray, student: np.ndarray, teacher: np.ndarray, most: int = 8
) -> tuple[Sample, ...]:
    """The images on which the classes differ, those first where both networks are surest.

    Args:
        images: uint8 ``[N, 3, H, W]``.
        labels: ``[N]``.
        student, teacher: probabilities ``[N, K]``.
        most: number of samples.
    """
    rows = np.flatnonzero(student.argmax(1) != teacher.argmax(1))
    sureness = student[rows].max(1) * teacher[rows].max(1)
    chosen = rows[np.argsort(-sureness, kind="stable")[:most]]
    return tuple(Sample.of(images[i], labels[i], student[i], teacher[i]) for i in chosen)
