"""Replay: posts that are already at hand, streamed at a chosen rate. Needs no network and no key.

    replay = Replay([Post("1", "what a day", label="positive")], rate_per_s=2.0)
    replay = Replay.of_file("monday.jsonl", rate_per_s=None)      # a recording, as fast as it is taken
    list(replay.posts(Event()))

The rate may be changed while it streams. Given posts come in a shuffled order, those of a file in theirs: a
recording, other JSON lines, CSV or TSV, Parquet, or plain text with one post a line. Knows nothing about
splits: whoever makes one passes held-out posts, so that no model has seen them.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Self, TypedDict, Unpack

from inference.common.errors import DataError, FeedError
from inference.common.text import decoded
from inference.live.errors import SourceBadQuery
from inference.live.post import Post, clean, link, moment
from inference.live.sources.base import SourceStatus
from inference.tables.rows import json_lines, kind_of, lines_of, read_head

MAX_RATE_PER_S = 1000.0
_LONGEST_WAIT_S = 0.25  # so that a change of the rate takes effect while a slow one waits
_CATCH_UP_S = 0.2  # after a pause, or on a busy machine, no more than this is made up for


class ReplayOptions(TypedDict, total=False):
    """What `Replay` takes beside the posts."""

    rate_per_s: float | None
    shuffle: bool
    rounds: int
    seed: int
    clock: Callable[[], float]
    wait: Callable[[Event, float], bool]


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
    ) -> None:
        """Take the posts to stream; raise FeedError when there are none or the rate can't be kept.

        A rate of None means as fast as possible. They are streamed `rounds` times, with ids that end in "/2"
        in the second round. `wait(stop, seconds)` sleeps until the time is over or `stop` is set, and returns
        whether it is set.
        """
        if not posts:
            raise FeedError("There is nothing to replay: no post was found. Choose data with a test split.")
        self._posts = list(posts)
        if shuffle:
            random.Random(seed).shuffle(self._posts)
        self._rounds = rounds
        self._clock = clock
        self._wait = wait
        self.status = SourceStatus()
        self.set_rate(rate_per_s)

    @classmethod
    def of_file(
        cls,
        path: str | Path,
        *,
        text_column: str = "",
        label_column: str = "label",
        **options: Unpack[ReplayOptions],
    ) -> Self:
        """Replay a recording or a file of texts; see `posts_of_file`. Raises FeedError like it."""
        posts = posts_of_file(path, text_column=text_column, label_column=label_column)
        settings: ReplayOptions = {"shuffle": False, **options}
        return cls(posts, **settings)

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
        self.status = SourceStatus("connected")
        for post in self._all():
            while (left_s := last + self._interval_s() - self._clock()) > 0:
                if self._wait(stop, min(left_s, _LONGEST_WAIT_S)):
                    break
            if stop.is_set():
                break
            last = max(last + self._interval_s(), self._clock() - _CATCH_UP_S)
            read += 1
            self.status = SourceStatus("connected", read=read)
            yield post
        self.status = SourceStatus("ended", read=read)

    def _interval_s(self) -> float:
        return 1 / self.rate_per_s if self.rate_per_s else 0.0

    def _all(self) -> Iterator[Post]:
        yield from self._posts
        for number in range(2, self._rounds + 1):
            for post in self._posts:
                yield replace(post, id=f"{post.id}/{number}")


def posts_of_file(path: str | Path, *, text_column: str = "", label_column: str = "label") -> list[Post]:
    """Return the posts of a file, in their order. Rows without a text are left out.

    The column of texts is found by its name, as `python -m inference score` finds it; the column of true
    labels may be missing. In JSON lines they are always "text" and "true_label", or "label".
    Raises SourceBadQuery when the file can't be read, is of an unknown kind, or has no texts.
    """
    file = Path(path)
    try:
        if kind_of(file) == ".jsonl":
            return _recorded(file)
        rows = _lines(file) if kind_of(file) == ".txt" else _table(file, text_column, label_column)
        return [
            Post(f"{file.name.split('.')[0]}-{number}", clean(text), label=label, source="replay")
            for number, (text, label) in enumerate(rows, 1)
            if text and text.strip()
        ]
    except DataError as error:
        raise SourceBadQuery(f"{path} can't be replayed: {error}") from error


def _lines(path: Path) -> Iterator[tuple[str, None]]:
    read_head(path)  # refuses what is no text
    with lines_of(path) as lines:
        for line in iter(lines.line, ""):
            yield decoded(line.rstrip("\r\n")), None


def _table(path: Path, text_column: str, label_column: str) -> Iterator[tuple[str | None, str | None]]:
    from inference.tables.formats import open_texts  # noqa: PLC0415  (pyarrow takes a while)

    table = open_texts(path, text_column=text_column)
    labelled = label_column in table.kept
    for chunk in table.chunks():
        labels = chunk.rows.plain(label_column) if labelled else [None] * chunk.rows.n
        for text, label in zip(chunk.texts, labels, strict=True):
            yield text, None if label in (None, "") else str(label)


def _recorded(path: Path) -> list[Post]:
    """Return the posts of a recording, or of any JSON lines with a "text".

    Without a "true_label", a "label" counts as true only in a file that is no recording of ours.
    """
    posts, count = [], 0
    for line in json_lines(path):
        row, count = line.row, count + 1
        if line.problem:
            raise SourceBadQuery(f"Line {line.number} of {path}: {line.problem}. Mend or remove it.")
        if not isinstance(row.get("text"), str):
            continue
        label, tags = row.get("true_label", row.get("label")), row.get("languages")
        post = Post(
            id=str(row.get("id") or f"{path.name.split('.')[0]}-{line.number}"),
            text=clean(row["text"]),
            label=label if isinstance(label, str) else None,
            author=clean(row.get("author")),
            url=link(row.get("url")),
            source=clean(row.get("source")) or "replay",
            created=moment(row.get("created")),
            languages=tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
            is_reply=row.get("is_reply") is True,
            is_repost=row.get("is_repost") is True,
            sensitive=row.get("sensitive") is True,
        )
        posts.append(post)
    if count and not posts:
        raise SourceBadQuery(
            f"{path} holds {count:,} posts and no text, so there is nothing to classify. "
            "Record with texts to be able to replay."
        )
    return posts
