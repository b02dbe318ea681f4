"""Where posts come from: one file a source, one line in `SOURCES`.

    source = SOURCES["replay"](posts, rate_per_s=2.0)
    for post in source.posts(stop):      # blocks until the next post is due; ends when `stop` is set
        source.status.sentence(now)      # "Connected."

    SOURCES["bluesky"]()
    SOURCES["mastodon"]("mastodon.social", tag="cats")
    SOURCES["x"]("#python", token="…", cap_usd=0.50)

A source only delivers: it knows nothing about models, about who watches, or about what becomes of a post.
Live sources reconnect by themselves; what they can't mend they raise as a `SourceError` (`errors.py`).
"""

from collections.abc import Callable, Iterator
from threading import Event
from typing import Protocol

from inference.live.post import Post
from inference.live.sources.bluesky import Bluesky
from inference.live.sources.errors import (
    SourceBadQuery,
    SourceError,
    SourceRateLimited,
    SourceUnauthorised,
    SourceUnavailable,
)
from inference.live.sources.mastodon import Mastodon
from inference.live.sources.replay import Replay
from inference.live.sources.status import Status
from inference.live.sources.x import XSearch
from inference.live.sources.x_stream import XStream

__all__ = [
    "SOURCES",
    "Bluesky",
    "Mastodon",
    "Replay",
    "Source",
    "SourceBadQuery",
    "SourceError",
    "SourceRateLimited",
    "SourceUnauthorised",
    "SourceUnavailable",
    "Status",
    "XSearch",
    "XStream",
]


class Source(Protocol):
    """A stream of posts."""

    name: str

    @property
    def status(self) -> Status:
        """How it is doing; any thread may ask."""
        ...

    def posts(self, stop: Event) -> Iterator[Post]:
        """Yield posts as they come, waiting between them; return when `stop` is set or none are left."""
        ...


SOURCES: dict[str, Callable[..., Source]] = {
    "replay": Replay,
    "bluesky": Bluesky,
    "mastodon": Mastodon,
    "x": XSearch,
    "x-stream": XStream,
}
