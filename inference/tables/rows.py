"""The interface of tables: a `TableReader` yields `Chunk`s of rows, and a `TextTable` their texts.

    table = open_texts(Path("posts.csv.gz"))                    # inference.tables.formats
    for chunk in table.chunks():
        chunk.texts, chunk.problems

Scoring, training, replay and labels read files through here, so that a file holds the same rows for all of
them: UTF-8 or UTF-16, with or without a mark, bytes that are neither read as Windows-1252, and each row that
can't be read counted, with its line and the reason. Where a chunk ends depends on the file alone, so that a
second run finds the same chunks and can leave out those that are done.
"""

import codecs
import gzip
import io
import math
import os
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from inference.common.errors import DataError
from inference.common.text import decoded
from inference.tables.columns import Kind, pick_column

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_ROWS = 2_048
CHUNK_CHARACTERS = 16_000_000
"""A chunk ends at either: batches of like length need many rows, and memory is bounded."""
MAX_LINE_CHARACTERS = 16_000_000
HEAD_BYTES = 1_000_000
_BINARY = (b"PK\x03\x04", b"\x1f\x8b", b"PAR1", b"%PDF", b"\x89PNG", b"SQLite format", b"ARROW1")
_UTF8_MARK, _UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet", ".tab", ".txt", ".ndjson", ".json", ".js", ".arrow")
"""Of the files that `inference.tables.formats` reads, for code that must not import Arrow."""
_PEEKED = 4_096
_LEAST_ASCII = 0.02  # of a text of any language in UTF-16: line ends, delimiters, digits
_MOSTLY_ASCII = 0.3  # of one that might be UTF-8 as well
_PLAIN_LINE = re.compile(rb"[\t -~]{4,}\r?\n")
_CONTROL = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f]")
_T = TypeVar("_T")


@dataclass(frozen=True)
class BadRow:
    """A row that can't be read: the number of its first line, why, and that line as it stands in the file."""

    number: int
    problem: str
    line: str


@dataclass(frozen=True, kw_only=True)
class Chunk(ABC):
    """`n` rows of a table that follow each other; `bad` holds those that can't be read, by place."""

    n: int
    bad: Mapping[int, BadRow] = field(default_factory=dict)
    share_read: float
    """How much of the file has been read at the chunk's end, from 0 to 1."""

    @abstractmethod
    def column(self, name: str) -> list[object]:
        """Return a column's values; bytes that are not UTF-8 are surrogate escapes (see `decoded`)."""

    def plain(self, name: str) -> list[object]:
        """Return a column's values as JSON can hold them."""
        return [readable(value) if isinstance(value, str) else value for value in self.column(name)]

    def cells(self, kept: Sequence[str], text_column: str, *, raw: bool = False) -> list[list[object]]:
        """Return each row's plain values of the kept columns; the line of a bad row stands as its text.

        `raw`: values and lines as they were read, for a file of the same format.
        """
        columns = [self.column(name) if raw else self.plain(name) for name in kept]
        rows = [list(row) for row in zip(*columns, strict=True)]
        if text_column in kept:
            for place, row in self.bad.items():
                rows[place][list(kept).index(text_column)] = row.line if raw else readable(row.line)
        return rows


class TableReader(ABC):
    """Reads one format: `names` are the file's columns, each once."""

    advice: ClassVar[str] = ""
    """What to do about many bad rows: the end of a sentence."""
    names: tuple[str, ...]
    more: Mapping[Kind, Sequence[str]] = {}
    """Names, such as paths of nested values, that may be picked beside the columns; of texts only these."""
    samples: Mapping[str, str] = {}
    """For columns without names, a cell of each."""
    text_guess: str = ""
    """The column that holds texts by all appearance, where there are no names."""
    notes: tuple[str, ...] = ()
    """Sentences on how the file was understood, to be shown."""

    def __init__(self, path: Path) -> None:
        """Look at the beginning of a file. Raises DataError when it can't be read."""
        self.path = path

    @abstractmethod
    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows from the first one on. Raises DataError when the file can't be read."""

    @abstractmethod
    def schema(self, names: Sequence[str]) -> "pa.Schema":
        """Return the Arrow schema of some columns."""

    def pick(self, kind: Kind, *, given: str = "", where: str = "") -> str:
        """Return the column of a kind. Raises DataError when there is none; see `pick_column`."""
        names = self.more.get(kind, self.names)
        if given:
            names = (*self.names, *(name for name in names if name not in self.names))
        elif kind == "text" and self.text_guess:
            return self.text_guess
        return pick_column(names, kind, given=given, where=where or self.path.name, samples=self.samples)


@dataclass(frozen=True)
class TextChunk:
    """A chunk's rows seen by their texts: None where a row is bad, and `problems` says why."""

    rows: Chunk
    texts: Sequence[str | None]
    problems: Sequence[str | None]

    @property
    def good_texts(self) -> list[str]:
        return [text for text in self.texts if text is not None]

    def aligned(self, of_good_rows: Iterable[_T]) -> list[_T | None]:
        """Put values of the good rows in the places of all rows, None for a bad one."""
        found = iter(of_good_rows)
        return [None if text is None else next(found) for text in self.texts]


@dataclass(frozen=True)
class TextTable:
    """A table, the column of its texts, and the columns that an output keeps beside new ones."""

    reader: TableReader
    text_column: str
    kept: tuple[str, ...]

    def chunks(self) -> Iterator[TextChunk]:
        """Yield the rows from the first one on. Raises DataError when the file can't be read."""
        for rows in self.reader.chunks():
            texts: list[str | None] = []
            problems: list[str | None] = []
            for place, value in enumerate(rows.column(self.text_column)):
                problem = rows.bad[place].problem if place in rows.bad else why_not_text(value)
                texts.append(decoded(value) if problem is None and isinstance(value, str) else None)
                problems.append(problem)
            yield TextChunk(rows, texts, problems)

    @property
    def schema(self) -> "pa.Schema":
        return self.reader.schema(self.kept)


def why_not_text(value: object) -> str | None:
    """Return why a value of the text column can't be classified, or None for a text; empty is a text."""
    if isinstance(value, str):
        return None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "the text is missing"
    return f"the text is not a text ({type(value).__name__})"


def readable(text: str) -> str:
    """Return a text that any format can hold: decoded, half of a surrogate pair spelt out as `\\ud83d`."""
    return decoded(text).encode("utf-8", "backslashreplace").decode()


def kind_of(path: Path) -> str:
    """Return the suffix of a file's name that gives its format, in lower case; .gz does not count."""
    return Path(path.stem if gzipped(path) else path.name).suffix.lower()


def gzipped(path: Path) -> bool:
    """Whether a file's name says that it is compressed with gzip."""
    return path.suffix.lower() == ".gz"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Within it, an error in reading a file becomes a DataError of one sentence."""
    try:
        yield
    except EOFError as error:
        raise DataError(
            f"{path.name} is cut short (its gzip stream has no end); get the whole file."
        ) from error
    except (OSError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{path} can't be read ({reason}); check the path and its permissions.") from error


@dataclass(frozen=True)
class Head:
    """The beginning of a text file, and whether it has a byte order mark."""

    text: str
    marked: bool


def read_head(path: Path) -> Head:
    """Read the beginning of a text file. Raises DataError when it holds no text."""
    with reading(path), path.open("rb") as raw:
        head = _unpacked(raw, packed=gzipped(path)).read(HEAD_BYTES)
    head = head[_false_mark(head) :]
    if head.startswith(_BINARY):
        raise DataError(
            f"{path.name} is a binary file, though its name says that it holds text; give its right name, "
            "or save it as text."
        )
    return Head(head.decode(*_encoding(head)), head.startswith((_UTF8_MARK, *_UTF16_MARKS)))


class LineReader:
    """The lines of a text file, with their ends; in UTF-8, odd bytes are surrogate escapes."""

    def __init__(self, raw: io.BufferedReader, *, size: int, packed: bool = False) -> None:
        """`size`: of the file in bytes; `packed`: by gzip."""
        self._raw, self._size = raw, max(1, size)
        unpacked = _unpacked(raw, packed=packed)
        unpacked.read(_false_mark(unpacked.peek(_PEEKED)))
        self._stream = io.TextIOWrapper(unpacked, *_encoding(unpacked.peek(_PEEKED)), newline="")
        self.read = self._stream.read

    def line(self) -> str:
        """Return the next line, "" at the end. U+2028 and its like end no line.

        Of a line that is too long only the beginning; see `too_long`.
        """
        line = rest = self._stream.readline(MAX_LINE_CHARACTERS)
        while len(rest) == MAX_LINE_CHARACTERS and not rest.endswith("\n"):
            rest = self._stream.readline(MAX_LINE_CHARACTERS)
        return line

    @property
    def share_read(self) -> float:
        """How much of the file has been read, from 0 to 1."""
        return min(1.0, self._raw.tell() / self._size)


def plain_lines(content: bytes, where: str) -> list[str]:
    """Return the lines of a plain text, decoded. Raises DataError when it is none."""
    if content.startswith(_BINARY):
        raise DataError(f"{where} is binary and no text; give texts, one a line.")
    lines = LineReader(io.BufferedReader(io.BytesIO(content)), size=len(content))
    return [decoded(line.rstrip("\r\n")) for line in iter(lines.line, "")]


def too_long(line: str) -> str | None:
    """Return why a line of a `LineReader` is no row, None unless it is too long."""
    if len(line) < MAX_LINE_CHARACTERS:
        return None
    return f"the line has over {MAX_LINE_CHARACTERS:,} characters; its rest is left out"


@contextmanager
def lines_of(path: Path) -> Iterator[LineReader]:
    """Open a text file to read its lines; a name that ends in .gz is unpacked."""
    with reading(path), path.open("rb") as raw:
        reader = LineReader(raw, size=os.fstat(raw.fileno()).st_size, packed=gzipped(path))
        yield reader  # held here until the file is closed


def bundled(rows: Iterable[tuple[_T, int]]) -> Iterator[list[_T]]:
    """Gather rows, given with their sizes in characters, into lists of a chunk's size."""
    gathered: list[_T] = []
    characters = 0
    for row, size in rows:
        gathered.append(row)
        characters += size
        if len(gathered) == CHUNK_ROWS or characters >= CHUNK_CHARACTERS:
            yield gathered
            gathered, characters = [], 0
    if gathered:
        yield gathered


def _encoding(head: bytes) -> tuple[str, str]:
    """Return the encoding of a text by its first bytes, and what to do with bytes that don't fit it."""
    if head.startswith(_UTF16_MARKS):
        return "utf-16", "replace"
    head = head[:_PEEKED]
    if b"\0" in head and not _PLAIN_LINE.match(head):  # a first line in ASCII has NULs in UTF-16
        plain = head.replace(b"\0", b"").decode("utf-8", "replace")
        odd = plain.count("\ufffd") + len(_CONTROL.findall(plain))
        sound = odd < 0.1 * len(plain)  # UTF-8, or nearly so, with a NUL here or there
        for encoding in ("utf-16-le", "utf-16-be"):
            try:
                text = codecs.getincrementaldecoder(encoding)().decode(head)
            except UnicodeDecodeError:
                continue
            ascii_share = sum(character < "\x7f" for character in text) / max(1, len(text))
            if (
                "\n" in text
                and ascii_share > (_MOSTLY_ASCII if sound else _LEAST_ASCII)
                and not _CONTROL.search(text)
            ):
                return encoding, "replace"
    return "utf-8-sig", "surrogateescape"


def _false_mark(head: bytes) -> int:
    """Return the length of a mark of UTF-16 before lines or JSON in UTF-8, as some programs write; else 0."""
    rest = head[2:_PEEKED]
    plain = b"\n" in rest or rest.lstrip().startswith((b"{", b"["))
    if not (head.startswith(_UTF16_MARKS) and plain) or b"\0" in rest:
        return 0
    try:
        codecs.getincrementaldecoder("utf-8")().decode(rest)
    except UnicodeDecodeError:
        return 0
    return 2


def _unpacked(raw: io.BufferedReader, *, packed: bool) -> io.BufferedReader:
    return cast("io.BufferedReader", gzip.GzipFile(fileobj=raw)) if packed else raw
