"""``csv``: a table with the path of an image and its label in each row."""

import hashlib
from pathlib import Path

from understudy.data.columns import ROLES, read_csv, refuse_roles
from understudy.data.detect import TABLES
from understudy.data.parquet_files import read_table
from understudy.data.sources.base import NO_OPTIONS, SourceOptions, existing, refuse_options
from understudy.data.sources.files import FileReader
from understudy.data.tables import list_table
from understudy.errors import UnderstudyError


class Reader(FileReader):
    """A CSV or Parquet file with columns ``image`` and ``label``, perhaps ``split`` and others.

    Paths are relative to the folder of the table. Other names of columns are given by
    ``data.columns``; a few usual ones are found without it. Splits are called as the folders of
    ``imagefolder`` are. A folder with a single table stands for the table.
    """

    @classmethod
    def find(cls, path: Path | None, cache: Path, options: SourceOptions = NO_OPTIONS) -> "Reader":
        """The table at ``path``."""
        if path is None:
            raise UnderstudyError(
                "the csv source needs a table: give it with --data FILE.csv or UNDERSTUDY_DATA"
            )
        refuse_options("csv", options, "columns", "group_by", "report_by", "skip_bad")
        refuse_roles("csv", options.columns, ROLES)
        file = _table(existing(path))
        read = read_table if file.suffix.lower() == ".parquet" else read_csv
        table = read(file, options.columns)
        listing, images = list_table(table, file.parent, file.stem, options)
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        return cls(file.stem, f"{content} {images}", lambda: listing, options)


def _table(place: Path) -> Path:
    if not place.is_dir():
        return place
    found = sorted(file for file in place.iterdir() if file.name.lower().endswith(TABLES))
    if len(found) != 1:
        raise UnderstudyError(f"{place} has {len(found)} tables: give the path of one")
    return found[0]
