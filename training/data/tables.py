"""A table as a source hands it over: named columns of raw values, nothing judged yet.

    RawTable.of_columns({"text": ["good", "bad"], "label": [1, 0]})
    RawTable.of_arrow(pyarrow_table)

Knows nothing about which column holds the texts, nor about where a table came from.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from inference.common.errors import DataError


@dataclass(frozen=True)
class RawTable:
    """Columns of raw Python values, read when asked for; text that is not UTF-8 comes as surrogate escapes.

    `class_names` holds, for each integer column that declares them, the names of its classes in order
    (a ClassLabel of the datasets library). `broken_lines` counts lines of the file that could not be parsed.
    """

    names: tuple[str, ...]
    n: int
    column: Callable[[str], list[object]]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    broken_lines: int = 0

    @classmethod
    def of_columns(cls, columns: Mapping[str, list[object]], *, broken_lines: int = 0) -> "RawTable":
        """Make a table of columns of equal length."""
        n = len(next(iter(columns.values()), []))
        return cls(tuple(columns), n, lambda name: columns[name], broken_lines=broken_lines)

    @classmethod
    def of_arrow(cls, table: pa.Table) -> "RawTable":
        """Make a table of an Arrow table; class names come from the schema's `huggingface` metadata."""
        return cls(
            tuple(table.column_names),
            table.num_rows,
            lambda name: _values(table.column(name), name),
            class_names=_class_names(table.schema.metadata or {}),
        )

    @classmethod
    def joined(cls, parts: Sequence["RawTable"]) -> "RawTable":
        """Put the parts of a sharded split below each other; only columns that all of them have are kept."""
        if len(parts) == 1:
            return parts[0]
        names = tuple(name for name in parts[0].names if all(name in part.names for part in parts))
        return cls(
            names,
            sum(part.n for part in parts),
            lambda name: [value for part in parts for value in part.column(name)],
            class_names=parts[0].class_names,
            broken_lines=sum(part.broken_lines for part in parts),
        )


def _values(column: pa.ChunkedArray, name: str) -> list[object]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:  # some writers put other encodings into string columns
        try:
            raw = column.cast(pa.large_binary()).to_pylist()
        except pa.ArrowException as error:
            raise DataError(
                f"The column {name!r} is not UTF-8 and can't be mended; write it again."
            ) from error
        return [None if cell is None else cell.decode("utf-8", "surrogateescape") for cell in raw]


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    try:
        features: Any = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {
            str(column): tuple(str(name) for name in feature["names"])
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # metadata that another tool wrote; the column is then read as plain integers
