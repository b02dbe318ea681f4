"""Labelled texts that answers rest on: an index that can grow while in use, and the vote of the nearest.

    index = Index(folder / "index.sqlite", labels, locked=test_texts)
    index.add(texts, names)                          # -> Added(added=996, changed=0, known=4, locked=0)
    index.search(["what a day"], k=8, by="words")    # -> [[Example("what a night", "positive", 3.1), …]]
    Neighbours(index, k=20).predict(["what a day"])  # their vote alone, by features
    beside(classifier, index).predict(["so zorgle"])[0].rests_on     # its answer, and the vote of new texts

Search by words uses BM25 (bm25s); by features, the cosine of the texts' `features`, centred on their mean.
The index and its labels are kept in an SQLite file: they survive a restart, and the next search finds what
another process has added. Evaluation texts are locked: the index never accepts a duplicate of one, whoever
adds it, and stores only their hashes.
"""

import hashlib
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from inference.baselines import Average, Example, Explained, Features, Predictor, Vectors
from inference.classifier import Prediction
from inference.common.errors import DataError, PredictionError
from inference.common.mend import mended
from inference.common.text import duplicate_key

if TYPE_CHECKING:
    from bm25s import BM25

By = Literal["words", "features", "added"]
Scores = NDArray[np.floating]
NEAREST = 8
"""Neighbours that vote beside a classifier."""
VOTE_SHARE = 0.5
"""The vote's part of the answer."""
RARE = 0.01
"""The share of the learnt texts up to which a word of theirs is rare."""
_KS = (5, 10, 20, 40)  # numbers of neighbours to choose from
_TODO = "Close what uses it where it is locked; else make it anew with `python -m training index RUN`."
_SINCE = "ALTER TABLE examples ADD COLUMN learnt INTEGER NOT NULL DEFAULT 0"
_IS_ONE = "SELECT 1 FROM sqlite_master WHERE name = 'labels'"
_TOKENS = r"(?u)\w+|[^\w\s]"  # emoji and punctuation say much in a tweet
_TABLE = """CREATE TABLE IF NOT EXISTS examples
    (id INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, text TEXT NOT NULL, label TEXT NOT NULL,
    features BLOB, learnt INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE IF NOT EXISTS made_by (name TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS labels (place INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL);
    CREATE TABLE IF NOT EXISTS locked (hash BLOB PRIMARY KEY) WITHOUT ROWID"""


@dataclass(frozen=True)
class Added:
    """The outcome of adding rows to an index."""

    added: int
    changed: int
    """Texts that were there under another label; the newer one counts."""
    known: int
    locked: int
    """Duplicates of evaluation texts: left out."""


class Index:
    """Labelled texts in an SQLite file, searched by words or by features, from any thread."""

    def __init__(
        self,
        path: Path | None,
        labels: Sequence[str] = (),
        *,
        features: Features | None = None,
        locked: Iterable[str] = (),
    ) -> None:
        """Open or make the file; None: in memory alone. `locked`: texts whose duplicates stay out.

        Without `labels` the file must exist, and its labels are used. Vectors made by another base are
        computed again. Raises DataError for a file that is no index, or has other labels.
        """
        self.features = features
        self._lock = threading.RLock()
        if not labels and not (path and path.is_file()):
            raise DataError(f"There is no index {path}. Make one with `python -m training index RUN`.")
        try:
            self._file = sqlite3.connect(path or ":memory:", check_same_thread=False)
            if not labels and not self._file.execute(_IS_ONE).fetchone():  # another program's stays as it is
                raise DataError(
                    f"{path} is no index of tweets. Make one with `python -m training index RUN`."
                )
            self._file.executescript(_TABLE)
            if "learnt" not in {row[1] for row in self._file.execute("PRAGMA table_info(examples)")}:
                self._file.execute(_SINCE)
            self.labels = self._agreed(path, tuple(labels))
            if features and self._file.execute("SELECT name FROM made_by").fetchall() != [(features.name,)]:
                with self._file:
                    self._file.execute("UPDATE examples SET features = NULL")
                    self._file.execute("DELETE FROM made_by")
                    self._file.execute("INSERT INTO made_by VALUES (?)", (features.name,))
            self._lock_out(locked)
            self._load()
        except sqlite3.Error as error:
            raise DataError(f"{path} is no index of tweets that can be used ({error}). {_TODO}") from error

    def _agreed(self, path: Path | None, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Return the file's labels; a new file gets the given ones."""
        with self._file:
            known = tuple(name for (name,) in self._file.execute("SELECT name FROM labels ORDER BY place"))
            if not known:
                self._file.executemany("INSERT INTO labels VALUES (?, ?)", enumerate(labels))
        if not (known or labels):
            raise DataError(f"{path} holds no labels. Make an index with `python -m training index RUN`.")
        if known and labels and known != labels:
            raise DataError(
                f"The index {path} has other labels ({', '.join(known)}) than is asked for "
                f"({', '.join(labels)}). Make another one."
            )
        return known or labels

    def _lock_out(self, texts: Iterable[str]) -> None:
        """Lock texts out for good, and remove those that are in the index already."""
        keys = set(map(duplicate_key, mended(texts)))  # as `add` does
        with self._file:
            self._file.executemany("INSERT OR IGNORE INTO locked VALUES (?)", [(_hash(key),) for key in keys])
            self._file.executemany("DELETE FROM examples WHERE key = ?", [(key,) for key in keys])

    def copy_to(self, path: Path) -> None:
        """Copy the index to a new file. Raises DataError if it can't be written."""
        try:
            with self._lock:
                self._file.execute("VACUUM INTO ?", (str(path),))
        except sqlite3.Error as error:
            raise DataError(
                f"The index can't be copied to {path} ({error}). Make room on the disk, or close what locks "
                "it."
            ) from error

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def __len__(self) -> int:
        with self._lock:
            self._reload_if_changed()
            return len(self._examples)

    def counts(self) -> dict[str, int]:
        with self._lock:
            self._reload_if_changed()
            stored = [label for _, label in self._examples]
        return {label: stored.count(label) for label in self.labels}

    def add(self, texts: Sequence[str], labels: Sequence[str], *, learnt: bool = False) -> Added:
        """Add labelled texts; the next search finds them. `learnt`: a model was trained on them.

        Raises DataError for an unknown label, if not every text has a label, and if the file can't be
        written.
        """
        if unknown := sorted(set(labels) - set(self.labels)):
            raise DataError(
                f"{unknown[0]!r} is no label of the index (it has {', '.join(self.labels)}). "
                "Give one of these, or leave the text out."
            )
        if len(texts) != len(labels):
            raise DataError(f"{len(texts)} texts have {len(labels)} labels. Give each text one.")
        texts = mended(texts)
        keys = [duplicate_key(text) for text in texts]
        rows = dict(zip(keys, zip(texts, labels, strict=True), strict=True))
        try:
            with self._lock, self._file:
                self._file.execute("BEGIN IMMEDIATE")  # another process may add, too
                closed = {hash_ for (hash_,) in self._file.execute("SELECT hash FROM locked")}
                locked = {key for key in rows if _hash(key) in closed}
                known = dict(self._file.execute("SELECT key, label FROM examples"))
                fresh = {key: rows[key] for key in rows if key not in locked and key not in known}
                changed = {key: rows[key][1] for key in rows if key in known and known[key] != rows[key][1]}
                self._file.executemany(
                    "INSERT INTO examples (key, text, label, learnt) VALUES (?, ?, ?, ?)",
                    [(key, *row, learnt) for key, row in fresh.items()],
                )
                self._file.executemany(
                    "UPDATE examples SET label = ?, learnt = ? WHERE key = ?",
                    [(label, learnt, key) for key, label in changed.items()],
                )
            with self._lock:
                self._load()
        except sqlite3.Error as error:
            raise DataError(
                f"The index can't be written ({error}). Make room on the disk, or close what locks it."
            ) from error
        out = sum(key in locked for key in keys)
        return Added(len(fresh), len(changed), len(texts) - out - len(fresh) - len(changed), out)

    def search(
        self, texts: Sequence[str], k: int, *, by: By = "words", itself: bool = True
    ) -> list[list[Example]]:
        """Return up to k examples a text, nearest first; by words only those that share one.

        By "added" they are those that no model was trained on and that share a word that is rare in the rest.
        `itself`: whether a duplicate of the text may be found, which is wrong for texts of the index.
        """
        texts = mended(texts)
        with self._lock:
            self._reload_if_changed()
            examples, keys = self._examples, self._keys
            scores = self._by_features(texts) if by == "features" else self._by_words(texts, by)
        floor = -np.inf if by == "features" else 0.0
        found = []
        for text, row in zip(texts, scores, strict=True):
            if not itself and (own := keys.get(duplicate_key(text))) is not None:
                row[own] = -np.inf
            best = [int(at) for at in np.argsort(-row, kind="stable")[:k] if row[at] > floor]
            found.append([Example(*examples[at], similarity=round(float(row[at]), 4)) for at in best])
        return found

    def _reload_if_changed(self) -> None:
        """Read the file again if another process has written to it."""
        try:
            if self._file.execute("PRAGMA data_version").fetchone() != self._version:
                self._load()
        except sqlite3.Error as error:
            raise PredictionError(f"The index can't be read ({error}). {_TODO}") from error

    def _load(self) -> None:
        """Read the file, and compute missing vectors."""
        self._version = self._file.execute("PRAGMA data_version").fetchone()
        if self.features:
            missing = self._file.execute("SELECT id, text FROM examples WHERE features IS NULL").fetchall()
            if missing:
                made = self.features([text for _, text in missing])
                stored = [(vector.tobytes(), at) for vector, (at, _) in zip(made, missing, strict=True)]
                with self._file:
                    self._file.executemany("UPDATE examples SET features = ? WHERE id = ?", stored)
        columns = "text, label, key, features, learnt"
        rows = self._file.execute(f"SELECT {columns} FROM examples ORDER BY id").fetchall()
        self._examples = [(text, label) for text, label, *_ in rows]
        self._keys = {row[2]: place for place, row in enumerate(rows)}
        self._learnt = np.array([row[4] for row in rows], dtype=bool)
        if self.features and rows:
            vectors = np.array([np.frombuffer(row[3], dtype=np.float32) for row in rows])
            self._middle = vectors.mean(0)  # the states of a language model all point the same way
            self._directions = _directions(vectors - self._middle)
        self._words: BM25 | None = None

    def _by_words(self, texts: Sequence[str], by: By) -> Iterator[Scores]:
        """Return a row of scores for each text, one at a time: all of them would not fit into memory."""
        import bm25s  # noqa: PLC0415  (only who searches by words needs it)

        bm25s.logger.setLevel("INFO")  # else a line a build, wherever debug lines go

        def words(some: Sequence[str]) -> list[list[str]]:
            found: list[list[str]] = bm25s.tokenize(
                list(some), token_pattern=_TOKENS, stopwords=[], return_ids=False, show_progress=False
            )
            return found

        tokenized = words([text for text, _ in self._examples]) if self._words is None else []
        if any(tokenized):  # bm25s takes no corpus without a word
            self._words = bm25s.BM25()
            self._words.index(tokenized, show_progress=False)
            learnt = [set(tokenized[place]) for place in np.flatnonzero(self._learnt)]
            counted = Counter(word for each in learnt for word in each)
            self._common = {word for word, n in counted.items() if n > RARE * len(learnt)}
        known, size = self._words, len(self._examples)
        queries, passed = words(texts), np.zeros(size, dtype=bool)
        if by == "added" and known:
            queries = [[word for word in query if word not in self._common] for query in queries]
            passed = self._learnt
        return (
            np.where(passed, 0.0, known.get_scores(query)) if known and query else np.zeros(size)
            for query in queries
        )

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


class Neighbours:
    """The vote of the k nearest labelled texts by features; each label has one vote to begin with.

    All votes weigh the same. Close to kNN prompting (Xu et al. 2023, arXiv 2303.13824), whose features are
    the distribution of the answer; here they are the trunk's states.
    """

    def __init__(self, index: Index, *, k: int, by: By = "features") -> None:
        self.index, self.k, self.by = index, k, by
        self.labels, self.seconds = index.labels, 0.0

    @property
    def about(self) -> str:
        return f"the vote of the {self.k} nearest of {len(self.index):,} labelled texts, by {self.by}"

    @classmethod
    def chosen(cls, index: Index, texts: Sequence[str], labels: Sequence[str]) -> "Neighbours":
        """Return the vote with the k that is right on most of some labelled texts, of equals the smallest."""
        found = index.search(texts, max(_KS), by="features")

        def right(k: int) -> int:
            votes = [cls(index, k=k)._vote(examples[:k]).label for examples in found]
            return sum(vote == label for vote, label in zip(votes, labels, strict=True))

        return cls(index, k=max(_KS, key=lambda k: (right(k), -k)))

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


def beside(classifier: Predictor, index: Index, *, share: float = VOTE_SHARE, k: int = NEAREST) -> Average:
    """Return a classifier with the vote of the k nearest texts added to an index since its training.

    Those texts share a word with the classified one that is rare in training: the classifier can't know much
    about such words. `share`: the vote's part of the answer. Raises PredictionError if the labels differ or a
    number is out of range.
    """
    if not 0 <= share <= 1 or k < 1:
        raise PredictionError(f"{k} neighbours can't have a share of {share:g}. Give 1 or more, and 0 to 1.")
    if tuple(index.labels) != tuple(classifier.labels):
        raise PredictionError(
            f"The index has the labels {', '.join(index.labels)}, and the model "
            f"{', '.join(classifier.labels)}. Take the index of the model's own run."
        )
    about = f"the model's answer with {share:.0%} of the vote of the {k} nearest labelled texts"
    vote = Neighbours(index, k=k, by="added")
    return Average([classifier, vote], weights=(1 - share, share), about=about)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
