"""Where posts come from: one file a source, one line in `SOURCES`.

    source = SOURCES["replay"](posts, rate_per_s=2.0)
    for post in source.posts(stop):      # blocks until the next post is due; ends when `stop` is set
        source.status.sentence(now)      # "Connected."

    SOURCES["bluesky"]()
    SOURCES["mastodon"]("mastodon.social", tag="cats")
    SOURCES["x"]("#python", token="…", cap_usd=0.50)

A source only delivers posts: what becomes of them is the feed's business. `StreamRequest.open` makes one of
what somebody asked for. Live sources reconnect by themselves; what they can't mend they raise as a
`SourceError` (`inference/live/errors.py`).
"""

from collections.abc import Callable

from inference.live.errors import (
    SourceBadQuery,
    SourceError,
    SourceRateLimited,
    SourceUnauthorised,
    SourceUnavailable,
)
from inference.live.sources.base import Source, SourceStatus
from inference.live.sources.bluesky import Bluesky
from inference.live.sources.mastodon import Mastodon
from inference.live.sources.replay import Replay
from inference.live.sources.x import XSearch, XStream

__all__ = [
    "SOURCES",
    "Bluesky",
    "Mastodon",
    "Replay",
    "Source",
    "SourceBadQuery",
    "SourceError",
    "SourceRateLimited",
    "SourceStatus",
    "SourceUnauthorised",
    "SourceUnavailable",
    "XSearch",
    "XStream",
]

SOURCES: dict[str, Callable[..., Source]] = {
    "replay": Replay,
    "file": Replay.of_file,
    "bluesky": Bluesky,
    "mastodon": Mastodon,
    "x": XSearch,
    "x-stream": XStream,
}
"""By the names of `inference.live.request.SOURCE_NAMES`."""
