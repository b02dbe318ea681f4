"""Read Parquet, a few thousand rows at a time. Column types and the file's metadata are kept.

    source = ParquetSource(Path("posts.parquet"), text_column="", key="")

Knows nothing about predictions.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from inference.tables.columns import find_key_column, find_text_column
from inference.tables.errors import ScoringError
from inference.tables.source import CHUNK_ROWS, Chunk, Source, bundled, readable, why_not_text

_NOT_UTF8 = "the text has bytes that are not UTF-8"


@dataclass(frozen=True)
class ParquetChunk(Chunk):
    """`batch` holds the kept columns as they were read."""

    batch: pa.RecordBatch

    def cells(self) -> list[list[Any]]:
        """Return values that JSON can hold: dates and decimal numbers as texts, NaN as None."""
        columns = [_plain_values(column) for column in self.batch.columns]
        return [list(row) for row in zip(*columns, strict=True)] or [[] for _ in range(self.batch.num_rows)]


class ParquetSource(Source):
    """A Parquet file. `key`: keep this column alone."""

    def __init__(self, path: Path, *, text_column: str, key: str) -> None:
        self.path = path
        with _sound(path), pq.ParquetFile(path) as file:
            self._schema, self._rows = file.schema_arrow, file.metadata.num_rows
        names = self._schema.names
        if len(set(names)) < len(names):
            raise ScoringError(f"{path} has two columns of the same name; rename one of them.")
        self.text_column = find_text_column(names, given=text_column, where=path.name)
        kept = find_key_column(names, given=key, where=path.name)
        self.columns = (kept,) if kept else tuple(names)

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows; what is in memory at once is one row group's columns at most."""
        done = 0
        with _sound(self.path), pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(CHUNK_ROWS):
                for chunk in self._chunks(batch):
                    done += chunk.batch.num_rows
                    yield replace(chunk, share_read=done / max(1, self._rows))

    def schema(self) -> pa.Schema:
        """The file's own schema, its metadata included."""
        return pa.schema([self._schema.field(name) for name in self.columns], self._schema.metadata)

    def _chunks(self, batch: pa.RecordBatch) -> Iterator[ParquetChunk]:
        """Yield rows as chunks: bounded in characters, too, as those of the other formats are."""
        values = _text_values(batch.column(self.text_column))
        problems = [_NOT_UTF8 if isinstance(value, bytes) else why_not_text(value) for value in values]
        texts = [value if problem is None else None for value, problem in zip(values, problems, strict=True)]
        kept, start = batch.select(list(self.columns)), 0
        for rows in bundled((text, len(text or "")) for text in texts):
            end = start + len(rows)
            yield ParquetChunk(rows, problems[start:end], 0.0, kept.slice(start, len(rows)))
            start = end


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    try:
        with readable(path):
            yield
    except pa.ArrowException as error:
        reason = str(error).split("\n", 1)[0].rstrip(".")
        raise ScoringError(f"{path} is not a sound Parquet file ({reason}); write it again.") from error


def _text_values(column: pa.Array) -> list[Any]:
    """Return the values; a text that is not UTF-8 as bytes."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:  # some writers put other encodings into string columns
        values = column.cast(pa.large_binary()).to_pylist()
    return [_decoded(value) if isinstance(value, bytes) else value for value in values]


def _decoded(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _plain_values(column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind):
        column = column.cast(pa.string())  # Python's own dates have no nanoseconds
    return [_plain(value) for value in _text_values(column)]


def _plain(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case None | bool() | int() | str():
            return value
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return str(value)
