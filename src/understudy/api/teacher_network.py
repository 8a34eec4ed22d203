"""A teacher's network behind the package's interface, its logits in the order of the classes."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from understudy.api.inputs import classifier
from understudy.data.names import listed
from understudy.data.prepare import TrainingData
from understudy.errors import UnderstudyError
from understudy.models.base import Classifier
from understudy.models.class_lists import read_class_list
from understudy.models.class_matching import are_placeholders, match_classes
from understudy.models.expects import expects
from understudy.models.foreign import OtherClassCount
from understudy.models.registry import deployed
from understudy.models.selected import SelectedClasses

ClassNames = Sequence[str] | str | Path | None
"""Names of a network's outputs in their order, or the file that lists them."""
_REMEDY = (
    "give the names of its outputs in their order by understudy.Teacher(network, classes=[...]), "
    "or train a new last layer for it"
)


def teacher_network(network: nn.Module, classes: ClassNames, data: TrainingData) -> Classifier:
    """A teacher's network with one logit for each class of the images, in their order.

    Args:
        network: gives logits.
        classes: names of its outputs; ``None`` for those that it records. Without any, its outputs
            are taken to be the classes of the images, in their order.
        data: the images.

    Raises:
        UnderstudyError: if the network does not fit the images, or a class is missing or ambiguous
            among its outputs.
    """
    names = _recorded(network) if classes is None else checked_names(classes)
    try:
        placed = classifier("teacher", network, data, len(names) or None)
    except OtherClassCount as error:
        if names:
            raise UnderstudyError(
                f"{len(names):,} classes are named for the teacher {type(network).__name__}, which "
                f"has {error.found:,} outputs: give one name for each, in their order"
            ) from error
        raise UnderstudyError(
            f"the teacher {type(network).__name__} has {error.found:,} outputs, and the images "
            f"have {data.num_classes:,} classes: name its outputs in their order by "
            "understudy.Teacher(network, classes=[...]), or train a new last layer for it"
        ) from error
    if not names:
        return placed
    if are_placeholders(data.class_names) and not are_placeholders(names):
        raise UnderstudyError(
            f"the teacher's classes have names ({listed(names)}), and those of the data are "
            f"numbers ({listed(data.class_names)}): give the data's names in the order of their "
            "numbers, class_names=[...]"
        )
    match = match_classes(names, data.class_names, _REMEDY)
    return placed if match.is_identity else SelectedClasses(placed, match.index)


def checked_names(classes: Sequence[str] | str | Path) -> tuple[str, ...]:
    """The names that a caller gives, or those in the file that it names.

    Raises:
        UnderstudyError: for anything else than text, an empty list, or a file that is no list.
    """
    if isinstance(classes, (str, Path)):
        return read_class_list(Path(classes))
    names = tuple(classes)
    if not names or not all(isinstance(name, str) for name in names):
        raise UnderstudyError(
            "Teacher: classes must be the names of the network's outputs in their order, such as "
            "['cat', 'dog'], or a file with one name a line"
        )
    return names


def _recorded(network: nn.Module) -> tuple[str, ...]:
    """The names that a network records for as many outputs as it has."""
    names = expects(network).all_names
    count = getattr(deployed(network), "num_classes", len(names))
    return () if len(names) != count or are_placeholders(names) else names
