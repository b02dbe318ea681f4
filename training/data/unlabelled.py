"""Texts without labels, for a teacher to answer: read, mended, and kept apart from the held-out rows.

found = read_unlabelled(spec, splits, Path("posts.csv"))
found.texts, found.sentence
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from inference.common.mend import mend
from inference.common.store import JsonObject, sha256_of
from inference.common.text import duplicate_key
from training.data.load import Splits, load_splits
from training.data.read import read_table
from training.data.splits import remove_duplicates
from training.recipes import DataSpec


@dataclass(frozen=True, kw_only=True)
class UnlabelledTexts:
    """The texts of a file that are used, and what became of the others."""

    texts: tuple[str, ...]
    name: str
    sha256: str
    read: int
    unusable: int
    """Rows without a text."""
    duplicates: int
    """Texts that are in the training rows, or were there before in the file."""
    leaks: int
    """Texts that are duplicates of validation or test rows."""

    @property
    def sentence(self) -> str:
        """The account of the file, for people."""
        return (
            f"{self.name}: {len(self.texts):,} of {self.read:,} texts are used without labels; left out: "
            f"{self.unusable:,} without a text, {self.duplicates:,} duplicates, {self.leaks:,} of "
            "held-out rows."
        )

    def to_json(self) -> JsonObject:
        """Return the account: no text, no path."""
        record = {name: value for name, value in dataclasses.asdict(self).items() if name != "texts"}
        return {**record, "used": len(self.texts)}


def read_unlabelled(spec: DataSpec, splits: Splits, path: Path, *, text_column: str = "") -> UnlabelledTexts:
    """Read the texts of a file; a label column is not looked at. Raises DataError when it can't be read."""
    table = read_table(path)
    raw = table.column(table.pick("text", given=text_column, where=path.name))
    mended = [mend(text).text.strip() if isinstance(text, str) else "" for text in raw]
    seen, fresh = set(map(duplicate_key, splits.train["text"])), []
    for text in filter(None, mended):
        if (key := duplicate_key(text)) not in seen:
            seen.add(key)
            fresh.append(text)
    whole = splits  # held-out rows that the spec does not take must not be learnt either
    if spec.n_validation or spec.n_test:
        whole = load_splits(dataclasses.replace(spec, n_validation=0, n_test=0))
    held_out = {"validation": list(whole.validation["text"]), "test": list(whole.test["text"])}
    kept = remove_duplicates({"train": fresh, **held_out}, mode=spec.leak_gate).kept["train"]
    usable = sum(map(bool, mended))
    return UnlabelledTexts(
        texts=tuple(fresh[row] for row in kept),
        name=path.name,
        sha256=sha256_of(path),
        read=table.n,
        unusable=table.n - usable,
        duplicates=usable - len(fresh),
        leaks=len(fresh) - len(kept),
    )
