"""Turn the raw values of a label column into named classes.

    classes = read_classes({"train": table}, {"train": "label"}, label_names=(), where="tweets.csv")

Labels may be integers, strings, booleans or a ClassLabel, and keep their names.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inference.common.errors import DataError
from training.data.clean import mend
from training.data.read import RawTable

_NAME_SUFFIXES = ("_text", "_name", "_names", "_str", "_string")
_MISSING = {"", "nan", "null", "n/a", "<na>"}  # not "none": stance data sets have a class of that name
_INTEGER = re.compile(r"[-+]?\d{1,9}(\.0+)?")
MAX_CLASSES = 1_000

_Value = int | str | None


@dataclass(frozen=True)
class Classes:
    """Class names in the order of their ids, and each split's ids by row (None: the label is missing)."""

    names: tuple[str, ...]
    ids: Mapping[str, Sequence[int | None]]
    notes: tuple[str, ...] = ()


def read_classes(
    tables: Mapping[str, RawTable], columns: Mapping[str, str], *, label_names: Sequence[str], where: str
) -> Classes:
    """Read each split's label column and name its classes; the classes are the union over the splits.

    Strings sort alphabetically. Integers keep their order and take, if there are any: `label_names`, the
    names of their ClassLabel, or those of a sibling column (`label_text`) that maps one to one.
    Raises DataError for a column that holds no classes, one class only, or nothing but missing labels.
    """
    column = columns["train"]
    what = f"The label column {column!r} of {where}"
    declared = _declared(tables["train"], column)
    values = _unified({split: _values(table, columns[split], what) for split, table in tables.items()})
    present = {v for rows in values.values() for v in rows if v is not None}
    _check_classes(present, sum(v is not None for rows in values.values() for v in rows), what)
    if declared and present <= set(declared):
        names = _named_strings([name for name in declared if name in present], declared, label_names, what)
    elif all(isinstance(value, int) for value in present):
        names = _named_numbers(values, tables, column, given=label_names, what=what)
    else:
        names = _named_strings(sorted(map(str, present)), (), label_names, what)
    if len(names) == 1:
        raise DataError(
            f"{what} has one class only ({next(iter(names.values()))!r}); at least two are needed."
        )
    ids = {value: i for i, value in enumerate(names)}
    unused = [name for name in declared if name not in names]
    return Classes(
        tuple(names.values()),
        {split: [None if v is None else ids[v] for v in rows] for split, rows in values.items()},
        (f"Classes without a row are left out: {', '.join(unused)}.",) if unused else (),
    )


def _declared(table: RawTable, column: str) -> tuple[str, ...]:
    names = table.class_names.get(column, ())
    return names if any(not _INTEGER.fullmatch(name) for name in names) else ()  # numbers name nothing


def _values(table: RawTable, column: str, what: str) -> list[_Value]:
    """Return a split's labels as integers or strings; those of a ClassLabel by their names."""
    declared = _declared(table, column)
    values = [_value(raw, what) for raw in table.column(column)]
    if not declared:
        return values
    named: list[_Value] = []
    for value in values:
        if value is not None and not (isinstance(value, int) and -1 <= value < len(declared)):
            raise DataError(
                f"{what} holds {value}, but its ClassLabel names only {len(declared)} classes; "
                "write the data set again."
            )
        named.append(declared[value] if isinstance(value, int) and value >= 0 else None)  # -1: not labelled
    return named


def _value(raw: object, what: str) -> _Value:
    if raw is None or (isinstance(raw, float) and math.isnan(raw)):
        return None
    if isinstance(raw, bool):
        return str(raw)
    if isinstance(raw, float):
        return int(raw) if raw.is_integer() and abs(raw) < 1e9 else str(raw)
    if isinstance(raw, int):
        return raw
    if isinstance(raw, str):
        text = mend(raw).text.strip()
        return None if text.lower() in _MISSING else text
    raise DataError(
        f"{what} holds {type(raw).__name__} values (such as {str(raw)[:40]}), where one label a row is "
        "needed; choose another with --label-column."
    )


def _unified(raw: Mapping[str, list[_Value]]) -> dict[str, list[_Value]]:
    """Make all labels integers when all can be ("1", 1, "1.0"), and else all strings."""
    texts = {v for rows in raw.values() for v in rows if isinstance(v, str)}
    if all(_INTEGER.fullmatch(text) for text in texts):
        return {split: [None if v is None else int(float(v)) for v in rows] for split, rows in raw.items()}
    return {split: [None if v is None else str(v) for v in rows] for split, rows in raw.items()}


def _check_classes(present: set[int | str], n: int, what: str) -> None:
    if not present:
        raise DataError(
            f"{what} has no label at all: every row's is missing; choose another with --label-column."
        )
    decimal = [v for v in present if isinstance(v, str) and re.fullmatch(r"[-+]?\d*\.\d+(e-?\d+)?", v)]
    if len(present) > 2 and len(decimal) > len(present) / 2:
        raise DataError(
            f"{what} holds decimal numbers (such as {min(decimal)}), not classes; "
            "choose another with --label-column."
        )
    if len(present) > MAX_CLASSES or (len(present) > 5 and 2 * len(present) > n):
        raise DataError(
            f"{what} doesn't look like one: it has {len(present):,} different values in {n:,} rows; "
            "choose another with --label-column."
        )


def _named_strings(
    texts: list[str], declared: Sequence[str], given: Sequence[str], what: str
) -> dict[int | str, str]:
    """Return {class: name} in the order of the ids to be: `given` reorders, or renames what has an order."""
    if not given:
        return {text: text for text in texts}
    if set(given) == set(texts):
        return {text: text for text in given}
    if len(set(given)) == len(given):
        if declared and len(given) == len(declared):
            return {text: given[declared.index(text)] for text in texts}
        if len(given) == len(texts) and (declared or texts == ["False", "True"]):
            return dict(zip(texts, given, strict=True))
    raise DataError(
        f"{what} has the classes {', '.join(texts[:20])}, but the label names given are "
        f"{', '.join(given)}; give the same names, in the order you want."
    )


def _named_numbers(
    values: Mapping[str, list[_Value]],
    tables: Mapping[str, RawTable],
    column: str,
    *,
    given: Sequence[str],
    what: str,
) -> dict[int | str, str]:
    numbers = sorted({v for rows in values.values() for v in rows if isinstance(v, int)})
    if given:
        return _named_by_hand(numbers, given, what)
    for sibling in [*(column + suffix for suffix in _NAME_SUFFIXES), "label_text", "label_name"]:
        if sibling != column and (names := _sibling_names(sibling, values, tables)):
            return {number: names[number] for number in numbers}
    return {number: str(number) for number in numbers}


def _named_by_hand(numbers: list[int], given: Sequence[str], what: str) -> dict[int | str, str]:
    if len(set(given)) != len(given):
        raise DataError(
            f"The label names given are not all different ({', '.join(given)}); give each class its own."
        )
    if len(given) == len(numbers):
        return dict(zip(numbers, given, strict=True))
    if numbers[0] >= 0 and numbers[-1] < len(given):
        return {number: given[number] for number in numbers}
    shown = ", ".join(map(str, numbers[:20]))
    raise DataError(
        f"{what} has {len(numbers)} classes ({shown}), but {len(given)} label names are given "
        f"({', '.join(given)}); give one for each, in the order of the numbers."
    )


def _sibling_names(
    sibling: str, values: Mapping[str, list[_Value]], tables: Mapping[str, RawTable]
) -> dict[int | str, str] | None:
    """Return {number: name} when the sibling column is in every split and maps one to one, else None."""
    pairs: set[tuple[int | str, str]] = set()
    for split, table in tables.items():
        if sibling not in table.names:
            return None
        for number, name in zip(values[split], table.column(sibling), strict=True):
            if number is not None:
                if not isinstance(name, str) or not name.strip():
                    return None
                pairs.add((number, mend(name).text.strip()))
    names = dict(pairs)
    one_to_one = len(names) == len(pairs) == len(set(names.values()))
    return names if one_to_one else None
