"""The networks that are proposed: one student, and teachers from the strongest to the fastest."""

from typing import Any

from understudy.config.schema import ModelConfig
from understudy.models import MODELS, describe_model
from understudy.proposal.choices import stem_stride

STUDENT = "tiny_res"
"""About 100,000 parameters; the fastest of its size, and not less accurate (results/README.md)."""


def refuse_unknown(name: str) -> None:
    """Raises UnderstudyError for a name that is none of ours and none of another library's."""
    if ":" not in name:
        describe_model(name)


def student(name: str | None, size: int) -> ModelConfig:
    """The student of a name (:data:`STUDENT` by default) for images of ``size`` pixels a side.

    Raises:
        UnderstudyError: for an unknown name.
    """
    return _for_size(STUDENT if name is None else name, {}, size)


def teachers(name: str | None, size: int) -> tuple[ModelConfig, ...]:
    """The teacher of a name; without one, candidates from the strongest to the fastest.

    Raises:
        UnderstudyError: for an unknown name.
    """
    if name is not None:
        return (_for_size(name, {}, size),)
    return tuple(
        _for_size("fast_teacher", {"widths": list(widths), "residual": True}, size)
        for widths in ((128, 256, 512), (64, 128, 256), (48, 96, 192), (32, 64, 128), (24, 48, 96))
    )


def _for_size(name: str, options: dict[str, Any], size: int) -> ModelConfig:
    """A network whose first convolution has the stride for the size, if it has that option."""
    stride = stem_stride(size)
    if stride > 1 and name in MODELS and "stem_stride" in describe_model(name).get("options", ()):
        options = {**options, "stem_stride": stride}
        if name == "fast_teacher":
            options["stem_kernel"] = 3
    return ModelConfig(name, options)
