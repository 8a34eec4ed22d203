"""Which source reads what is at a path, judged by names alone: nothing is opened."""

import os
from pathlib import Path

from understudy.errors import UnderstudyError

HUB = "hf:"
"""How the name of a data set on the Hugging Face Hub begins."""
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
TABLES = (".csv", ".tsv")
"""How the names of files end."""
FILE_SOURCES = ("imagefolder", "csv", "hf", "parquet")
"""Sources whose images are files, which a scan opens one by one."""

_ENDINGS: dict[str, tuple[str, ...]] = {
    "cifar10": ("cifar-10-binary.tar.gz",),
    "parquet": (".parquet",),
    "csv": TABLES,
    "npz": (".npz",),
    "imagefolder": ARCHIVES,
}
"""Source -> how the names of its files end; the first that fits."""


def detect_source(path: str | Path) -> str:
    """The source for a folder, a file, or ``hf:NAME``.

    Raises:
        UnderstudyError: if nothing is there, or no source reads it.
    """
    found = fitting_source(path)
    if found is None:
        place = Path(path).expanduser()
        if not place.exists():
            raise UnderstudyError(f"no such file or folder: {place}")
        endings = ", ".join(ending for source in _ENDINGS.values() for ending in source)
        raise UnderstudyError(
            f"{place} is no data set: a folder with a folder of images for each class is one, or a "
            f"file that ends in {endings}"
        )
    return found


def fitting_source(path: str | Path) -> str | None:
    """The same, ``None`` if there is none."""
    if str(path).startswith(HUB):
        return "hf"
    place = Path(path).expanduser()
    if place.is_dir():
        return _of_folder(place)
    if not place.is_file():
        return None
    name = place.name.lower()
    fitting = [source for source, ends in _ENDINGS.items() if name.endswith(ends)]
    return fitting[0] if fitting else None


def _of_folder(folder: Path) -> str | None:
    with os.scandir(folder) as entries:
        is_folder = {e.name: e.is_dir() for e in entries if not e.name.startswith(".")}
    folders = [name for name, is_one in is_folder.items() if is_one]
    files = [name for name, is_one in is_folder.items() if not is_one]
    if "data_batch_1.bin" in files or "cifar-10-batches-bin" in folders:
        return "cifar10"
    if {"dataset_dict.json", "dataset_info.json"} & set(files):
        return "hf"
    if any(folder.glob("*.parquet")) or any(folder.glob("*/*.parquet")):
        return "parquet"
    tables = [name for name in files if name.lower().endswith(TABLES)]
    if len(tables) == 1 and len(folders) < 2:
        return "csv"
    return "imagefolder" if folders else None
