"""Plain training on the labels, without a teacher: the baseline that every other method must beat.

What it does: cross-entropy with the true labels.
When to use it: as the baseline arm of a run, and to train the teacher.
Cost: one forward and one backward pass of the student; nothing of the teacher.
Options: label smoothing is ``train.label_smoothing``.
Reference: none needed.
"""

from understudy.methods.base import Method


class CE(Method):
    """Cross-entropy alone."""

    needs = "nothing"
    reference = "cross-entropy, no teacher"
