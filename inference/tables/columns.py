"""Which columns of a table hold texts and labels, and which label a cell means.

pick_column(("id", "Tweet"), "text", where="posts.csv")             # -> "Tweet"
one_label(["positive"]), one_label([])                              # -> ("positive", None)
"""

import ast
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, Literal

from inference.common.errors import DataError

# fmt: off
TEXT_COLUMNS = (
    "text", "tweet", "tweet_text", "full_text", "sentence", "content", "message", "post", "review",
    "comment", "body", "utterance", "document", "headline", "title", "input", "inputs",
)
LABEL_COLUMNS = (
    "label", "labels", "sentiment", "target", "class", "category", "emotion", "polarity",
    "airline_sentiment", "label_text", "label_name", "gold_label", "intent", "stance", "y", "annotation",
    "accept", "annotations.result.value.choices",
)
# fmt: on
_CANDIDATES = {"text": TEXT_COLUMNS, "label": LABEL_COLUMNS, "key": ()}
_OPTIONS = {"text": "--text-column", "label": "--label-column", "key": "--key"}
_WRAPPED = re.compile(r"^responses\.|\.(responses|value)$")  # Argilla's, around the question's name
NAMES_SHOWN = 20
Kind = Literal["text", "label", "key"]
SEVERAL: Final = ("several labels",)
"""What `one_label` returns for a row that has more than one."""


def pick_column(
    names: Sequence[str], kind: Kind, *, given: str = "", where: str, samples: Mapping[str, str] | None = None
) -> str:
    """Return the column given, by its name or its place (from 1), or else the one whose name says its kind.

    That is the first usual name that is there; else the one at the end of the shortest path ("data.text");
    else the one column whose last word is usual ("OriginalTweet"). Case, spaces and hyphens don't matter.
    `samples`: of columns without names a cell each. Raises DataError, with the columns that were found.
    """
    if given:
        name = find_column(names, [given])
        if name is None and given.isdecimal() and 0 < int(given) <= len(names):
            name = names[int(given) - 1]
    else:
        name = find_column(names, _CANDIDATES[kind]) or _by_last_word(names, _CANDIDATES[kind])
    if name is not None:
        return name
    what = f"column {given!r}" if given else f"{kind} column"
    shown = [
        f"{name[:40]} ({cell[:30]})" if (cell := (samples or {}).get(name)) else name[:40] for name in names
    ]
    found = ", ".join(name or '""' for name in shown[:NAMES_SHOWN]) or "nothing"
    by = "the right one by its place" if samples else "the right one"
    raise DataError(f"{where} has no {what} (found: {found}); name {by} with {_OPTIONS[kind]}.")


def _by_last_word(names: Sequence[str], candidates: Sequence[str]) -> str | None:
    """Return what "label.responses", "data.text" or "OriginalTweet" is, None if nothing or too much is."""
    paths = [
        (name.count("."), candidates.index(last), place)
        for place, name in enumerate(names)
        if "." in name
        for last in [_plain(_WRAPPED.sub("", name).rpartition(".")[2])]
        if last in candidates
    ]
    if paths:
        return names[min(paths)[2]]
    words = {name: _plain(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)).split("_") for name in names}
    found = [name for name, parts in words.items() if len(parts) > 1 and parts[-1] in candidates]
    return found[0] if len(found) == 1 else None


def one_label(value: object) -> object:
    """Return the label that a value means: of a list the one that it holds, None of none, else `SEVERAL`.

    Lists also come as text, as JSON or as Python writes them, and as Label Studio's {"choices": […]}. Lists
    of anything but texts and numbers, such as marked spans, are returned as they are.
    """
    found = value
    if isinstance(value, str) and value[:1] in ("[", "{") and value[-1:] in ("]", "}"):
        for read in (json.loads, ast.literal_eval):
            try:
                found = read(value)
                break
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    if isinstance(found, dict) and isinstance(found.get("choices"), list):
        found = found["choices"]
    if not isinstance(found, list | tuple) or any(not isinstance(item, str | int | float) for item in found):
        return value
    labels = dict.fromkeys(found)
    return SEVERAL if len(labels) > 1 else next(iter(labels), None)


def labels_of(name: str, names: Collection[str], column: Callable[[str], Sequence[object]]) -> list[object]:
    """Return the label of each row of a column as `one_label` does, among the table's columns.

    Doccano's "a#b" is several where a and b are labels; what Prodigy's annotator did not accept is none.
    """
    labels = [one_label(value) for value in column(name)]
    if name in ("label", "accept") and {"answer", "_task_hash"} <= set(names):
        accepted = [answer == "accept" for answer in column("answer")]
        labels = [label if yes else None for label, yes in zip(labels, accepted, strict=True)]
    plain = {label.strip() for label in labels if isinstance(label, str) and "#" not in label}
    return [
        SEVERAL
        if isinstance(label, str) and "#" in label and all(part.strip() in plain for part in label.split("#"))
        else label
        for label in labels
    ]


def find_column(names: Sequence[str], candidates: Iterable[str]) -> str | None:
    """Return the first candidate that is a column; case, spaces and hyphens don't matter."""
    exact = {name: name for name in names}
    plain = {_plain(name): name for name in reversed(names)}
    for name in candidates:
        if found := exact.get(name) or plain.get(_plain(name)):
            return found
    return None


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names, those that come again as "name_2", "name_3": only CSV can hold a name twice."""
    found: dict[str, None] = {}
    for name in names:
        free, count = name, 1
        while free in found:
            count += 1
            free = f"{name}_{count}"
        found[free] = None
    return tuple(found)


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())
