"""The listing of a folder or an archive that has one folder of images for each class."""

from understudy.data import litter
from understudy.data.arrange import arranged
from understudy.data.class_names import match_classes
from understudy.data.layout import Folders, Layout, find_layout, inside
from understudy.data.listing import Listing, Sample, SplitName
from understudy.data.names import counted, listed, normalised, shown
from understudy.data.options import SourceOptions
from understudy.data.tree import Tree
from understudy.errors import UnderstudyError


def list_images(tree: Tree, options: SourceOptions, *, is_archive: bool = False) -> Listing:
    """Find splits and classes by the names of folders.

    Raises:
        UnderstudyError: if it is ambiguous what is meant, a class of train has no images, or one of
            another split is not in train.
    """
    folders = Folders(tree.folders)
    layout = find_layout(folders, tree.where, is_archive=is_archive)
    _refuse_empty(folders, layout, tree)
    found = {split: _classes(folders, layout, split) for split in layout.splits}
    class_names, notes = match_classes(found, tree.where)
    _refuse_single(folders, layout, tree.where)
    owners = _owners(folders, layout, class_names)
    unread = tuple(f"{folder}/" for folder in layout.unread)
    samples, positions = [], []
    for position, name in enumerate(tree.images):
        owner = owners.get(name.rpartition("/")[0])
        if owner is None:
            is_beside = name.startswith(unread)
            tree.census.add(litter.BESIDE_SPLITS if is_beside else litter.NO_CLASS, name)
        else:
            split, label = owner
            samples.append(Sample(name, label, split))
            positions.append(position)
    return arranged(
        tree.name,
        class_names,
        samples,
        lambda rows: tree.encoded([positions[row] for row in rows]),
        options,
        passed_over=tree.census.results(),
        notes=[*layout.notes, *notes],
    )


def _classes(folders: Folders, layout: Layout, split: SplitName) -> list[str]:
    """Names of the class folders of a split; empty ones of other splits than train only if they are
    not in train."""
    full = folders.full(layout.splits[split])
    train = {normalised(name) for name in folders.inside[layout.splits["train"]]}
    others = set(folders.inside[layout.splits[split]]) - set(full)
    return full + sorted(name for name in others if normalised(name) not in train)


def _refuse_empty(folders: Folders, layout: Layout, tree: Tree) -> None:
    """Refuse class folders of train without images, with what else is in them."""
    place = layout.splits["train"]
    empty = sorted(set(folders.inside[place]) - set(folders.full(place)))
    if not empty:
        return
    described = []
    for name in empty:
        held = tree.census.below(f"{inside(place, name)}/")
        described.append(shown(inside(place, name)) + (f" ({held})" if held else ""))
    raise UnderstudyError(
        f"{counted(len(empty), 'class folder')} in {shown(tree.where)} without "
        f"images that can be read: {', '.join(described)}; add images or remove the folders"
    )


def _refuse_single(folders: Folders, layout: Layout, where: str) -> None:
    """Refuse one class alone, and point at the folders in it that may be the classes."""
    place = layout.splits["train"]
    names = folders.full(place)
    if len(names) > 1:
        return
    only = inside(place, names[0])
    deeper = folders.full(only)
    hint = "add a folder for each other class"
    if len(deeper) > 1:
        hint = f"if {listed(deeper)} in it are the classes, move them up by one folder"
    raise UnderstudyError(
        f"{shown(where)} has images of one class alone ({shown(only)}), at least two are needed: "
        f"{hint}"
    )


def _owners(
    folders: Folders, layout: Layout, class_names: tuple[str, ...]
) -> dict[str, tuple[SplitName, int]]:
    """Folder -> the split and the class of the images in it."""
    labels = {name: label for label, name in enumerate(class_names)}
    owners = {
        inside(place, name): (split, labels[normalised(name)])
        for split, place in layout.splits.items()
        for name in folders.full(place)
    }
    for folder in sorted(folders.direct):  # a folder comes before those in it
        above = owners.get(folder.rpartition("/")[0])
        if above is not None:
            owners[folder] = above
    return owners
