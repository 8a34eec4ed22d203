"""Teachers that were trained elsewhere: their classes, their last layer, and how it is replaced."""

from collections.abc import Mapping
from typing import Any, Literal

from understudy.config.parse import require

HeadKind = Literal["own", "linear-probe", "finetune"]
"""The last layer of a network: its own, or how a new one is learnt."""
ClassList = tuple[str | int, ...] | str | None
"""Names of a network's outputs in their order, or the file that lists them."""
PRETRAINED = "pretrained"
"""In place of a path: the weights that the network's name comes with."""
FINETUNE: Mapping[str, Any] = {
    "epochs": 5,
    "stop_epoch": None,
    "optimizer": "adamw",
    "lr": 1e-4,
    "schedule": "cosine",
}
"""What fine-tuning a teacher takes instead of ``train``, unless ``teacher.train`` sets it. The head
is solved before, so a rate that hardly moves the features does for all weights, and five views of
each image do (Kumar et al. 2022: a large rate on an untrained head distorts features)."""


def require_given(where: str, classes: ClassList, given: object) -> None:
    """Raises ValueError for names of the outputs of a network that is trained here."""
    require(
        classes is None or bool(given),
        f"{where}.classes names the outputs of a trained teacher: set {where}.path to its weights, "
        f"or to `{PRETRAINED}` for those of its name",
    )
