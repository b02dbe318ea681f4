"""The app's feeds, each with its statistics and its recording, and who may see which.

    feeds = LiveFeeds()
    session, joined = feeds.open(StreamRequest(source="bluesky"), models, owner=owner, held_out=list)
    feeds.find(session.id, owner)       # again after a reload; None for a feed that is not theirs
    feeds.visible(owner)                # those that run and that this person may join
    session.recording.start("bluesky", texts=False)

Visitors who ask for the same source, query and filter share a feed, and each of them may pause or stop it. A
feed of a file, or on a token that a visitor typed in, is private: it is found only with the id of their page
(`owner`, a random word that their browser keeps). Only the feed's source holds the token. Reading X with the
app's own token has a limit for all visitors together: X_BUDGET_USD, by default 5 dollars each time that the
app starts. Recordings go to a folder of the app's cache; the oldest are removed.
"""

import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from inference.common.errors import FeedError
from inference.common.paths import cache_dir
from inference.live.errors import RecordingError
from inference.live.feed import Classify, Feed, Listener
from inference.live.post import ClassifiedPost, Post
from inference.live.recording import Recorder
from inference.live.request import StreamRequest
from inference.live.sources import SOURCES, Source, SourceError
from inference.live.statistics import LiveStatistics

BUDGET = "X_BUDGET_USD"
DEFAULT_BUDGET_USD = 5.0
MOST_FEEDS = 4
MOST_POSTS = 200_000
_MOST_RECORDINGS = 12


@dataclass(frozen=True)
class RecordingView:
    """The state of a recording. `message`: why it ended by itself, "" if it did not."""

    state: Literal["none", "recording", "recorded"]
    posts: int = 0
    texts: bool = False
    path: Path | None = None
    message: str = ""


class Recording:
    """A listener that saves a feed's posts while it is switched on. Thread-safe."""

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
        """Begin a new file. Raises FeedError if one is being written, or if it can't be created."""
        folder = cache_dir() / "recordings"
        with self._lock:
            if self._recorder:
                raise FeedError("This feed is being recorded already. Stop that recording first.")
            try:
                folder.mkdir(parents=True, exist_ok=True)
                files = [file for file in folder.glob("*.jsonl") if file.is_file() or file.is_symlink()]
                old = sorted(files, key=lambda file: file.lstat().st_mtime)
                for file in old[: max(0, len(old) - _MOST_RECORDINGS + 1)]:
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
        with self._lock:
            return replace(self._view, posts=self._recorder.count) if self._recorder else self._view

    def _end(self, message: str) -> None:
        assert self._recorder is not None
        self._recorder.close()
        self._view = replace(self._view, state="recorded", posts=self._recorder.count, message=message)
        self._recorder = None


@dataclass(frozen=True)
class Models:
    """The model that classifies a feed's posts, the second one of a duel, and the listeners."""

    name: str
    labels: tuple[str, ...]
    predict: Classify
    statistics: Callable[[], LiveStatistics]
    second_name: str = ""
    second: Classify | None = None
    listeners: Sequence[Listener] = ()
    hurried: Classify | None = None
    """A faster variant of the first model, for when posts pile up."""
    abstain_below: float = 0.0
    """Answers below this confidence count as unsure, and for no label."""
    outside_above: float | None = None
    """Posts with a larger share of unknown tokens count as out of the model's scope."""


@dataclass(frozen=True)
class LiveSession:
    """A feed with its request, statistics and recording."""

    id: str
    key: Hashable
    feed: Feed
    request: StreamRequest
    """The request, without the token."""
    source: str
    title: str
    owner: str
    """The page that owns it; "" for a feed that everybody sees."""
    first_model: str
    second_model: str
    """The second model's name, "" without a duel."""
    cap_usd: float | None
    waits: bool
    """Whether its source waits for the model."""
    statistics: LiveStatistics
    recording: Recording
    drawn: dict[Hashable, tuple[float, dict[str, str]]] = field(default_factory=dict)
    """Cached drawings with their times, so that many viewers cost one drawing a second."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class LiveFeeds:
    """Opens, finds and ends feeds. Thread-safe."""

    def __init__(
        self, sources: Mapping[str, Callable[..., Source]] = SOURCES, *, most: int = MOST_FEEDS
    ) -> None:
        """Let `most` feeds run at once, and keep the numbers of as many that have ended."""
        self._sources, self._most = sources, most
        self._lock = threading.Lock()
        self._opening = threading.Lock()  # one at a time: two equal requests must share a feed
        self._compute_lock = threading.Lock()  # two feeds in the model at once would slow each other down
        self._sessions: dict[str, LiveSession] = {}
        self._on_app_token: list[tuple[Feed, float]] = []  # with their caps
        self._spent_usd = 0.0  # by ended feeds on the app's token

    def open(
        self, request: StreamRequest, models: Models, *, owner: str, held_out: Callable[[], Sequence[Post]]
    ) -> tuple[LiveSession, bool]:
        """Return the session of a request, started if need be, and whether it ran already.

        `held_out`: the posts of a replay. Raises FeedError, or SourceError for what can't be streamed.
        """
        key = request.key(model=models.name, owner=owner)
        with self._opening:
            running = [each for each in self._all() if each.feed.state != "ended"]
            for session in running:
                if session.key == key and session.feed.watch():
                    return session, True
            if len(running) >= self._most:
                raise FeedError(f"{self._most} feeds run already, which is the most. Stop one of them first.")
            if request.costs_the_app:
                self._refuse_beyond_budget(request.cap_usd)
            statistics, recording = models.statistics(), Recording()
            feed = Feed(
                request.open(held_out=held_out, sources=self._sources),
                models.predict,
                labels=models.labels,
                hurried=models.hurried,
                second=models.second,
                filter=request.filter,
                lossless=request.is_lossless,
                listeners=[statistics, recording, *models.listeners],
                compute_lock=self._compute_lock,
                abstain_below=models.abstain_below,
                outside_above=models.outside_above,
            )
            feed.start()
            session = LiveSession(
                id=secrets.token_urlsafe(9),
                key=key,
                feed=feed,
                request=replace(request, token=""),
                source=request.source,
                title=request.title(),
                owner=owner if request.is_private else "",
                first_model=models.name,
                second_model=models.second_name,
                cap_usd=request.cap_usd if request.is_x else None,
                waits=request.is_lossless,
                statistics=statistics,
                recording=recording,
            )
            with self._lock:
                self._sessions[session.id] = session
                if request.costs_the_app:
                    self._on_app_token.append((feed, request.cap_usd))
                ended = [each.id for each in self._sessions.values() if each.feed.state == "ended"]
                for session_id in ended[: max(0, len(ended) - self._most)]:
                    self._sessions.pop(session_id).recording.stop()
            return session, False

    def find(self, session_id: str, owner: str) -> LiveSession | None:
        """Return a running or ended session by its id; None if it is unknown or another person's."""
        with self._lock:
            session = self._sessions.get(session_id)
        return session if session and session.owner in ("", owner) else None

    def visible(self, owner: str) -> list[LiveSession]:
        """Return the running sessions that this person may see, newest first."""
        mine = [each for each in self._all() if each.owner in ("", owner) and each.feed.state != "ended"]
        return mine[::-1]

    def _all(self) -> list[LiveSession]:
        with self._lock:
            return list(self._sessions.values())

    def stop_all(self) -> None:
        """End all feeds, for when another model is loaded or the app ends."""
        for session in self._all():
            session.feed.stop(timeout_s=1.0)

    def app_budget_left_usd(self) -> float:
        """Return what may still be spent with the app's own token.

        A running feed counts with its cap; so does a stopped one until its last request is counted.
        """
        with self._lock:
            for feed, cap_usd in list(self._on_app_token):
                if feed.state == "ended" and not getattr(feed.source, "is_busy", False):
                    self._spent_usd += feed.source.status.cost_usd or 0.0
                    self._on_app_token.remove((feed, cap_usd))
            taken = self._spent_usd + sum(cap_usd for _, cap_usd in self._on_app_token)
        given = os.environ.get(BUDGET, "")
        try:
            budget_usd = float(given) if given else DEFAULT_BUDGET_USD
        except ValueError:
            raise SourceError(f"{BUDGET} is {given!r}. Set it to a number of dollars, such as 5.") from None
        return max(0.0, budget_usd - taken)

    def _refuse_beyond_budget(self, cap_usd: float) -> None:
        left = self.app_budget_left_usd()
        if cap_usd > left + 1e-9:
            raise FeedError(
                f"${left:.2f} is left of what this app may spend on X with its own token, and the cap is "
                f"${cap_usd:.2f}. Choose a lower cap, or type in a token of your own."
            )
