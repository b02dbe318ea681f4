"""Replay: given posts, streamed at a chosen rate. Needs no network and no key.

    replay = Replay([Post("1", "what a day", label="positive")], rate_per_s=2.0)
    replay = Replay.of_file("monday.jsonl", rate_per_s=None)      # a recording, as fast as it is taken
    list(replay.posts(Event()))

The rate may be changed while it streams. Given posts come in a shuffled order, those of a file in the file's:
a recording, or any table that `inference.tables` reads. Knows nothing about splits: whoever makes one passes
held-out posts, so that no model has seen them.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Self

from inference.common.errors import DataError, FeedError
from inference.common.store import JsonObject
from inference.live.errors import SourceBadQuery
from inference.live.post import Post, clean, link, moment
from inference.live.sources.base import SourceStatus
from inference.tables.columns import SEVERAL, labels_of

if TYPE_CHECKING:
    from inference.tables.rows import TableReader, TextChunk

MAX_RATE_PER_S = 1000.0
_LONGEST_WAIT_S = 0.25  # so that a change of the rate takes effect while a slow one waits
_CATCH_UP_S = 0.2  # after a pause, or on a busy machine, no more than this is made up for


class Replay:
    """A source that streams given posts, `rate_per_s` of them a second."""

    name = "replay"

    def __init__(
        self,
        posts: Sequence[Post],
        *,
        rate_per_s: float | None = 2.0,
        shuffle: bool = True,
        rounds: int = 1,
        seed: int = 42,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[Event, float], bool] = Event.wait,
        reason: str = "",
    ) -> None:
        """Take the posts to stream; raise FeedError when there are none or the rate can't be kept.

        A rate of None means as fast as possible. They are streamed `rounds` times, with ids that end in "/2"
        in the second round. `wait(stop, seconds)` sleeps until the time is over or `stop` is set, and returns
        whether it is set. `reason`: what its status says beside the state.
        """
        if not posts:
            raise FeedError("There is nothing to replay: no post was found. Choose data with a test split.")
        self._posts = list(posts)
        if shuffle:
            random.Random(seed).shuffle(self._posts)
        self._rounds = rounds
        self._clock = clock
        self._wait = wait
        self._reason = reason
        self.status = SourceStatus()
        self.set_rate(rate_per_s)

    @classmethod
    def of_file(
        cls, path: str | Path, *, text_column: str = "", label_column: str = "label", **options: Any
    ) -> Self:
        """Replay a recording or a file of texts, in its order. Rows without a text are left out.

        The column of texts is found by its name, as `python -m inference score` finds it; the column of true
        labels may be missing. In a recording of ours they are always "text" and "true_label". The status says
        what was left out, and how the file was understood; `options` are those of `Replay`. Raises
        SourceBadQuery when the file can't be read, is of an unknown kind, or has no texts.
        """
        posts, notes = posts_of_file(Path(path), text_column, label_column)
        return cls(posts, reason=" ".join(notes), **{"shuffle": False, **options})

    def set_rate(self, rate_per_s: float | None) -> None:
        """Change the number of posts a second, None for no limit; raise FeedError when it is not in reach."""
        if rate_per_s is not None and not 0 < rate_per_s <= MAX_RATE_PER_S:
            raise FeedError(
                f"A rate of {rate_per_s:g} posts a second can't be replayed. "
                f"Choose more than 0 and at most {MAX_RATE_PER_S:g}."
            )
        self.rate_per_s = None if rate_per_s is None else float(rate_per_s)

    def posts(self, stop: Event) -> Iterator[Post]:
        """Yield each post, in time with the rate; return when `stop` is set."""
        last, read = self._clock(), 0
        self.status = SourceStatus("connected", self._reason)
        for post in self._all():
            while (left_s := last + self._interval_s() - self._clock()) > 0:
                if self._wait(stop, min(left_s, _LONGEST_WAIT_S)):
                    break
            if stop.is_set():
                break
            last = max(last + self._interval_s(), self._clock() - _CATCH_UP_S)
            read += 1
            self.status = SourceStatus("connected", self._reason, read=read)
            yield post
        self.status = SourceStatus("ended", self._reason, read=read)

    def _interval_s(self) -> float:
        return 1 / self.rate_per_s if self.rate_per_s else 0.0

    def _all(self) -> Iterator[Post]:
        yield from self._posts
        for number in range(2, self._rounds + 1):
            for post in self._posts:
                yield replace(post, id=f"{post.id}/{number}")


def posts_of_file(
    path: Path, text_column: str = "", label_column: str = "label"
) -> tuple[list[Post], list[str]]:
    """Return the posts of a file, and sentences on what was left out and how it was understood."""
    from inference.tables.formats import open_table, open_texts  # noqa: PLC0415  (pyarrow takes a while)

    posts: list[Post] = []
    problems: list[str] = []
    rows = 0
    try:
        reader = open_table(path)
        recorded = "true_label" in reader.names
        if recorded and "text" not in reader.names:
            count = sum(chunk.n for chunk in reader.chunks())
            raise SourceBadQuery(
                f"{path} holds {count:,} posts and no text, so there is nothing to classify. "
                "Record with texts to be able to replay."
            )
        label = "true_label" if recorded else _label_column(reader, label_column)
        table = open_texts(path, text_column=text_column)
        for chunk in table.chunks():
            found = zip(
                chunk.texts, chunk.problems, _labels(chunk, label, reader.names), _known(chunk), strict=True
            )
            for text, problem, truth, known in found:
                rows += 1
                if text is None or not (text.strip() or recorded):
                    problems.append(problem or "the text is empty")
                else:
                    name = f"{path.name.split('.')[0]}-{rows}"
                    posts.append(_post(known, id=name, text=clean(text), label=truth))
    except DataError as error:
        raise SourceBadQuery(f"{path} can't be replayed: {error}") from error
    notes = [*table.reader.notes]
    if problems:
        notes.insert(0, f"{len(problems):,} of {rows:,} rows are left out (the first: {problems[0]}).")
    if problems and not posts:
        raise SourceBadQuery(f"{path} holds no text to replay: {notes[0]}")
    return posts, notes


def _label_column(reader: "TableReader", name: str) -> str:
    if name in reader.names:
        return name
    try:
        return reader.pick("label", given="" if name == "label" else name)
    except DataError:
        return ""


def _labels(chunk: "TextChunk", column: str, names: Sequence[str]) -> list[str | None]:
    labels = labels_of(column, names, chunk.rows.plain) if column else [None] * chunk.rows.n
    return [None if label in (None, "") or label is SEVERAL else clean(str(label)) for label in labels]


def _known(chunk: "TextChunk") -> list[JsonObject]:
    """Return what JSON rows say about their posts, as a recording does; of other tables nothing."""
    lines = getattr(chunk.rows, "lines", None)
    return [line.row for line in lines] if lines is not None else [{}] * chunk.rows.n


def _post(row: JsonObject, *, id: str, text: str, label: str | None) -> Post:
    tags, known = row.get("languages"), row.get("id")
    return Post(
        id=clean(str(known)) if known and type(known) in (str, int) else id,
        text=text,
        label=label,
        author=clean(row.get("author")),
        url=link(row.get("url")),
        source=clean(row.get("source")) or "replay",
        created=moment(row.get("created")),
        languages=tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
        is_reply=row.get("is_reply") is True,
        is_repost=row.get("is_repost") is True,
        sensitive=row.get("sensitive") is True,
    )
