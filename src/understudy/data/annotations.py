"""What a data set tells about single images beyond their class: own splits, groups, slices."""

import io
import zipfile
import zlib
from dataclasses import dataclass, fields, replace

import numpy as np


@dataclass(frozen=True, eq=False, kw_only=True)
class Annotations:
    """Facts for each image of the training and the test block; ``None`` where there are none.

    The training block holds the images that the data set names as validation, too.

    Attributes:
        own_val: bool ``[N_train]``, the images that the data set names as validation; without them
            validation is cut from the training images.
        train_groups, test_groups: int64, the group of each image: images of one group are never on
            both sides of a cut.
        train_slices, test_slices: int64, the part of the data set that results are reported by:
            positions in ``slice_names``.
        slice_names: their names.
        has_own_test: whether the data set names its test images; otherwise they were cut off.
    """

    own_val: np.ndarray | None = None
    train_groups: np.ndarray | None = None
    test_groups: np.ndarray | None = None
    train_slices: np.ndarray | None = None
    test_slices: np.ndarray | None = None
    slice_names: tuple[str, ...] = ()
    has_own_test: bool = True

    def to_bytes(self) -> bytes:
        """As an .npz file."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays = {name: np.asarray(value) for name, value in held.items() if value is not None}
        arrays["slice_names"] = np.array(self.slice_names, dtype=np.str_)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Annotations":
        """The inverse of :meth:`to_bytes`; raises ValueError or KeyError for other content."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                held = {name: file[name] for name in file.files}
        except (EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"damaged annotations: {error}") from error
        names = tuple(str(name) for name in held.pop("slice_names"))
        own_test = bool(held.pop("has_own_test"))
        return replace(cls(**held), slice_names=names, has_own_test=own_test)


NO_ANNOTATIONS = Annotations()
"""Of a data set with a test split of its own and nothing else."""
