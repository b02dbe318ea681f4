"""A recording of a feed that can be switched on and off while it runs.

    recording = Recording()
    feed = Feed(source, classify, labels=labels, listeners=[recording])
    recording.start("bluesky", texts=False)     # ids, times and labels, as the services' terms prefer
    recording.stop()                            # -> the file, to be downloaded
    recording.view()                            # -> RecordingView(state="recorded", posts=120, ...)

Files go to a folder of the app's cache; the oldest are removed. Knows nothing about Gradio.
"""

import re
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from inference.common.errors import FeedError
from inference.common.paths import cache_dir
from inference.live.errors import RecordingError
from inference.live.post import ClassifiedPost
from inference.live.recording import Recorder

MOST_POSTS = 200_000
_MOST_FILES = 12


@dataclass(frozen=True)
class RecordingView:
    """How a recording stands. `message` tells why it ended by itself, "" when it did not."""

    state: Literal["none", "recording", "recorded"]
    posts: int = 0
    texts: bool = False
    path: Path | None = None
    message: str = ""


class Recording:
    """A listener of a feed that writes down what it is told, while it is on. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recorder: Recorder | None = None
        self._view = RecordingView("none")

    def __call__(self, batch: Sequence[ClassifiedPost]) -> None:
        """Write posts down. A full disk ends the recording, not the feed."""
        with self._lock:
            if self._recorder is None:
                return
            try:
                self._recorder(batch)
                if self._recorder.count >= MOST_POSTS:
                    self._end(f"A recording holds {MOST_POSTS:,} posts. Start another one to go on.")
            except RecordingError as error:
                self._end(str(error))

    def start(self, name: str, *, texts: bool) -> None:
        """Begin a new file. Raises FeedError when one is being written, or none can be."""
        folder = cache_dir() / "recordings"
        with self._lock:
            if self._recorder:
                raise FeedError("This feed is being recorded already. Stop that recording first.")
            try:
                folder.mkdir(parents=True, exist_ok=True)
                old = sorted(folder.glob("*.jsonl"), key=lambda file: file.stat().st_mtime)
                for file in old[: max(0, len(old) - _MOST_FILES + 1)]:
                    file.unlink(missing_ok=True)
            except OSError as error:
                raise FeedError(
                    f"{folder} can't be written ({error.strerror}). Free the disk, then record again."
                ) from error
            stem = f"{re.sub(r'[^a-z-]', '', name)}-{time.strftime('%Y%m%d-%H%M%S')}"
            path = folder / f"{stem}-{secrets.token_hex(3)}.jsonl"
            self._recorder = Recorder(path, texts=texts)
            self._view = RecordingView("recording", texts=texts, path=path)

    def stop(self) -> None:
        """End the file, if one is being written."""
        with self._lock:
            if self._recorder:
                self._end("")

    def view(self) -> RecordingView:
        """Return how it stands."""
        with self._lock:
            return replace(self._view, posts=self._recorder.count) if self._recorder else self._view

    def _end(self, message: str) -> None:
        assert self._recorder is not None
        self._recorder.close()
        self._view = RecordingView(
            "recorded", self._recorder.count, self._view.texts, self._recorder.path, message
        )
        self._recorder = None
