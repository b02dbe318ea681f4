"""The formats: what reads and what writes a file, by the ending of its name.

    source = open_source(Path("posts.csv.gz"), text_column="", key="")
    sink = open_sink(Path("scored.parquet"), source, added)

A new format is a Source, a Sink and a line in each of the two tables.
"""

from collections.abc import Mapping
from pathlib import Path

from inference.tables.columns import Added
from inference.tables.delimited import DelimitedSource
from inference.tables.errors import ScoringError
from inference.tables.jsonl import JsonlSource
from inference.tables.parquet import ParquetSource
from inference.tables.sinks import DelimitedSink, JsonlSink, ParquetSink, Sink
from inference.tables.source import Source, gzipped, kind_of

SOURCES: Mapping[str, type[DelimitedSource] | type[JsonlSource] | type[ParquetSource]] = {
    ".csv": DelimitedSource,
    ".tsv": DelimitedSource,
    ".jsonl": JsonlSource,
    ".parquet": ParquetSource,
}
SINKS: Mapping[str, type[Sink]] = {
    ".csv": DelimitedSink,
    ".tsv": DelimitedSink,
    ".jsonl": JsonlSink,
    ".parquet": ParquetSink,
}


def open_source(path: Path, *, text_column: str, key: str) -> Source:
    """Look at a file of texts. Raises ScoringError when it can't be read, or has no such columns."""
    check_format(path)
    if not path.exists():
        raise ScoringError(f"There is no file {path}; check the path.")
    if path.is_dir():
        raise ScoringError(f"{path} is a folder; give one file, or score its files one after the other.")
    return SOURCES[kind_of(path)](path, text_column=text_column, key=key)


def open_sink(out: Path, source: Source, added: Added) -> Sink:
    """Return what writes the format of `out`."""
    return SINKS[kind_of(out)](out, source, added)


def check_format(path: Path) -> None:
    """Raise ScoringError when a file's name says that it can't be read or written."""
    endings = ", ".join(SOURCES)
    if str(path) == "-":
        raise ScoringError("Standard input and output can't be resumed; give the names of files.")
    if kind_of(path) not in SOURCES:
        raise ScoringError(
            f"{path} has an ending that is not known ({path.suffix or 'none'}); use {endings}."
        )
    if gzipped(path) and kind_of(path) == ".parquet":
        raise ScoringError(f"{path} is Parquet, which is packed inside already; leave out the .gz.")
