"""CSV and TSV: every cell is a text, and stays the text that it was.

The delimiter is the one that splits header and rows alike, or that Excel's line "sep=" names. Where the first
row is no header, the columns are named by their places, from 1. A row that can't be split into the header's
cells is bad. A stray quote spoils its own line alone, and not even that if the line's quotes are even and it
has the header's cells when they are taken as plain characters; lines that a quoted cell spans are rows of
their own where they look like it (see `_Judge`); cells whose lines might be rows are counted in a note.
Blank lines are no rows. Plain text, without a tab, is a table of one column.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import mean

import pyarrow as pa

from inference.common.errors import DataError
from inference.tables.columns import LABEL_COLUMNS, TEXT_COLUMNS, find_column, unique
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
DELIMITERS = ",;\t|"
_SPACES = str.maketrans("\t\r\n", "   ")
_NO_DELIMITER = "\x1f"  # of a table of one column
_SEP_LINE = re.compile(r'"?sep=([^"\r\n])"?\r?\n?', re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?(e[-+]?\d+)?", re.IGNORECASE)
_SAMPLE_ROWS = 2_000  # rows of the file's beginning that show how it is written
_SAMPLE_CHARACTERS = 200_000
_FEW_VALUES = 50
_ENOUGH_ROWS = 6
_MOST_MISFITS = 0.3  # of the rows: with more, what looks like prose is
_SHOWN = 10


@dataclass(frozen=True)
class Dialect:
    """How a file of cells is written."""

    delimiter: str = ","
    quoted: bool = True
    line_end: str = "\n"
    marked: bool = False
    """Whether it begins with a byte order mark."""
    sep_line: bool = False
    """Whether Excel's line "sep=" stands above the header."""

    @property
    def alone(self) -> bool:
        """Whether there is one column, whose rows may hold any delimiter."""
        return self.delimiter == _NO_DELIMITER


@dataclass(frozen=True)
class _Row:
    """A row of the file: its cells, or why it has none; its text, its first line's number, its lines."""

    cells: list[str]
    text: str
    number: int
    problem: str | None = None
    lines: int = 1


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
        if len(head.text) > _SAMPLE_CHARACTERS:
            end = head.text.find("\n", _SAMPLE_CHARACTERS) + 1
            head = replace(head, text=head.text[: end or None])
        if not head.text.strip():
            raise DataError(f"{path.name} is empty; it must hold at least a header and a row.")
        plain = kind_of(path) == ".txt" and not _tabbed(head.text)
        self.dialect = _LINES if plain else _dialect(path, head)
        sample = list(islice(_rows(_readline(head.text), self.dialect), _SAMPLE_ROWS))
        first = sample[0] if sample else _Row([], "", 1, "the file holds no row")
        problem = "it holds NUL, as binary files do" if "\0" in first.text else first.problem
        if problem and not plain:
            raise DataError(f"{path.name} has a header that can't be read ({problem}); mend its first line.")
        rows = [row.cells for row in sample if len(row.cells) == len(first.cells) and row.problem is None]
        self._headless = plain or _headless(rows)
        self.header = first.cells
        if plain:
            self.header = ["text"]
        elif self._headless:
            self.header = [str(place) for place in range(1, len(first.cells) + 1)]
            self.samples = dict(zip(self.header, map(readable, first.cells), strict=True))
            shown = ", ".join(f"{name} ({cell[:30]})" for name, cell in [*self.samples.items()][:_SHOWN])
            self.notes = (f"{path.name} has no header; its columns are named by their places: {shown}.",)
            if guess := _texts_among(rows):
                self.text_guess = str(guess)
                self.notes += (f"Column {guess} of {path.name} looks like its texts.",)
        self._above = 0 if self._headless else first.number + first.lines - 1
        self.names = unique(map(readable, self.header))
        self._judge = _Judge(self.dialect, len(self.header), sample[0 if self._headless else 1 :])

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows below the header; after the last one `notes` counts the rows of several lines."""
        understood, joined, first = self.notes, 0, 0
        with lines_of(self.path) as lines:
            rows = _rows(lines.line, self.dialect, self._judge, skip=self._above)
            for gathered in bundled((row, len(row.text)) for row in rows):
                numbers = [row.number for row in gathered if self._may_be_several(row)]
                first = first or next(iter(numbers), 0)
                joined += len(numbers)
                yield self._chunk(gathered, lines.share_read)
        if joined:
            note = (
                f"{joined:,} rows of {self.path.name} have a quoted cell of several lines, one text "
                f"(the first: line {first}); if its lines are rows, take the stray quote away."
            )
            self.notes = (*(each for each in understood if each != note), note)

    def _may_be_several(self, row: _Row) -> bool:
        """Whether a row's lines might be rows: one below the first can be split into the header's cells."""
        if row.lines == 1 or row.problem is not None:
            return False
        below = row.text.splitlines()[1:]
        return any(
            line.strip() and line.count(self.dialect.delimiter) + 1 >= len(self.header) for line in below
        )

    def schema(self, names: Sequence[str]) -> pa.Schema:
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
        self._dialect = Dialect("\t" if kind_of(out) in (".tsv", ".tab") else ",")
        self._names: Sequence[str] = table.kept
        if isinstance(reader := table.reader, DelimitedReader):
            self._names = [reader.header[reader.names.index(name)] for name in table.kept]
            if kind_of(out) == kind_of(reader.path) and not reader.dialect.alone:
                self._dialect = reader.dialect

    def header(self) -> str:
        """Return the line of names, behind what the input has there: a byte order mark, the line "sep="."""
        mark = "\ufeff" if self._dialect.marked else ""
        above = f"sep={self._dialect.delimiter}{self._dialect.line_end}" if self._dialect.sep_line else ""
        return mark + above + "".join(self._written([[*self._names, *self.new]]))

    def lines(self, chunk: TextChunk, new: Sequence[Sequence[Value]]) -> Iterator[str]:
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

    def each(self) -> Iterator[str]:
        """Yield the lines, each as a record; here one that is too long is no error."""
        for line in iter(self._readline, ""):
            self.record = [line]
            self._taken += 1
            yield line

    def keep_first(self) -> str:
        """Give back all of the record but its first line, and return that."""
        self._given_back += reversed(self.record[1:])
        self._taken -= len(self.record) - 1
        del self.record[1:]
        return self.record[0]


class _Judge:
    """Decides if the lines that a quoted cell spans are rows of their own, run together by a stray quote.

    A line is one when its cells are those of the other rows: a number where a column has but numbers, one of
    the few values where it has few. Left of the quoted cell every line but the first can be judged so, right
    of it every line but the last. A blank behind a delimiter is prose. Where nothing decides, a file that
    quotes as it should (a delimiter or a doubled quote within quotes) is believed; else lines that have all
    their tabs are rows, and other lines that might be rows are called bad.
    """

    def __init__(self, dialect: Dialect, width: int, sample: Iterable["_Row"]) -> None:
        self.delimiter, self._width = dialect.delimiter, width
        rows = [row for row in sample if row.problem is None and len(row.cells) == width and row.lines == 1]
        self._known = [_known_values(column) for column in zip(*(row.cells for row in rows), strict=True)]
        self._known = self._known or [None] * width
        self._enough = len(rows) >= _ENOUGH_ROWS
        self._quotes_well = any('""' in row.text or _quoted(row) for row in rows)

    def problem(self, lines: Sequence[str], cells: Sequence[str]) -> str | None:
        """Return why the first of a record's lines is no row, "" where it is one of its own, else None."""
        if len(lines) == 1 or (self._width == 1 == len(cells)):
            return None
        if len(cells) != self._width:
            return "a quote that opens in it closes in another line"
        opened = next((place for place, cell in enumerate(cells) if "\n" in cell or "\r" in cell), 0)
        rows = [self._is_row(line, opened, place, len(lines)) for place, line in enumerate(lines)]
        if True not in rows and (None not in rows or self._quotes_well):
            return None
        if len(lines[0].split(self.delimiter)) != self._width:
            return "a stray quote opens in it"
        if True in rows or self.delimiter == "\t":
            return ""
        return "a quote opens in it, and the next lines may be its rest or rows of their own"

    def _is_row(self, line: str, opened: int, place: int, count: int) -> bool | None:
        """Whether a line looks like a row; None when no column decides, False when there is none to ask."""
        cells = line.rstrip("\r\n").split(self.delimiter)
        left = [*range(opened)] if place > 0 else []
        right = [*range(opened + 1, self._width)] if place < count - 1 else []
        if len(cells) < self._width or not left + right:
            return False
        found = [(cells[i], self._known[i]) for i in left]
        found += [(cells[i - self._width], self._known[i]) for i in right]
        fits = [(known, known(cell)) for cell, known in found if known]
        if fits and all(fit for _, fit in fits):
            return True
        prose = self.delimiter != "\t" and any(cell.startswith(" ") for cell in cells[1:])
        return False if prose or (fits and (self._enough or (_is_number, False) in fits)) else None


def _known_values(column: Sequence[str]) -> Callable[[str], bool] | None:
    """Return a check for the cells of a column, None if it may hold anything."""
    counts = Counter(cell.strip() for cell in column)
    if all(map(_is_number, counts)):
        return _is_number
    few = len(counts) <= min(_FEW_VALUES, max(1, len(column) / 2))
    return (lambda cell: cell.strip() in counts) if few else None


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell.strip()) is not None


def _quoted(row: "_Row") -> bool:
    """Whether a cell is quoted, and has to be."""
    return any(f'"{cell}"' in row.text and re.search(r"[,;\t|]", cell) for cell in row.cells)


def _rows(
    readline: Callable[[], str], dialect: Dialect, judge: _Judge | None = None, *, skip: int = 0
) -> Iterator[_Row]:
    """Yield the rows, and before them the header, unless its lines are skipped."""
    lines = _Lines(readline)
    for _ in range(max(skip, dialect.sep_line)):
        next(lines, None)
    return _quoted_rows(lines, dialect, judge) if dialect.quoted else _bare_rows(lines, dialect)


def _bare_rows(lines: _Lines, dialect: Dialect) -> Iterator[_Row]:
    for line in lines.each():
        if problem := too_long(line):
            yield _Row([], line, lines.number, problem)
        elif (bare := line.rstrip("\r\n")) or dialect is _LINES:
            yield _Row(bare.split(dialect.delimiter), line, lines.number)


def _quoted_rows(lines: _Lines, dialect: Dialect, judge: _Judge | None) -> Iterator[_Row]:
    records = csv.reader(lines, delimiter=dialect.delimiter, strict=True)
    while True:
        lines.record = []
        cells: list[str] = []
        try:
            cells = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            problem: str | None = f"the quotes of the line are broken ({error})"
        except _TooLong as error:
            problem = too_long(lines.record[0]) or f"a quote that opens in it does not close ({error})"
        else:
            problem = judge.problem(lines.record, cells) if judge and cells else None
        if problem is not None:
            first = lines.keep_first()
            bare = [] if problem else first.rstrip("\r\n").split(dialect.delimiter)
            yield _Row(bare, first, lines.number, problem or None)
        elif cells:
            yield _Row(cells, "".join(lines.record), lines.number, lines=len(lines.record))


_LINES = Dialect(_NO_DELIMITER, quoted=False)
"""Plain text: each line is a row, an empty one too."""


def _readline(text: str) -> Callable[[], str]:
    return io.StringIO(text, newline="").readline


def _tabbed(text: str) -> bool:
    """Whether the lines of a text are rows of cells: half of them have as many tabs as the first, or more."""
    lines = [line for line in text.split("\n")[:_SAMPLE_ROWS] if line.strip()]
    tabs = lines[0].count("\t")
    return tabs > 0 and 2 * sum(line.count("\t") == tabs for line in lines) >= len(lines)


def _dialect(path: Path, head: Head) -> Dialect:
    text = head.text.lstrip("\r\n")
    first, _, below = text.partition("\n")
    found = Dialect(line_end="\r\n" if first.endswith("\r") else "\n", marked=head.marked)
    if sep := _SEP_LINE.fullmatch(first.removeprefix("\ufeff")):
        return replace(found, delimiter=sep[1], sep_line=True)
    order = "\t,;|" if kind_of(path) in (".tsv", ".tab", ".txt") else DELIMITERS
    whole = "\n".join(text.split("\n")[:_SAMPLE_ROWS])
    dialects = [replace(found, delimiter=delimiter) for delimiter in order if delimiter in first]
    if "\t" in first:  # tab-separated tweets are often written with bare quotes
        dialects.append(replace(found, delimiter="\t", quoted=False))
    if not dialects:
        split = [replace(found, delimiter=delimiter) for delimiter in order if delimiter in below]
        alike = [each for each in split if _of_one_width(whole, each)]
        return alike[0] if alike else replace(found, delimiter=_NO_DELIMITER)
    misfits, best = min(((_misfits(whole, each), each) for each in dialects), key=lambda pair: pair[0])
    cells = first.split(best.delimiter)
    prose = all(cell.startswith(" ") for cell in cells[1:]) and misfits > _MOST_MISFITS
    named = find_column(cells, (*TEXT_COLUMNS, *LABEL_COLUMNS))
    return replace(found, delimiter=_NO_DELIMITER) if prose and not named else best


def _misfits(text: str, dialect: Dialect) -> float:
    """Return the share of the rows that don't have the header's cells."""
    rows = list(_rows(_readline(text), dialect))
    return mean(row.problem is not None or len(row.cells) != len(rows[0].cells) for row in rows)


def _of_one_width(text: str, dialect: Dialect) -> bool:
    """Whether the rows, but for the header, are split into two cells or more alike."""
    widths = Counter(len(row.cells) for row in islice(_rows(_readline(text), dialect), 1, None))
    width, count = max(widths.items(), key=lambda item: item[1], default=(0, 0))
    return width > 1 and count > 1 and count >= 0.9 * widths.total()


def _headless(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row is like those below it: a number over numbers, a value that comes again.

    Not if a name that it has is a usual one, or if it counts up from 0 as pandas does.
    """
    first, below = rows[0], [row for row in rows[1:] if row != rows[0]]
    columns = list(zip(*below, strict=True)) or [()] * len(first)
    names = [cell for cell, column in zip(first, columns, strict=True) if cell not in column]
    counted = [str(place) for place in range(len(first))]
    if find_column(names, (*TEXT_COLUMNS, *LABEL_COLUMNS)) or list(first) in (counted, ["", *counted[:-1]]):
        return False
    if len(first) == 1:
        return len(first[0].split()) >= 5
    return any(
        (column and _is_number(cell) and sum(map(_is_number, column)) > len(column) / 2)
        or (cell.strip() and column.count(cell) >= max(1, len(column) / 100))
        for cell, column in zip(first, columns, strict=True)
    )


def _texts_among(rows: Sequence[Sequence[str]]) -> int | None:
    """Return the place, from 1, of the column that holds texts: of several words, and not always as many."""
    counts = [[len(cell.split()) for cell in column] for column in zip(*rows, strict=True)]
    words = {
        place: mean(found) for place, found in enumerate(counts, 1) if len(set(found)) > 1 or len(counts) == 1
    }
    best = sorted(words, key=lambda place: -words[place])[:2]
    clear = best and words[best[0]] >= 3 and all(words[best[0]] >= 1.5 * words[other] for other in best[1:])
    return best[0] if clear else None
