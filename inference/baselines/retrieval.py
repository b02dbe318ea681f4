"""Answers that rest on the nearest labelled texts of an index, which can grow while it is asked.

    index = Index(folder / "index.sqlite", labels, features=TrunkFeatures(prompted, layers=20))
    index.add(texts, names)                          # -> Added(added=996, changed=0, known=4, locked=0)
    index.search(["what a day"], k=8, by="words")    # -> [[Example("what a night", "positive", 3.1), …]]
    FewShotRetrieval(prompted, index, k=8).predict(["what a day"])[0].rests_on
    Neighbours(index, k=20).predict(["what a day"])  # their vote alone, by features

By words it is BM25 (bm25s); by features the cosine between what the lower layers of the base make of the
prompted texts, about their mean. The index lies in an SQLite file, so it is there again after a restart.
Texts that are measured on are locked: no duplicate of one of them is ever taken in.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from inference.baselines import Example, Explained, Features, Vectors
from inference.baselines.prompting import Prompted, prior_offset
from inference.classifier import Prediction, budgeted_batches, like_length_batches, softmax
from inference.common.errors import DataError, PredictionError
from inference.common.mend import mended
from inference.common.text import duplicate_key
from inference.trunk import trunk_batch

if TYPE_CHECKING:
    from bm25s import BM25

By = Literal["words", "features"]
Scores = NDArray[np.floating]
_TOKENS = r"(?u)\w+|[^\w\s]"  # emoji and punctuation say much in a tweet
_TABLE = """CREATE TABLE IF NOT EXISTS examples
    (id INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, text TEXT NOT NULL, label TEXT NOT NULL,
    features BLOB);
    CREATE TABLE IF NOT EXISTS made_by (name TEXT NOT NULL)"""


class TrunkFeatures:
    """The state of a prompted text's last token after the lower layers of the base."""

    def __init__(self, prompted: Prompted, *, layers: int, name: str = "") -> None:
        self.prompted, self.layers = prompted, layers
        self.name = f"{name or prompted.name_or_path}, {layers} layers"

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a text, shape (texts, hidden)."""
        token_ids = self.prompted.encode(texts).token_ids
        found = np.zeros((len(texts), self.prompted.engine.lm.config.hidden_size), dtype=np.float32)
        for rows in like_length_batches(list(map(len, token_ids)), batch_size=32):
            states = trunk_batch(self.prompted.engine.lm, [token_ids[row] for row in rows], self.layers)
            found[rows] = [state[-1].float().cpu().numpy() for state in states]
        return found


@dataclass(frozen=True)
class Added:
    """What became of rows that were to be added to an index."""

    added: int
    changed: int
    """Texts that were there under another label; the newer one counts."""
    known: int
    locked: int
    """Duplicates of texts that are measured on: left out."""


class Index:
    """Labelled texts in an SQLite file, searched by words or by features, from any thread."""

    def __init__(
        self,
        path: Path | None,
        labels: Sequence[str],
        *,
        features: Features | None = None,
        locked: Iterable[str] = (),
    ) -> None:
        """Open or make the file; None: in memory alone. `locked`: texts whose duplicates stay out.

        Vectors that another base made are made anew. Raises DataError for a file that is no index.
        """
        self.labels, self.features = tuple(labels), features
        self._locked = {duplicate_key(text) for text in locked}
        self._lock = threading.RLock()
        try:
            self._file = sqlite3.connect(path or ":memory:", check_same_thread=False)
            self._file.executescript(_TABLE)
            if features and self._file.execute("SELECT name FROM made_by").fetchall() != [(features.name,)]:
                with self._file:
                    self._file.execute("UPDATE examples SET features = NULL")
                    self._file.execute("DELETE FROM made_by")
                    self._file.execute("INSERT INTO made_by VALUES (?)", (features.name,))
            self._load()
        except sqlite3.Error as error:
            raise DataError(f"{path} is no index of tweets ({error}). Delete it, or give another.") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def __len__(self) -> int:
        return len(self._examples)

    def add(self, texts: Sequence[str], labels: Sequence[str]) -> Added:
        """Take in labelled texts: the next search finds them. Raises DataError for an unknown label."""
        if unknown := sorted(set(labels) - set(self.labels)):
            raise DataError(
                f"{unknown[0]!r} is no label of the index (it has {', '.join(self.labels)}). "
                "Give one of these, or leave the text out."
            )
        texts = mended(texts)
        keys = [duplicate_key(text) for text in texts]
        rows = dict(zip(keys, zip(texts, labels, strict=True), strict=True))
        locked = sum(key in self._locked for key in keys)
        with self._lock:
            known = dict(self._file.execute("SELECT key, label FROM examples"))
            fresh = {key: row for key, row in rows.items() if key not in self._locked and key not in known}
            changed = {key: rows[key][1] for key in rows if key in known and known[key] != rows[key][1]}
            with self._file:
                self._file.executemany(
                    "INSERT INTO examples (key, text, label) VALUES (?, ?, ?)",
                    [(key, *row) for key, row in fresh.items()],
                )
                self._file.executemany(
                    "UPDATE examples SET label = ? WHERE key = ?",
                    [(label, key) for key, label in changed.items()],
                )
            self._load()
        left = len(texts) - locked - len(fresh) - len(changed)
        return Added(len(fresh), len(changed), left, locked)

    def search(
        self, texts: Sequence[str], k: int, *, by: By = "words", itself: bool = True
    ) -> list[list[Example]]:
        """Return up to k examples a text, nearest first; by words only those that share one.

        `itself`: whether a duplicate of the text may be found, which is wrong for texts of the index.
        """
        texts = mended(texts)
        with self._lock:
            examples, keys = self._examples, self._keys
            scores = self._by_words(texts) if by == "words" else self._by_features(texts)
        floor = 0.0 if by == "words" else -np.inf
        found = []
        for text, row in zip(texts, scores, strict=True):
            if not itself and (own := keys.get(duplicate_key(text))) is not None:
                row[own] = -np.inf
            best = [int(at) for at in np.argsort(-row, kind="stable")[:k] if row[at] > floor]
            found.append([Example(*examples[at], similarity=round(float(row[at]), 4)) for at in best])
        return found

    def _load(self) -> None:
        """Read the file, and make the vectors that are missing."""
        if self.features:
            missing = self._file.execute("SELECT id, text FROM examples WHERE features IS NULL").fetchall()
            if missing:
                made = self.features([text for _, text in missing])
                stored = [(vector.tobytes(), at) for vector, (at, _) in zip(made, missing, strict=True)]
                with self._file:
                    self._file.executemany("UPDATE examples SET features = ? WHERE id = ?", stored)
        rows = self._file.execute("SELECT text, label, key, features FROM examples ORDER BY id").fetchall()
        self._examples = [(text, label) for text, label, _, _ in rows]
        self._keys = {key: place for place, (_, _, key, _) in enumerate(rows)}
        if self.features and rows:
            vectors = np.array([np.frombuffer(row[3], dtype=np.float32) for row in rows])
            self._middle = vectors.mean(0)  # the states of a language model all point the same way
            self._directions = _directions(vectors - self._middle)
        self._words: BM25 | None = None

    def _by_words(self, texts: Sequence[str]) -> Iterator[Scores]:
        """Return a row of scores for each text, one after the other: all at once would not fit."""
        import bm25s  # noqa: PLC0415  (only who searches by words needs it)

        def words(some: Sequence[str]) -> list[list[str]]:
            found: list[list[str]] = bm25s.tokenize(
                list(some), token_pattern=_TOKENS, stopwords=[], return_ids=False, show_progress=False
            )
            return found

        if self._words is None and self._examples:
            self._words = bm25s.BM25()
            self._words.index(words([text for text, _ in self._examples]), show_progress=False)
        known, size = self._words, len(self)
        return (known.get_scores(query) if known and query else np.zeros(size) for query in words(texts))

    def _by_features(self, texts: Sequence[str]) -> Iterator[Scores]:
        if not self.features:
            raise PredictionError("The index has no features to search by. Search by words, or give it some.")
        if not self._examples:
            return (np.zeros(0, dtype=np.float32) for _ in texts)
        known = self._directions
        return (known @ vector for vector in _directions(self.features(texts) - self._middle))


def _directions(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Vectors = vectors / np.maximum(lengths, 1e-9)
    return found


class FewShotRetrieval:
    """A language model whose prompt holds the k nearest labelled texts, the very nearest last.

    Texts for which nothing is found are answered zero-shot.
    """

    def __init__(self, prompted: Prompted, index: Index, *, k: int = 8, by: By = "words") -> None:
        self.prompted, self.index, self.k, self.by = prompted, index, k, by
        self.labels = prompted.labels
        self.seconds = 0.0
        self._offset = np.zeros(len(self.labels))
        self._over = 0

    @property
    def about(self) -> str:
        """What it is, for people."""
        calibrated = f", with batch calibration over {self._over:,} unlabelled texts" if self._over else ""
        return (
            f"{self.prompted.name_or_path} answers a prompt with the {self.k} nearest of "
            f"{len(self.index):,} labelled texts, by {self.by}{calibrated}"
        )

    def calibrate(self, texts: Sequence[str]) -> None:
        """Even out what the prompts alone make likely, over unlabelled texts that are not measured on."""
        self._offset = np.zeros(len(self.labels))
        self._offset = prior_offset(self._answers(texts, itself=False))
        self._over = len(texts)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one prediction a text, in input order, each with the examples that it rests on."""
        return self._answers(texts, itself=True)

    def _answers(self, texts: Sequence[str], *, itself: bool) -> list[Prediction]:
        encoded = self.prompted.encode(texts)
        found = self.index.search(texts, self.k, by=self.by, itself=itself)
        prompts, kept = [], []
        for ids, examples in zip(encoded.token_ids, found, strict=True):
            fit, before = self.prompted.fitting(examples[::-1], len(ids))
            prompts.append([*before, *ids[self.prompted.engine.opening if before else 0 :]])
            kept.append(fit[::-1])
        scores = np.zeros((len(texts), len(self.labels)), dtype=np.float32)
        for rows in budgeted_batches(list(map(len, prompts)), tokens=self.prompted.engine.batch_tokens):
            scores[rows] = self.prompted.engine.scores([], [prompts[row] for row in rows])
        shares = softmax((scores + self._offset).astype(np.float32))
        return [
            Explained(
                self.labels[int(row.argmax())],
                tuple(float(share) for share in row),
                cut,
                rests_on=tuple(examples),
                dropped=len(wanted) - len(examples),
            )
            for row, cut, examples, wanted in zip(shares, encoded.truncated, kept, found, strict=True)
        ]


class Neighbours:
    """The vote of the k nearest labelled texts by features; each label has one vote to begin with.

    Each weighs as much as any other. Close to kNN prompting (Xu et al. 2023, arXiv 2303.13824), which takes
    the distribution of the answer for features where this takes the trunk's states.
    """

    def __init__(self, index: Index, *, k: int, by: By = "features") -> None:
        self.index, self.k, self.by = index, k, by
        self.labels, self.seconds = index.labels, 0.0

    @property
    def about(self) -> str:
        """What it is, for people."""
        return f"the vote of the {self.k} nearest of {len(self.index):,} labelled texts, by {self.by}"

    @classmethod
    def chosen(
        cls, index: Index, texts: Sequence[str], labels: Sequence[str], *, ks: Sequence[int] = (5, 10, 20, 40)
    ) -> "Neighbours":
        """Return the vote with the k that is right on most of some labelled texts, of equals the smallest."""
        found = index.search(texts, max(ks), by="features")

        def right(k: int) -> int:
            votes = [cls(index, k=k)._vote(examples[:k]).label for examples in found]
            return sum(vote == label for vote, label in zip(votes, labels, strict=True))

        return cls(index, k=max(ks, key=lambda k: (right(k), -k)))

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one prediction a text, in input order, each with the examples that voted.

        Raises PredictionError while the index is empty.
        """
        if not len(self.index):
            raise PredictionError("The index holds no labelled text yet, so none is near. Add some first.")
        return [self._vote(examples) for examples in self.index.search(texts, self.k, by=self.by)]

    def _vote(self, examples: Sequence[Example]) -> Prediction:
        votes = np.ones(len(self.labels))
        for example in examples:
            votes[self.labels.index(example.label)] += 1
        shares = votes / votes.sum()
        return Explained(
            self.labels[int(shares.argmax())],
            tuple(float(share) for share in shares),
            truncated=False,
            rests_on=tuple(examples),
        )
