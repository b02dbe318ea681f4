"""Recording: a feed saved as JSON lines, one post a line, to be replayed or looked at later.

    with Recorder("monday.jsonl", texts=True) as recorder:
        feed = Feed(source, classifier.predict, labels=classifier.labels, listeners=[recorder])

    posts = recorded_posts("monday.jsonl")        # for Replay

A line holds the post's id, source, times and labels. Text, author and link are left out unless `texts` is
set, since the services ask that their posts be fetched again by id, so that what was deleted stays deleted.
`label` is what a model said; `true_label` is what is known to be true, and all that a replay is judged by.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from inference.live.post import ClassifiedPost, Post, clean, link, moment
from inference.live.sources.errors import SourceBadQuery


class Recorder:
    """Writes a recording. Any thread may add to it; each line is written at once, whole or not at all."""

    def __init__(
        self, path: str | Path, *, texts: bool = False, now: Callable[[], float] = time.time
    ) -> None:
        """Begin a new file. `now`: Unix seconds.

        Raises SourceBadQuery when the file exists already or can't be written.
        """
        self.path = Path(path)
        self.count = 0
        self._texts, self._now = texts, now
        self._lock = Lock()
        try:
            self._file = self.path.open("xb", buffering=0)
        except FileExistsError:
            raise SourceBadQuery(f"{self.path} exists already. Give the name of a new file.") from None
        except OSError as error:
            raise self._unwritten(error) from error

    def __call__(self, batch: Sequence[ClassifiedPost]) -> None:
        """Write a batch of a feed. Raises SourceBadQuery as `add` does."""
        for result in batch:
            self.add(
                result.post,
                label=result.label,
                probability=result.probability,
                second_label=result.second_label,
                second_probability=result.second_probability,
                at=self._now(),
            )

    def add(
        self,
        post: Post,
        *,
        label: str | None = None,
        probability: float | None = None,
        second_label: str | None = None,
        second_probability: float | None = None,
        at: float,
    ) -> None:
        """Write one post and what a model said of it, and a second one in a duel. `at`: Unix seconds.

        Raises SourceBadQuery when the disk is full; what was written before can be replayed.
        """
        row: dict[str, Any] = {
            "id": post.id,
            "source": post.source,
            "created": post.created.isoformat() if post.created else None,
            "at": datetime.fromtimestamp(at, UTC).isoformat(),
            "label": label,
            "probability": _rounded(probability),
            "true_label": post.label,
            "languages": post.languages,
            "is_reply": post.is_reply,
            "is_repost": post.is_repost,
            "sensitive": post.sensitive,
        }
        if second_label is not None:
            row |= {"second_label": second_label, "second_probability": _rounded(second_probability)}
        if self._texts:
            row |= {"text": post.text, "author": post.author, "url": post.url}
        line = json.dumps(row, ensure_ascii=True)  # one line, whatever line ends the text holds
        with self._lock:
            self._write(f"{line}\n".encode())
            self.count += 1

    def close(self) -> None:
        """End the recording."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, line: bytes) -> None:
        """Write a line whole. A disk that fills up takes a part of it, which is taken back."""
        whole = self._file.tell()
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(whole)
                self._file.seek(whole)
            raise self._unwritten(error) from error

    def _unwritten(self, error: OSError) -> SourceBadQuery:
        return SourceBadQuery(f"{self.path} can't be written ({error.strerror}). Choose another place.")


def _rounded(probability: float | None) -> float | None:
    return None if probability is None else round(probability, 6)


def recorded_posts(path: str | Path) -> list[Post]:
    """Return the posts of a recording, or of any JSON lines with a "text", in their order.

    Without a "true_label", a "label" counts as true only in a file that is no recording of ours.
    Raises SourceBadQuery when the file can't be read, a line is malformed, or no line holds a text.
    """
    rows = list(_rows(Path(path)))
    posts = [_post(row, number, Path(path).stem) for number, row in rows if isinstance(row.get("text"), str)]
    if rows and not posts:
        raise SourceBadQuery(
            f"{path} holds {len(rows):,} posts and no text, so there is nothing to classify. "
            "Record with texts to be able to replay."
        )
    return posts


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, _row(line, number, path)
    except (OSError, UnicodeDecodeError) as error:
        raise SourceBadQuery(
            f"{path} can't be read ({error}). Give a file of JSON lines in UTF-8."
        ) from error


def _row(line: str, number: int, path: Path) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise SourceBadQuery(f"Line {number} of {path} is not a JSON object. Mend or remove it.")
    return row


def _post(row: dict[str, Any], number: int, name: str) -> Post:
    label = row["true_label"] if "true_label" in row else row.get("label")
    languages = row.get("languages")
    return Post(
        id=str(row.get("id") or f"{name}-{number}"),
        text=clean(row["text"]),
        label=label if isinstance(label, str) else None,
        author=clean(row.get("author")),
        url=link(row.get("url")),
        source=clean(row.get("source")) or "replay",
        created=moment(row.get("created")),
        languages=tuple(tag for tag in languages if isinstance(tag, str))
        if isinstance(languages, list)
        else (),
        is_reply=row.get("is_reply") is True,
        is_repost=row.get("is_repost") is True,
        sensitive=row.get("sensitive") is True,
    )
