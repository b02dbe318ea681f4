"""Where posts come from: one file a source, one line in `SOURCES`.

    source = SOURCES["replay"](posts, rate_per_s=2.0)
    for post in source.posts(stop):      # blocks until the next post is due; ends when `stop` is set
        ...

A source only delivers: it knows nothing about models, about who watches, or about what becomes of a post.
"""

from collections.abc import Callable, Iterator
from threading import Event
from typing import Protocol

from inference.sources.post import Post
from inference.sources.replay import Replay

__all__ = ["SOURCES", "Post", "Replay", "Source"]


class Source(Protocol):
    """A stream of posts."""

    name: str

    def posts(self, stop: Event) -> Iterator[Post]:
        """Yield posts as they come, waiting between them; return when `stop` is set or none are left."""
        ...


SOURCES: dict[str, Callable[..., Source]] = {"replay": Replay}
