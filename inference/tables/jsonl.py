"""Read JSONL, one object a line. Rows may have different keys; the columns are all keys of the file.

    source = JsonlSource(Path("posts.jsonl"), text_column="", key="")

The keys are gathered by reading the file once before it is scored. A line that holds no object is a bad row,
and stands in the text column as it is. Blank lines are no rows. Knows nothing about predictions.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from inference.tables.columns import find_key_column, find_text_column, unique
from inference.tables.delimited import readable_text
from inference.tables.errors import ScoringError
from inference.tables.source import Chunk, Source, bundled, lines_of, read_head, too_long, why_not_text

MAX_COLUMNS = 1_000
_TYPES = {
    frozenset({"text"}): pa.string(),
    frozenset({"whole"}): pa.int64(),
    frozenset({"long"}): pa.int64(),
    frozenset({"whole", "long"}): pa.int64(),
    frozenset({"number"}): pa.float64(),
    frozenset({"whole", "number"}): pa.float64(),  # not "long": decimal numbers would round it
    frozenset({"truth"}): pa.bool_(),
}


@dataclass(frozen=True)
class Line:
    """A line of the file without its end, its object, and why there is none."""

    raw: str
    row: dict[str, Any]
    problem: str | None = None


@dataclass(frozen=True)
class JsonlChunk(Chunk):
    """`lines` holds the rows as they stand in the file."""

    lines: list[Line]
    keys: tuple[str, ...]

    def cells(self) -> list[list[Any]]:
        """Return the values by column, None where a row lacks a key."""
        return [[line.row.get(key) for key in self.keys] for line in self.lines]


class JsonlSource(Source):
    """A JSONL file. `key`: keep this column alone."""

    def __init__(self, path: Path, *, text_column: str, key: str) -> None:
        self.path = path
        if not read_head(path, 1_000).strip():
            raise ScoringError(f"{path} is empty; it must hold one JSON object a line.")
        names = tuple(self._kinds)
        if not names:
            raise ScoringError(f"{path} holds no JSON object with a key; JSONL has one object a line.")
        self.text_column = find_text_column(names, given=text_column, where=path.name)
        self.key = find_key_column(names, given=key, where=path.name)
        self._keys = (self.key,) if self.key else names
        self.columns = unique(readable_text(name) for name in self._keys)

    def chunks(self) -> Iterator[Chunk]:
        """Yield the lines that are not blank."""
        with lines_of(self.path) as lines:
            for gathered in bundled((line, len(line.raw)) for line in _lines(iter(lines.line, ""))):
                yield self._chunk(gathered, lines.share_read)

    def schema(self) -> pa.Schema:
        """A column of one kind of value has its type; mixed and nested values are written as JSON text."""
        types = [_TYPES.get(frozenset(self._kinds[key]), pa.string()) for key in self._keys]
        return pa.schema(list(zip(self.columns, types, strict=True)))

    @cached_property
    def _kinds(self) -> dict[str, set[str]]:
        """The kinds of values that each key has in the file, null apart."""
        kinds: dict[str, set[str]] = {}
        with lines_of(self.path) as lines:
            for line in _lines(iter(lines.line, "")):
                for name, value in line.row.items():
                    kinds.setdefault(name, set()).update(_kind(value))
                if len(kinds) > MAX_COLUMNS:
                    raise ScoringError(
                        f"{self.path} has over {MAX_COLUMNS:,} different keys; "
                        "put what varies into one nested value."
                    )
        return kinds

    def _chunk(self, lines: list[Line], share_read: float) -> JsonlChunk:
        problems = [line.problem or why_not_text(line.row.get(self.text_column)) for line in lines]
        texts = [
            line.row[self.text_column] if problem is None else None
            for line, problem in zip(lines, problems, strict=True)
        ]
        shown = [
            Line(line.raw, {self.text_column: readable_text(line.raw)}, line.problem)
            if line.problem
            else line
            for line in lines
        ]
        return JsonlChunk(texts, problems, share_read, shown, self._keys)


def _lines(lines: Iterator[str]) -> Iterator[Line]:
    for line in lines:
        raw = line.strip(" \t\r\n")
        if problem := too_long(line):
            yield Line(raw, {}, problem)
        elif raw:
            yield _parsed(raw)


def _parsed(raw: str) -> Line:
    try:
        raw.encode()
        row = json.loads(raw)
    except UnicodeEncodeError:
        return Line(raw, {}, "the line has bytes that are not UTF-8")
    except RecursionError:
        return Line(raw, {}, "the line is nested too deeply")
    except ValueError as error:
        return Line(raw, {}, f"the line is not JSON ({error})")
    if not isinstance(row, dict):
        return Line(raw, {}, f"the line is not a JSON object but a {type(row).__name__}")
    return Line(raw, row)


def _kind(value: object) -> set[str]:
    """Return the kind of a value that Arrow has a type for, "other" for what is written as JSON text."""
    if value is None:
        return set()
    if isinstance(value, bool):
        return {"truth"}
    if isinstance(value, int):
        return {"whole" if abs(value) < 2**53 else "long" if abs(value) < 2**63 else "other"}
    return {{str: "text", float: "number"}.get(type(value), "other")}
