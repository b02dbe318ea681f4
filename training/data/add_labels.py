"""Train on a person's labels too: add a file of labelled texts to the training split, through the leak gate.

    added = add_labels(spec, Path("mine.jsonl"))
    added.splits.train                                           # what a run trains on
    print(*added.report.sentences(), sep="\\n")                   # to be shown before a run is started

A row is left out when it is an exact duplicate (`inference.common.text.duplicate_key`) of a row of the whole
validation or test split, be it used or not: posts of Replay are such rows. It is left out too as a duplicate
of a training row or of a row before it, and as a conflict when duplicates have different labels; of rows of
the file that contradict each other none is added. A row whose column `was` says which label it had before is
a correction: the training rows with its text get its label. The held-out rows are never touched, and the
added rows come on top of `n_train`.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets

from inference.common.mend import mend
from inference.common.store import JsonObject, sha256_of
from inference.common.text import duplicate_key
from training.data.classes import class_of
from training.data.load import Splits, load_splits
from training.data.read import read_table
from training.data.report import CONFLICTS_SHOWN, LabelConflict, SplitSizes
from training.data.splits import remove_duplicates
from training.recipes import DataSpec

WAS = "was"
"""The column of a correction: the label that the row had before. Without one, or empty, it is a new row."""


@dataclass(frozen=True)
class LabelsReport:
    """The account of a file of labelled texts. The counts sum up to `read`."""

    name: str
    sha256: str
    read: int
    added: int
    duplicates: int
    conflicts: int
    leaks: int
    unusable: int
    """Rows that are broken, or without a text or a label."""
    by_label: dict[str, int]
    """Rows added, by label."""
    corrected: int = 0
    """Rows that corrected the label of training rows."""
    shown_duplicates: tuple[str, ...] = ()
    """The first 20 texts that are in train, or in the file, already."""
    shown_conflicts: tuple[LabelConflict, ...] = ()
    """The first 20 of them."""

    @classmethod
    def from_json(cls, record: JsonObject) -> "LabelsReport":
        """Read the counts back from events.jsonl or provenance.json."""
        return cls(**{key: record[key] for key in cls.__dataclass_fields__ if key in record})

    def to_json(self, *, texts: bool = False) -> JsonObject:
        """Return the counts, for events.jsonl and provenance; `texts` adds the shown texts."""
        record = dataclasses.asdict(self)
        return {key: value for key, value in record.items() if texts or not key.startswith("shown_")}

    def sentences(self) -> list[str]:
        labels = ", ".join(f"{count:,} {label}" for label, count in self.by_label.items() if count)
        lines = [
            f"{self.added:,} of the {self.read:,} labelled texts of {self.name} are added to train"
            f"{f' ({labels})' if labels else ''}."
        ]
        if self.corrected:
            lines.append(f"{self.corrected:,} of them correct the label of a training row.")
        reasons = {
            "duplicates": "duplicates of a training row, or of each other",
            "conflicts": "labels that contradict a training row, or each other",
            "leaks": "duplicates of a row of validation or test, where they would leak",
            "unusable": "rows that are broken, or without a text or a label",
        }
        counts = {key: getattr(self, key) for key in reasons}
        lines += [f"Left out: {counts[key]:,} ({words})." for key, words in reasons.items() if counts[key]]
        return lines


@dataclass(frozen=True)
class AddedLabels:
    """Splits whose training split holds the added rows, and the account of them."""

    splits: Splits
    report: LabelsReport


@dataclass(frozen=True)
class LabelledRow:
    """A text with its label's place, and what its duplicates have in common with it."""

    text: str
    label: int
    key: str
    corrects: bool


def add_labels(spec: DataSpec, path: Path) -> AddedLabels:
    """Load a spec's splits and add a file of labelled texts to train.

    The file is CSV, TSV, JSONL or Parquet with a text and a label column, found by name, and optionally one
    called was; its labels are names of the data's classes. Raises DataError as `load_splits` does, and for
    a file that can't be read or has a label that the data does not.
    """
    splits = load_splits(spec)
    rows, read = labelled_rows(path, splits.labels)
    whole = splits  # held-out rows that the spec does not take must not be learnt either
    if spec.n_validation or spec.n_test:
        whole = load_splits(dataclasses.replace(spec, n_validation=0, n_test=0))
    safe = _without_leaks(rows, whole, spec.leak_gate)
    keys, train_labels = [duplicate_key(text) for text in splits.train["text"]], list(splits.train["label"])
    corrections = _corrections(safe, keys, train_labels)
    train_labels = [corrections.get(key, label) for key, label in zip(keys, train_labels, strict=True)]
    corrected = [row for row in safe if row.key in corrections]
    others = [row for row in safe if row.key not in corrections]
    kept, duplicates, conflicts = _sorted_out(
        others, dict(zip(keys, train_labels, strict=True)), splits.labels
    )
    counts = Counter(row.label for row in kept)
    report = LabelsReport(
        name=path.name,
        sha256=sha256_of(path),
        read=read,
        added=len(kept),
        duplicates=len(duplicates),
        conflicts=len(others) - len(kept) - len(duplicates),
        corrected=len(corrected),
        leaks=len(rows) - len(safe),
        unusable=read - len(rows),
        by_label={name: counts[i] for i, name in enumerate(splits.labels)},
        shown_duplicates=tuple(row.text for row in duplicates[:CONFLICTS_SHOWN]),
        shown_conflicts=tuple(conflicts[:CONFLICTS_SHOWN]),
    )
    return AddedLabels(_with_rows(splits, train_labels, kept, report), report)


def _corrections(rows: Sequence[LabelledRow], keys: Sequence[str], labels: Sequence[int]) -> dict[str, int]:
    """Return the new label of each training text that a correction changes, by key."""
    given: dict[str, set[int]] = {}
    for row in rows:
        given.setdefault(row.key, set()).add(row.label)
    new_labels = {row.key: row.label for row in rows if row.corrects and len(given[row.key]) == 1}
    had = zip(keys, labels, strict=True)
    return {key: new_labels[key] for key, label in had if key in new_labels and label != new_labels[key]}


def labelled_rows(path: Path, names: Sequence[str]) -> tuple[list[LabelledRow], int]:
    """Return the usable rows of a file, mended as training texts are, and how many were read.

    Raises DataError for a file that can't be read or has a label that is none of `names`.
    """
    table, where = read_table(path), path.name
    texts, labels = (
        table.column(table.pick("text", where=where)),
        table.labels(table.pick("label", where=where)),
    )
    before = table.column(WAS) if WAS in table.names else [None] * table.n
    rows = []
    for raw, raw_label, was in zip(texts, labels, before, strict=True):
        text = mend(raw).text.strip() if isinstance(raw, str) else ""
        place = class_of(raw_label, names, where=where) if text else None
        if place is None:
            continue
        rows.append(LabelledRow(text, place, duplicate_key(text), corrects=bool(was)))
    return rows, table.found


def _without_leaks(rows: Sequence[LabelledRow], whole: Splits, mode: str) -> list[LabelledRow]:
    """Leave out duplicates of held-out rows."""
    gate = remove_duplicates(
        {
            "train": [row.text for row in rows],
            "validation": list(whole.validation["text"]),
            "test": list(whole.test["text"]),
        },
        mode=mode,
    )
    return [rows[i] for i in gate.kept["train"]]


def _sorted_out(
    rows: Sequence[LabelledRow], known: dict[str, int], names: Sequence[str]
) -> tuple[list[LabelledRow], list[LabelledRow], list[LabelConflict]]:
    """Return the rows to add, the duplicates, and one conflict for each text that has one."""
    groups: dict[str, list[LabelledRow]] = {}
    for row in rows:
        groups.setdefault(row.key, []).append(row)
    kept, duplicates, conflicts = [], [], []
    for key, group in groups.items():
        given = [row.label for row in group]
        if key in known and set(given) != {known[key]}:
            all_labels = dict.fromkeys([known[key], *given])
            conflicts.append(
                LabelConflict(group[0].text, tuple(names[i] for i in all_labels), with_train=True)
            )
        elif len(set(given)) > 1:
            conflicts.append(
                LabelConflict(group[0].text, tuple(names[i] for i in dict.fromkeys(given)), with_train=False)
            )
        elif key in known:
            duplicates += group
        else:
            kept.append(group[0])
            duplicates += group[1:]
    return kept, duplicates, conflicts


def _with_rows(
    splits: Splits, labels: Sequence[int], kept: Sequence[LabelledRow], report: LabelsReport
) -> Splits:
    """Return splits whose training rows have these labels, with the added rows behind them."""
    before, n, train = splits.report, len(kept), splits.train
    labels = [*labels, *(row.label for row in kept)]
    if kept or report.corrected:
        rows = {"text": [*train["text"], *(row.text for row in kept)], "label": labels}
        train = datasets.Dataset.from_dict(rows, features=train.features)
    old, counts = before.rows["train"], Counter(labels)
    account = dataclasses.replace(
        before,
        rows={
            **before.rows,
            "train": SplitSizes(read=old.read + report.read, kept=old.kept + n, used=old.used + n),
        },
        class_balance={
            **before.class_balance,
            "train": {name: counts[splits.labels.index(name)] for name in before.class_balance["train"]},
        },
        notes=(*before.notes, *report.sentences()),
    )
    return dataclasses.replace(splits, train=train, report=account)
