"""``hf``: a data set on the Hugging Face Hub, or a folder that ``datasets`` saved."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.data.arrange import arranged
from understudy.data.class_names import match_classes
from understudy.data.columns import refuse_roles
from understudy.data.detect import HUB
from understudy.data.layout import split_named
from understudy.data.listing import Listing, Sample, SplitName
from understudy.data.names import counted, listed, normalised
from understudy.data.sources.base import NO_OPTIONS, SourceOptions, refuse_options
from understudy.data.sources.files import FileReader
from understudy.errors import UnderstudyError, one_line, suggest

_ROLES = ("image", "label", "group")


class Reader(FileReader):
    """``hf:NAME``, ``hf:NAME:CONFIG``, or the path of a folder written by ``save_to_disk``.

    Read by the package ``datasets``, which downloads into a cache of its own. Splits are those of
    the data set; image and label are the columns of these types, or those of ``data.columns``.
    """

    @classmethod
    def find(cls, path: Path | None, cache: Path, options: SourceOptions = NO_OPTIONS) -> "Reader":
        """The data set of the name or folder ``path``."""
        if path is None:
            raise UnderstudyError(
                "the hf source needs a name: data.source=hf:NAME, or a folder with --data FOLDER "
                "or UNDERSTUDY_DATA"
            )
        refuse_options("hf", options, "columns", "group_by", "report_by", "skip_bad")
        refuse_roles("hf", options.columns, _ROLES)
        name = str(path).removeprefix(HUB)
        parts, notes = _by_split(_load(name), name)
        listing = _list(parts, notes, name, options)
        return cls(listing.name, _fingerprint(parts), lambda: listing, options)


def _load(name: str) -> Any:
    """A ``DatasetDict`` or ``Dataset``."""
    try:
        import datasets
    except ImportError as error:
        raise UnderstudyError(
            "reading hf: data sets needs datasets: pip install 'understudy[datasets]'"
        ) from error
    try:
        folder = Path(name).expanduser()
        if folder.is_dir():
            saved = any((folder / f).exists() for f in ("dataset_dict.json", "dataset_info.json"))
            return datasets.load_from_disk(name) if saved else datasets.load_dataset(name)
        repository, _, config = name.partition(":")
        return datasets.load_dataset(repository, config or None)
    except Exception as error:  # of the network, the Hub and a dozen formats
        raise UnderstudyError(
            f"cannot load {HUB}{name} ({one_line(error, with_type=True)}): check the name, the "
            "configuration (hf:NAME:CONFIG) and the network"
        ) from error


def _by_split(loaded: Any, name: str) -> tuple[dict[SplitName, Any], list[str]]:
    """Split -> table, and sentences on what was read as what."""
    if not isinstance(loaded, dict):
        return {"train": loaded}, ["the data set has no splits: all of it is train"]
    found: dict[SplitName, Any] = {}
    unread, read = [], []
    for key, table in loaded.items():
        split = split_named(key)
        if split is None or split in found:
            unread.append(key)
        else:
            found[split] = table
            read.append(f"{split} is read from {key}")
    if "train" not in found:
        raise UnderstudyError(f"{HUB}{name} has no train split: it has {listed(list(loaded))}")
    return found, read + ([f"not read: {listed(unread)}"] if unread else [])


def _fingerprint(parts: Mapping[SplitName, Any]) -> str:
    """Changes with the content of the tables.

    The attribute is private; it is what ``datasets`` 5.2 names its own cached files by.
    """
    return " ".join(f"{split} {table._fingerprint}" for split, table in parts.items())


def _list(
    parts: Mapping[SplitName, Any], notes: list[str], name: str, options: SourceOptions
) -> Listing:
    import datasets

    image, label, names = image_and_label(parts["train"].features, options.columns, f"{HUB}{name}")
    group = options.columns.get("group")
    held = {split: list(table[label]) for split, table in parts.items()}
    held = {split: found for split, found in held.items() if not _is_unlabelled(found)}
    notes += [f"{split} has no labels and is not read" for split in parts if split not in held]
    _refuse_missing(held, f"{HUB}{name}")
    if names is None:
        texts = {
            split: [normalised(str(value)) for value in found] for split, found in held.items()
        }
        present = {split: sorted(set(found)) for split, found in texts.items()}
        class_names, more = match_classes(present, f"{HUB}{name}")
        index = {text: number for number, text in enumerate(class_names)}
        held = {split: [index[text] for text in found] for split, found in texts.items()}
        notes += more
    else:
        class_names = names
    samples, places = [], []
    for split, labels in held.items():
        groups = [""] * len(labels)
        if group:
            groups = ["" if one is None else str(one) for one in parts[split][group]]
        for row, (value, its_group) in enumerate(zip(labels, groups, strict=True)):
            if not 0 <= value < len(class_names):
                raise UnderstudyError(
                    f"row {row} of {split} in {HUB}{name} has the label {value}, which is none of "
                    f"{len(class_names)} classes"
                )
            samples.append(Sample(f"{split}/{row:07}", value, split, its_group))
            places.append((split, row))
    cells = {
        split: table.select_columns([image]).cast_column(image, datasets.Image(decode=False))
        for split, table in parts.items()
    }

    def encoded(positions: Sequence[int]) -> Iterator[tuple[str, bytes | Path]]:
        for position in positions:
            split, row = places[position]
            cell = cells[split][row][image] or {"bytes": b""}  # none: as an empty file
            where = f"row {row} of {split} in {HUB}{name}"
            yield where, Path(cell["path"]) if cell["bytes"] is None else cell["bytes"]

    own = Path(name).name or name
    return arranged(own, class_names, samples, encoded, options, notes=notes)


def _is_unlabelled(labels: Sequence[Any]) -> bool:
    """Whether none is given, as in the test split of a competition: missing, or -1."""
    return all(value is None or value == -1 for value in labels)


def _refuse_missing(held: Mapping[SplitName, Sequence[Any]], where: str) -> None:
    """Raises UnderstudyError if a row has no label, or train none at all."""
    if "train" not in held:
        raise UnderstudyError(f"the train split of {where} has no labels")
    for split, labels in held.items():
        missing = [str(row) for row, value in enumerate(labels) if value is None]
        if missing:
            raise UnderstudyError(
                f"{counted(len(missing), 'row')} of {split} in {where} without a label: "
                f"{listed(missing)}"
            )


def image_and_label(
    features: Mapping[str, Any], chosen: Mapping[str, str], where: str
) -> tuple[str, str, tuple[str, ...] | None]:
    """The columns of image and label, and the names of the classes if the type has them."""
    for column in chosen.values():
        if column not in features:
            hint = suggest(column, features, otherwise="it has")
            raise UnderstudyError(f"{where} has no column {column!r}: {hint}")
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    found = dict(chosen)
    for role, kind in (("image", "Image"), ("label", "ClassLabel")):
        of_kind = [name for name, its_kind in kinds.items() if its_kind == kind]
        usual = [name for name in features if name == role]
        candidates = [name for name in of_kind if name == role] + of_kind + usual
        if role not in found:
            if not candidates:
                described = ", ".join(f"{name} ({its_kind})" for name, its_kind in kinds.items())
                raise UnderstudyError(
                    f"{where} has no {role} column: it has {described}; name it: "
                    f"data.columns={{{role}: NAME}}"
                )
            found[role] = candidates[0]
    if kinds[found["image"]] != "Image":
        raise UnderstudyError(
            f"column {found['image']} of {where} is of type {kinds[found['image']]}, not Image"
        )
    label = features[found["label"]]
    names = tuple(label.names) if type(label).__name__ == "ClassLabel" else None
    return found["image"], found["label"], names
