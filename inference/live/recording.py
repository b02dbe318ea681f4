"""Recording: a feed saved as JSON lines, one post a line, to be replayed or looked at later.

    with Recorder("monday.jsonl", texts=True) as recorder:
        feed = Feed(source, classify, labels=labels, listeners=[recorder])

    Replay.of_file("monday.jsonl")       # of sources/replay.py: the posts again

A line holds the post's id, source, times and labels. Text, author and link are left out unless `texts` is
set, since the services ask that their posts be fetched again by id, so that deleted posts stay deleted.
`label` is the model's answer; `true_label` is the known true label, the only one that a replay is judged by.
"""

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Self

from inference.live.errors import RecordingError
from inference.live.post import ClassifiedPost


class Recorder:
    """A feed's listener that writes a recording. Thread-safe; each line is written at once, or not at all."""

    def __init__(
        self, path: str | Path, *, texts: bool = False, now: Callable[[], float] = time.time
    ) -> None:
        """Begin a new file. Raises RecordingError when it exists already or can't be written."""
        self.path = Path(path)
        self.count = 0
        self._texts, self._now = texts, now
        self._lock = Lock()
        try:
            self._file = self.path.open("xb", buffering=0)
        except FileExistsError:
            raise RecordingError(f"{self.path} exists already. Give the name of a new file.") from None
        except OSError as error:
            raise self._unwritten(error) from error

    def __call__(self, classified: Sequence[ClassifiedPost]) -> None:
        """Write posts with their labels, and those of a second model in a duel; nothing after `close`.

        Raises RecordingError when the disk is full; the lines before can be replayed.
        """
        at = datetime.fromtimestamp(self._now(), UTC).isoformat()
        with self._lock:
            for one in classified:
                if not self._file.closed:
                    # ASCII, so that it is one line, whatever line ends the text holds.
                    self._write(f"{json.dumps(self._row(one, at), ensure_ascii=True)}\n".encode())
                    self.count += 1

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _row(self, one: ClassifiedPost, at: str) -> dict[str, object]:
        post = one.post
        row: dict[str, object] = {
            "id": post.id,
            "source": post.source,
            "created": post.created.isoformat() if post.created else None,
            "at": at,
            "label": one.label,
            "probability": round(one.probability, 6),
            "true_label": post.label,
            "languages": post.languages,
            "is_reply": post.is_reply,
            "is_repost": post.is_repost,
            "sensitive": post.sensitive,
        }
        if one.second_label is not None and one.second_probability is not None:
            row |= {"second_label": one.second_label, "second_probability": round(one.second_probability, 6)}
        if self._texts:
            row |= {"text": post.text, "author": post.author, "url": post.url}
        return row

    def _write(self, line: bytes) -> None:
        """Write a line whole: a part of it that was written as the disk filled up is removed."""
        whole = self._file.tell()
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(whole)
                self._file.seek(whole)
            raise self._unwritten(error) from error

    def _unwritten(self, error: OSError) -> RecordingError:
        return RecordingError(f"{self.path} can't be written ({error.strerror}). Choose another place.")
