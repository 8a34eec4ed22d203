"""``digits``: the 1,797 handwritten digits embedded in scikit-learn; no download."""

from pathlib import Path

import numpy as np

from understudy.data.annotations import Annotations
from understudy.data.decoding import Decoding
from understudy.data.sources.base import (
    NO_OPTIONS,
    Arrays,
    SourceOptions,
    SourceReader,
    refuse_options,
)
from understudy.data.splits import cut_test
from understudy.errors import UnderstudyError

_SIZE = (32, 32)
"""Height and width unless another size is wanted; the digits themselves are 8 by 8."""


class Reader(SourceReader):
    """The digits (Alpaydin & Kaynak 1998), 8x8 grey values 0 to 16, as RGB 0 to 255.

    The test split is a stratified fifth, cut with a fixed seed: about 1,437 images to train on and
    360 to test on.
    """

    name = "digits"
    identity = "scikit-learn load_digits"

    @classmethod
    def find(cls, path: Path | None, cache: Path, options: SourceOptions = NO_OPTIONS) -> "Reader":
        """The digits; a path is refused, since nothing would be read from it."""
        if path is not None:
            raise UnderstudyError(
                "the digits come with scikit-learn and read no files: "
                f"leave out --data {path}, or let `understudy init {path}` write a recipe for it"
            )
        refuse_options("digits", options)
        return cls()

    def read(self, decoding: Decoding) -> Arrays:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
        rgb = np.repeat(grey[..., None], 3, axis=3)
        labels = bunch.target.astype(np.int64)
        train, test = cut_test(labels)
        train_images = decoding.allocate("train", len(train), _SIZE)
        test_images = decoding.allocate("test", len(test), _SIZE)
        decoding.fit_arrays(rgb[train], train_images)
        decoding.fit_arrays(rgb[test], test_images)
        decoding.report("digits", len(labels), len(labels))
        names = tuple(str(name) for name in bunch.target_names)
        cut_by_us = Annotations(has_own_test=False)
        return Arrays(train_images, labels[train], test_images, labels[test], names, cut_by_us)
