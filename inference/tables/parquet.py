"""Parquet and Arrow, a few thousand rows at a time. Column types and the file's metadata are kept."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from inference.common.errors import DataError
from inference.tables.rows import (
    CHUNK_CHARACTERS,
    CHUNK_ROWS,
    Chunk,
    TableReader,
    TextChunk,
    TextTable,
    reading,
)
from inference.tables.write import TableWriter, Value, as_text, plain_value

ROW_GROUP_ROWS, ROW_GROUP_BYTES = 65_536, 64_000_000
_ARROW = {str: pa.string(), float: pa.float64(), bool: pa.bool_()}


@dataclass(frozen=True, kw_only=True)
class ParquetChunk(Chunk):
    """`batch` holds the rows as they were read."""

    batch: pa.RecordBatch

    def column(self, name: str) -> list[object]:
        """Return the values of a column; binary ones are taken for texts."""
        return values_of(self.batch.column(name))

    def plain(self, name: str) -> list[object]:
        """Return values that JSON can hold: dates and decimal numbers as texts, NaN as None."""
        column = self.batch.column(name)
        kind = column.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind):
            return _as_texts(column)  # Python's own dates have no nanoseconds
        return [plain_value(value) for value in _python_values(column)]


class ParquetReader(TableReader):
    """A Parquet file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with reading(path):
            if not path.stat().st_size:
                raise DataError(f"{path.name} is empty; write it again.")
        with _sound(path), pq.ParquetFile(path) as file:
            self._schema, self._n = file.schema_arrow, file.metadata.num_rows
        self.names = _names(self._schema, path)

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows; what is in memory at once is one row group's columns at most."""
        done = 0
        with _sound(self.path), pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(CHUNK_ROWS):
                for part in _bounded(batch):
                    done += part.num_rows
                    yield ParquetChunk(n=part.num_rows, share_read=done / self._n, batch=part)

    def schema(self, names: Sequence[str]) -> pa.Schema:
        return pa.schema([self._schema.field(name) for name in names], self._schema.metadata)


class ArrowReader(TableReader):
    """An Arrow file or stream, or the folder of such files that `datasets.Dataset.save_to_disk` writes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._files = arrow_files(path)
        with reading(path):
            self._sizes = [file.stat().st_size for file in self._files]
        with _sound(path), pa.memory_map(str(self._files[0])) as raw:
            self._schema = _opened(raw).schema
        self.names = _names(self._schema, path)

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows; the files are mapped, so that little of them is in memory at once."""
        done, total = 0, max(1, sum(self._sizes))
        for file, size in zip(self._files, self._sizes, strict=True):
            with _sound(self.path), pa.memory_map(str(file)) as raw:
                opened = _opened(raw)
                if lacking := [name for name in self.names if name not in opened.schema.names]:
                    why = f"it lacks the columns {', '.join(lacking[:8])}"
                    raise DataError(f"{file.name} is not a sound Arrow file ({why}); write it again.")
                n = getattr(opened, "num_record_batches", None)
                batches = opened if n is None else map(opened.get_batch, range(n))
                for batch in batches:
                    share = min(1.0, (done + raw.tell()) / total)
                    for start in range(0, batch.num_rows, CHUNK_ROWS):
                        for part in _bounded(batch.slice(start, CHUNK_ROWS)):
                            yield ParquetChunk(n=part.num_rows, share_read=share, batch=part)
            done += size

    def schema(self, names: Sequence[str]) -> pa.Schema:
        return pa.schema([self._schema.field(name) for name in names], self._schema.metadata)


def arrow_files(path: Path) -> list[Path]:
    """Return the data files of a saved data set's folder, or the file itself. Raises DataError."""
    if not path.is_dir():
        return [path]
    with reading(path):
        try:
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            files = [path / Path(entry["filename"]).name for entry in state["_data_files"]]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is not a sound saved data set (state.json); save it again.") from error
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        raise DataError(f"{path} lacks data files ({', '.join(missing) or 'all'}); get the whole folder.")
    return files


def _names(schema: pa.Schema, path: Path) -> tuple[str, ...]:
    """Return the columns. Raises DataError where two have one name."""
    names = tuple(schema.names)
    if len(set(names)) < len(names):
        raise DataError(f"{path.name} has two columns of the same name; rename one of them.")
    return names


def _opened(raw: pa.NativeFile) -> pa.RecordBatchStreamReader | pa.RecordBatchFileReader:
    start = raw.read(6)
    raw.seek(0)
    return pa.ipc.open_file(raw) if start == b"ARROW1" else pa.ipc.open_stream(raw)


def _bounded(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Cut a batch of long texts into smaller ones: a chunk is bounded as those of other formats are."""
    rows = batch.num_rows
    if (size := batch.nbytes) > CHUNK_CHARACTERS:
        rows = -(-rows * CHUNK_CHARACTERS // size)
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


class ParquetWriter(TableWriter):
    """Writes Parquet: parts are Parquet files, joined into larger row groups."""

    def __init__(self, out: Path, table: TextTable, new: Mapping[str, type]) -> None:
        super().__init__(out, table, new)
        kept = table.schema
        more = pa.schema([(name, _ARROW[kind]) for name, kind in new.items()])
        self._schema = pa.schema([*kept, *more], kept.metadata)

    def part(self, chunk: TextChunk, new: Sequence[Sequence[Value]]) -> bytes:
        names, types = self.table.kept, self._schema.types
        if isinstance(rows := chunk.rows, ParquetChunk):
            kept = rows.batch.select(list(names)).columns
        else:
            kept = _arrays(rows.cells(names, self.table.text_column), types[: len(names)])
        arrays = [*kept, *_arrays(new, types[len(names) :])]
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_arrays(arrays, schema=self._schema), buffer)
        return bytes(buffer.getvalue())

    def join(self, parts: Iterable[Path], file: BinaryIO) -> None:
        """Write the parts' rows, many parts to a row group."""
        with pq.ParquetWriter(file, self._schema) as writer:
            waiting: list[pa.Table] = []
            for path in parts:
                waiting.append(pq.ParquetFile(path).read())
                rows, size = sum(t.num_rows for t in waiting), sum(t.nbytes for t in waiting)
                if rows >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
                    writer.write_table(pa.concat_tables(waiting), row_group_size=ROW_GROUP_ROWS)
                    waiting = []
            if waiting:
                writer.write_table(pa.concat_tables(waiting), row_group_size=ROW_GROUP_ROWS)


def values_of(column: pa.Array | pa.ChunkedArray) -> list[object]:
    """Return a column's values; binary ones as texts, with surrogate escapes for what is not UTF-8."""
    return [_as_str(value) if isinstance(value, bytes) else value for value in _python_values(column)]


def _python_values(column: pa.Array | pa.ChunkedArray) -> list[object]:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:  # some writers put other encodings into string columns
        return [value and _as_str(value) for value in column.cast(pa.large_binary()).to_pylist()]
    except (OverflowError, ValueError, KeyError):  # dates, or a time zone, that Python does not know
        return _as_texts(column)


def _as_texts(column: pa.Array | pa.ChunkedArray) -> list[object]:
    """Return dates and times as texts, those of an unknown time zone in UTC."""
    kind = column.type
    try:
        return list(column.cast(pa.string()).to_pylist())
    except pa.ArrowException:
        if pa.types.is_timestamp(kind):
            return list(column.cast(pa.timestamp(kind.unit)).cast(pa.string()).to_pylist())
        return [" ".join(column.slice(place, 1).to_string().split()) for place in range(len(column))]


def _as_str(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _arrays(rows: Sequence[Sequence[object]], types: Sequence[pa.DataType]) -> list[pa.Array]:
    return [
        pa.array([as_text(row[place]) if kind == pa.string() else row[place] for row in rows], kind)
        for place, kind in enumerate(types)
    ]


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    try:
        with reading(path):
            yield
    except pa.ArrowException as error:
        reason = str(error).split("\n", 1)[0].rstrip(".")
        kind = "Parquet" if path.suffix.lower() == ".parquet" else "Arrow"
        raise DataError(f"{path.name} is not a sound {kind} file ({reason}); write it again.") from error
