"""Turn the raw values of a label column into named classes.

    classes = read_classes({"train": table}, {"train": "label"}, label_names=(), where="tweets.csv")
    label_key(" Very\u200b POSITIVE")          # -> "verypositive"
    class_of(1.0, ("0", "1"), where="more.csv")   # -> 1

Labels may be integers, strings, booleans or a ClassLabel, and keep their names. Names that differ by case or
spaces alone are one.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from inference.common.errors import DataError
from inference.common.mend import mend
from inference.tables.columns import SEVERAL
from training.data.read import RawTable
from training.recipes import RULES

_NAME_SUFFIXES = ("_text", "_name", "_names", "_str", "_string")
_MISSING = {"", "nan", "null", "n/a", "#n/a", "<na>"}
_MISSING_AMONG_NUMBERS = {"na", "none", "nil"}  # "none" is a class of stance data sets, "na" of others
_INTEGER = re.compile(r"[-+]?\d{1,9}(\.0+)?")
_DIGITS = 4_000  # Python reads no number of many more
MAX_CLASSES = 1_000
_SHOWN = 10
_EXAMPLES = {2: "negative,positive", 3: "negative,neutral,positive", 5: "terrible,bad,fair,good,great"}

_Value = int | str | None


@dataclass(frozen=True)
class Classes:
    """Class names in the order of their ids, and each split's ids by row (None: the label is missing).

    A split other than train that has no labels, or one and the same that train lacks (-1, "?"), is not in it.
    """

    names: tuple[str, ...]
    ids: Mapping[str, Sequence[int | None]]
    notes: tuple[str, ...] = ()


def read_classes(
    tables: Mapping[str, RawTable],
    columns: Mapping[str, str],
    *,
    label_names: Sequence[str],
    where: str,
    least: int = 0,
    learn: bool = True,
    rules: int = RULES,
) -> Classes:
    """Read each split's label column and name its classes; the classes are the union over the splits.

    Strings sort alphabetically, numbers in them by their value. Integers keep their order and take, if there
    are any: `label_names`, the names of their ClassLabel, or those of a sibling column (`label_text`) that
    maps one to one. `label_names` need not name what has fewer than `least` rows in train.
    Raises DataError for a column that holds nothing but missing labels, and, unless `learn` is False, for
    one that holds no classes or one class only.
    """
    column = columns["train"]
    what = f"The label column {column!r} of {where}"
    declared = _declared(tables["train"], column)
    raw = {split: _values(table, columns[split], what) for split, table in tables.items()}
    notes: list[str] = []
    if rules == 1:
        values = _unified(raw, missing=set())
    else:
        raw = _without_unlabelled(raw)
        values, notes = _merged(_unified(raw), declared)
    counts = Counter(v for v in values["train"] if v is not None)
    present = {v for rows in values.values() for v in rows if v is not None}
    _check_classes(present, sum(v is not None for rows in values.values() for v in rows), what, learn=learn)
    named = {v for v in present if counts[v] >= least or rules == 1}
    if len(named) < 2 or len(label_names) == len(present):
        named = present
    if declared and present <= set(declared):
        names = _named_strings([name for name in declared if name in named], declared, label_names, what)
    elif all(isinstance(value, int) for value in present):
        names = _named_numbers(named, values, tables, column, given=label_names, what=what)
    else:
        order = str if rules == 1 else _natural
        names = _named_strings(sorted(map(str, named), key=order), (), label_names, what)
    words = list(names.values())
    names |= {value: str(value) for value in sorted(present - named, key=str)}
    if learn and len(names) == 1:
        raise DataError(
            f"{what} has one class only ({next(iter(names.values()))!r}); at least two are needed."
        )
    ids = {value: i for i, value in enumerate(names)}
    if unused := [name for name in declared if name not in present]:
        notes.append(f"Classes without a row are left out: {', '.join(unused)}.")
    if learn and not label_names and _say_nothing(words):
        notes.append(_hint(words))
    return Classes(
        tuple(names.values()),
        {split: [None if v is None else ids[v] for v in rows] for split, rows in values.items()},
        tuple(notes),
    )


def label_key(name: str) -> str:
    """Return the key that names of one class share: NFKC, case folded, no spaces or invisible characters."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(c for c in folded if not c.isspace() and unicodedata.category(c) != "Cf")


def class_of(raw: object, names: Sequence[str], *, where: str) -> int | None:
    """Return the place in `names` of a raw label, read as those of the data are; None where it is missing.

    Raises DataError for a label that is none of them.
    """
    value = _value(None if raw is SEVERAL else raw, f"The label column of {where}")
    label = "" if value is None else str(value).strip()
    number = str(int(float(label))) if _INTEGER.fullmatch(label) else label
    for found in (label, _by_key(tuple(names)).get(label_key(label)), number):
        if found in names:
            return names.index(found)
    if label in ("", "NA"):
        return None
    raise DataError(
        f"{where} has the label {label[:40]!r}, which the data lacks (it has {', '.join(names[:20])}); "
        "change the label, or leave the row out."
    )


@cache
def _by_key(names: tuple[str, ...]) -> dict[str, str]:
    return {label_key(name): name for name in reversed(names)}


def _natural(name: str) -> tuple[list[str | int], str]:
    """Return a key that sorts "10 stars" after "2 stars", and no two names alike."""
    parts = re.split(r"(\d+)", name)
    return [int(part[:_DIGITS]) if i % 2 else part for i, part in enumerate(parts)], name


def _say_nothing(names: Sequence[str]) -> bool:
    """Whether names differ in numbers or symbols alone: 0 and 1, "1 star" and "2 stars", LABEL_0, LABEL_1."""
    words = {re.sub(r"[\d\W_]+", "", name).casefold().rstrip("s") for name in names}
    return words == {""} or (len(words) == 1 and all(re.search(r"\d", name) for name in names))


def _hint(names: Sequence[str]) -> str:
    listed = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    such_as = f", such as {_EXAMPLES[len(names)]}" if len(names) in _EXAMPLES else ""
    return (
        f"The classes are called {listed}, which says nothing to the base: give them words, in this order, "
        f"by the setting label_names{such_as}."
    )


def _declared(table: RawTable, column: str) -> tuple[str, ...]:
    names = table.class_names.get(column, ())
    return names if any(not _INTEGER.fullmatch(name) for name in names) else ()  # numbers name nothing


def _values(table: RawTable, column: str, what: str) -> list[_Value]:
    """Return a split's labels as integers or strings; those of a ClassLabel by their names."""
    declared = _declared(table, column)
    values = [_value(None if raw is SEVERAL else raw, what) for raw in table.labels(column)]
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
        text = mend(raw).text
        return None if text.strip().lower() in _MISSING else text
    raise DataError(
        f"{what} holds {type(raw).__name__} values (such as {str(raw)[:40]}), where one label a row is "
        "needed; choose another with --label-column."
    )


def _without_unlabelled(raw: Mapping[str, list[_Value]]) -> dict[str, list[_Value]]:
    """Leave out splits whose rows have no label, or all the same one that train lacks, as hidden ones do."""
    keys = {split: {label_key(str(v)) for v in rows if v is not None} for split, rows in raw.items()}
    return {
        split: rows
        for split, rows in raw.items()
        if split == "train" or len(keys[split]) > 1 or (keys[split] and keys[split] <= keys["train"])
    }


def _unified(
    raw: Mapping[str, list[_Value]], *, missing: set[str] = _MISSING_AMONG_NUMBERS
) -> dict[str, list[_Value]]:
    """Make all labels integers when all can be ("1", 1, "1.0"), and else all strings.

    `missing`: words for a missing label among integers. Among strings R's NA is one, where there are any.
    """
    texts = {v.strip() for rows in raw.values() for v in rows if isinstance(v, str)}
    numbers = {text for text in texts if text.lower() not in missing}
    some = numbers or any(isinstance(v, int) for rows in raw.values() for v in rows)
    if some and all(_INTEGER.fullmatch(text) for text in numbers):
        lost = texts - numbers
        return {
            split: [
                v if isinstance(v, int) else None if v is None or v.strip() in lost else int(float(v))
                for v in rows
            ]
            for split, rows in raw.items()
        }
    if not missing:
        return {split: [None if v is None else str(v).strip() for v in rows] for split, rows in raw.items()}
    return {
        split: [None if v is None or str(v).strip() == "NA" else str(v) for v in rows]
        for split, rows in raw.items()
    }


def _merged(
    values: Mapping[str, list[_Value]], declared: Sequence[str]
) -> tuple[dict[str, list[_Value]], list[str]]:
    """Merge names that differ by case or spaces alone: into a declared one, or the most frequent."""
    counts = Counter(v for rows in values.values() for v in rows if isinstance(v, str))
    chosen = {label_key(name): name for name in declared}
    spellings: dict[str, list[str]] = {}
    for text in sorted(counts, key=lambda text: (-counts[text], text)):
        spellings.setdefault(label_key(text), []).append(text)
    name_of = {
        text: text if text in declared else chosen.get(key, texts[0].strip())
        for key, texts in spellings.items()
        for text in texts
    }
    others = {
        name: [text for text in texts if name_of[text] == name != text]
        for texts in spellings.values()
        if len(texts) > 1
        for name in dict.fromkeys(map(name_of.__getitem__, texts))
    }
    merged = {name: texts for name, texts in others.items() if texts}
    notes = []
    if merged:
        rows = sum(counts[text] for texts in merged.values() for text in texts)
        shown = [f"{name} (also {', '.join(map(repr, texts[:3]))})" for name, texts in merged.items()]
        listed = ", ".join(shown[:_SHOWN]) + (", …" if len(shown) > _SHOWN else "")
        notes = [
            f"Labels that differ by case or spaces alone are one class ({rows:,} rows renamed): {listed}."
        ]
    return {
        split: [name_of[v] if isinstance(v, str) else v for v in rows] for split, rows in values.items()
    }, notes


def _check_classes(present: set[int | str], n: int, what: str, *, learn: bool) -> None:
    if not present:
        raise DataError(
            f"{what} has no label at all: every row's is missing; choose another with --label-column."
        )
    if not learn:
        return
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
    by_key = {label_key(text): text for text in texts}
    if len(given) == len(texts) and {label_key(name) for name in given} == set(by_key):
        return {by_key[label_key(name)]: name for name in given}
    if len(set(given)) == len(given):
        if declared and len(given) == len(declared):
            return {text: given[declared.index(text)] for text in texts}
        ordered = declared or [label_key(text) for text in texts] == ["false", "true"] or _say_nothing(texts)
        if len(given) == len(texts) and ordered:
            return dict(zip(texts, given, strict=True))
    raise DataError(
        f"{what} has the classes {', '.join(texts[:20])}, but the label names given are "
        f"{', '.join(given)}; give the same names, in the order you want."
    )


def _named_numbers(
    present: set[int | str],
    values: Mapping[str, list[_Value]],
    tables: Mapping[str, RawTable],
    column: str,
    *,
    given: Sequence[str],
    what: str,
) -> dict[int | str, str]:
    numbers = sorted(v for v in present if isinstance(v, int))
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
