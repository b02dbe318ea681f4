"""Which columns of a table hold texts and labels.

pick_column(("id", "Tweet"), "text", where="posts.csv")                 # -> "Tweet"
"""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from inference.common.errors import DataError

# fmt: off
TEXT_COLUMNS = (
    "text", "tweet", "tweet_text", "full_text", "sentence", "content", "message", "post", "review",
    "comment", "body", "utterance", "document", "headline", "title", "input", "inputs",
)
LABEL_COLUMNS = (
    "label", "labels", "sentiment", "target", "class", "category", "emotion", "polarity",
    "airline_sentiment", "label_text", "label_name", "gold_label", "intent", "stance", "y",
)
# fmt: on
_CANDIDATES = {"text": TEXT_COLUMNS, "label": LABEL_COLUMNS, "key": ()}
_OPTIONS = {"text": "--text-column", "label": "--label-column", "key": "--key"}
NAMES_SHOWN = 20


def pick_column(
    names: Sequence[str], kind: Literal["text", "label", "key"], *, given: str = "", where: str
) -> str:
    """Return the column given, or else the first usual name for this kind of column that is there.

    Case, spaces and hyphens don't matter. Raises DataError, with the columns that were found.
    """
    name = find_column(names, [given] if given else _CANDIDATES[kind])
    if name is not None:
        return name
    what = f"column {given!r}" if given else f"{kind} column"
    found = ", ".join(name[:40] or '""' for name in names[:NAMES_SHOWN]) or "nothing"
    raise DataError(f"{where} has no {what} (found: {found}); name the right one with {_OPTIONS[kind]}.")


def find_column(names: Sequence[str], wanted: Iterable[str]) -> str | None:
    """Return the first wanted column that is there; case, spaces and hyphens don't matter."""
    exact = {name: name for name in names}
    plain = {_plain(name): name for name in reversed(names)}
    for name in wanted:
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
