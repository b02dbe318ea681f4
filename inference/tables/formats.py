"""The formats: what reads and what writes a file, by the ending of its name.

    table = open_texts(Path("posts.csv.gz"), text_column="", key="")
    writer = open_writer(Path("scored.parquet"), table, {"label": str})

A new format is a file with a `TableReader` and a `TableWriter`, and a line in `FORMATS`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from inference.common.errors import DataError
from inference.tables.delimited import DelimitedReader, DelimitedWriter
from inference.tables.jsonl import JsonlReader, JsonlWriter
from inference.tables.parquet import ArrowReader, ParquetReader, ParquetWriter
from inference.tables.rows import TableReader, TextTable, gzipped, kind_of, reading
from inference.tables.write import TableWriter


class Format(NamedTuple):
    """A format's description, its reader, and its writer, if it has one."""

    title: str
    reader: type[TableReader]
    writer: type[TableWriter] | None


_TABS = "cells with tabs between them; a quote within a text is a quote"
FORMATS: Mapping[str, Format] = {
    ".csv": Format(
        "cells with commas, semicolons, tabs or bars between them", DelimitedReader, DelimitedWriter
    ),
    ".tsv": Format(_TABS, DelimitedReader, DelimitedWriter),
    ".jsonl": Format("JSON lines: an object, or an array of them, a line", JsonlReader, JsonlWriter),
    ".parquet": Format("Parquet", ParquetReader, ParquetWriter),
    ".tab": Format(_TABS, DelimitedReader, DelimitedWriter),
    ".txt": Format("a text a line; with tabs, cells", DelimitedReader, None),
    ".ndjson": Format("JSON lines", JsonlReader, JsonlWriter),
    ".json": Format(
        "an array of objects, a page of an answer, what pandas writes, or JSON lines", JsonlReader, None
    ),
    ".js": Format("a Twitter archive (`tweets.js`)", JsonlReader, None),
    ".arrow": Format("Arrow; also the folder of `datasets.Dataset.save_to_disk`", ArrowReader, None),
}
WRITTEN = tuple(suffix for suffix, known in FORMATS.items() if known.writer)
_PACKED = (".parquet", ".arrow")


def open_table(path: Path) -> TableReader:
    """Open a table. Raises DataError when it can't be read."""
    if is_saved(path):
        return ArrowReader(path)
    check_format(path)
    with reading(path):
        if not path.exists():
            raise DataError(f"There is no file {path}{_neighbours(path)}; check the path.")
        if path.is_dir():
            raise DataError(f"{path} is a folder; give one file.")
        if not path.is_file():
            raise DataError(f"{path} is neither a file nor a folder; give a file of {', '.join(FORMATS)}.")
    return FORMATS[kind_of(path)].reader(path)


def is_saved(path: Path) -> bool:
    """Whether a path is the folder that `datasets.Dataset.save_to_disk` wrote: a table."""
    try:
        return (path / "state.json").is_file()
    except OSError:
        return False


def is_path(name: str) -> bool:
    """Whether a name is that of a file or a folder, and not an id on the Hub."""
    path = Path(name)
    if name.startswith((".", "/", "~")) or kind_of(path) in FORMATS:
        return True
    try:
        return path.exists()
    except OSError:  # a name that the file system refuses, such as one of 300 characters
        return False


def open_texts(path: Path, *, text_column: str = "", key: str = "") -> TextTable:
    """Open a table of texts; `key`: keep this column alone. Raises DataError when there is none."""
    reader = open_table(path)
    text = reader.pick("text", given=text_column)
    kept = (reader.pick("key", given=key),) if key else tuple(dict.fromkeys((*reader.names, text)))
    return TextTable(reader, text, kept)


def open_writer(out: Path, table: TextTable, new: Mapping[str, type]) -> TableWriter:
    """Return the writer of `out`, by its format. Raises DataError if there is none."""
    check_format(out, write=True)
    writer = FORMATS[kind_of(out)].writer
    assert writer  # checked above
    return writer(out, table, new)


def check_format(path: Path, *, write: bool = False) -> None:
    """Raise DataError when a file's name says that it can't be read, or written."""
    kind, endings = kind_of(path), WRITTEN if write else tuple(FORMATS)
    if kind not in endings:
        what = "written" if kind in FORMATS else "read or written"
        raise DataError(
            f"{path.name} is of a type that can't be {what} ({path.suffix or 'no ending'}); "
            f"use {', '.join(endings)}."
        )
    if gzipped(path) and kind in _PACKED:
        title = FORMATS[kind].title.split(";")[0]
        raise DataError(f"{path.name} is {title}, which is packed inside already; leave out the .gz.")


def _neighbours(path: Path) -> str:
    try:
        names = sorted(other.name for other in path.parent.iterdir() if kind_of(other) in FORMATS)[:5]
    except OSError:
        return ""
    return f" (data files beside it: {', '.join(names)})" if names else ""
