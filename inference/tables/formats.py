"""The formats: what reads and what writes a file, by the ending of its name.

    table = open_texts(Path("posts.csv.gz"), text_column="", key="")
    writer = open_writer(Path("scored.parquet"), table, {"label": str})

A new format is a file with a `TableReader` and a `TableWriter`, and a line in `FORMATS`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from inference.common.errors import DataError
from inference.tables.columns import pick_column
from inference.tables.delimited import DelimitedReader, DelimitedWriter
from inference.tables.jsonl import JsonlReader, JsonlWriter
from inference.tables.parquet import ParquetReader, ParquetWriter
from inference.tables.rows import TableReader, TextTable, gzipped, kind_of, reading
from inference.tables.write import TableWriter


class Format(NamedTuple):
    """What reads a format, and what writes it."""

    reader: type[TableReader]
    writer: type[TableWriter]


FORMATS: Mapping[str, Format] = {
    ".csv": Format(DelimitedReader, DelimitedWriter),
    ".tsv": Format(DelimitedReader, DelimitedWriter),
    ".jsonl": Format(JsonlReader, JsonlWriter),
    ".parquet": Format(ParquetReader, ParquetWriter),
}


def open_table(path: Path) -> TableReader:
    """Look at a table. Raises DataError when it can't be read."""
    check_format(path)
    with reading(path):
        if not path.exists():
            raise DataError(f"There is no file {path}{_neighbours(path)}; check the path.")
        if path.is_dir():
            raise DataError(f"{path} is a folder; give one file.")
        if not path.is_file():
            raise DataError(f"{path} is neither a file nor a folder; give a file of {', '.join(FORMATS)}.")
    return FORMATS[kind_of(path)].reader(path)


def open_texts(path: Path, *, text_column: str = "", key: str = "") -> TextTable:
    """Look at a table of texts; `key`: keep this column alone. Raises DataError when there is none."""
    reader = open_table(path)
    text = pick_column(reader.names, "text", given=text_column, where=path.name)
    kept = (pick_column(reader.names, "key", given=key, where=path.name),) if key else reader.names
    return TextTable(reader, text, kept)


def open_writer(out: Path, table: TextTable, new: Mapping[str, type]) -> TableWriter:
    """Return what writes the format of `out`."""
    return FORMATS[kind_of(out)].writer(out, table, new)


def check_format(path: Path) -> None:
    """Raise DataError when a file's name says that it can't be read or written."""
    if kind_of(path) not in FORMATS:
        ending = path.suffix or "no ending"
        raise DataError(
            f"{path.name} is of a type that can't be read or written ({ending}); use {', '.join(FORMATS)}."
        )
    if gzipped(path) and kind_of(path) == ".parquet":
        raise DataError(f"{path.name} is Parquet, which is packed inside already; leave out the .gz.")


def _neighbours(path: Path) -> str:
    try:
        names = sorted(other.name for other in path.parent.iterdir() if kind_of(other) in FORMATS)[:5]
    except OSError:
        return ""
    return f" (data files beside it: {', '.join(names)})" if names else ""
