"""Columns of Parquet files: names and values, and encoded images, read batch by batch."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from understudy.data.columns import Table, choose_columns
from understudy.data.names import shown
from understudy.errors import UnderstudyError, one_line

_BATCH = 1024  # rows read at a time


def parquet_files(path: Path) -> list[Path]:
    """The file itself, or the ``*.parquet`` files in the folder (else below it), sorted.

    Raises:
        UnderstudyError: if there are none.
    """
    if path.is_file():
        return [path]
    files = sorted(path.glob("*.parquet")) or sorted(path.rglob("*.parquet"))
    if not files:
        raise UnderstudyError(f"{path} has no *.parquet files")
    return files


def row_names(files: Sequence[Path]) -> list[str]:
    """``row 3 of train.parquet``, as messages call an image."""
    names = []
    for file in files:
        with open_parquet(file) as table:
            names += [f"row {row} of {file.name}" for row in range(table.metadata.num_rows)]
    return names


def column_values(files: Sequence[Path], column: str) -> list[Any]:
    """The values of a column of labels or groups, of all files; none may be missing."""
    values: list[Any] = []
    for file in files:
        for _, batch in _batches(file, column, _BATCH * 64):
            if batch.null_count:
                row = batch.is_null().index(True).as_py()
                raise UnderstudyError(f"row {row} of {file.name} has no value in column {column}")
            values += batch.to_pylist()
    return values


def encoded_rows(
    files: Sequence[Path], column: str, wanted: np.ndarray, batch: int = _BATCH
) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each image whose row, counted over all files, is wanted."""
    import pyarrow as pa

    before = 0
    for file in files:
        rows = 0
        for start, images in _batches(file, column, batch):
            rows = start + len(images)
            if pa.types.is_struct(images.type) and images.type.get_field_index("bytes") >= 0:
                images = images.field("bytes")
            if not (pa.types.is_binary(images.type) or pa.types.is_large_binary(images.type)):
                raise UnderstudyError(
                    f"column {column} of {file.name} holds {images.type}, not the bytes of "
                    "encoded images: set data.source=csv if it holds paths of image files"
                )
            for row, data in enumerate(images.to_pylist(), start):
                if wanted[before + row]:
                    where = f"row {row} of {file.name}"
                    if data is None:
                        raise UnderstudyError(
                            f"{where}: column {column} holds no image bytes (only a path?); "
                            "embed the images"
                        )
                    yield where, data
        before += rows


def read_table(path: Path, chosen: Mapping[str, str]) -> Table:
    """The columns of a Parquet file that have a role, as text: image *paths*, labels, ...

    Raises:
        UnderstudyError: if it is no Parquet file, or has no such columns.
    """
    with open_parquet(path) as table:
        names = table.schema_arrow.names
    columns = choose_columns(names, chosen, path.name)
    held = {role: column_values([path], name) for role, name in columns.items()}
    for role, values in held.items():
        kinds = {type(value) for value in values}
        if not kinds <= {str, int}:
            raise UnderstudyError(
                f"column {columns[role]} of {path.name} holds {max(k.__name__ for k in kinds)}, "
                "not text or integers: set data.source=parquet if it holds the images themselves"
            )
    text = {role: [str(value) for value in values] for role, values in held.items()}
    read = ", ".join(f"{role} from {shown(name)}" for role, name in columns.items())
    rows = [f"row {row}" for row in range(len(text["image"]))]
    return Table(path.name, text, rows, (f"columns of {path.name}: {read}",))


def _batches(file: Path, column: str, size: int) -> Iterator[tuple[int, Any]]:
    """First row and Arrow array of each batch of a column."""
    import pyarrow as pa

    with open_parquet(file) as table:
        if column not in table.schema_arrow.names:
            raise UnderstudyError(
                f"{file.name} has no column {column}, which the other files have: "
                f"{', '.join(table.schema_arrow.names)}"
            )
        row = 0
        try:
            for batch in table.iter_batches(batch_size=size, columns=[column]):
                yield row, batch.column(0)
                row += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise UnderstudyError(
                f"cannot read {file} after row {row} ({one_line(error)}): is it complete?"
            ) from error


def open_parquet(file: Path) -> Any:
    """A ``pyarrow.parquet.ParquetFile``.

    Raises:
        UnderstudyError: without pyarrow, or if it is none.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UnderstudyError(
            "reading Parquet needs pyarrow: pip install understudy[data]"
        ) from error
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise UnderstudyError(
            f"cannot read {file} as Parquet ({one_line(error)}): is it complete?"
        ) from error
