"""Classes are matched by name across splits, never by position."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from understudy.data.listing import SplitName
from understudy.data.names import counted, listed, normalised, refuse_control_characters, shown
from understudy.errors import UnderstudyError, suggest


def match_classes(
    found: Mapping[SplitName, Sequence[str]], where: str
) -> tuple[tuple[str, ...], list[str]]:
    """The classes of a data set: those of the training images, in alphabetical order.

    Names are compared in Unicode's composed form, and otherwise exactly.

    Args:
        found: split -> names of the classes in it; ``train`` is among them.
        where: the folder, archive or table, for messages.

    Returns:
        The names in composed form, and notes on classes without images in a split and on names
        that differ in nothing but case.

    Raises:
        UnderstudyError: naming all classes that are in another split and not in train, all that
            are there twice, or that contain control characters.
    """
    for split, names in found.items():
        refuse_control_characters(names, where)
        twice = _repeated(map(normalised, names))
        if twice:
            raise UnderstudyError(
                f"two class folders of {split} in {shown(where)} have the same name in two "
                f"Unicode forms: {listed(twice)}; put their images into one"
            )
    classes = tuple(sorted(map(normalised, found["train"])))
    notes = []
    for split, names in found.items():
        present = {normalised(name) for name in names}
        strangers = sorted(present - set(classes))
        if strangers:
            raise UnderstudyError(
                f"{_count(strangers)} of {split} in {shown(where)} that train does not have: "
                f"{', '.join(_hint(name, classes) for name in strangers)}; "
                "classes are matched by name: rename, remove or add them to train"
            )
        missing = [name for name in classes if name not in present]
        if missing:
            notes.append(f"{split} has no images of {_count(missing)} {listed(missing)}")
    return classes, notes + _case_notes(classes)


def _hint(name: str, classes: Sequence[str]) -> str:
    """``Cat (did you mean cat?)``; the bare name if nothing is alike."""
    same = [known for known in classes if known.casefold() == name.casefold()]
    if same:
        return f"{shown(name)} (differs in case from {shown(same[0])})"
    close = suggest(name, classes, otherwise="")
    return f"{shown(name)} ({shown(close)})" if close.startswith("did you") else shown(name)


def _case_notes(classes: Sequence[str]) -> list[str]:
    alike = defaultdict(list)
    for name in classes:
        alike[name.casefold()].append(name)
    return [
        f"{listed(names)} differ in nothing but case and are different classes"
        for names in alike.values()
        if len(names) > 1
    ]


def _repeated(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return sorted({name for name in names if name in seen or seen.add(name)})  # type: ignore[func-returns-value]


def _count(names: Collection[str]) -> str:
    return counted(len(names), "class", "classes")
