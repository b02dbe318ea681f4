"""Read data files: CSV, TSV, JSONL, Parquet, or a folder with train and test files of these types.

    found = read_path("tweets.csv")            # -> Found(tables={"train": RawTable}, sha256="…", bytes=123)

A text file that is not UTF-8 is read all the same: its odd bytes travel as surrogate escapes and are mended
cell by cell in `training.data.clean`. A few broken lines are counted and skipped; a file of mostly broken
lines, and all else that can't be read, raises DataError. Knows nothing about text and label columns.
"""

import codecs
import csv
import hashlib
import io
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from inference.common.errors import DataError
from training.data.clean import mend
from training.data.tables import RawTable

MAX_FILE_BYTES = 1_000_000_000  # a file is held in memory as Python values, about five times its size
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing"),
}
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_BINARY = (b"PK\x03\x04", b"\x1f\x8b", b"PAR1", b"%PDF", b"\x89PNG", b"SQLite format", b"ARROW1")


@dataclass(frozen=True)
class Found:
    """What a path held: tables by split ("train" alone for a single file), SHA-256 in hex, size in bytes."""

    tables: Mapping[str, RawTable]
    sha256: str
    bytes: int


def read_path(path: Path) -> Found:
    """Read a data file, or a folder that has a file for train and may have some for validation and test."""
    try:
        is_folder = path.is_dir()
    except OSError:
        is_folder = False  # what is wrong with it, reading it will tell
    if is_folder:
        return _read_folder(path)
    content = _content(path)
    table = read_content(path.name, content)
    return Found({"train": table}, hashlib.sha256(content).hexdigest(), len(content))


def read_content(name: str, content: bytes) -> RawTable:
    """Parse the bytes of a file, whose type is told by the ending of its name."""
    reader = READERS.get(Path(name).suffix.lower())
    if reader is None:
        ending = Path(name).suffix or "no ending"
        raise DataError(f"{name} is of a type that can't be read ({ending}); use {_endings()}.")
    if not content.strip():
        raise DataError(f"{name} is empty; it must hold at least a text and a label column.")
    table = reader(name, content)
    if table.n == 0:
        raise DataError(f"{name} has no rows (found only the columns {', '.join(table.names) or 'none'}).")
    return table


def split_of(name: str) -> str | None:
    """Return the split that a file's or a Hub split's name means, or None: "dev.csv" is validation."""
    word = re.split(r"[-_.]", Path(name).name.lower(), maxsplit=1)[0]
    return next((split for split, words in SPLIT_NAMES.items() if word in words), None)


def _content(path: Path) -> bytes:
    try:
        if not path.exists():
            raise DataError(f"There is no file or folder {path}{_neighbours(path)}; check the path.")
        if not path.is_file():
            raise DataError(f"{path} is neither a file nor a folder; give a data file or a folder of them.")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            limit = f"{MAX_FILE_BYTES / 1e9:.0f} GB"
            raise DataError(
                f"{path.name} is too large ({size / 1e9:.1f} GB; at most {limit}): use a part of it."
            )
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"{path} can't be read ({reason}); check the path and its permissions.") from error


def _neighbours(path: Path) -> str:
    try:
        names = sorted(p.name for p in path.parent.iterdir() if p.suffix.lower() in READERS)[:5]
    except OSError:
        return ""
    return f" (data files beside it: {', '.join(names)})" if names else ""


def _read_folder(folder: Path) -> Found:
    files = _split_files(folder)
    if "train" not in files and (folder / "data").is_dir():  # the layout of a repository on the Hub
        files = _split_files(folder / "data")
    if "train" not in files:
        names = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
        raise DataError(
            f"The folder {folder} has no train file (found: {names}); name one train{{{_endings()}}}, "
            "or give the path of a single file."
        )
    tables, total, digest = {}, 0, hashlib.sha256()
    for split in SPLIT_NAMES:
        parts = []
        for path in files.get(split, []):
            content = _content(path)
            digest.update(hashlib.sha256(content).digest())
            total += len(content)
            parts.append(read_content(path.name, content))
        if parts:
            tables[split] = RawTable.joined(parts)
    return Found(tables, digest.hexdigest(), total)


def _split_files(folder: Path) -> dict[str, list[Path]]:
    try:
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in READERS and p.is_file())
    except OSError as error:
        raise DataError(f"{folder} can't be read ({error.strerror}); check its permissions.") from error
    files: dict[str, list[Path]] = {}
    for path in paths:
        if (split := split_of(path.name)) is not None:
            files.setdefault(split, []).append(path)
    for split, found in files.items():
        if len(found) > 1 and not all(_SHARD.search(path.stem) for path in found):
            names = " and ".join(path.name for path in found[:3])
            raise DataError(f"The folder {folder} has several files for {split} ({names}); keep one of them.")
    return files


def _text(name: str, content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    sample = content[:65_536]
    control = sum(byte < 9 or 13 < byte < 27 or 27 < byte < 32 for byte in sample)
    if sample.startswith(_BINARY) or control > len(sample) / 20:
        raise DataError(f"{name} is a binary file, not text in {_endings()}; export it as one of these.")
    return content.decode("utf-8-sig", "surrogateescape")


@contextmanager
def _long_cells() -> Iterator[None]:
    limit = csv.field_size_limit(sys.maxsize)  # the default stops at 131,072 characters
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _read_csv(name: str, content: bytes) -> RawTable:
    text = _text(name, content)
    header = text.lstrip().split("\n", 1)[0]
    delimiter = "," if "," in header else max(";\t|", key=header.count)
    return _read_delimited(name, text, delimiter)


def _read_tsv(name: str, content: bytes) -> RawTable:
    return _read_delimited(name, _text(name, content), "\t")


def _read_delimited(name: str, text: str, delimiter: str) -> RawTable:
    with _long_cells():
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL
        if delimiter == "\t" and not _is_quoted(text, delimiter):
            quoting = csv.QUOTE_NONE  # tab-separated tweets are often written with bare quotes
        records: list[tuple[int, list[str]]] = []
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
        start = 1
        for cells in reader:
            if cells:
                records.append((start, cells))
            start = reader.line_num + 1
        if quoting == csv.QUOTE_MINIMAL and records:
            _refuse_open_quote(name, text, records[-1][0], delimiter)
    width = len(records[0][1])
    good = [cells for _, cells in records[1:] if len(cells) == width]
    bad = [(line, len(cells)) for line, cells in records[1:] if len(cells) != width]
    if len(bad) > len(good):
        line, found = bad[0]
        raise DataError(
            f"{name} is broken: {len(bad)} of its {len(bad) + len(good)} rows, the first in line {line}, "
            f"don't have the header's {width} cells (found {found}); put quotes around texts that hold a "
            f"{delimiter!r}."
        )
    columns: dict[str, list[object]] = {}
    for i, cell in enumerate(records[0][1]):
        columns.setdefault(mend(cell).text.strip(), [cells[i] for cells in good])
    return RawTable.of_columns(columns, broken_lines=len(bad))


def _is_quoted(text: str, delimiter: str) -> bool:
    try:
        widths = {
            len(row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        }
    except csv.Error:
        return False
    return len(widths - {0}) == 1


def _refuse_open_quote(name: str, text: str, line: int, delimiter: str) -> None:
    """Raise DataError when the record that starts at `line`, the last one, ends inside a quote."""
    rest = io.StringIO(text, newline="")
    for _ in range(line - 1):
        rest.readline()
    try:
        list(csv.reader(rest, delimiter=delimiter, strict=True))
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise DataError(
                f"{name} has a quote that opens in line {line} and never closes, which swallows the rest of "
                'the file; close it, or write a quote inside a text as "".'
            ) from error


def _read_jsonl(name: str, content: bytes) -> RawTable:
    rows: list[dict[str, object]] = []
    broken: list[int] = []
    for number, line in enumerate(_text(name, content).split("\n"), 1):  # not splitlines: U+2028 ends no line
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            broken.append(number)
    if len(broken) > len(rows):
        raise DataError(
            f"{name} is broken: {len(broken)} of its {len(broken) + len(rows)} lines, the first in line "
            f"{broken[0]}, are not a JSON object; JSONL has one object a line."
        )
    names = dict.fromkeys(key for row in rows for key in row)
    return RawTable.of_columns({n: [row.get(n) for row in rows] for n in names}, broken_lines=len(broken))


def _read_parquet(name: str, content: bytes) -> RawTable:
    try:
        return RawTable.of_arrow(pq.read_table(pa.BufferReader(content)))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).split("\n", 1)[0].rstrip(".")
        raise DataError(f"{name} is not a sound Parquet file ({reason}); write it again.") from error


READERS: dict[str, Callable[[str, bytes], RawTable]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}


def _endings() -> str:
    return ", ".join(READERS)
