"""Texts without labels, for a teacher to answer: read, mended, and kept apart from the held-out rows.

found = read_unlabelled(spec, splits, "posts.csv")         # or "train": the training rows that are left over
found.texts, found.sentence
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inference.common.errors import DataError
from inference.common.mend import mend
from inference.common.store import JsonObject, sha256_of
from inference.common.text import duplicate_key
from inference.tables.columns import NAMES_SHOWN, find_column
from training.data.load import Splits, left_over, load_splits
from training.data.read import RawTable, read_table
from training.data.splits import remove_duplicates
from training.recipes import LEFT_OVER, DataSpec, check_unlabelled


@dataclass(frozen=True, kw_only=True)
class UnlabelledTexts:
    """The texts used of a file or of the rows left over, and counts of the others."""

    texts: tuple[str, ...]
    name: str
    sha256: str
    """Hash of the file; "" for rows of the data, which has its own."""
    read: int
    unusable: int
    """Rows that are broken, or without a text."""
    duplicates: int
    """Texts that are in the training rows, or were there before."""
    leaks: int
    """Texts that are duplicates of validation or test rows."""
    not_drawn: int = 0
    """Texts beyond the number that was asked for."""

    @property
    def sentence(self) -> str:
        more = f", {self.not_drawn:,} that were not drawn" if self.not_drawn else ""
        return (
            f"{self.name}: {len(self.texts):,} of {self.read:,} texts are used without labels; left out: "
            f"{self.unusable:,} broken or without a text, {self.duplicates:,} duplicates, {self.leaks:,} of "
            f"held-out rows{more}."
        )

    def to_json(self) -> JsonObject:
        record = {name: value for name, value in dataclasses.asdict(self).items() if name != "texts"}
        return {**record, "used": len(self.texts)}


def read_unlabelled(
    spec: DataSpec, splits: Splits, source: str, *, text_column: str = "", most: int = 0
) -> UnlabelledTexts:
    """Read the texts of a file, or of the training rows left over (`LEFT_OVER`); labels are ignored.

    `text_column`: of the data; the file may have another one, which is found by name then. `most`: how many
    are drawn, by the spec's seed; 0 takes all. Raises DataError when it can't be read.
    """
    check_unlabelled(source)
    whole = splits  # held-out rows that the spec does not take must not be learnt either
    if spec.n_validation or spec.n_test or source == LEFT_OVER:
        whole = load_splits(spec.whole())
    if source == LEFT_OVER:
        texts = list(whole.train.select(left_over(whole, spec))["text"])
        name, sha256, read = f"{splits.report.source.name}, rows of train left over", "", len(texts)
    else:
        path = Path(source).expanduser()
        table = read_table(path)
        raw = table.column(_text_column(table, text_column, path.name))
        texts = [mend(text).text.strip() if isinstance(text, str) else "" for text in raw]
        name, sha256, read = path.name, sha256_of(path), table.found
    seen, fresh = set(map(duplicate_key, splits.train["text"])), []
    for text in filter(None, texts):
        if (key := duplicate_key(text)) not in seen:
            seen.add(key)
            fresh.append(text)
    held_out = {"validation": list(whole.validation["text"]), "test": list(whole.test["text"])}
    kept = remove_duplicates({"train": fresh, **held_out}, mode=spec.leak_gate).kept["train"]
    drawn = kept
    if most and most < len(kept):
        order = np.random.RandomState(spec.seed).permutation(len(kept))  # its stream is frozen for ever
        drawn = [kept[place] for place in sorted(order[:most])]
    usable = sum(map(bool, texts))
    return UnlabelledTexts(
        texts=tuple(fresh[row] for row in drawn),
        name=name,
        sha256=sha256,
        read=read,
        unusable=read - usable,
        duplicates=usable - len(fresh),
        leaks=len(fresh) - len(kept),
        not_drawn=len(kept) - len(drawn),
    )


def _text_column(table: RawTable, like: str, where: str) -> str:
    """Return the column of a file's texts: the named one where it exists, else a usual one."""
    same = find_column(table.names, [like]) if like else None
    try:
        return table.pick("text", given=same or "", where=where)
    except DataError as error:
        found = ", ".join(table.names[:NAMES_SHOWN])
        raise DataError(
            f"{where} has no text column (found: {found}). Call the column of its texts text."
        ) from error
