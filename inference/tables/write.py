"""Write a table's rows with new columns behind them: what the writers of all formats share.

    writer = open_writer(Path("scored.csv"), table, {"label": str})        # inference.tables.formats
    data = writer.part(chunk, [["positive"], …])             # the bytes of these rows; parts can be joined
    writer.join([Path("part-0"), …], file)

Into its own format an input is written as it came: CSV cell by cell (also bytes that are not UTF-8), a JSONL
line to the letter, Parquet with its types. Into another format go plain values. A cell that a spreadsheet
would take for a formula is left as it is.
"""

import gzip
import json
import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from inference.tables.rows import TextChunk, TextTable, gzipped, readable

Value = str | float | bool | None


class TableWriter(ABC):
    """Writes one format. `new` has the names and types (str, float or bool) of the new columns."""

    def __init__(self, out: Path, table: TextTable, new: Mapping[str, type]) -> None:
        self.out, self.table, self.new = out, table, new

    @abstractmethod
    def part(self, chunk: TextChunk, new: Sequence[Sequence[Value]]) -> bytes:
        """Return the rows of a chunk with their new values."""

    @abstractmethod
    def join(self, parts: Iterable[Path], file: BinaryIO) -> None:
        """Write the whole file from its parts, with some of them in memory at most."""


class TextWriter(TableWriter):
    """A format of lines: parts are put behind a header, packed by gzip if the name says so."""

    unwritable = "backslashreplace"
    """What to do with what is no Unicode; within a JSON text, this writes the escape of JSON."""

    def part(self, chunk: TextChunk, new: Sequence[Sequence[Value]]) -> bytes:
        return self._packed("".join(self.lines(chunk, new)))

    def join(self, parts: Iterable[Path], file: BinaryIO) -> None:
        """Write the header and copy the parts; a gzip file may consist of several."""
        file.write(self._packed(self.header()))
        for path in parts:
            with path.open("rb") as part:
                shutil.copyfileobj(part, file)

    def _packed(self, text: str) -> bytes:
        data = text.encode("utf-8", self.unwritable)
        return gzip.compress(data, mtime=0) if gzipped(self.out) else data  # equal rows make equal bytes

    def header(self) -> str:
        return ""

    @abstractmethod
    def lines(self, chunk: TextChunk, new: Sequence[Sequence[Value]]) -> Iterator[str]:
        """Yield the lines of a chunk with their ends."""


def as_text(value: object) -> str | None:
    """Return a value for a column of texts: texts as they are, None as None, all else as JSON."""
    return None if value is None else readable(value if isinstance(value, str) else as_json(value))


def as_json(value: object) -> str:
    """Return a value as JSON, on one line."""
    return json.dumps(value, ensure_ascii=False)


def plain_value(value: object) -> object:
    """Return a value that JSON can hold: texts decoded, NaN as None, what JSON has no type for as text."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case None | bool() | int():
            return value
        case str() | bytes():
            return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else readable(value)
        case dict():
            return {readable(str(key)): plain_value(item) for key, item in value.items()}
        case list() | tuple():
            return [plain_value(item) for item in value]
        case _:
            return str(value)
