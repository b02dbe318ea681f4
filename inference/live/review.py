"""The disagreements of two models, the labels that a person gives them, and the pages on which that happens.

    store = LabelStore(cache_dir() / "labels.sqlite", labels=classifier.labels)
    listener = store.listener("zero-shot", "runs/demo")    # of a feed: its disagreements come in
    session = store.session("page")         # one for each open page
    view = session.view()                   # -> SessionView(item=Item(id=1, text="what a day", …), …)
    session.label(view.item.id, "positive")      # or skip; undo() takes the last one back
    store.agreement()                       # how often each model agreed with the person
    store.review(key=normalise)             # duplicates and conflicts, to be shown before
    store.export(Path("mine.jsonl"), key=normalise)  # {"text", "label"} a line, as `--dataset` takes it

Rows of a data set whose labels are in doubt are reviewed the same way: their label stands for the answer of
the first model, IN_DATA, and the suggestion for the second's. Exported, such a row says which label it "was".

The store is an SQLite file, in WAL mode or, where the disk can't do that, with a plain journal: labels
survive a kill at any moment, and several pages, threads and processes may use one file. A post that is shown
on one page is not shown on another for two minutes; when both answer, the first answer counts. Who labelled,
and when, is not stored; posts' texts are, until `clear`. A page's own `undo` ends with it.
"""

import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference.common.errors import TweetTuneError
from inference.common.intervals import Interval, wilson
from inference.common.paths import is_on_bucket
from inference.common.store import write_jsonl
from inference.live.feed import Listener
from inference.live.post import ClassifiedPost, clean

MAX_WAITING = 500
IN_DATA, SUGGESTED = "label in the data", "suggested label"
"""What stands for the models of a row whose label is in doubt."""
LEASE_S = 120.0
_MOST_SESSIONS = 200
_RETRY_S = 10.0  # how long a store that failed is left alone
_VERSION = 2
_SCHEMA = """
CREATE TABLE items (
    id INTEGER PRIMARY KEY, post_id TEXT NOT NULL, text TEXT NOT NULL UNIQUE,
    first_model TEXT NOT NULL, first_label TEXT NOT NULL,
    second_model TEXT NOT NULL, second_label TEXT NOT NULL,
    shown REAL NOT NULL DEFAULT 0, skipped INTEGER NOT NULL DEFAULT 0, label TEXT,
    confidence REAL NOT NULL DEFAULT 1
);
CREATE INDEX waiting ON items (id) WHERE label IS NULL AND skipped = 0;
"""
_SINCE_1 = "ALTER TABLE items ADD COLUMN confidence REAL NOT NULL DEFAULT 1"
_WAITING = "label IS NULL AND skipped = 0"
_GIVEN = "post_id, text, first_model, first_label, second_model, second_label"
_COLUMNS = f"{_GIVEN}, id, label"


class LabelError(TweetTuneError):
    """A label can't be kept, or the store of labels can't be used."""


@dataclass(frozen=True)
class Disagreement:
    """A post to which two models give different labels. `first_model` and `second_model` name them."""

    post_id: str
    text: str
    first_model: str
    first_label: str
    second_model: str
    second_label: str
    confidence: float = field(default=1.0, kw_only=True)
    """The first model's, less where the text is unlike its training texts: the least is labelled first."""


@dataclass(frozen=True)
class Item(Disagreement):
    """A disagreement in the store, and the person's label for it: None while there is none."""

    id: int
    label: str | None = None


@dataclass(frozen=True)
class LabelCounts:
    """Posts in the store."""

    waiting: int
    labelled: int
    skipped: int


@dataclass(frozen=True)
class Agreement:
    """How often two models agreed with the person, on posts on which they disagree with each other.

    So at most one of them is right, and nothing follows for the posts on which they agree.
    """

    first_model: str
    second_model: str
    n: int
    first: Interval
    """Share of the n posts in which the first model is right, with Wilson's interval."""
    second: Interval
    neither: int


@dataclass(frozen=True)
class Group:
    """Labelled posts whose texts have the same key, and their labels, oldest first."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Review:
    """What an export will do: `rows` are written, a group of duplicates once, and conflicts not at all."""

    rows: tuple[tuple[str, str], ...]
    duplicates: tuple[Group, ...]
    conflicts: tuple[Group, ...]


def same_text(text: str) -> str:
    """Return a key that is the same for texts that differ by case and spaces only."""
    return " ".join(text.casefold().split())


class LabelStore:
    """Disagreements and labels in a file, and the pages' sessions. Thread-safe; raises LabelError."""

    def __init__(
        self,
        path: Path,
        *,
        labels: Sequence[str],
        max_waiting: int = MAX_WAITING,
        clock: Callable[[], float] = time.time,
        wal: bool | None = None,
    ) -> None:
        """Open the file, or make it. `wal`: None for whether it is not on a bucket."""
        self._wal = not is_on_bucket(path) if wal is None else wal
        self.path, self.labels = path, tuple(labels)
        self._max_waiting, self._clock = max_waiting, clock
        self._lock = threading.RLock()
        self._sessions: OrderedDict[str, AnnotationSession] = OrderedDict()
        self._agreement: tuple[int, tuple[Agreement, ...]] = (0, ())  # and of how many labels it is
        self.problem = ""
        """Why the newest disagreements of a feed could not be kept, "" while they are."""
        self._tries_again_s = 0.0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error
        try:
            self._prepare()
        except (sqlite3.Error, LabelError, UnicodeDecodeError) as error:  # of a torn schema, too
            self._file.close()
            raise self._unusable(error.__cause__ or error) from error

    def _unusable(self, why: BaseException) -> LabelError:
        return LabelError(
            f"{self.path} can't be used as a store of labels ({why}). Move it away, or name another file."
        )

    def _prepare(self) -> None:
        self._wal = self._wal and self._journal("WAL") == "wal"
        if not self._wal:
            self._journal("DELETE")
        # In WAL mode a kill loses nothing, only a power cut may; a plain journal must reach the disk first.
        self._file.execute(f"PRAGMA synchronous={'NORMAL' if self._wal else 'FULL'}")
        with self._writing() as file:
            [version] = file.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                raise sqlite3.DatabaseError(f"it is of version {version}, and {_VERSION} is known")
            if version < _VERSION:
                for statement in [_SINCE_1] if version == 1 else _SCHEMA.split(";"):
                    file.execute(statement)
                file.execute(f"PRAGMA user_version={_VERSION}")

    def _journal(self, mode: str) -> str:
        """Ask for a journal mode and return the actual one: a disk that doesn't support it is no error."""
        try:
            [found] = self._file.execute(f"PRAGMA journal_mode={mode}").fetchone()
        except sqlite3.OperationalError:
            return ""
        return str(found)

    def close(self) -> None:
        with self._lock:
            self._file.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: within it, no other thread or process writes."""
        with self._lock:
            try:
                self._file.execute("BEGIN IMMEDIATE")
                try:
                    yield self._file
                except BaseException:
                    if self._file.in_transaction:  # SQLite ends it itself when the disk is full
                        self._file.execute("ROLLBACK")
                    raise
                self._file.execute("COMMIT")
            except sqlite3.Error as error:
                raise LabelError(
                    f"{self.path} can't be written ({error}). Make room on the disk, or close what locks it."
                ) from error

    def add(self, found: Sequence[Disagreement]) -> int:
        """Put disagreements into the queue and return how many are new: a text is kept once.

        Of those that wait, the newest `max_waiting` stay; older ones are forgotten, unless a page shows them.
        """
        now = self._clock()
        rows = [
            (
                *map(
                    clean, (d.post_id, d.text, d.first_model, d.first_label, d.second_model, d.second_label)
                ),
                d.confidence,
            )
            for d in found
            if d.text.strip()
        ]
        with self._writing() as file:
            before = file.total_changes
            file.executemany(
                f"INSERT OR IGNORE INTO items ({_GIVEN}, confidence) VALUES (?, ?, ?, ?, ?, ?, ?)", rows
            )
            new = file.total_changes - before
            file.execute(
                f"DELETE FROM items WHERE {_WAITING} AND (shown <= ? OR shown > ?) AND id NOT IN"
                f" (SELECT id FROM items WHERE {_WAITING} ORDER BY id DESC LIMIT ?)",
                (now - LEASE_S, now, self._max_waiting),
            )
        return new

    def take(self) -> Item | None:
        """Return the post that waits, is shown nowhere and of which the first model knows least.

        Of equals the newest. It is held for two minutes.
        """
        now = self._clock()
        with self._writing() as file:
            row = file.execute(
                f"SELECT {_COLUMNS} FROM items WHERE {_WAITING} AND (shown <= ? OR shown > ?)"
                " ORDER BY confidence, id DESC LIMIT 1",
                (now - LEASE_S, now),
            ).fetchone()
            if row:
                file.execute("UPDATE items SET shown = ? WHERE id = ?", (now, row[-2]))
        return Item(*row) if row else None

    def label(self, item_id: int, label: str) -> bool:
        """Keep a person's label. Returns False when the post is no longer open: answered, or gone."""
        if label not in self.labels:
            raise LabelError(f"There is no label {label!r}. Give one of: {', '.join(self.labels)}.")
        return self._change("label = ?, shown = 0", f"id = ? AND {_WAITING}", label, item_id)

    def skip(self, item_id: int) -> bool:
        """Put a post aside without a label. Returns False when it is no longer open."""
        return self._change("skipped = 1, shown = 0", f"id = ? AND {_WAITING}", item_id)

    def undo(self, item_id: int) -> Item | None:
        """Take a label or a skip back, and hold the post as if just shown; None when there is neither."""
        done = self._change(
            "label = NULL, skipped = 0, shown = ?", f"id = ? AND NOT ({_WAITING})", self._clock(), item_id
        )
        rows = self._read(f"SELECT {_COLUMNS} FROM items WHERE id = ?", item_id) if done else []
        return Item(*rows[0]) if rows else None

    def _change(self, what: str, where: str, *values: object) -> bool:
        with self._writing() as file:
            self._agreement = (-1, ())
            return file.execute(f"UPDATE items SET {what} WHERE {where}", values).rowcount == 1

    def _read(self, query: str, *values: object) -> list[Any]:
        with self._lock:
            try:
                return self._file.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise self._unusable(error) from error

    def knows(self, item_id: int) -> bool:
        """Return whether a post is still there, answered or not."""
        return bool(self._read("SELECT 1 FROM items WHERE id = ?", item_id))

    def counts(self) -> LabelCounts:
        """Return how many posts wait, are labelled and were skipped."""
        [row] = self._read(
            f"SELECT count(*) FILTER (WHERE {_WAITING}), count(label),"
            " count(*) FILTER (WHERE skipped = 1) FROM items"
        )
        return LabelCounts(*row)

    def labelled(self) -> list[Item]:
        """Return the labelled posts, oldest first."""
        return [
            Item(*row)
            for row in self._read(f"SELECT {_COLUMNS} FROM items WHERE label IS NOT NULL ORDER BY id")
        ]

    def agreement(self) -> tuple[Agreement, ...]:
        """Return the labels' agreement with each pair of models, the latest pair first."""
        known, found = self._agreement
        if known == (labelled := self.counts().labelled):  # read anew only when a label came or went
            return found
        pairs: dict[tuple[str, str], list[Item]] = {}
        for item in reversed(self.labelled()):
            pairs.setdefault((item.first_model, item.second_model), []).append(item)
        pairwise = []
        for models, items in pairs.items():
            n = len(items)
            first = sum(item.label == item.first_label for item in items)
            second = sum(item.label == item.second_label for item in items)
            a, b = wilson(first, n), wilson(second, n)
            if a and b:
                pairwise.append(Agreement(*models, n, a, b, n - first - second))
        self._agreement = (labelled, tuple(pairwise))
        return self._agreement[1]

    def review(self, *, key: Callable[[str], str] = same_text) -> Review:
        """Return what an export would write, and the duplicates and conflicts among the labelled posts.

        Posts have the same text when `key` gives the same for both; training has a stricter one of its own.
        """
        groups: dict[str, list[Item]] = {}
        for item in self.labelled():
            groups.setdefault(key(item.text), []).append(item)
        rows, duplicates, conflicts = [], [], []
        for items in groups.values():
            group = Group(tuple(i.text for i in items), tuple(i.label or "" for i in items))
            if len(set(group.labels)) > 1:
                conflicts.append(group)
                continue
            rows.append((group.texts[0], group.labels[0]))
            if len(items) > 1:
                duplicates.append(group)
        return Review(tuple(rows), tuple(duplicates), tuple(conflicts))

    def export(self, path: Path, *, key: Callable[[str], str] = same_text) -> Review:
        """Write the reviewed rows as JSONL, one {"text", "label"} a line, and return the review.

        A row whose label was in doubt has the one before in "was".
        The file is there as a whole or not at all. Raises LabelError when there is no row, or it can't be
        written.
        """
        review = self.review(key=key)
        if not review.rows:
            raise LabelError(
                f"There is no label to export ({len(review.conflicts)} texts have labels that contradict "
                "each other). Label some posts first."
            )
        was = {one.text: {"was": one.first_label} for one in self.labelled() if one.first_model == IN_DATA}
        try:
            write_jsonl(path, ({"text": t, "label": label, **was.get(t, {})} for t, label in review.rows))
        except OSError as error:
            raise LabelError(
                f"{path} can't be written ({error.strerror}). Name a file in a folder that exists."
            ) from error
        return review

    def clear(self) -> None:
        """Forget every post and label, those on the open pages too, and give their room on the disk back."""
        with self._writing() as file:
            file.execute("DELETE FROM items")
            self._sessions.clear()
        self._agreement = (0, ())
        self._read("VACUUM")
        self._read("PRAGMA wal_checkpoint(TRUNCATE)")

    def listener(self, first_model: str, second_model: str) -> Listener:
        """Return a listener that puts a feed's disagreements into the store.

        Where that fails `problem` says so, the feed goes on, and the store is tried again 10 s later: a file
        that is locked would hold up each batch.
        """

        def listen(batch: Sequence[ClassifiedPost]) -> None:
            found = [
                Disagreement(
                    each.post.id,
                    each.post.text,
                    first_model,
                    each.label,
                    second_model,
                    each.second_label,
                    confidence=each.probability * (1 - each.unknown_share),
                )
                for each in batch
                if each.disagrees and each.second_label
            ]
            if not found or (self.problem and time.monotonic() < self._tries_again_s):
                return
            try:
                self.add(found)
                self.problem = ""
            except LabelError as error:
                self.problem, self._tries_again_s = str(error), time.monotonic() + _RETRY_S

        return listen

    def session(self, page_id: str) -> "AnnotationSession":
        """Return the session of an open page; the one that was used longest ago makes room for a new one."""
        with self._lock:
            session = self._sessions.pop(page_id, None) or AnnotationSession(self)
            self._sessions[page_id] = session
            if len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)
            return session


@dataclass(frozen=True)
class LastAnswer:
    """The post that was labelled or skipped last on a page."""

    item: Item
    label: str
    """ "" when it was skipped."""


@dataclass(frozen=True)
class SessionView:
    """What a page shows."""

    item: Item | None
    """The post to be labelled, None when none waits."""
    last: LastAnswer | None
    counts: LabelCounts
    taken: bool = False
    """Whether the label just given was too late: another page was first."""
    gone: bool = False
    """Whether it was too late since the post is not kept any more."""


class AnnotationSession:
    """The state of one open page; each step returns the next view. Thread-safe."""

    def __init__(self, store: LabelStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._item: Item | None = None
        self._last: LastAnswer | None = None
        self._done: list[int] = []
        self._aside: list[Item] = []  # what was shown when `undo` put another post in its place

    def view(self) -> SessionView:
        """Return the post that is shown, or take the next one."""
        with self._lock:
            return self._view()

    def label(self, item_id: int, label: str) -> SessionView:
        """Label the post that is shown; nothing happens when it is another: a key that was pressed twice."""
        return self._finish(item_id, label)

    def skip(self, item_id: int) -> SessionView:
        """Put the post that is shown aside, as `label` does."""
        return self._finish(item_id, None)

    def undo(self) -> SessionView:
        """Take back the last label or skip of this page and show its post again."""
        with self._lock:
            self._last = None
            while self._done:
                if item := self._store.undo(self._done.pop()):
                    if self._item:
                        self._aside.append(self._item)
                    self._item = item
                    break
            return self._view()

    def _finish(self, item_id: int, label: str | None) -> SessionView:
        with self._lock:
            item = self._item
            if item is None or item.id != item_id:
                return self._view()
            done = self._store.skip(item.id) if label is None else self._store.label(item.id, label)
            if done:
                self._done.append(item.id)
            self._item, self._last = None, LastAnswer(item, label or "") if done else None
            known = done or self._store.knows(item.id)
            return self._view(taken=not done and known, gone=not known)

    def _view(self, *, taken: bool = False, gone: bool = False) -> SessionView:
        if self._item is None:
            self._item = self._aside.pop() if self._aside else self._store.take()
        return SessionView(self._item, self._last, self._store.counts(), taken, gone)
