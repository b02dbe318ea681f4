"""JSON, an object a row. Rows may have different keys; the columns are all keys of the file.

A line that holds no object is a bad row. Blank lines are no rows. Nested values may be picked by their path.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from inference.common.errors import DataError
from inference.common.text import decoded
from inference.tables.columns import LABEL_COLUMNS, unique
from inference.tables.objects import JsonLine, at_path, objects
from inference.tables.rows import (
    BadRow,
    Chunk,
    TableReader,
    TextChunk,
    bundled,
    lines_of,
    read_head,
    readable,
)
from inference.tables.write import TextWriter, Value, as_json, plain_value

MAX_COLUMNS = 1_000
_INSPECTED_ROWS = 2_000  # rows whose nested values are inspected
_DEEPEST = 5
_WHOLE = {"text": ("note_tweet", "extended_tweet")}  # where X keeps all of a long post's text
_TYPES = {
    frozenset({"text"}): pa.string(),
    frozenset({"whole"}): pa.int64(),
    frozenset({"long"}): pa.int64(),
    frozenset({"whole", "long"}): pa.int64(),
    frozenset({"number"}): pa.float64(),
    frozenset({"whole", "number"}): pa.float64(),  # not "long": decimal numbers would round it
    frozenset({"truth"}): pa.bool_(),
}


@dataclass(frozen=True, kw_only=True)
class JsonlChunk(Chunk):
    """`lines` holds the rows as they stand in the file; `keys` each column's own name."""

    lines: list[JsonLine]
    keys: dict[str, str]

    def column(self, name: str) -> list[object]:
        """Return the values of a column, None where a row lacks the key."""
        *parents, key = [self.keys[name]] if name in self.keys else name.split(".")
        if parents or key in _WHOLE:
            return [_value(at_path(line.row, parents), key) for line in self.lines]
        return [line.row.get(key) for line in self.lines]

    def plain(self, name: str) -> list[object]:
        """Return the values with texts decoded; JSON can hold half of a surrogate pair."""
        return [decoded(value) if isinstance(value, str) else value for value in self.column(name)]


class JsonlReader(TableReader):
    """A file of JSON objects. Its keys are gathered by reading it once."""

    advice = "JSONL has one object a line"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if not read_head(path).text.strip():
            raise DataError(f"{path.name} is empty; it must hold one JSON object a line.")
        kinds: dict[str, set[str]] = {}
        nested: dict[str, str] = {}
        with lines_of(path) as lines:
            for count, line in enumerate(objects(path, lines)):
                for key, value in line.row.items():
                    kinds.setdefault(key, set()).update(_kind(value))
                    if count < _INSPECTED_ROWS and isinstance(value, dict | list):
                        _gather_paths(value, key, nested)
                if len(kinds) > MAX_COLUMNS:
                    break
        if len(kinds) > MAX_COLUMNS:
            raise DataError(
                f"{path.name} has over {MAX_COLUMNS:,} different keys; put what varies into one nested value."
            )
        if not kinds:
            raise DataError(f"{path.name} holds no JSON object with a key; JSONL has one object a line.")
        self.names = unique(map(readable, kinds))
        self._keys = dict(zip(self.names, kinds, strict=True))
        self._kinds = dict(zip(self.names, kinds.values(), strict=True))
        texts = [name for name in self.names if "text" in self._kinds[name]]
        texts += [path for path, kind in nested.items() if kind == "text"]
        self.more = {"text": texts or self.names, "label": (*self.names, *nested)}

    def chunks(self) -> Iterator[Chunk]:
        with lines_of(self.path) as lines:
            for found in bundled((line, len(line.raw)) for line in objects(self.path, lines)):
                bad = {
                    place: BadRow(line.number, line.problem, line.raw)
                    for place, line in enumerate(found)
                    if line.problem
                }
                yield JsonlChunk(
                    n=len(found), bad=bad, share_read=lines.share_read, lines=found, keys=self._keys
                )

    def schema(self, names: Sequence[str]) -> pa.Schema:
        """A column of one kind of value has its type; mixed and nested values are written as JSON text."""
        kinds = [frozenset(self._kinds.get(name, {"text"})) for name in names]
        return pa.schema(
            [(name, _TYPES.get(kind, pa.string())) for name, kind in zip(names, kinds, strict=True)]
        )


class JsonlWriter(TextWriter):
    """Writes JSONL: a row of a JSONL input keeps its line and gets the new keys at its end."""

    def lines(self, chunk: TextChunk, new: Sequence[Sequence[Value]]) -> Iterator[str]:
        more = [dict(zip(self.new, values, strict=True)) for values in new]
        kept = self.table.kept
        names = self.table.reader.names
        if not isinstance(rows := chunk.rows, JsonlChunk) or kept[: len(names)] != names:
            for cells, added in zip(rows.cells(kept, self.table.text_column), more, strict=True):
                yield as_json({**dict(zip(kept, cells, strict=True)), **added}) + "\n"
            return
        for line, added in zip(rows.lines, more, strict=True):
            if line.problem:
                yield as_json({self.table.text_column: readable(line.raw), **added}) + "\n"
            elif line.row and decoded(line.raw) == line.raw:
                yield f"{line.raw[:-1].rstrip()}, {as_json(added)[1:]}\n"  # one object of two
            else:
                plain = {key: plain_value(value) for key, value in line.row.items()}
                yield as_json({**plain, **added}) + "\n"


def _value(row: object, key: str) -> object:
    """Return what an object has under a key; of a long post of X the whole text."""
    for longer in _WHOLE.get(key, ()):
        whole = at_path(row, [longer, "full_text"]) or at_path(row, [longer, "text"])
        if isinstance(whole, str):
            return whole
    return at_path(row, [key])


def _gather_paths(value: object, path: str, found: dict[str, str], *, many: bool = False) -> None:
    """Gather the paths of texts and numbers, of those through lists only where labels may stand."""
    if path.count(".") >= _DEEPEST or len(found) >= MAX_COLUMNS:
        return
    if isinstance(value, list):
        for item in value[:1]:
            _gather_paths(item, path, found, many=True)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _gather_paths(inner, f"{path}.{key}", found, many=many)
    elif "." in path and value is not None and isinstance(value, str | int | float):
        last = path.rpartition(".")[2]
        label = path in LABEL_COLUMNS or (path.startswith("responses.") and last == "value")
        if not many:
            found.setdefault(path, "text" if isinstance(value, str) else "label")
        elif label:
            found.setdefault(path, "label")


def _kind(value: object) -> set[str]:
    """Return the kind of a value that Arrow has a type for, "other" for what is written as JSON text."""
    if value is None:
        return set()
    if isinstance(value, bool):
        return {"truth"}
    if isinstance(value, int):
        return {"whole" if abs(value) < 2**53 else "long" if abs(value) < 2**63 else "other"}
    return {{str: "text", float: "number"}.get(type(value), "other")}
