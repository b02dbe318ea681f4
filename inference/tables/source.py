"""What a file of texts is to the rest of the package: a `Source` of `Chunk`s of rows.

    for chunk in source.chunks():
        chunk.texts, chunk.problems, chunk.cells()

Where a chunk ends depends on the file alone, so that a second run finds the same chunks and can leave out
those that are done. Knows nothing about models, nor about what a single format looks like.
"""

import gzip
import io
import math
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from inference.tables.errors import ScoringError

CHUNK_ROWS = 2_048
CHUNK_CHARACTERS = 16_000_000
"""A chunk ends at either: batches of like length need many rows, and memory is bounded."""
MAX_LINE_CHARACTERS = 16_000_000
_BINARY = (b"PK\x03\x04", b"\x1f\x8b", b"PAR1", b"%PDF", b"\x89PNG", b"SQLite format", b"ARROW1")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
BOM = b"\xef\xbb\xbf"
_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Chunk(ABC):
    """Rows of a file that follow each other."""

    texts: Sequence[str | None]
    """The text of each row, None where the row is bad."""
    problems: Sequence[str | None]
    """Why a row is bad, None where it is good."""
    share_read: float
    """How much of the file has been read at the chunk's end, from 0 to 1."""

    @abstractmethod
    def cells(self) -> list[list[Any]]:
        """Return each row's values, in the order of the source's columns: what JSON can hold."""


class Source(ABC):
    """A file of texts. `columns` are those that the output keeps; the text column need not be one of them."""

    path: Path
    text_column: str
    columns: tuple[str, ...]

    @abstractmethod
    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows from the first one on. Raises ScoringError when the file can't be read."""

    @abstractmethod
    def schema(self) -> Any:
        """Return the Arrow schema of `columns`."""


def why_not_text(value: object) -> str | None:
    """Return why a value of the text column can't be classified, or None for a text; empty is a text."""
    if isinstance(value, str):
        return None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "the text is missing"
    return f"the text is not a text ({type(value).__name__})"


def good_texts(chunk: Chunk) -> list[str]:
    """Return the texts of a chunk's good rows."""
    return [text for text in chunk.texts if text is not None]


def aligned(chunk: Chunk, of_good_rows: Iterable[_Row]) -> list[_Row | None]:
    """Return what belongs to a chunk's good rows in the places of its rows, None for a bad one."""
    found = iter(of_good_rows)
    return [None if text is None else next(found) for text in chunk.texts]


def kind_of(path: Path) -> str:
    """Return the ending of a file's name that tells its format, in lower case; .gz does not count."""
    return Path(path.stem if gzipped(path) else path.name).suffix.lower()


def gzipped(path: Path) -> bool:
    """Whether a file's name says that it is compressed with gzip."""
    return path.suffix.lower() == ".gz"


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Within it, what goes wrong in reading a file is a ScoringError of one sentence."""
    try:
        yield
    except EOFError as error:
        raise ScoringError(
            f"{path} is cut short (its gzip stream has no end); get the whole file."
        ) from error
    except (OSError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ScoringError(f"{path} can't be read ({reason}); check the path and its permissions.") from error


def read_head(path: Path, size: int) -> bytes:
    """Return the first bytes of a text file, unpacked. Raises ScoringError when it is none in UTF-8."""
    with readable(path), path.open("rb") as raw, _unpacked(path, raw) as stream:
        head = stream.read(size)
    if head.startswith(_UTF16):
        raise ScoringError(f"{path} is in UTF-16; save it as UTF-8.")
    if head.startswith(_BINARY):
        raise ScoringError(
            f"{path} is a binary file whose name says that it holds text; give its right name."
        )
    return head


class LineReader:
    """The lines of a text file in UTF-8, with their ends; bytes that are not UTF-8 are surrogate escapes."""

    def __init__(self, path: Path, raw: BinaryIO) -> None:
        self._raw, self._size = raw, max(1, os.fstat(raw.fileno()).st_size)
        unpacked = _unpacked(path, raw)
        self._stream = io.TextIOWrapper(unpacked, "utf-8-sig", "surrogateescape", newline="")

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


def too_long(line: str) -> str | None:
    """Return why a line of a `LineReader` is no row, None unless it is too long."""
    if len(line) < MAX_LINE_CHARACTERS:
        return None
    return f"the line has over {MAX_LINE_CHARACTERS:,} characters; its rest is left out"


@contextmanager
def lines_of(path: Path) -> Iterator[LineReader]:
    """Open a text file to read its lines; a name that ends in .gz is unpacked."""
    with readable(path), path.open("rb") as raw:
        yield LineReader(path, raw)


def bundled(rows: Iterator[tuple[_Row, int]]) -> Iterator[list[_Row]]:
    """Gather rows, given with their sizes in characters, into lists of a chunk's size."""
    gathered: list[_Row] = []
    characters = 0
    for row, size in rows:
        gathered.append(row)
        characters += size
        if len(gathered) == CHUNK_ROWS or characters >= CHUNK_CHARACTERS:
            yield gathered
            gathered, characters = [], 0
    if gathered:
        yield gathered


def _unpacked(path: Path, raw: BinaryIO) -> BinaryIO:
    return cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if gzipped(path) else raw
