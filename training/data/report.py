"""What was done to a data set before anything learned from it: the report of `training.data.load`.

    splits.report.sentences()                  # -> ["212 texts had a broken encoding and were mended.", …]
    splits.report.to_json()                    # -> the same as numbers, for events.jsonl and provenance

Nothing is dropped, mended or removed without a count here.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from inference.common.store import JsonObject
from inference.common.text import one_line

CONFLICTS_SHOWN = 20
NEAR = 0.9
"""Texts with at least this cosine are near duplicates; see `training.data.near`."""
BORDER = 0.05
"""How far below and above NEAR a pair is shown as a borderline one."""
BORDERLINE_SHOWN = 20
_EXAMPLES = 3
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Where the rows come from.

    `kind` is "embedded", "hub", "file" or "folder"; `location` finds it again (a package, a Hub id, a
    path as it was given); `sha256` is that of the file (for a folder: of its files' digests), `revision` the
    Hub's commit; `bytes` is the size on disk (None for the Hub); `reason` says why it was taken. What a
    record does not say is empty.
    """

    name: str = ""
    kind: str = ""
    location: str = ""
    reason: str = ""
    sha256: str | None = None
    revision: str | None = None
    licence: str | None = None
    bytes: int | None = None

    @property
    def hub_id(self) -> str | None:
        """Its id on the Hub, None for files and the embedded tweets."""
        return self.name if self.kind == "hub" and HUB_ID.fullmatch(self.name) else None

    @property
    def config(self) -> str | None:
        """The configuration of a data set of the Hub, None for its only one."""
        return self.location.partition(":")[2] or None if self.hub_id else None


@dataclass(frozen=True, kw_only=True)
class CleaningCounts:
    """Rows dropped, each counted under the first reason that applies, and texts mended."""

    empty: int = 0
    non_text: int = 0
    missing_label: int = 0
    small_class: int = 0
    broken_lines: int = 0
    mended: int = 0
    still_damaged: int = 0

    def __add__(self, other: "CleaningCounts") -> "CleaningCounts":
        mine, others = dataclasses.asdict(self), dataclasses.asdict(other)
        return CleaningCounts(**{key: mine[key] + others[key] for key in mine})

    def sentences(self) -> list[str]:
        """Return each count that is not zero in words."""
        counts = dataclasses.asdict(self)
        return [_sentence(counts[key], *words) for key, words in _COUNTED.items() if counts[key]]


@dataclass(frozen=True)
class LabelConflict:
    """A text that came with different labels."""

    text: str
    labels: tuple[str, ...]
    """In order of appearance, a training row's label first."""
    with_train: bool = False
    """For a file added to train: whether the other label is a training row's."""


@dataclass(frozen=True)
class BorderlinePair:
    """Two rows of different splits, as keys, that are barely near duplicates, or barely not."""

    text: str
    other: str
    cosine: float


@dataclass(frozen=True, kw_only=True)
class SplitSizes:
    """Rows of a split: `read` from the source, `kept` after cleaning and leak gate, `used` in the subset.

    A split that is held out of train, or a record that does not say, has 0 of them in the source.
    """

    read: int = 0
    kept: int = 0
    used: int = 0


_PLAIN = ("rules", "digests", "conflicts", "conflict_rows", "near_removed", "leak_gate")
_COUNTED = {  # count: (after "1", after "2" and more)
    "broken_lines": ("line was broken and is skipped", "lines were broken and are skipped"),
    "empty": ("row had an empty text and is dropped", "rows had an empty text and are dropped"),
    "non_text": ("row had no text and is dropped", "rows had no text and are dropped"),
    "missing_label": ("row had no label and is dropped", "rows had no label and are dropped"),
    "mended": (
        "text had a broken encoding or HTML entities and is mended",
        "texts had a broken encoding or HTML entities and are mended",
    ),
    "still_damaged": (
        "text still shows a damage that could not be mended",
        "texts still show a damage that could not be mended",
    ),
}


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """The account of one loading.

    `rows` and `class_balance` go by split (train, validation, test), the latter over the rows used;
    `duplicates_removed` (exact) and `near_removed` go by "from/duplicate in", such as "train/test"; `notes`
    are sentences on what was chosen. `rules` are those by which the splits were drawn
    (`training.recipes.RULES`), `digests` the SHA-256 of each split before a subset is taken. `conflicts`
    counts texts that have different labels.
    """

    source: DataSource
    labels: tuple[str, ...]
    rows: Mapping[str, SplitSizes]
    counts: CleaningCounts
    duplicates_removed: Mapping[str, int]
    near_removed: Mapping[str, int] = field(default_factory=dict)
    leak_gate: str = "exact"
    class_balance: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...] = ()
    rules: int = 1
    digests: Mapping[str, str] = field(default_factory=dict)
    conflicts: int = 0
    conflict_rows: int = 0
    shown_conflicts: tuple[LabelConflict, ...] = field(default=(), compare=False)
    """The first 20 of them: they hold texts, and are in no record."""
    borderline: tuple[BorderlinePair, ...] = field(default=(), compare=False)
    """20 pairs that are barely near duplicates, or barely not: they hold texts, and are in no record."""

    @classmethod
    def from_json(cls, record: JsonObject) -> "DataReport":
        """Read a report back from events.jsonl or provenance.json; what an older version lacked is empty."""
        return cls(
            source=DataSource(**_known(DataSource, record["source"])),
            labels=tuple(record.get("labels") or ()),
            rows={split: SplitSizes(**rows) for split, rows in (record.get("rows") or {}).items()},
            counts=CleaningCounts(**_known(CleaningCounts, record.get("counts") or {})),
            duplicates_removed=dict(record.get("twins_removed") or {}),
            class_balance={split: dict(n) for split, n in (record.get("class_balance") or {}).items()},
            notes=tuple(record.get("notes") or ()),
            **{name: record[name] for name in _PLAIN if name in record},
        )

    @property
    def removed(self) -> int:
        """Rows that the leak gate took out."""
        counts = [self.duplicates_removed] * (self.leak_gate != "off") + [self.near_removed]
        return sum(sum(removed.values()) for removed in counts)

    def to_json(self) -> JsonObject:
        return {
            "source": dataclasses.asdict(self.source),
            "labels": list(self.labels),
            "rows": {split: dataclasses.asdict(rows) for split, rows in self.rows.items()},
            "counts": dataclasses.asdict(self.counts),
            "twins_removed": dict(self.duplicates_removed),
            "class_balance": {split: dict(counts) for split, counts in self.class_balance.items()},
            "notes": list(self.notes),
            **{name: getattr(self, name) for name in _PLAIN},
        }

    def sentences(self, *, texts: bool = False) -> list[str]:
        """Return the report in words: source, rows, notes, and each count that is not zero.

        `texts`: with some of the texts that have different labels.
        """
        source = self.source
        used = ", ".join(f"{rows.used:,} {split}" for split, rows in self.rows.items())
        lines = [
            f"Data: {source.name}{f', {source.reason}' if source.reason else ''}.",
            f"Rows used: {used}.",
        ]
        lines += self.notes
        lines += self.counts.sentences()
        if self.conflicts:
            lines.append(self._conflicts(texts=texts))
        for kind, counts in (("an exact", self.duplicates_removed), ("a near", self.near_removed)):
            for pair, n in counts.items():
                split, other = pair.split("/")
                suffix = f"with {kind} duplicate in {other}"
                one, many = f"is removed from {split}", f"are removed from {split}"
                if self.leak_gate == "off":
                    one, many = (
                        f"{stay} in {split}, since the leak gate is off" for stay in ("stays", "stay")
                    )
                if n:
                    lines.append(_sentence(n, f"row {suffix} {one}", f"rows {suffix} {many}"))
        if texts and self.borderline:
            lines.append(self._borderline())
        return lines

    def _borderline(self) -> str:
        shown = [
            f"“{one_line(pair.text)}” / “{one_line(pair.other)}” ({pair.cosine:.2f})"
            for pair in self.borderline[:_EXAMPLES]
        ]
        return f"Texts are near duplicates from a cosine of {NEAR} on; the closest cases: {'; '.join(shown)}."

    def _conflicts(self, *, texts: bool) -> str:
        shown = [
            f"“{one_line(one.text)}” ({', '.join(one.labels)})" for one in self.shown_conflicts[:_EXAMPLES]
        ]
        such_as = f", such as {'; '.join(shown)}" if texts and shown else ""
        what = "text comes" if self.conflicts == 1 else "texts come"
        return (
            f"{self.conflicts:,} {what} with different labels ({self.conflict_rows:,} rows): no label is "
            f"changed, and each text is in one split only{such_as}."
        )


def _sentence(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}."


def _known(kind: type[DataSource] | type[CleaningCounts], record: JsonObject) -> JsonObject:
    return {key: record[key] for key in kind.__dataclass_fields__ if key in record}
