"""The outputs of a trained network matched by name to the classes of a data set.

Two networks for the same ten classes may have them in any order, and a network for a thousand
classes may have the twelve that are wanted among them. By position, a teacher of another order
teaches nonsense, and nothing fails. So names decide; spelling is forgiven where it leaves no doubt.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from understudy.data.names import counted, listed, normalised
from understudy.errors import UnderstudyError

_PLACEHOLDER = re.compile(r"(label|class)?[ _-]?\d+", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\s_-]+")
_REMEDY = (
    "give the names of its outputs in their order by teacher.classes, or learn a new head by "
    "teacher.head=linear-probe"
)


@dataclass(frozen=True)
class ClassMatch:
    """Which output of a network stands for which class.

    Attributes:
        index: for each class of the images, in their order, the network's output.
        num_outputs: of the network.
    """

    index: tuple[int, ...]
    num_outputs: int

    @property
    def is_identity(self) -> bool:
        """Whether the outputs are the classes, in the same order."""
        return self.index == tuple(range(self.num_outputs))

    def __str__(self) -> str:
        count, all_of_them = len(self.index), f"{self.num_outputs:,}"
        if count < self.num_outputs:
            return f"{count:,} of the teacher's {all_of_them} classes; by name"
        order = "the same" if self.is_identity else "another"
        return f"all of the teacher's {all_of_them} classes, in {order} order; by name"


def match_classes(
    outputs: Sequence[str], classes: Sequence[str], remedy: str = _REMEDY
) -> ClassMatch:
    """Find each class among the outputs of a network.

    Names are compared in Unicode's composed form; then without case and with ``_``, ``-`` and
    spaces as one; then by the parts of lists of synonyms as in WordNet (``tench, Tinca tinca``);
    then without accents. The first comparison that finds an output decides, and must find no
    other.

    Args:
        outputs: names of the network's outputs, in their order.
        classes: of the images.
        remedy: what to do if they do not match, for the message.

    Raises:
        UnderstudyError: naming the classes that no output stands for, or more than one.
    """
    index: list[int] = []
    missing: list[str] = []
    unclear: list[str] = []
    tables = [(_table(outputs, keys), keys) for keys in _COMPARISONS]
    for name in classes:
        found = _find(name, tables)
        index += found[:1]
        if not found:
            missing.append(name)
        elif len(found) > 1:
            unclear.append(f"{name} ({' or '.join(map(repr, _named(outputs, found)))})")
    if missing:
        count = counted(len(missing), "class", "classes")
        raise UnderstudyError(
            f"the teacher, whose classes are {listed(outputs)}, has no output for {count} of the "
            f"images: {listed(missing)}; {remedy}"
        )
    shared = [output for output in set(index) if index.count(output) > 1]
    for output in shared:
        several = [name for name, own in zip(classes, index, strict=True) if own == output]
        unclear.append(f"{listed(several)} (all of them {outputs[output]!r})")
    if unclear:
        raise UnderstudyError(
            f"the teacher's classes cannot be matched without doubt: {listed(unclear)}; {remedy}"
        )
    return ClassMatch(tuple(index), len(outputs))


def are_placeholders(names: Iterable[str]) -> bool:
    """Whether names are the numbers that a library puts in the place of names: ``LABEL_0``."""
    return all(_PLACEHOLDER.fullmatch(name.strip()) for name in names)


def _find(name: str, tables: Sequence[tuple[Mapping[str, list[int]], "_Keys"]]) -> list[int]:
    for table, keys in tables:
        found = {output for key in keys(name) for output in table.get(key, ())}
        if found:
            return sorted(found)
    return []


def _table(outputs: Sequence[str], keys: "_Keys") -> Mapping[str, list[int]]:
    table: defaultdict[str, list[int]] = defaultdict(list)
    for number, name in enumerate(outputs):
        for key in dict.fromkeys(keys(name)):
            table[key].append(number)
    return table


def _named(outputs: Sequence[str], found: Sequence[int]) -> list[str]:
    return [f"{outputs[number]} (output {number})" for number in found[:3]]


_Keys = Callable[[str], list[str]]
"""By what a name is found in one comparison."""


def _exact(name: str) -> list[str]:
    return [normalised(name).strip()]


def _spelled(name: str) -> list[str]:
    return [_SEPARATORS.sub(" ", unicodedata.normalize("NFKC", name).casefold()).strip()]


def _synonyms(name: str) -> list[str]:
    return [key for part in name.split(",") for key in _spelled(part) if key]


def _plain(name: str) -> list[str]:
    return [_without_accents(key) for key in _synonyms(name)]


def _without_accents(name: str) -> str:
    parts = unicodedata.normalize("NFKD", name)
    return "".join(part for part in parts if not unicodedata.combining(part))


_COMPARISONS: tuple[_Keys, ...] = (_exact, _spelled, _synonyms, _plain)
