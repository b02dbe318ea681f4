"""CSV and TSV: every cell is a text, and stays the text that it was.

A row that can't be split into the header's cells is bad. A stray quote spoils its own line
alone, and not even that if the line's quotes are even and it has the header's cells when they are taken as
plain characters. Blank lines are no rows.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from inference.common.errors import DataError
from inference.tables.columns import unique
from inference.tables.rows import (
    BadRow,
    Chunk,
    Head,
    TableReader,
    TextChunk,
    TextTable,
    bundled,
    kind_of,
    lines_of,
    read_head,
    readable,
    too_long,
)
from inference.tables.write import TextWriter, Value, as_text

MAX_CELL_CHARACTERS = 1_000_000  # where a quote never closes, reading on for more would not find its end
_SPACES = str.maketrans("\t\r\n", "   ")


@dataclass(frozen=True)
class Dialect:
    """How a file of cells is written."""

    delimiter: str = ","
    quoted: bool = True
    line_end: str = "\n"
    marked: bool = False
    """Whether it begins with a byte order mark."""


@dataclass(frozen=True)
class _Row:
    """A row of the file: its cells, or why it has none; its text, and the number of its first line."""

    cells: list[str]
    text: str
    number: int
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class DelimitedChunk(Chunk):
    """`rows` holds the cells as they were read."""

    rows: list[list[str]]
    names: tuple[str, ...]

    def column(self, name: str) -> list[object]:
        """Return the cells of a column; a bad row's are empty."""
        place = self.names.index(name)
        return [row[place] for row in self.rows]


class DelimitedReader(TableReader):
    """A CSV or TSV file. `header` has the names as they stand there, also if one does twice."""

    advice = "put quotes around a text that holds the delimiter or a line end"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        csv.field_size_limit(MAX_CELL_CHARACTERS)
        head = read_head(path)
        if not head.text.strip():
            raise DataError(f"{path.name} is empty; it must hold at least a header and a row.")
        self.dialect = _dialect(path, head)
        with lines_of(path) as lines:
            first = next(_rows(lines.line, self.dialect), _Row([], "", 1, "the file holds no row"))
        problem = "it holds NUL, as binary files do" if "\0" in first.text else first.problem
        if problem:
            raise DataError(f"{path.name} has a header that can't be read ({problem}); mend its first line.")
        self.header = first.cells
        self.names = unique(map(readable, self.header))

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows below the header."""
        with lines_of(self.path) as lines:
            rows = _rows(lines.line, self.dialect)
            next(rows)
            for gathered in bundled((row, len(row.text)) for row in rows):
                yield self._chunk(gathered, lines.share_read)

    def schema(self, names: Sequence[str]) -> pa.Schema:
        """Every column is one of texts."""
        return pa.schema([(name, pa.string()) for name in names])

    def _chunk(self, found: list[_Row], share_read: float) -> DelimitedChunk:
        width = len(self.header)
        bad: dict[int, BadRow] = {}
        rows = []
        for place, row in enumerate(found):
            cells, problem = row.cells, row.problem
            if problem is None and len(cells) != width:
                problem = f"the row has {len(cells)} cells where the header has {width}"
            elif problem is not None and not too_long(row.text) and row.text.count('"') % 2 == 0:
                cells = row.text.rstrip("\r\n").split(self.dialect.delimiter)
                problem = None if len(cells) == width else problem
            if problem is not None:
                bad[place] = BadRow(row.number, problem, row.text.rstrip("\r\n"))
                cells = [""] * width
            rows.append(cells)
        return DelimitedChunk(n=len(rows), bad=bad, share_read=share_read, rows=rows, names=self.names)


class DelimitedWriter(TextWriter):
    """Writes CSV or TSV, in the input's own dialect if that is of the same kind."""

    def __init__(self, out: Path, table: TextTable, new: Mapping[str, type]) -> None:
        super().__init__(out, table, new)
        self.unwritable = "surrogateescape"
        self._dialect = Dialect("\t" if kind_of(out) == ".tsv" else ",")
        self._names: Sequence[str] = table.kept
        if isinstance(reader := table.reader, DelimitedReader):
            self._names = [reader.header[reader.names.index(name)] for name in table.kept]
            if kind_of(out) == kind_of(reader.path):
                self._dialect = reader.dialect

    def header(self) -> str:
        """Return the line of names, behind a byte order mark if the input has one."""
        mark = "\ufeff" if self._dialect.marked else ""
        return mark + "".join(self._written([[*self._names, *self.new]]))

    def lines(self, chunk: TextChunk, new: Sequence[Sequence[Value]]) -> Iterator[str]:
        """Yield the rows."""
        raw = isinstance(chunk.rows, DelimitedChunk)
        cells = chunk.rows.cells(self.table.kept, self.table.text_column, raw=raw)
        kept = cells if raw else [map(as_text, row) for row in cells]
        return self._written(
            [str("" if cell is None else cell) for cell in (*row, *map(as_text, end))]
            for row, end in zip(kept, new, strict=True)
        )

    def _written(self, rows: Iterable[Sequence[str]]) -> Iterator[str]:
        if not self._dialect.quoted:
            for row in rows:
                yield "\t".join(cell.translate(_SPACES) for cell in row)
                yield self._dialect.line_end
            return
        line = io.StringIO(newline="")
        # With this line end the writer quotes cells that hold any line end; the dialect's own replaces it.
        writer = csv.writer(line, delimiter=self._dialect.delimiter, lineterminator="\r\n")
        for row in rows:
            writer.writerow(row)
            yield line.getvalue()[:-2] + self._dialect.line_end
            line.seek(0)
            line.truncate()


class _TooLong(Exception):  # noqa: N818  (it names the problem of a row)
    """A record has a line that is too long to be one."""


class _Lines:
    """Lines for the csv reader, which can be given back when a record turns out to be broken."""

    def __init__(self, readline: Callable[[], str]) -> None:
        self._readline = readline
        self._given_back: list[str] = []
        self._taken = 0
        self.record: list[str] = []
        """The lines taken since the record began."""

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._given_back.pop() if self._given_back else self._readline()
        if not line:
            raise StopIteration
        self.record.append(line)
        self._taken += 1
        if problem := too_long(line):
            raise _TooLong(problem)
        return line

    @property
    def number(self) -> int:
        """The number of the record's first line."""
        return self._taken - len(self.record) + 1

    def keep_first(self) -> str:
        """Give back all of the record but its first line, and return that."""
        self._given_back += reversed(self.record[1:])
        self._taken -= len(self.record) - 1
        del self.record[1:]
        return self.record[0]


def _rows(readline: Callable[[], str], dialect: Dialect) -> Iterator[_Row]:
    """Yield the header and the rows."""
    if not dialect.quoted:
        for number, line in enumerate(iter(readline, ""), 1):
            if problem := too_long(line):
                yield _Row([], line, number, problem)
            elif bare := line.rstrip("\r\n"):
                yield _Row(bare.split(dialect.delimiter), line, number)
        return
    lines = _Lines(readline)
    records = csv.reader(lines, delimiter=dialect.delimiter, strict=True)
    while True:
        lines.record = []
        try:
            cells = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            first = lines.keep_first()
            yield _Row([], first, lines.number, f"the quotes of the line are broken ({error})")
            continue
        except _TooLong as error:
            first = lines.keep_first()
            problem = too_long(first) or f"a quote that opens in it does not close ({error})"
            yield _Row([], first, lines.number, problem)
            continue
        if cells:
            yield _Row(cells, "".join(lines.record), lines.number)


def _dialect(path: Path, head: Head) -> Dialect:
    first = head.text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = "," if "," in first else max(",;\t|", key=first.count)
    found = Dialect(
        "\t" if kind_of(path) == ".tsv" else delimiter,
        line_end="\r\n" if first.endswith("\r") else "\n",
        marked=head.marked,
    )
    bare = replace(found, quoted=False)
    if found.delimiter == "\t" and _misfits(head.text, bare) < _misfits(head.text, found):
        return bare  # tab-separated tweets are often written with bare quotes
    return found


def _misfits(text: str, dialect: Dialect) -> int:
    """Count the rows that don't have the header's cells."""
    rows = list(_rows(io.StringIO(text, newline="").readline, dialect))
    return sum(row.problem is not None or len(row.cells) != len(rows[0].cells) for row in rows)
