"""Load labelled texts as train, validation and test splits, clean and with no duplicate across them.

    splits = load_splits(DataSpec(dataset="embedded", n_train=1000))
    splits.train[0]                            # -> {"text": "what a day", "label": 2}
    print(*splits.report.sentences(), sep="\\n")
    rows = load_labelled(DataSpec(dataset="mine.csv"), ("negative", "positive"))   # to score, not to learn

The way: open the source, find the columns, name the labels, mend and drop rows, leave out classes that are
too small, hold out the splits that the source lacks, remove duplicates across splits, take the subsets.
The same spec gives the same rows for ever, and the held-out rows don't depend on how many training rows are
taken. torch, Transformers and peft are not imported.
"""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets

from inference.common.errors import DataError, RecipeError
from inference.common.mend import mend
from inference.common.store import JsonObject
from inference.common.text import duplicate_key
from inference.common.wording import listed
from inference.tables.columns import SEVERAL
from inference.tables.formats import is_path
from training.data.classes import label_key, read_classes
from training.data.hub import Hub, Preflight
from training.data.read import SPLIT_NAMES, RawTable, embedded_tweets, read_path
from training.data.report import (
    CONFLICTS_SHOWN,
    CleaningCounts,
    DataReport,
    DataSource,
    LabelConflict,
    SplitSizes,
)
from training.data.splits import groups_of, held_out_size, leak_gate, stratified_split, subset
from training.recipes import DATASET_ID, RULES, DataSpec, Recipe

HUB_DATASET = "mteb/tweet_sentiment_extraction"
LEAST_LEFT_OVER = 500
"""Training rows that no run has learnt, from which on a replay is of them."""


@dataclass(frozen=True)
class Splits:
    """Three `datasets.Dataset`s with the columns text (string) and label (ClassLabel), and their report."""

    train: datasets.Dataset
    validation: datasets.Dataset
    test: datasets.Dataset
    labels: tuple[str, ...]
    report: DataReport
    test_duplicates: frozenset[str] = frozenset()
    """Keys (`duplicate_key`) of the test rows that had a duplicate in train before the leak gate."""


@dataclass(frozen=True)
class LabelledText:
    """A row of a split."""

    text: str
    label: str


def load_splits(spec: DataSpec, *, hub: Hub | None = None) -> Splits:
    """Load what the spec asks for. Raises DataError when it can't be loaded, or can't be learned from."""
    if spec.rules > RULES:
        raise DataError(
            f"The splits were drawn by a newer version (rules {spec.rules}; this one knows up to {RULES}); "
            "update to it."
        )
    source, tables = _open(spec.dataset.strip() or "auto", hub or Hub())
    columns = {split: _columns(spec, table, split, tables, source) for split, table in tables.items()}
    with_labels = {split: label for split, (_, label) in columns.items() if label}
    classes = read_classes(
        {split: tables[split] for split in with_labels},
        with_labels,
        label_names=spec.label_names,
        where=source.name,
        least=1 + len(SPLIT_NAMES) - len(with_labels),
        rules=spec.rules,
    )
    notes = list(classes.notes)
    rows: dict[str, _Rows] = {}
    counts = CleaningCounts()
    for split, table in tables.items():
        if split not in classes.ids:
            notes.append(
                f"The {split} split of {source.name} has no label that train has, so its {table.n:,} rows "
                "are not used."
            )
            continue
        rows[split], part = _clean(table.column(columns[split][0]), classes.ids[split])
        counts += part + CleaningCounts(broken_lines=table.broken_lines)
        if not rows[split].texts:
            raise DataError(
                f"No usable row is left in the {split} split of {source.name} ({table.n:,} read; "
                f"{part.empty:,} empty, {part.non_text:,} not text, {part.missing_label:,} without a label); "
                "check its columns with --text-column and --label-column."
            )
    read = {split: tables[split].n for split in rows}
    missing = [split for split in ("test", "validation") if split not in rows]
    small = _small_classes(rows, len(classes.names), least=1 + len(missing), rules=spec.rules)
    if small:
        why = (
            f"with fewer than {1 + len(missing)} different texts in train" if missing else "that train lacks"
        )
        notes.append(_left_out(rows, small, classes.names, why, source.name))
        counts += CleaningCounts(small_class=_n_of(rows, small))
        rows = {split: part.without(small) for split, part in rows.items()}
    conflicts = _conflicts(rows, classes.names)
    for split in missing:  # test first, then validation
        rows |= _held_out(rows["train"], split, spec)
        notes.append(
            f"The source has no {split} split: {len(rows[split].texts):,} rows of train are held out for it "
            f"(seed {spec.seed})."
        )
    gate = leak_gate({split: rows[split].keys for split in SPLIT_NAMES}, mode=spec.leak_gate)
    notes += gate.notes
    rows = {split: rows[split].take(gate.kept[split]) for split in SPLIT_NAMES}
    lost = set(range(len(classes.names))) - small - set(rows["train"].labels)
    if lost:
        why = "whose training rows are all duplicates of held-out ones"
        notes.append(_left_out(rows, lost, classes.names, why, source.name))
        counts += CleaningCounts(small_class=_n_of(rows, lost))
        rows = {split: part.without(lost) for split, part in rows.items()}
    names = tuple(name for i, name in enumerate(classes.names) if i not in small | lost)
    rows = {split: part.renumbered(classes.names, names) for split, part in rows.items()}
    full = {split: rows[split].dataset(names) for split in SPLIT_NAMES}
    used = {
        split: subset(full[split], spec.row_limit(split), seed=spec.seed, stratified=spec.stratified)
        for split in SPLIT_NAMES
    }
    report = DataReport(
        source=source,
        labels=names,
        rows={
            split: SplitSizes(read=read.get(split, 0), kept=len(full[split]), used=len(used[split]))
            for split in SPLIT_NAMES
        },
        counts=counts,
        duplicates_removed=gate.removed,
        near_removed=gate.near,
        leak_gate=spec.leak_gate,
        class_balance={split: _balance(used[split], names) for split in SPLIT_NAMES},
        notes=(*_reading_notes(tables, columns), *notes, *_subset_notes(spec, full, used)),
        rules=spec.rules,
        digests={split: rows[split].digest(names) for split in SPLIT_NAMES},
        conflicts=len(conflicts),
        conflict_rows=sum(n for _, n in conflicts),
        shown_conflicts=tuple(conflict for conflict, _ in conflicts[:CONFLICTS_SHOWN]),
        borderline=tuple(gate.borderline),
    )
    return Splits(used["train"], used["validation"], used["test"], names, report, gate.test_duplicates)


@dataclass(frozen=True)
class LabelledRows:
    """Rows to score a model on: texts, labels as places in the model's labels, and what was left out."""

    texts: Sequence[str]
    labels: Sequence[int]
    source: DataSource
    whole: bool
    """Whether they are all that the source has, and not one of its splits."""
    notes: tuple[str, ...]


def load_labelled(
    spec: DataSpec, labels: Sequence[str], *, split: str = "test", label_map: Mapping[str, str] | None = None
) -> LabelledRows:
    """Load rows to score a model on, without the rules of training: nothing is held out or left out as small.

    A source without splits is taken whole. The data's labels are the model's whatever their case, or are
    named by `label_map`; rows of other labels are left out and counted. `n_test` limits the rows.
    Raises DataError when no row can be scored.
    """
    source, tables = _open(spec.dataset.strip() or "auto", Hub())
    whole = len(tables) == 1
    if not whole and split not in tables:
        raise DataError(
            f"{source.name} has no {split} split (found: {', '.join(tables)}); name one with --split."
        )
    table = tables[next(iter(tables)) if whole else split]
    text, label = _columns(spec, table, "train", {"": table}, source)
    found = read_classes({"train": table}, {"train": label}, label_names=(), where=source.name, learn=False)
    rows, counts = _clean(table.column(text), found.ids["train"])
    counts += CleaningCounts(broken_lines=table.broken_lines)
    places = _matched(found.names, labels, label_map or {})
    n_of = Counter(rows.labels)
    unknown = {name: n_of[i] for i, name in enumerate(found.names) if places[i] is None and n_of[i]}
    named = listed([f"{name} ({n:,})" for name, n in sorted(unknown.items(), key=lambda one: -one[1])])
    advice = f"name them with --label-map, such as --label-map {next(iter(unknown), '')}={labels[0]}"
    known = [i for i, label in enumerate(rows.labels) if places[label] is not None]
    if not known:
        why = (
            f"its labels are {named}, the model's are {', '.join(labels)}; {advice}"
            if unknown
            else (
                f"{table.n:,} rows were read, and none has both a text and a label; check its columns with "
                "--text-column and --label-column"
            )
        )
        raise DataError(f"No row of {source.name} can be scored: {why}.")
    notes = [*_reading_notes({"": table}, {"": (text, label)}), *counts.sentences()]
    if unknown:
        n = sum(unknown.values())
        notes.append(
            f"{n:,} {'row is' if n == 1 else 'rows are'} not scored, by labels that the model lacks: "
            f"{named}; {advice}."
        )
    taken = subset(rows.take(known).dataset(found.names), spec.n_test, seed=spec.seed)
    numbers = [place for label in taken["label"] if (place := places[label]) is not None]
    return LabelledRows(list(taken["text"]), numbers, source, whole, tuple(notes))


def _matched(names: Sequence[str], labels: Sequence[str], label_map: Mapping[str, str]) -> list[int | None]:
    """Return the place of each name in the model's labels, None for one that it does not know."""
    by_key = {label_key(label): place for place, label in reversed(list(enumerate(labels)))}
    there = set(map(label_key, names))
    for old, new in label_map.items():
        if label_key(old) not in there:
            raise DataError(
                f"--label-map {old}={new} names no label of the data; it has {listed(names, most=20)}."
            )
        if label_key(new) not in by_key:
            raise DataError(
                f"--label-map {old}={new} names no label of the model; give one of {', '.join(labels[:20])}."
            )
    renamed = {label_key(old): new for old, new in label_map.items()}
    targets = [renamed.get(label_key(name), name) for name in names]
    return [labels.index(name) if name in labels else by_key.get(label_key(name)) for name in targets]


def spec_of(provenance: JsonObject, *, paths: bool = True) -> DataSpec | None:
    """Return which rows an artifact was trained on, from its provenance.json; None where it does not say.

    It names the source that was read then, which may differ from what "auto" takes today. `paths`: whether it
    may name a file or folder of this machine; the record of somebody else's model may not.
    """
    recipe, data = provenance.get("recipe"), provenance.get("data")
    source = data.get("source") if isinstance(data, dict) else None
    if not isinstance(recipe, dict) or not (isinstance(source, dict) or paths):
        return None
    kind, location = (source or {}).get("kind"), str((source or {}).get("location") or "")
    if kind == "embedded":
        location = "embedded"
    elif not (paths or (kind == "hub" and DATASET_ID.fullmatch(location) and not is_path(location))):
        return None
    known = {name: recipe[name] for name in DataSpec.__dataclass_fields__ if name in recipe}
    if kind in ("file", "folder"):  # where it lies now is in the recipe of the run
        location = str(known.get("dataset") or location)
    rules = data.get("rules", 1) if isinstance(data, dict) else RULES
    try:
        spec = Recipe(**(known | ({"dataset": location} if location else {}))).data
    except RecipeError:
        return None
    return dataclasses.replace(spec, rules=rules) if isinstance(rules, int) else None


def check_unchanged(recorded: JsonObject, now: DataReport, *, todo: str) -> None:
    """Raise DataError when the data differs from what a record says; `todo` is the next step.

    `recorded`: the "data" of a provenance.json, or the data event of a run. With other rows the test split
    may hold some that were learnt.
    """
    source = recorded.get("source")
    if not isinstance(source, dict) or "name" not in source:
        return
    try:
        then = DataReport.from_json(recorded)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise DataError(f"The record of this training's data can't be read ({error!r}). {todo}") from error
    hashes = [(then.source.sha256, now.source.sha256), (then.source.revision, now.source.revision)]
    differing = [pair for pair in hashes if all(pair) and pair[0] != pair[1]]
    if then.digests:
        same = then.digests == now.digests
    else:  # of November 2026 and before
        kept = [(then.rows[split].kept, now.rows[split].kept) for split in set(then.rows) - {"train"}]
        same = (
            not differing and then.labels in ((), now.labels) and all(was == is_now for was, is_now in kept)
        )
    if same:
        return
    why = "the file is the same, but its rows are read otherwise"
    if then.source.name != now.source.name:
        why = f"that was {then.source.name}"
    elif differing:
        counts = (sum(rows.read for rows in report.rows.values()) for report in (then, now))
        (was, n_then), (is_now, n_now) = zip(differing[0], counts, strict=True)
        why = f"{n_then:,} rows with the hash {str(was)[:12]} then, {n_now:,} with {str(is_now)[:12]} now"
    raise DataError(f"{now.source.name} is not the data of this training any more: {why}. {todo}")


def left_over(whole: Splits, spec: DataSpec) -> list[int]:
    """Return the training rows that a spec with an `n_train` has not drawn; `whole`: its data, all rows."""
    numbered = whole.train.add_column("row", list(range(len(whole.train))))
    drawn = set(subset(numbered, spec.n_train, seed=spec.seed, stratified=spec.stratified)["row"])
    return [row for row in range(len(numbered)) if row not in drawn]


def unlearnt_texts(spec: DataSpec, *, recorded: JsonObject | None = None) -> tuple[str, list[LabelledText]]:
    """Return a split and rows of it that a model trained by a spec has not learnt, for the Replay source.

    They are training rows left over, whose labels may be learnt later; where these are few, the test rows.
    Raises DataError like `load_splits`, and where the data is not what was `recorded` any more.
    """
    splits = load_splits(spec.whole())
    check_unchanged(recorded or {}, splits.report, todo="Put it back, or stream other posts.")
    train, left = splits.train, left_over(splits, spec)
    keys = [duplicate_key(text) for text in train["text"]]
    learnt = {keys[row] for row in set(range(len(keys))).difference(left)}
    fresh = [row for row in left if keys[row] not in learnt]
    split, part = ("train", train.select(fresh)) if len(fresh) >= LEAST_LEFT_OVER else ("test", splits.test)
    texts, ids = part["text"][:], part["label"][:]
    return split, [LabelledText(text, splits.labels[i]) for text, i in zip(texts, ids, strict=True)]


@dataclass(frozen=True)
class _Rows:
    texts: Sequence[str]
    labels: Sequence[int]
    keys: Sequence[str]
    """What equal texts share."""

    def take(self, indices: Sequence[int]) -> "_Rows":
        texts, labels, keys = self.texts, self.labels, self.keys
        return _Rows([texts[i] for i in indices], [labels[i] for i in indices], [keys[i] for i in indices])

    def without(self, labels: set[int]) -> "_Rows":
        return self.take([i for i, label in enumerate(self.labels) if label not in labels])

    def renumbered(self, names: Sequence[str], kept: Sequence[str]) -> "_Rows":
        ids = {names.index(name): i for i, name in enumerate(kept)}
        return dataclasses.replace(self, labels=[ids[label] for label in self.labels])

    def groups(self, rules: int) -> list[tuple[int, list[int]]]:
        return groups_of(self.keys if rules > 1 else range(len(self.keys)), self.labels)

    def digest(self, names: Sequence[str]) -> str:
        digest = hashlib.sha256()
        for text, label in zip(self.texts, self.labels, strict=True):
            digest.update(f"{names[label]}\t{text}\n".encode())
        return digest.hexdigest()

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
    hub_id = DATASET_ID.fullmatch(dataset)
    if hub_id and not is_path(dataset):
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
    """Return the columns of texts and labels; the latter is "" for a held-out split that has none."""
    where = source.name if len(tables) == 1 else f"The {split} split of {source.name}"
    text = table.pick("text", given=spec.text_column, where=where)
    try:
        label = table.pick("label", given=spec.label_column, where=where)
    except DataError:
        if split == "train":
            raise
        return text, ""
    if text == label:
        raise DataError(
            f"The column {text!r} can't hold both texts and labels; name the other with --label-column."
        )
    return text, label


def _clean(texts: Sequence[object], labels: Sequence[int | None]) -> tuple[_Rows, CleaningCounts]:
    kept_texts, kept_labels, keys = [], [], []
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
            keys.append(duplicate_key(text))
            if mended.damaged:
                dropped["still_damaged"] += 1
            elif mended.changed:
                dropped["mended"] += 1
    return _Rows(kept_texts, kept_labels, keys), CleaningCounts(**dropped)


def _small_classes(rows: Mapping[str, _Rows], n: int, *, least: int, rules: int) -> set[int]:
    """Return the classes that have too few different texts in train to be in every split."""
    small: set[int] = set()
    while True:  # without its rows, equal texts of another class may count for another one
        texts = Counter(label for label, _ in rows["train"].without(small).groups(rules))
        found = {label for label in range(n) if texts[label] < least}
        if found <= small:
            return small
        small |= found


def _left_out(rows: Mapping[str, _Rows], left: set[int], names: Sequence[str], why: str, where: str) -> str:
    """Say which classes are left out. Raises DataError where too much would be."""
    kept = {label for label in rows["train"].labels if label not in left}
    counts = Counter(label for part in rows.values() for label in part.labels)
    some = sorted(left, key=lambda i: (-counts[i], i))
    named = listed([f"{names[i]} ({counts[i]:,})" for i in some])
    if len(kept) < 2:
        raise DataError(
            f"{where} has fewer than two classes that can be learnt, beside those {why}: {named}; add rows "
            "of them."
        )
    for split in set(rows) - {"train"}:
        n = _n_of({split: rows[split]}, left)
        if 10 * n > len(rows[split].labels):
            raise DataError(
                f"{n:,} of the {len(rows[split].labels):,} rows of the {split} split of {where} are of "
                f"classes {why}: {named} (train has {', '.join(names[i] for i in sorted(kept))}); add rows "
                f"of them to train, or leave them out of {split}."
            )
    return f"Classes {why} are left out, with their rows: {named}."


def _n_of(rows: Mapping[str, _Rows], labels: set[int]) -> int:
    return sum(label in labels for part in rows.values() for label in part.labels)


def _conflicts(rows: Mapping[str, _Rows], names: Sequence[str]) -> list[tuple[LabelConflict, int]]:
    """Return the texts that came with different labels, and the rows of each."""
    found: dict[str, list[tuple[str, int]]] = {}
    for part in rows.values():
        for key, text, label in zip(part.keys, part.texts, part.labels, strict=True):
            found.setdefault(key, []).append((text, label))
    return [
        (LabelConflict(group[0][0], tuple(names[i] for i in labels)), len(group))
        for group in found.values()
        if len(labels := dict.fromkeys(label for _, label in group)) > 1
    ]


def _held_out(train: _Rows, split: str, spec: DataSpec) -> dict[str, _Rows]:
    rest, held_out = stratified_split(
        train.labels,
        size=held_out_size(len(train.labels)),
        seed=spec.seed,
        keys=train.keys if spec.rules > 1 else None,
    )
    return {split: train.take(held_out), "train": train.take(rest)}


def _balance(dataset: datasets.Dataset, names: Sequence[str]) -> dict[str, int]:
    counts = Counter(dataset["label"][:])  # a list: row by row it takes seconds
    return {name: counts[i] for i, name in enumerate(names)}


def _reading_notes(
    tables: Mapping[str, RawTable], columns: Mapping[str, tuple[str, str | None]]
) -> list[str]:
    notes = [note for table in tables.values() for note in table.notes]
    several = sum(
        label is SEVERAL
        for split, (_, column) in columns.items()
        if column
        for label in tables[split].labels(column)
    )
    if several:
        rows = "1 row has" if several == 1 else f"{several:,} rows have"
        notes.append(f"{rows} several labels; they are dropped, and counted among those that have none.")
    return notes


def _subset_notes(
    spec: DataSpec, full: Mapping[str, datasets.Dataset], used: Mapping[str, datasets.Dataset]
) -> list[str]:
    notes = []
    for split in SPLIT_NAMES:
        limit, there = spec.row_limit(split), len(full[split])
        if limit > there:
            notes.append(
                f"{limit:,} {split} rows were asked for, but only {there:,} are there; all are used."
            )
    if len(set(used["train"]["label"][:])) < 2:
        raise DataError(
            f"The {len(used['train'])} training rows taken are of one class only; take more of them, or "
            "stratified ones."
        )
    return notes
