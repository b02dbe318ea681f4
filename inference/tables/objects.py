"""JSON objects of a file, one a row, whatever holds them.

    for line in json_lines(Path("labels.jsonl")):
        line.number, line.row, line.problem

An object a line; an array, over many lines or within one; a page of an answer, whose "data" or the like is a
list of objects; what pandas writes; a Twitter archive, which sets a variable to an array.
"""

import contextlib
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from inference.common.errors import DataError
from inference.common.store import JsonObject
from inference.common.text import decoded
from inference.tables.rows import (
    HEAD_BYTES,
    MAX_LINE_CHARACTERS,
    LineReader,
    kind_of,
    lines_of,
    read_head,
    too_long,
)

PAGES = ("data", "statuses", "tweets", "posts", "rows", "records", "results", "items", "feed")
"""Keys under which an answer or an export holds a list of objects."""
_ARCHIVE = re.compile(r"\s*[\w.$]+\s*=\s*(?=[\[{])")
_BETWEEN = re.compile(r"[\s,;]*")


@dataclass(frozen=True)
class JsonLine:
    """An object of a JSON file: the number of its line, how it stands there, and why there is none."""

    number: int
    raw: str
    row: JsonObject
    problem: str | None = None


def json_lines(source: Path | bytes) -> Iterator[JsonLine]:
    """Yield the objects of a JSON file, or of the content of a JSONL file; texts are decoded.

    Raises DataError when the file can't be read.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(source, bytes):
            found = _lines(LineReader(io.BufferedReader(io.BytesIO(source)), size=len(source)).line)
        else:
            found = objects(source, stack.enter_context(lines_of(source)))
        for line in found:
            texts = {key: decoded(value) for key, value in line.row.items() if isinstance(value, str)}
            yield replace(line, row={**line.row, **texts})


def objects(path: Path, lines: LineReader) -> Iterator[JsonLine]:
    """Yield the objects of an open file; bytes that are not UTF-8 stay surrogate escapes.

    Raises DataError when it is one JSON text, and not a sound one.
    """
    return _values(path, lines.read) if _one_text(path) else _lines(lines.line)


def at_path(value: object, keys: Sequence[str]) -> object:
    """Return what stands at a path of keys, None if nothing does; through a list, the list of all that do."""
    if not keys:
        return value
    if isinstance(value, list):
        found: list[object] = []
        for item in value:
            inner = at_path(item, keys)
            found += inner if isinstance(inner, list) else [] if inner is None else [inner]
        return found
    return at_path(value.get(keys[0]), keys[1:]) if isinstance(value, dict) else None


def _one_text(path: Path) -> bool:
    """Whether a file is one JSON text over many lines, or one long line, and no object a line."""
    head = read_head(path).text
    if _ARCHIVE.match(head):  # not a search, which would take the square of a long word's length
        return True
    text = head.lstrip()
    first, line_end, rest = text.partition("\n")
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        pass
    else:  # where more follows, it is the first of many lines
        return not rest.strip() and (first.startswith("[") or kind_of(path) == ".json")
    if text.startswith("[") and (not line_end or not first.strip("[ \t\r")):
        return True
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        begun = text.startswith(("[", "{"))
        return begun and (
            kind_of(path) in (".json", ".js") or (len(head) >= HEAD_BYTES // 4 and not line_end)
        )
    return "\n" in text[:end]


def _lines(readline: Callable[[], str]) -> Iterator[JsonLine]:
    for number, line in enumerate(iter(readline, ""), 1):
        raw = line.strip(" \t\r\n")
        if problem := too_long(line):
            yield JsonLine(number, raw, {}, problem)
        elif raw:
            try:
                value = json.loads(raw)
            except RecursionError:
                yield JsonLine(number, raw, {}, "the line is nested too deeply")
            except ValueError as error:
                yield JsonLine(number, raw, {}, f"the line is not JSON ({error})")
            else:
                yield from _rows(value, raw, number)


def _values(path: Path, read: Callable[[int], str]) -> Iterator[JsonLine]:
    """Yield the objects of one JSON text, read a block at a time: an array's elements each on its own."""
    decoder, within, number, size = json.JSONDecoder(), False, 1, HEAD_BYTES
    text, at = read(size), 0
    at, ended = (found.end() if (found := _ARCHIVE.match(text)) else 0), not text
    while True:
        begin = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing too
        number, at = number + text.count("\n", at, begin), begin
        if text[at : at + 1] == ("]" if within else "["):
            within, at = not within, at + 1
            continue
        problem = "it ends within an array" if within else ""
        if at < len(text):
            try:
                value, end = decoder.raw_decode(text, at)
            except RecursionError:
                problem, ended = "it is nested too deeply", True
            except ValueError as error:
                problem = getattr(error, "msg", str(error))
            else:
                if end < len(text) or ended or text[at] in '{["':
                    yield from _rows(value, re.sub(r"[\r\n]+\s*", " ", text[at:end]), number, whole=True)
                    number, at = number + text.count("\n", at, end), end
                    continue
        if ended and not problem:
            return
        if ended or len(text) - at > MAX_LINE_CHARACTERS:
            raise DataError(f"{path.name} is not sound JSON (line {number}: {problem}); write it again.")
        more = read(max(size, len(text) - at))
        text, at, ended = text[at:] + more, 0, not more


def _rows(value: object, raw: str, number: int, *, whole: bool = False) -> Iterator[JsonLine]:
    """Yield the objects that a JSON value holds; one that holds none is a bad row, with its reason."""
    inner = (
        value
        if isinstance(value, list)
        else _records(value, whole=whole)
        if isinstance(value, dict)
        else None
    )
    if isinstance(value, dict) and inner is None:
        yield JsonLine(number, raw, value)
    elif inner and any(isinstance(item, dict) for item in inner):
        for item in inner:
            line = JsonLine(
                number, json.dumps(item, ensure_ascii=False), item if isinstance(item, dict) else {}
            )
            yield line if isinstance(item, dict) else replace(line, problem=_no_object(item))
    else:
        yield JsonLine(number, raw, {}, _no_object(value))


def _no_object(value: object) -> str:
    return f"the line is not a JSON object but a {type(value).__name__}"


def _records(value: JsonObject, *, whole: bool) -> list[JsonObject] | None:
    """Return the objects of a page or of a table of pandas'; None for a row."""
    for key in PAGES:
        found = value.get(key)
        if isinstance(found, list) and found and all(isinstance(item, dict) for item in found):
            return found
    return _of_pandas(value) if whole else None


def _of_pandas(value: JsonObject) -> list[JsonObject] | None:
    """Return the rows of what `DataFrame.to_json` writes, by columns, by rows or split; None for a row."""
    names, rows, parts = value.get("columns"), value.get("data"), list(value.values())
    if isinstance(names, list) and isinstance(rows, list) and all(isinstance(row, list) for row in rows):
        return [dict(zip(map(str, names), row, strict=False)) for row in rows]
    if not parts or not all(isinstance(part, dict) and part.keys() == parts[0].keys() for part in parts):
        return None
    if next(iter(parts[0]), "") == "0":
        return [{name: cells[key] for name, cells in value.items()} for key in parts[0]]
    return parts if len(parts) > 1 else None
