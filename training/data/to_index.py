"""Put labelled texts into a retrieval index: a run's training rows, and files of more.

    found = to_index(run.recipe.data, run.path / "index.sqlite", [Path("new-words.csv")])
    print(*found.sentences("index.sqlite"), sep="\\n")

The whole validation and test splits are locked out of it, so no duplicate of their rows ever gets in,
whoever adds to the index later. The run's rows go in once, when the index is made.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inference.baselines.index import Added, Index
from inference.common.store import JsonObject
from training.data.add_labels import labelled_rows
from training.data.load import load_splits
from training.recipes import DataSpec


@dataclass(frozen=True)
class Indexed:
    """The counts of rows by source, and those in the index now, by label."""

    added: dict[str, Added]
    held: dict[str, int]
    unusable: int = 0
    """Rows of the files that are broken, or without a text or a label."""

    def to_json(self) -> JsonObject:
        return dataclasses.asdict(self)

    def sentences(self, path: str) -> list[str]:
        lines = []
        if self.unusable:
            lines.append(f"Left out: {self.unusable:,} (rows that are broken, or without a text or a label).")
        for name, found in self.added.items():
            parts = {
                "added": found.added,
                "under another label than before": found.changed,
                "known already": found.known,
                "left out as duplicates of validation or test rows": found.locked,
            }
            counts = ", ".join(f"{count:,} {what}" for what, count in parts.items() if count)
            lines.append(f"{name}: {counts or 'no row'}.")
        labels = ", ".join(f"{count:,} {label}" for label, count in self.held.items())
        return [*lines, f"{path} holds {sum(self.held.values()):,} labelled texts ({labels})."]


def to_index(spec: DataSpec, path: Path, files: Sequence[Path] = ()) -> Indexed:
    """Make the index of a run's data, and add files of labelled texts to it.

    Raises DataError for data that can't be read, a label that the data lacks, and a file that is no index.
    """
    splits, is_new = load_splits(spec), not path.exists()
    called = Counter(file.name for file in files)
    names = [file.name if called[file.name] == 1 else str(file) for file in files]
    read = [labelled_rows(file, splits.labels) for file in files]  # a wrong file changes nothing
    whole = load_splits(spec.whole())
    locked = [*whole.validation["text"], *whole.test["text"]]
    index, added, unusable = Index(path, splits.labels, locked=locked), {}, 0
    try:
        if is_new:
            labels = [splits.labels[label] for label in splits.train["label"]]
            added["Training rows"] = index.add(list(splits.train["text"]), labels, learnt=True)
        for name, (rows, n) in zip(names, read, strict=True):
            added[name] = index.add([row.text for row in rows], [splits.labels[row.label] for row in rows])
            unusable += n - len(rows)
        return Indexed(added, index.counts(), unusable)
    finally:
        index.close()
