import base64
import io

import numpy as np
from PIL import Image
from tests.export.web.students import pictures

from understudy.export.web.samples import Sample, differing

STUDENT = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.45, 0.55]], np.float32)
TEACHER = np.array([[0.7, 0.3], [0.8, 0.2], [0.9, 0.1], [0.3, 0.7]], np.float32)


def test_only_images_with_two_classes_are_shown_and_the_surest_first() -> None:
    found = differing(pictures(4), np.array([0, 1, 0, 1]), STUDENT, TEACHER)
    assert [sample.label for sample in found] == [0, 1]  # images 2 and 1
    assert [(sample.student, sample.teacher) for sample in found] == [(1, 0), (1, 0)]
    assert [sample.student_probability for sample in found] == [0.8, 0.6]
    assert len(differing(pictures(4), np.zeros(4), STUDENT, TEACHER, most=1)) == 1


def test_networks_that_agree_leave_nothing_to_show() -> None:
    assert differing(pictures(4), np.zeros(4), STUDENT, STUDENT) == ()


def test_sample_has_the_pixels_themselves() -> None:
    image = pictures(1)[0]
    sample = Sample.of(image, 0, STUDENT[0], TEACHER[0])
    head, _, body = sample.image.partition(",")
    assert head == "data:image/png;base64"
    stored = np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))
    assert np.array_equal(stored, image.transpose(1, 2, 0))
