"""Split rows, take subsets of them, and keep duplicates from crossing the splits.

    rest, held_out = stratified_split(labels, size=100, seed=42, keys=list(map(duplicate_key, texts)))
    part = subset(dataset, 1000, seed=42, stratified=True)
    gate = remove_duplicates({"train": texts, "validation": texts, "test": texts})
    gate.kept["train"], gate.removed           # -> indices, {"train/test": 56, ...}
    leak_gate(keys, mode="near").near          # -> {"train/test": 30, ...}

Every class is in every split, equal texts are in one split, and the same seed gives the same rows:
`stratified_split` draws with NumPy's RandomState, whose stream is frozen for ever; `subset` is the datasets
library's `shuffle(seed).select(range(n))`.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import datasets
import numpy as np

from inference.common.text import duplicate_key
from training.data.report import BORDER, BORDERLINE_SHOWN, NEAR, BorderlinePair

HELD_OUT_SHARE = 10  # one row in ten
MIN_HELD_OUT_ROWS = 100  # fewer tell nothing: a 95 % interval of ± 8 points
SHOWN = 3  # near duplicates of each pair of splits
MAX_HELD_OUT_ROWS = 5_000  # more cost time and narrow the interval by less than a point


def held_out_size(n: int) -> int:
    """Return how many of n rows to hold out: a tenth, at least 100 and at most 5,000, never over a fifth."""
    return max(1, min(max(n // HELD_OUT_SHARE, MIN_HELD_OUT_ROWS), MAX_HELD_OUT_ROWS, n // 5))


def class_shares(counts: Mapping[int, int], size: int, *, leave: int = 0) -> dict[int, int]:
    """Share `size` rows out over classes in proportion (largest remainders), at least one row each.

    Leaves at least `leave` rows of each class behind. The sum is `size` unless the classes are so many or so
    small that these two bounds forbid it.
    """
    total = sum(counts.values())
    exact = {label: size * count / total for label, count in counts.items()}
    share = {label: int(value) for label, value in exact.items()}
    by_remainder = sorted(counts, key=lambda label: (share[label] - exact[label], label))
    for label in by_remainder[: size - sum(share.values())]:
        share[label] += 1
    share = {label: max(0, min(max(1, share[label]), counts[label] - leave)) for label in counts}
    for label in sorted(share, key=lambda label: (-share[label], label)):  # pay for the small classes' rows
        excess = sum(share.values()) - size
        share[label] -= max(0, min(excess, share[label] - 1))
    return share


def groups_of(keys: Sequence[Hashable], labels: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Return (label, rows) of each text, in the order of its first row: rows with one key are one text.

    The label is that of most rows; in a tie, of the first one.
    """
    rows: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return [
        (
            labels[group[0]] if len(group) == 1 else Counter(labels[i] for i in group).most_common(1)[0][0],
            group,
        )
        for group in rows.values()
    ]


def stratified_split(
    labels: Sequence[int], *, size: int, seed: int, keys: Sequence[str] | None = None
) -> tuple[list[int], list[int]]:
    """Split row indices into (rest, held out), stratified; each class with two texts or more is in both.

    Rows with one key stay together, so that a few rows fewer than `size` may be held out. Without keys each
    row is a text of its own.
    """
    random = np.random.RandomState(seed)  # not default_rng: only this stream is promised never to change
    groups: dict[int, list[list[int]]] = {}
    for label, group in groups_of(keys or range(len(labels)), labels):
        groups.setdefault(label, []).append(group)
    counts = {label: sum(map(len, groups[label])) for label in sorted(groups)}
    share = class_shares(counts, size, leave=1)
    held_out: set[int] = set()
    for label in counts:
        drawn = [groups[label][i] for i in random.permutation(len(groups[label]))]
        if len(drawn) == 1:
            continue
        chosen, n = [], 0
        for group in drawn:
            if n + len(group) <= share[label]:
                chosen.append(group)
                n += len(group)
        held_out.update(*(chosen or [min(drawn, key=len)]))
    return [row for row in range(len(labels)) if row not in held_out], sorted(held_out)


def subset(dataset: datasets.Dataset, n: int, *, seed: int, stratified: bool = False) -> datasets.Dataset:
    """Return `dataset.shuffle(seed=seed).select(range(n))`, or all rows in their order when n is 0.

    With `stratified` the class shares are kept: of the shuffled rows, each class gives its first ones.
    """
    if n == 0:
        return dataset
    shuffled = dataset.shuffle(seed=seed)
    n = min(n, len(shuffled))
    if not stratified:
        return shuffled.select(range(n))
    labels = list(shuffled["label"])
    left = class_shares(Counter(labels), n)
    chosen = []
    for row, label in enumerate(labels):
        if left[label] > 0:
            left[label] -= 1
            chosen.append(row)
    return shuffled.select(chosen)


@dataclass(frozen=True)
class LeakGate:
    """The rows that pass: `kept` row indices by split, and counts by "from/duplicate in"."""

    kept: Mapping[str, Sequence[int]]
    removed: Mapping[str, int]
    """Rows with an exact duplicate; counted, and not removed, where the gate is off."""
    near: Mapping[str, int] = field(default_factory=dict)
    """Rows removed for a near duplicate; empty without a search for them."""
    test_duplicates: frozenset[str] = frozenset()
    """Keys of the test rows that had a duplicate in train."""
    leaked: Mapping[str, Sequence[BorderlinePair]] = field(default_factory=dict)
    """Some of the pairs for which `near` removed rows, the least alike first."""
    borderline: Sequence[BorderlinePair] = ()
    """The pairs nearest to the limit, above and below it."""
    complete: bool = True
    """False where the search may have missed a near duplicate."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the search."""
        passed_over = (
            "The texts are too many to compare every pair, so the search for near duplicates passed over "
            "frequent letters and may have missed some."
        )
        return () if self.complete else (passed_over,)


def remove_duplicates(splits: Mapping[str, Sequence[str]], *, mode: str = "exact") -> LeakGate:
    """The leak gate: no row of train, or of validation, may duplicate a row that is measured on.

    Duplicates of test leave validation, and duplicates of either leave train; test is never touched. `splits`
    has the texts of train, validation and test. A train row with duplicates in both is counted once, under
    "train/test". Duplicates inside one split stay. Labels don't matter: duplicates whose labels differ leak
    as much. `mode`: see `leak_gate`.
    """
    keys = {name: [duplicate_key(text) for text in texts] for name, texts in splits.items()}
    return leak_gate(keys, mode=mode)


def leak_gate(keys: Mapping[str, Sequence[str]], *, mode: str = "exact") -> LeakGate:
    """Do what `remove_duplicates` does, given the keys of the texts.

    `mode`: "exact"; "near" takes near duplicates out too (`training.data.near`); "off" counts the exact ones
    and lets all rows through.
    """
    test, validation = set(keys["test"]), set(keys["validation"])
    in_test = [key in test for key in keys["train"]]
    in_validation = [key in validation and not hit for key, hit in zip(keys["train"], in_test, strict=True)]
    kept_train = [i for i, (a, b) in enumerate(zip(in_test, in_validation, strict=True)) if not (a or b)]
    kept_validation = [i for i, key in enumerate(keys["validation"]) if key not in test]
    exact = LeakGate(
        kept={"train": kept_train, "validation": kept_validation, "test": range(len(keys["test"]))},
        removed={
            "train/test": sum(in_test),
            "train/validation": sum(in_validation),
            "validation/test": len(keys["validation"]) - len(kept_validation),
        },
        test_duplicates=frozenset(test & set(keys["train"])),
    )
    if mode == "off":
        return replace(exact, kept={split: range(len(rows)) for split, rows in keys.items()})
    return _without_near(keys, exact) if mode == "near" else exact


def _without_near(keys: Mapping[str, Sequence[str]], exact: LeakGate) -> LeakGate:
    from training.data.near import nearest  # noqa: PLC0415  (scikit-learn takes a second)

    kept = {split: list(rows) for split, rows in exact.kept.items()}
    near: dict[str, int] = {}
    leaked: dict[str, Sequence[BorderlinePair]] = {}
    test_duplicates, complete, borderline = set(exact.test_duplicates), True, []
    for split, other in (("validation", "test"), ("train", "test"), ("train", "validation")):
        mine, others = ([keys[name][i] for i in kept[name]] for name in (split, other))
        found = nearest(mine, others, least=NEAR - BORDER)
        complete &= found.complete
        pairs = {
            i: BorderlinePair(mine[i], others[match.other], match.cosine)
            for i, match in enumerate(found.left)
            if match
        }
        leaks = {i for i, pair in pairs.items() if pair.cosine >= NEAR}
        leaked[f"{split}/{other}"] = sorted((pairs[i] for i in leaks), key=lambda pair: pair.cosine)[:SHOWN]
        borderline += [pair for pair in pairs.values() if pair.cosine <= NEAR + BORDER]
        if (split, other) == ("train", "test"):
            test_duplicates |= {
                key for key, match in zip(others, found.right, strict=True) if match and match.cosine >= NEAR
            }
        near[f"{split}/{other}"] = len(leaks)
        kept[split] = [row for i, row in enumerate(kept[split]) if i not in leaks]
    borderline.sort(key=lambda pair: abs(pair.cosine - NEAR))
    return replace(
        exact,
        kept=kept,
        near=near,
        leaked=leaked,
        test_duplicates=frozenset(test_duplicates),
        borderline=borderline[:BORDERLINE_SHOWN],
        complete=complete,
    )
