"""Which column holds the texts, and what the new columns are called.

    find_text_column(("id", "Tweet"), given="", where="posts.csv")                 # -> "Tweet"
    added_columns(("text", "label"), ("no", "yes"), probabilities=False).label     # -> "tweettune_label"

Knows nothing about files and their formats.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from inference.tables.errors import ScoringError

# fmt: off
TEXT_COLUMNS = (
    "text", "tweet", "tweet_text", "full_text", "sentence", "content", "message", "post", "review",
    "comment", "body", "utterance", "document", "headline", "title", "input", "inputs",
)
# fmt: on
PREFIX = "tweettune_"
NAMES_SHOWN = 20


@dataclass(frozen=True)
class Added:
    """The names of the new columns."""

    label: str
    score: str
    probabilities: tuple[str, ...]
    """One a label, in label order; empty when they are not asked for."""
    truncated: str
    error: str

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, in the order in which they are written."""
        return (self.label, self.score, *self.probabilities, self.truncated, self.error)


def find_text_column(names: Sequence[str], *, given: str, where: str) -> str:
    """Return the given column, or else the first of TEXT_COLUMNS that is there.

    Case, spaces and hyphens don't matter. Raises ScoringError, with the columns that were found.
    """
    found = find_column(names, [given] if given else TEXT_COLUMNS)
    if found is None:
        what = f"column {given!r}" if given else "text column"
        raise ScoringError(f"{where} has no {what} ({_shown(names)}); name the right one with --text-column.")
    return found


def find_key_column(names: Sequence[str], *, given: str, where: str) -> str:
    """Return the column that `--key` names, "" if it names none. Raises ScoringError as for texts."""
    found = find_column(names, [given]) if given else ""
    if found is None:
        raise ScoringError(
            f"{where} has no column {given!r} ({_shown(names)}); name the right one with --key."
        )
    return found


def find_column(names: Sequence[str], wanted: Iterable[str]) -> str | None:
    """Return the first wanted column that is there; case, spaces and hyphens don't matter."""
    exact = {name: name for name in names}
    plain = {_plain(name): name for name in reversed(names)}
    for name in wanted:
        if found := exact.get(name) or plain.get(_plain(name)):
            return found
    return None


def _shown(names: Sequence[str]) -> str:
    return "found: " + (", ".join(name[:40] or '""' for name in names[:NAMES_SHOWN]) or "nothing")


def added_columns(taken: Iterable[str], labels: Sequence[str], *, probabilities: bool) -> Added:
    """Name the new columns; a name that the input has already gets the prefix `tweettune_`."""
    used = set(taken)

    def free(name: str) -> str:
        while name in used:
            name = PREFIX + name
        used.add(name)
        return name

    one_a_label = tuple(free(f"probability_{label}") for label in labels) if probabilities else ()
    return Added(free("label"), free("score"), one_a_label, free("truncated"), free("error"))


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
