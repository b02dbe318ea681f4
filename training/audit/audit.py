"""Audit a data set: duplicates, contradictions, scripts, lengths, balance, and what reading it dropped.

    found = audit(load_whole(DataSpec(dataset="tweets.csv")))
    print(*found.sentences(), sep="\\n")
    found.flags                                # -> rows to check, with the suggested label

Each finding is a sentence with its count, examples, and the setting that acts on it. Nothing is changed, and
the test split is never cleaned. `training.audit.labels` adds probable label errors. Languages are told apart
by script alone: on a tweet's few words, language detection is wrong too often to accuse a row.
"""

import dataclasses
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from inference.common.mend import mend
from inference.common.text import duplicate_key, one_line
from inference.common.wording import listed
from training.audit.findings import EXAMPLES, Audit, Finding, Flag
from training.data.load import Splits, load_splits
from training.data.near import nearest
from training.data.read import SPLIT_NAMES
from training.data.report import NEAR, CleaningCounts
from training.data.splits import leak_gate
from training.recipes import DataSpec

UNEVEN = 4
"""The largest class may have this many times the rows of the smallest."""
FEW_ROWS = 10
"""A class with fewer test rows can't be judged."""


def load_whole(spec: DataSpec) -> Splits:
    """Load all rows, duplicates across splits included. Raises DataError as `load_splits` does."""
    return load_splits(dataclasses.replace(spec.whole(), leak_gate="off"))


def audit(splits: Splits, *, deep: bool = True) -> Audit:
    """Audit splits. Not `deep`: without what takes long, near duplicates within train."""
    parts = {name: _Part.of(splits, name) for name in SPLIT_NAMES}
    findings = [*_read(splits, parts), *_repeated(parts), *_leaks(parts), *_scripts(parts)]
    contradictions, flags = _conflicts(parts, splits.labels)
    findings += [*contradictions, *_balance(parts, splits.labels)]
    if deep:
        near, more = _near_within(parts["train"], splits.labels)
        findings, flags = findings + near, flags + more
    counts = Counter(parts["train"].labels)
    return Audit(
        data=splits.report.source.name,
        rows={name: len(part.texts) for name, part in parts.items()},
        classes={name: counts[place] for place, name in enumerate(splits.labels)},
        findings=tuple(findings),
        flags=tuple(flags),
    )


@dataclass(frozen=True)
class _Part:
    name: str
    texts: Sequence[str]
    labels: Sequence[int]
    keys: Sequence[str]

    @classmethod
    def of(cls, splits: Splits, name: str) -> "_Part":
        part = getattr(splits, name)
        texts = list(part["text"])
        return cls(name, texts, list(part["label"]), [duplicate_key(text) for text in texts])


def lengths(tokens: Sequence[int], *, max_length: int) -> list[Finding]:
    """Report the texts' lengths in tokens, prompt included, and what truncation would cut."""
    cut = sum(n > max_length for n in tokens)
    if not cut:
        return []
    sentence = (
        f"Texts longer than max_length ({max_length} tokens), which would be cut: {cut:,} of "
        f"{len(tokens):,}; half have at most {int(np.median(tokens)):,}, the longest has {max(tokens):,}."
    )
    reach = 8 * -(-int(np.percentile(tokens, 99.9)) // 8)
    return [Finding("truncated", cut, sentence, act=f"max_length={max(reach, max_length + 8)}")]


def _read(splits: Splits, parts: Mapping[str, _Part]) -> Iterator[Finding]:
    """Report what was dropped or mended when the rows were read."""
    damaged = tuple(text for part in parts.values() for text in part.texts if mend(text).damaged)
    for name, n in dataclasses.asdict(splits.report.counts).items():
        for sentence in CleaningCounts(**{name: n}).sentences():
            yield Finding(name, n, sentence, damaged[:EXAMPLES] if name == "still_damaged" else ())
    if n := splits.report.counts.small_class:
        sentence = f"Rows left out, of classes too small to be split or that train lacks: {n:,}."
        yield Finding("small_class", n, sentence)


def _repeated(parts: Mapping[str, _Part]) -> Iterator[Finding]:
    for name, part in parts.items():
        counts = Counter(part.keys)
        if n := len(part.keys) - len(counts):
            often = dict(zip(part.keys, part.texts, strict=True))
            yield Finding(
                "repeated",
                n,
                f"Rows of {name} that repeat another one, apart from case, user names, links and spaces: "
                f"{n:,} of {len(part.keys):,}. They stay, and count as often as they are there.",
                tuple(often[key] for key, times in counts.most_common(EXAMPLES) if times > 1),
            )


def _leaks(parts: Mapping[str, _Part]) -> Iterator[Finding]:
    gate = leak_gate({name: part.keys for name, part in parts.items()}, mode="near")
    for kind, counts, mode in (("an exact", gate.removed, "exact"), ("a near", gate.near, "near")):
        for pair, n in counts.items():
            split, other = pair.split("/")
            if n:
                sentence = f"Rows of {split} with {kind} duplicate in {other}, where they would leak: {n:,}."
                pairs = gate.leaked[pair] if mode == "near" else ()
                shown = [f"{one.text} / {one.other} ({one.cosine:.2f})" for one in pairs]
                if mode == "exact":
                    there = set(parts[other].keys)
                    mine = zip(parts[split].texts, parts[split].keys, strict=True)
                    shown = [text for text, key in mine if key in there]
                yield Finding(f"leak_{mode}", n, sentence, tuple(shown[:EXAMPLES]), f"leak_gate={mode}")


def _conflicts(parts: Mapping[str, _Part], names: Sequence[str]) -> tuple[list[Finding], list[Flag]]:
    """Find equal texts with different labels; the suggestion is the majority's label."""
    groups: dict[str, list[tuple[str, int, str]]] = {}
    for part in parts.values():
        for key, text, label in zip(part.keys, part.texts, part.labels, strict=True):
            groups.setdefault(key, []).append((text, label, part.name))
    found = [group for group in groups.values() if len({label for _, label, _ in group}) > 1]
    flags = []
    for group in found:
        counts = Counter(label for _, label, _ in group).most_common()
        most = names[counts[0][0]] if counts[0][1] > counts[1][1] else ""
        reason = "equal texts are labelled " + ", ".join(f"{names[i]} ({n})" for i, n in counts)
        flags += [
            Flag(text, names[label], most, reason, split)
            for text, label, split in group
            if names[label] != most
        ]
    if not found:
        return [], []
    sentence = f"Texts that come with different labels: {len(found):,} ({sum(map(len, found)):,} rows)."
    return [
        Finding("conflicts", len(found), sentence, tuple(group[0][0] for group in found[:EXAMPLES]))
    ], flags


def _near_within(part: _Part, names: Sequence[str]) -> tuple[list[Finding], list[Flag]]:
    """Find near duplicates within train, and those of them that have different labels."""
    first = {key: row for row, key in reversed(list(enumerate(part.keys)))}
    rows = sorted(first.values())
    matches = nearest([part.keys[row] for row in rows], least=NEAR).left
    pairs = [(row, rows[match.other]) for row, match in zip(rows, matches, strict=True) if match]
    differing = [(a, b) for a, b in pairs if part.labels[a] != part.labels[b]]
    findings = []
    if pairs:
        sentence = (
            f"Texts of train with a near duplicate in it (cosine from {NEAR} on): {len(pairs):,}. They stay."
        )
        shown = tuple(f"{part.texts[a]} / {part.texts[b]}" for a, b in pairs[:EXAMPLES])
        findings.append(Finding("near_within", len(pairs), sentence, shown))
    if differing:
        sentence = f"Texts of train labelled otherwise than their near duplicate: {len(differing):,}."
        shown = tuple(f"{part.texts[a]} / {part.texts[b]}" for a, b in differing[:EXAMPLES])
        findings.append(Finding("near_conflicts", len(differing), sentence, shown))
    flags = [
        Flag(
            part.texts[a],
            names[part.labels[a]],
            "",
            f"a near duplicate is labelled {names[part.labels[b]]}: {one_line(part.texts[b])}",
            part.name,
        )
        for a, b in differing
    ]
    return findings, flags


@cache
def _script_of(letter: str) -> str:
    return unicodedata.name(letter, "").split(" ")[0].removesuffix("-IDEOGRAPH").split("-")[0]


def script_of(text: str) -> str:
    """Return the script that most of a text's letters have, as Unicode names it ("LATIN"); "" for none."""
    counts = Counter(_script_of(letter) for letter in text if letter.isalpha())
    return counts.most_common(1)[0][0] if counts else ""


def _scripts(parts: Mapping[str, _Part]) -> Iterator[Finding]:
    of = [(script_of(text), text) for part in parts.values() for text in part.texts]
    counts = Counter(script for script, _ in of)
    if n := counts.pop("", 0):
        sentence = f"Texts without a letter (emoji, numbers, punctuation): {n:,}."
        yield Finding("no_letters", n, sentence, tuple(text for script, text in of if not script)[:EXAMPLES])
    (main, most), *others = counts.most_common() or [("", 0)]
    if others:
        n = sum(count for _, count in others)
        named = listed([f"{script.title()} {count:,}" for script, count in others], most=5)
        sentence = f"Texts in another script than {main.title()} ({most:,}): {n:,} ({named})."
        yield Finding(
            "scripts", n, sentence, tuple(text for script, text in of if script not in ("", main))[:EXAMPLES]
        )


def _balance(parts: Mapping[str, _Part], names: Sequence[str]) -> Iterator[Finding]:
    train, test = (Counter(parts[split].labels) for split in ("train", "test"))
    large, small = max(train, key=lambda i: train[i]), min(train, key=lambda i: train[i])
    if train[large] >= UNEVEN * train[small]:
        sentence = (
            f"The classes of train are uneven: {names[large]} has {train[large]:,} rows, {names[small]} "
            f"{train[small]:,}. Read macro-F1 and macro-recall, not accuracy alone."
        )
        yield Finding("uneven", train[small], sentence, act="class_weights=balanced")
    few = [i for i in range(len(names)) if test[i] < FEW_ROWS]
    if few:
        sentence = (
            f"Classes with under {FEW_ROWS} test rows, too few to tell how good a model is there: "
            f"{listed([f'{names[i]} ({test[i]})' for i in few])}."
        )
        yield Finding("few_test_rows", len(few), sentence)
