"""Write rows and what the classifier says of them, as CSV, TSV, JSONL or Parquet.

    sink = DelimitedSink(Path("scored.csv"), source, added)
    data = sink.part(chunk, predictions)        # the bytes of these rows; parts can be joined
    sink.join([Path("part-0"), …], file)

Into its own format an input is written as it came: CSV cell by cell (also bytes that are not UTF-8), a JSONL
line to the letter, Parquet with its types. Into another format go plain values. A cell that a spreadsheet
would take for a formula is left as it is. Knows nothing about models, nor about where parts are kept.
"""

import csv
import gzip
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from inference.tables.columns import Added
from inference.tables.delimited import DelimitedChunk, DelimitedSource, Dialect, readable_text
from inference.tables.jsonl import JsonlChunk, JsonlSource
from inference.tables.parquet import ParquetChunk
from inference.tables.source import Chunk, Source, gzipped, kind_of

if TYPE_CHECKING:
    from inference.classifier import Prediction  # it loads torch, which writing can do without

DECIMALS = 6
_SPACES = str.maketrans("\t\r\n", "   ")
ROW_GROUP_ROWS, ROW_GROUP_BYTES = 65_536, 64_000_000
Predictions = Sequence["Prediction | None"]
"""One for each row of a chunk, None for a bad row."""


class Sink(ABC):
    """Writes one format."""

    def __init__(self, out: Path, source: Source, added: Added) -> None:
        self.out, self.source, self.added = out, source, added

    @abstractmethod
    def part(self, chunk: Chunk, predictions: Predictions) -> bytes:
        """Return the rows of a chunk with their new columns."""

    @abstractmethod
    def join(self, parts: Iterable[Path], file: BinaryIO) -> None:
        """Write the whole file from its parts, with some of them in memory at most."""

    def new_rows(self, chunk: Chunk, predictions: Predictions) -> list[list[Any]]:
        """Return the values of the new columns for each row."""
        return [self._new_values(*row) for row in zip(predictions, chunk.problems, strict=True)]

    def _new_values(self, prediction: "Prediction | None", problem: str | None) -> list[Any]:
        if prediction is None:
            return [*[None] * (len(self.added.names) - 1), problem]
        rounded = [round(p, DECIMALS) for p in prediction.probabilities]
        shown = rounded if self.added.probabilities else []
        return [prediction.label, max(rounded), *shown, prediction.truncated, problem]


class TextSink(Sink):
    """A format of lines: parts are put behind a header, packed by gzip if the name says so."""

    unwritable = "backslashreplace"
    """What to do with what is no Unicode; within a JSON text, this writes the escape of JSON."""

    def part(self, chunk: Chunk, predictions: Predictions) -> bytes:
        """Return the rows of a chunk as lines."""
        return self._packed("".join(self._lines(chunk, self.new_rows(chunk, predictions))))

    def join(self, parts: Iterable[Path], file: BinaryIO) -> None:
        """Write the header and copy the parts; a gzip file may consist of several."""
        file.write(self._packed(self._header()))
        for path in parts:
            with path.open("rb") as part:
                shutil.copyfileobj(part, file)

    def _packed(self, text: str) -> bytes:
        data = text.encode("utf-8", self.unwritable)
        return gzip.compress(data, mtime=0) if gzipped(self.out) else data  # equal rows make equal bytes

    def _header(self) -> str:
        return ""

    @abstractmethod
    def _lines(self, chunk: Chunk, new: list[list[Any]]) -> Iterator[str]:
        """Yield the lines of a chunk with their ends."""


class DelimitedSink(TextSink):
    """CSV or TSV, written as the input is if that is of the same kind."""

    unwritable = "surrogateescape"

    def __init__(self, out: Path, source: Source, added: Added) -> None:
        super().__init__(out, source, added)
        self.dialect = Dialect("\t" if kind_of(out) == ".tsv" else ",")
        self.columns: Sequence[str] = source.columns
        if isinstance(source, DelimitedSource):
            self.columns = source.kept_header
            if kind_of(out) == kind_of(source.path):
                self.dialect = source.dialect

    def _header(self) -> str:
        mark = "\ufeff" if self.dialect.bom else ""
        return mark + "".join(self._written([[*self.columns, *self.added.names]]))

    def _lines(self, chunk: Chunk, new: list[list[Any]]) -> Iterator[str]:
        kept = chunk.raw if isinstance(chunk, DelimitedChunk) else _as_texts(chunk.cells())
        return self._written([*cells, *end] for cells, end in zip(kept, _as_texts(new), strict=True))

    def _written(self, rows: Iterable[Sequence[str]]) -> Iterator[str]:
        if not self.dialect.quoted:
            for row in rows:
                yield "\t".join(cell.translate(_SPACES) for cell in row)
                yield self.dialect.line_end
            return
        lines = _Lines()
        # With this line end the writer quotes cells that hold any line end; the dialect's own replaces it.
        writer = csv.writer(lines, delimiter=self.dialect.delimiter, lineterminator="\r\n")
        for row in rows:
            writer.writerow(row)
            yield lines.last[:-2] + self.dialect.line_end


class _Lines:
    """What the csv writer writes to."""

    last = ""

    def write(self, line: str) -> None:
        self.last = line


class JsonlSink(TextSink):
    """JSONL: a row of a JSONL input keeps its line and gets the new keys at its end."""

    def _lines(self, chunk: Chunk, new: list[list[Any]]) -> Iterator[str]:
        more = [dict(zip(self.added.names, values, strict=True)) for values in new]
        if isinstance(chunk, JsonlChunk) and self._keeps_all():
            for line, added in zip(chunk.lines, more, strict=True):
                if line.row and line.problem is None:
                    yield f"{line.raw[:-1].rstrip()}, {_json(added)[1:]}\n"  # one object of two
                else:
                    yield _json({**line.row, **added}) + "\n"
            return
        for cells, added in zip(chunk.cells(), more, strict=True):
            yield _json({**dict(zip(self.source.columns, cells, strict=True)), **added}) + "\n"

    def _keeps_all(self) -> bool:
        return isinstance(self.source, JsonlSource) and not self.source.key


class ParquetSink(Sink):
    """Parquet: parts are Parquet files, joined into larger row groups."""

    def __init__(self, out: Path, source: Source, added: Added) -> None:
        super().__init__(out, source, added)
        numbers = [(name, pa.float64()) for name in (added.score, *added.probabilities)]
        kept = source.schema()
        new = [
            (added.label, pa.string()),
            *numbers,
            (added.truncated, pa.bool_()),
            (added.error, pa.string()),
        ]
        self.schema = pa.schema([*kept, *pa.schema(new)], kept.metadata)

    def part(self, chunk: Chunk, predictions: Predictions) -> bytes:
        """Return the rows of a chunk as a Parquet file."""
        count = len(self.source.columns)
        if isinstance(chunk, ParquetChunk):
            kept = chunk.batch.columns
        else:
            kept = _arrays(chunk.cells(), self.schema.types[:count])
        new = _arrays(self.new_rows(chunk, predictions), self.schema.types[count:])
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_arrays([*kept, *new], schema=self.schema), buffer)
        return bytes(buffer.getvalue())

    def join(self, parts: Iterable[Path], file: BinaryIO) -> None:
        """Write the parts' rows, many parts to a row group."""
        with pq.ParquetWriter(file, self.schema) as writer:
            for table in _gathered(pq.ParquetFile(path).read() for path in parts):
                writer.write_table(table, row_group_size=ROW_GROUP_ROWS)


def _gathered(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield tables of the size of a row group or a little more."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        rows, size = sum(t.num_rows for t in waiting), sum(t.nbytes for t in waiting)
        if rows >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _arrays(rows: list[list[Any]], types: Sequence[Any]) -> list[pa.Array]:
    columns = zip(*rows, strict=True)
    return [
        pa.array([_as_text(value) for value in values] if kind == pa.string() else values, kind)
        for values, kind in zip(columns, types, strict=True)
    ]


def _as_texts(rows: Iterable[Iterable[Any]]) -> list[list[str]]:
    return [[_as_text(value) or "" for value in row] for row in rows]


def _as_text(value: Any) -> str | None:
    """Return a value for a column of texts: texts as they are, None as None, all else as JSON."""
    return None if value is None else readable_text(value if isinstance(value, str) else _json(value))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
