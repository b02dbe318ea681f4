"""Preview a data set before training on it: class balance, lengths, some rows, what was dropped.

    seen = preview(load_splits(DataSpec(dataset="tweets.csv")), limit=5)
    print(*seen.sentences(), sep="\\n")

Used by `python -m training data` and by the Train tab.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from inference.common.mend import mend
from training.data.load import LabelledText, Splits
from training.data.report import DataReport

HISTOGRAM_BINS = 14
_TWEET_CHARACTERS = 280
_DRAWN = 20  # times as many rows, of which those without broken characters are shown


@dataclass(frozen=True)
class LengthBin:
    """How many texts have a length of `low` to `high` characters, both included."""

    low: int
    high: int
    n: int


@dataclass(frozen=True)
class Preview:
    """The preview of a data set.

    `n` counts all rows that are used; `balance` goes by label over all splits, in label order; `lengths` are
    counts of texts by length in characters, shortest first; `rows` are some of train, drawn by a seed,
    without broken characters where possible.
    """

    n: int
    balance: Mapping[str, int]
    lengths: tuple[LengthBin, ...]
    median_characters: int
    longest_characters: int
    rows: tuple[LabelledText, ...]
    report: DataReport

    def sentences(self) -> list[str]:
        """Return the preview in words: the report, the class balance and the lengths."""
        shares = ", ".join(f"{label} {count / self.n:.0%}" for label, count in self.balance.items())
        return [
            *self.report.sentences(texts=True),
            f"Classes: {shares} (n = {self.n:,}).",
            f"Lengths: half of the texts have at most {self.median_characters:,} characters, the longest has "
            f"{self.longest_characters:,}.",
        ]

    def to_json(self) -> dict[str, object]:
        return {
            "n": self.n,
            "class_balance": dict(self.balance),
            "lengths": [asdict(part) for part in self.lengths],
            "median_characters": self.median_characters,
            "longest_characters": self.longest_characters,
            "rows": [asdict(row) for row in self.rows],
            "report": self.report.to_json(),
        }


def preview(splits: Splits, *, limit: int = 8) -> Preview:
    """Sum a data set up, with `limit` of its training rows."""
    parts = (splits.train, splits.validation, splits.test)
    lengths = np.array([len(text) for part in parts for text in part["text"]])
    counts = Counter(label for part in parts for label in part["label"])
    mixed = splits.train.shuffle(seed=42, keep_in_memory=True)
    mixed = mixed.select(range(min(_DRAWN * limit, len(mixed))))
    whole = [place for place, text in enumerate(mixed["text"]) if not mend(text).damaged]
    some = mixed.select((whole or range(len(mixed)))[:limit])
    return Preview(
        n=len(lengths),
        balance={label: counts[i] for i, label in enumerate(splits.labels)},
        lengths=histogram(lengths),
        median_characters=int(np.median(lengths)),
        longest_characters=int(lengths.max()),
        rows=tuple(
            LabelledText(text, splits.labels[i]) for text, i in zip(some["text"], some["label"], strict=True)
        ),
        report=splits.report,
    )


def histogram(lengths: npt.NDArray[np.int64]) -> tuple[LengthBin, ...]:
    """Count lengths in bins of equal width; what is longer than a tweet (280) and rare shares the last bin.

    The bins reach up to the 99th percentile, or to 280 where that is more and some text is so long.
    """
    longest = int(lengths.max())
    reach = min(longest, max(_TWEET_CHARACTERS, int(np.percentile(lengths, 99))))
    width = max(1, -(-reach // HISTOGRAM_BINS))
    n_bins = -(-reach // width)
    counts = np.bincount(np.minimum((lengths - 1) // width, n_bins - 1), minlength=n_bins)
    tops = [width * (i + 1) for i in range(n_bins - 1)] + [max(longest, width * n_bins)]
    return tuple(
        LengthBin(width * i + 1, top, int(n)) for i, (top, n) in enumerate(zip(tops, counts, strict=True))
    )
