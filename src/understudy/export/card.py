"""The metadata of every exported file: enough to use it, and to judge it years later."""

import json
from dataclasses import dataclass, field
from typing import Any

from understudy.data.options import SourceOptions
from understudy.data.preprocess import VERSION, Preprocessing
from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError
from understudy.files import LEFT_OUT_IF_NONE, from_json, to_json

SCHEMA = 1
KEY = "understudy"
"""The key of the card in a file's metadata."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Accuracy on a split, with a 95 % interval (Wilson 1927).

    Attributes:
        split: ``test`` or ``val``.
        accuracy, low, high: in [0, 1].
        count: number of images.
    """

    split: str
    accuracy: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Fold:
    """The fold whose images the network was not trained on, in a cross-validated run.

    Attributes:
        fold: which, from 1.
        folds: how many there are.
        seed: of the cut.
    """

    fold: int
    folds: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a network comes from.

    Attributes:
        run: name of the recipe; empty for a single file of weights.
        arm: ``distilled``, ``baseline``, ...; empty for a single file.
        seed: of the training; ``None`` if not known.
        model: name of the network.
        parameters: number of trained elements.
        data: name of the data set.
        source: the data source that reads it.
        reading: how it reads the files, which decides what the test images are; ``None`` (no key)
            for the usual way.
        fold: which of several folds the test images are; ``None`` (no key) outside of a
            cross-validation.
        data_fingerprint: hex digest of the data set's content.
        weights_sha256: hex digest of the weights file.
        teacher_parameters: of the teacher, ``None`` without one.
        understudy: version of the package that exported.
    """

    run: str = ""
    arm: str = ""
    seed: int | None = None
    model: str = ""
    parameters: int = 0
    data: str = ""
    source: str = ""
    reading: SourceOptions | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    fold: Fold | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    data_fingerprint: str = ""
    weights_sha256: str = ""
    teacher_parameters: int | None = None
    understudy: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """The metadata of an exported file, stored in it as JSON under :data:`KEY`.

    Attributes:
        schema: version of this layout.
        format: name of the format, such as ``onnx-int8``.
        classes: one name per class, index = output.
        preprocessing: from the bytes of a file to uint8 RGB ``[N, 3, H, W]``, the file's input.
        mean, std: the normalisation of [0, 1] images; the file applies it itself.
        dtype: of weights and arithmetic: ``fp32`` or ``int8``.
        origin: where the network comes from.
        measured: the accuracy of the network in fp32 before the export.
        steps: what was done to keep the accuracy of an int8 file, in order; empty for fp32.
    """

    schema: int = SCHEMA
    format: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: str
    origin: Origin = field(default_factory=Origin)
    measured: tuple[Measured, ...] = ()
    steps: tuple[str, ...] = ()

    @property
    def image(self) -> ImageSpec:
        """Channels, height and width of the input."""
        return self.preprocessing.image

    def to_text(self) -> str:
        """One line of JSON."""
        return json.dumps(to_json(self), separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_text(cls, text: str | None, where: str) -> "Card":
        """The card in a file.

        Args:
            text: the file's entry :data:`KEY`; ``None`` if it has none.
            where: the file, for messages.

        Raises:
            UnderstudyError: if the card is missing, damaged or of another version.
        """
        advice = "export it again with understudy export"
        if text is None:
            raise UnderstudyError(f"{where} has no card of understudy: {advice}")
        try:
            content: Any = json.loads(text)
        except ValueError:
            raise UnderstudyError(f"the card in {where} is damaged: {advice}") from None
        schema = content.get("schema") if isinstance(content, dict) else None
        if schema != SCHEMA:
            raise UnderstudyError(
                f"the card in {where} has schema {schema!r}, this version reads {SCHEMA}: {advice}"
            )
        card = from_json(cls, content, f"the card in {where}", advice)
        if card.preprocessing.version != VERSION:
            raise UnderstudyError(
                f"{where} was made for version {card.preprocessing.version} of the preprocessing, "
                f"this version has {VERSION}: {advice}"
            )
        return card
