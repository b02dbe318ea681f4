"""Read CSV and TSV: every cell is a text, and stays the text that it was.

    source = DelimitedSource(Path("posts.csv"), text_column="", key="")

A row that can't be split into the header's cells is bad, and its whole line stands in the text column. A
quote that never closes spoils its own line alone: reading goes on with the next one. Blank lines are no rows.
Knows nothing about predictions.
"""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from inference.tables.columns import find_key_column, find_text_column, unique
from inference.tables.errors import ScoringError
from inference.tables.source import BOM, Chunk, Source, bundled, kind_of, lines_of, read_head, too_long

HEAD_BYTES = 1_000_000
MAX_CELL_CHARACTERS = 1_000_000  # where a quote never closes, reading on for more would not find its end
Cells = list[str]


@dataclass(frozen=True)
class Dialect:
    """How a file of cells is written."""

    delimiter: str = ","
    quoted: bool = True
    line_end: str = "\n"
    bom: bool = False


@dataclass(frozen=True)
class Row:
    """A row of the file: its cells, or its line and why it has none."""

    cells: Cells
    line: str = ""
    problem: str | None = None


@dataclass(frozen=True)
class DelimitedChunk(Chunk):
    """`raw` holds the kept cells as they were read: bytes that are not UTF-8 are surrogate escapes."""

    raw: list[Cells]

    def cells(self) -> list[list[str]]:
        """Return the cells as proper Unicode: a byte that was none stands there as `\\xff`."""
        return [[readable_text(cell) for cell in row] for row in self.raw]


class DelimitedSource(Source):
    """A CSV or TSV file. `key`: keep this column alone."""

    def __init__(self, path: Path, *, text_column: str, key: str) -> None:
        self.path = path
        csv.field_size_limit(MAX_CELL_CHARACTERS)
        head = read_head(path, HEAD_BYTES)
        if not head.strip(BOM + b"\r\n\t "):
            raise ScoringError(f"{path} is empty; it must hold at least a header with a text column.")
        self.dialect = _dialect(path, head)
        with lines_of(path) as lines:
            first = next(_rows(lines.line, self.dialect), Row([], "", "the file holds no row"))
        if first.problem:
            raise ScoringError(
                f"{path} has a header that can't be read ({first.problem}); mend its first line."
            )
        self.header = first.cells
        self.text_column = find_text_column(self.header, given=text_column, where=path.name)
        self._text = self.header.index(self.text_column)
        key = find_key_column(self.header, given=key, where=path.name)
        self._kept = [self.header.index(key)] if key else list(range(len(self.header)))
        self.columns = unique(readable_text(self.header[i]) for i in self._kept)

    @property
    def kept_header(self) -> Cells:
        """The kept columns' names as the file has them, also if one stands there twice."""
        return [self.header[i] for i in self._kept]

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows below the header."""
        with lines_of(self.path) as lines:
            rows = _rows(lines.line, self.dialect)
            next(rows)
            for gathered in bundled((row, len(row.line)) for row in rows):
                yield self._chunk(gathered, lines.share_read)

    def schema(self) -> pa.Schema:
        """Every column is one of texts."""
        return pa.schema([(name, pa.string()) for name in self.columns])

    def _chunk(self, rows: list[Row], share_read: float) -> DelimitedChunk:
        texts, problems, raw = [], [], []
        for row in rows:
            cells, problem = row.cells, row.problem
            if problem is None and len(cells) != len(self.header):
                problem = f"the row has {len(cells)} cells where the header has {len(self.header)}"
            if problem is not None:
                cells = [""] * len(self.header)
                cells[self._text] = row.line.rstrip("\r\n")
            elif not _is_utf8(cells[self._text]):
                problem = "the text has bytes that are not UTF-8"
            texts.append(cells[self._text] if problem is None else None)
            problems.append(problem)
            raw.append([cells[i] for i in self._kept])
        return DelimitedChunk(texts, problems, share_read, raw)


def readable_text(text: str) -> str:
    """Return a text that any format can hold: a byte that was not UTF-8 is spelt out, as `\\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode()


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
        return True
    except UnicodeEncodeError:
        return False


class _TooLong(Exception):  # noqa: N818  (it names the problem of a row)
    """A record has a line that is too long to be one."""


class _Lines:
    """Lines for the csv reader, which can be given back when a record turns out to be broken."""

    def __init__(self, readline: Callable[[], str]) -> None:
        self._readline = readline
        self._given_back: list[str] = []
        self.record: list[str] = []
        """The lines taken since the record began."""

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._given_back.pop() if self._given_back else self._readline()
        if not line:
            raise StopIteration
        self.record.append(line)
        if problem := too_long(line):
            raise _TooLong(problem)
        return line

    def keep_first(self) -> str:
        """Give back all of the record but its first line, and return that."""
        self._given_back += reversed(self.record[1:])
        return self.record[0]


def _rows(readline: Callable[[], str], dialect: Dialect) -> Iterator[Row]:
    """Yield the header and the rows."""
    if not dialect.quoted:
        for line in iter(readline, ""):
            if problem := too_long(line):
                yield Row([], line, problem)
            elif bare := line.rstrip("\r\n"):
                yield Row(bare.split(dialect.delimiter), line)
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
            yield Row([], lines.keep_first(), f"the quotes of the line are broken ({error})")
            continue
        except _TooLong as error:
            first = lines.keep_first()
            yield Row([], first, too_long(first) or f"a quote that opens in it does not close ({error})")
            continue
        if cells:
            yield Row(cells, "".join(lines.record))


def _dialect(path: Path, head: bytes) -> Dialect:
    text = head.decode("utf-8-sig", "surrogateescape")
    first = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = "," if "," in first else max(",;\t|", key=first.count)
    found = Dialect(
        "\t" if kind_of(path) == ".tsv" else delimiter,
        line_end="\r\n" if first.endswith("\r") else "\n",
        bom=head.startswith(BOM),
    )
    bare = replace(found, quoted=False)
    if found.delimiter == "\t" and _misfits(text, bare) < _misfits(text, found):
        return bare  # tab-separated tweets are often written with bare quotes
    return found


def _misfits(text: str, dialect: Dialect) -> int:
    """Count the rows that don't have the header's cells."""
    rows = list(_rows(io.StringIO(text, newline="").readline, dialect))
    return sum(row.problem is not None or len(row.cells) != len(rows[0].cells) for row in rows)
