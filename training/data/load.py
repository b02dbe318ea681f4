"""Load labelled texts as train, validation and test splits, clean and with no duplicate across them.

    splits = load_splits(DataSpec(dataset="embedded", n_train=1000))
    splits.train[0]                            # -> {"text": "what a day", "label": 2}
    print(*splits.report.sentences(), sep="\\n")

The way: open the source, find the columns, name the labels, mend and drop rows, hold out the splits that the
source lacks, remove duplicates across splits, take the subsets. The same spec gives the same rows for ever,
and the held-out rows don't depend on how many training rows are taken. torch, Transformers and peft are not
imported.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets

from inference.common.errors import DataError, RecipeError
from inference.common.store import JsonObject
from inference.tables.columns import pick_column
from inference.tables.formats import FORMATS
from inference.tables.rows import kind_of
from training.data.classes import read_classes
from training.data.clean import mend
from training.data.hub import Hub, Preflight
from training.data.read import SPLIT_NAMES, RawTable, embedded_tweets, read_path
from training.data.report import CleaningCounts, DataReport, DataSource, SplitSizes
from training.data.splits import held_out_size, remove_duplicates, stratified_split, subset
from training.recipes import DataSpec, Recipe

HUB_DATASET = "mteb/tweet_sentiment_extraction"
_HUB_ID = re.compile(r"(?P<id>[\w.-]+(?:/[\w.-]+)?)(?::(?P<config>[\w.+-]+))?")


@dataclass(frozen=True)
class Splits:
    """Three `datasets.Dataset`s with the columns text (string) and label (ClassLabel), and their report."""

    train: datasets.Dataset
    validation: datasets.Dataset
    test: datasets.Dataset
    labels: tuple[str, ...]
    report: DataReport


@dataclass(frozen=True)
class LabelledText:
    """A row of a split."""

    text: str
    label: str


def load_splits(spec: DataSpec, *, hub: Hub | None = None) -> Splits:
    """Load what the spec asks for. Raises DataError when it can't be loaded, or can't be learned from."""
    source, tables = _open(spec.dataset.strip() or "auto", hub or Hub())
    columns = {split: _columns(spec, table, split, tables, source) for split, table in tables.items()}
    classes = read_classes(
        tables,
        {split: label for split, (_, label) in columns.items()},
        label_names=spec.label_names,
        where=source.name,
    )
    rows: dict[str, _Rows] = {}
    counts = CleaningCounts()
    for split, table in tables.items():
        rows[split], part = _clean(table.column(columns[split][0]), classes.ids[split])
        counts += part + CleaningCounts(broken_lines=table.broken_lines)
        if not rows[split].texts:
            raise DataError(
                f"No usable row is left in the {split} split of {source.name} ({table.n:,} read; "
                f"{part.empty:,} empty, {part.non_text:,} not text, {part.missing_label:,} without a label); "
                "check its columns with --text-column and --label-column."
            )
    read = {split: table.n for split, table in tables.items()}
    rows, notes = _complete(rows, classes.names, seed=spec.seed, where=source.name)
    gate = remove_duplicates({split: rows[split].texts for split in SPLIT_NAMES})
    rows = {split: rows[split].take(gate.kept[split]) for split in SPLIT_NAMES}
    _check_train(rows["train"], classes.names, source.name)
    full = {split: rows[split].dataset(classes.names) for split in SPLIT_NAMES}
    used = {
        split: subset(full[split], spec.rows_wanted(split), seed=spec.seed, stratified=spec.stratified)
        for split in SPLIT_NAMES
    }
    report = DataReport(
        source=source,
        labels=classes.names,
        rows={
            split: SplitSizes(read=read.get(split, 0), kept=len(full[split]), used=len(used[split]))
            for split in SPLIT_NAMES
        },
        counts=counts,
        duplicates_removed=gate.removed,
        class_balance={split: _balance(used[split], classes.names) for split in SPLIT_NAMES},
        notes=(*classes.notes, *notes, *_subset_notes(spec, full, used)),
    )
    return Splits(used["train"], used["validation"], used["test"], classes.names, report)


def spec_of(provenance: JsonObject, *, paths: bool = True) -> DataSpec | None:
    """Return the rows that an artifact was trained on, as its provenance.json says; None where it does not.

    It names the source that was read then, which need not be what "auto" would take today. `paths`: whether
    a file or folder of this machine may be named: not by the record of somebody else's model.
    """
    recipe, data = provenance.get("recipe"), provenance.get("data")
    source = data.get("source") if isinstance(data, dict) else None
    if not isinstance(recipe, dict) or not (isinstance(source, dict) or paths):
        return None
    kind, location = (source or {}).get("kind"), str((source or {}).get("location") or "")
    if kind == "embedded":
        location = "embedded"
    elif not (paths or (kind == "hub" and _HUB_ID.fullmatch(location) and not _is_path(location))):
        return None
    known = {name: recipe[name] for name in DataSpec.__dataclass_fields__ if name in recipe}
    try:
        return Recipe(**(known | ({"dataset": location} if location else {}))).data
    except RecipeError:
        return None


def held_out_texts(spec: DataSpec, *, hub: Hub | None = None) -> list[LabelledText]:
    """Return the rows of the test split, for the Replay source. Raises DataError like `load_splits`."""
    splits = load_splits(spec, hub=hub)
    texts, ids = splits.test["text"][:], splits.test["label"][:]
    return [LabelledText(text, splits.labels[i]) for text, i in zip(texts, ids, strict=True)]


@dataclass(frozen=True)
class _Rows:
    texts: Sequence[str]
    labels: Sequence[int]

    def take(self, indices: Sequence[int]) -> "_Rows":
        return _Rows([self.texts[i] for i in indices], [self.labels[i] for i in indices])

    def dataset(self, names: Sequence[str]) -> datasets.Dataset:
        features = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=list(names))}
        columns = {"text": list(self.texts), "label": list(self.labels)}
        return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def _open(dataset: str, hub: Hub) -> tuple[DataSource, Mapping[str, RawTable]]:
    if dataset == "auto":
        return _open_auto(hub)
    if dataset == "embedded":
        source, table = embedded_tweets()
        return source, {"train": table}
    hub_id = _HUB_ID.fullmatch(dataset)
    if hub_id and not _is_path(dataset):
        return _open_hub(hub_id["id"], hub_id["config"] or "", hub, hub.preflight(hub_id["id"]))
    path = Path(dataset).expanduser()
    found = read_path(path)
    source = DataSource(
        name=path.resolve().name,
        kind="folder" if path.is_dir() else "file",
        location=dataset,
        sha256=found.sha256,
        bytes=found.bytes,
    )
    return source, found.tables


def _is_path(dataset: str) -> bool:
    path = Path(dataset)
    if dataset.startswith((".", "/", "~")) or kind_of(path) in FORMATS:
        return True
    try:
        return path.exists()
    except OSError:  # a name that the file system refuses, such as one of 300 characters
        return False


def _open_auto(hub: Hub) -> tuple[DataSource, Mapping[str, RawTable]]:
    found = hub.preflight(HUB_DATASET)
    why = found.why
    if found.reachable or found.cached:
        try:
            return _open_hub(HUB_DATASET, "", hub, found)
        except DataError:
            why = f"{HUB_DATASET} can't be loaded though {why}"
    source, table = embedded_tweets()
    return dataclasses.replace(source, reason=f"because {why}"), {"train": table}


def _open_hub(
    dataset_id: str, config: str, hub: Hub, found: Preflight
) -> tuple[DataSource, Mapping[str, RawTable]]:
    loaded = hub.load(dataset_id, config=config, found=found)
    source = DataSource(
        name=dataset_id,
        kind="hub",
        location=f"{dataset_id}:{config}" if config else dataset_id,
        reason=f"because {found.why}" if found.reachable else f"from the local cache, since {found.why}",
        revision=loaded.revision,
        licence=found.licence,
    )
    return source, loaded.tables


def _columns(
    spec: DataSpec, table: RawTable, split: str, tables: Mapping[str, RawTable], source: DataSource
) -> tuple[str, str]:
    where = source.name if len(tables) == 1 else f"The {split} split of {source.name}"
    text = pick_column(table.names, "text", given=spec.text_column, where=where)
    label = pick_column(table.names, "label", given=spec.label_column, where=where)
    if text == label:
        raise DataError(
            f"The column {text!r} can't hold both texts and labels; name the other with --label-column."
        )
    return text, label


def _clean(texts: Sequence[object], labels: Sequence[int | None]) -> tuple[_Rows, CleaningCounts]:
    kept_texts, kept_labels = [], []
    dropped: Counter[str] = Counter()
    for raw, label in zip(texts, labels, strict=True):
        if not isinstance(raw, str):
            dropped["non_text"] += 1
            continue
        mended = mend(raw)
        text = mended.text.strip()
        if not text:
            dropped["empty"] += 1
        elif label is None:
            dropped["missing_label"] += 1
        else:
            kept_texts.append(text)
            kept_labels.append(label)
            if mended.damaged:
                dropped["still_damaged"] += 1
            elif mended.changed:
                dropped["mended"] += 1
    return _Rows(kept_texts, kept_labels), CleaningCounts(**dropped)


def _complete(
    rows: dict[str, _Rows], names: Sequence[str], *, seed: int, where: str
) -> tuple[dict[str, _Rows], list[str]]:
    """Hold the splits that the source lacks out of train: test first, then validation, stratified."""
    missing = [split for split in ("test", "validation") if split not in rows]
    counts = Counter(rows["train"].labels)
    unknown = {label for split in rows for label in rows[split].labels} - set(counts)
    if unknown:
        label = min(unknown)
        split = next(split for split in rows if label in rows[split].labels)
        raise DataError(
            f"The {split} split of {where} has the label {names[label]!r}, which train lacks (train has "
            f"{', '.join(names[i] for i in sorted(counts))}); add rows of it to train, or leave it out "
            f"of {split}."
        )
    label = min(counts, key=lambda i: (counts[i], i))
    if counts[label] <= len(missing):
        n = "1 row" if counts[label] == 1 else f"{counts[label]} rows"
        raise DataError(
            f"The class {names[label]!r} of {where} has {n}, too few to be in every split "
            f"({', '.join(['train', *reversed(missing)])}: at least {len(missing) + 1}); add rows of it, or "
            "leave it out."
        )
    notes = []
    for split in missing:
        rest, held = stratified_split(
            rows["train"].labels, size=held_out_size(len(rows["train"].labels)), seed=seed
        )
        rows |= {split: rows["train"].take(held), "train": rows["train"].take(rest)}
        notes.append(
            f"The source has no {split} split: {len(held):,} rows of train are held out for it (seed {seed})."
        )
    return rows, notes


def _check_train(train: _Rows, names: Sequence[str], where: str) -> None:
    lost = set(range(len(names))) - set(train.labels)
    if lost:
        raise DataError(
            "After duplicates of held-out rows are removed, train has no row of the class "
            f"{names[min(lost)]!r} left in {where} ({len(train.texts)} rows remain); add rows of it that are "
            "in no other split."
        )


def _balance(dataset: datasets.Dataset, names: Sequence[str]) -> dict[str, int]:
    counts = Counter(dataset["label"][:])  # a list: row by row it takes seconds
    return {name: counts[i] for i, name in enumerate(names)}


def _subset_notes(
    spec: DataSpec, full: Mapping[str, datasets.Dataset], used: Mapping[str, datasets.Dataset]
) -> list[str]:
    notes = []
    for split in SPLIT_NAMES:
        wanted, there = spec.rows_wanted(split), len(full[split])
        if wanted > there:
            notes.append(
                f"{wanted:,} {split} rows were asked for, but only {there:,} are there; all are used."
            )
    if len(set(used["train"]["label"][:])) < 2:
        raise DataError(
            f"The {len(used['train'])} training rows taken are of one class only; take more of them, or "
            "stratified ones."
        )
    return notes
