"""What somebody asks for in the Live tab, and the source that it leads to.

    wish = Wish(source="mastodon", instance="mastodon.social", query="cats", languages=("en",))
    wish.key(model="demo")               # -> what two people must have in common to share a feed
    wish.make(SOURCES, posts=...)        # -> Mastodon(...); raises SourceError

A token is in the wish until the source has it, in no key and in no repr. Knows nothing about feeds.
"""

import hashlib
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inference.common.errors import FeedError
from inference.live.filter import Filter
from inference.live.post import Post
from inference.live.sources import Replay, Source

OFFERED = ("replay", "file", "bluesky", "mastodon", "x", "x-stream")
OF_X = ("x", "x-stream")
DEFAULT_CAP_USD = 1.0
DEFAULT_INSTANCE = "mastodon.social"
X_TOKEN = "X_BEARER_TOKEN"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A source with its settings, a filter, and the second model of a duel. All as typed in."""

    source: str = "replay"
    query: str = ""
    """Bluesky: words, separated by commas; Mastodon: a tag; X: a query in X's own syntax."""
    instance: str = DEFAULT_INSTANCE
    token: str = field(default="", repr=False)
    file: str = ""
    """The path of an uploaded file, for the source "file"."""
    rate_per_s: float = 2.0
    unpaced: bool = False
    """Replay and file: as fast as the model answers, whatever `rate_per_s` says."""
    cap_usd: float = DEFAULT_CAP_USD
    keywords: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    reposts: bool = True
    replies: bool = True
    second: str = ""
    """ "base", the id of a run, or nothing for no duel."""

    def __post_init__(self) -> None:
        if self.source not in OFFERED:
            raise FeedError(f"There is no source {self.source!r}. Known: {', '.join(OFFERED)}.")

    @property
    def is_private(self) -> bool:
        """Whether it has a token that somebody typed in, or a file: such a feed is that person's alone."""
        has_token = self.source in ("mastodon", *OF_X) and bool(self.token.strip())
        return has_token or self.source == "file"

    @property
    def is_unpaced(self) -> bool:
        """Whether its source waits for the model, so that no post is dropped."""
        return self.unpaced and self.source in ("replay", "file")

    @property
    def costs_the_app(self) -> bool:
        """Whether it spends the money of whoever runs the app, by the app's own token for X."""
        return self.source in OF_X and not self.is_private

    @property
    def filter(self) -> Filter:
        """What is wanted of the source's posts; Bluesky's words are looked for here, too."""
        words = (*self.keywords, *(split_words(self.query) if self.source == "bluesky" else ()))
        return Filter(keywords=words, languages=self.languages, reposts=self.reposts, replies=self.replies)

    def title(self) -> str:
        """Return what tells this feed from others of its source: query, tag or file, and the filter."""
        what = Path(self.file).name if self.source == "file" else self.query.strip()
        if self.source == "mastodon":
            where = self.instance.strip().removeprefix("https://").strip("/")
            what = f"{where} #{what.removeprefix('#')}" if what else where
        if self.source == "replay":
            what = ""
        return " · ".join(part for part in (what, ", ".join(self.keywords), " ".join(self.languages)) if part)

    def key(self, *, model: str, owner: str) -> Hashable:
        """Return what two wishes have in common when one feed serves both. It holds no token."""
        return (
            self.source,
            "" if self.source in ("replay", "file") else " ".join(self.query.split()),
            self.instance.strip().casefold() if self.source == "mastodon" else "",
            _digest(self.file) if self.source == "file" else "",
            self.cap_usd if self.source in OF_X else 0,
            self.filter,
            model,
            self.second,
            self.is_unpaced,
            owner if self.is_private else "",
        )

    def make(
        self, sources: Mapping[str, Callable[..., Source]], held_out: Callable[[], Sequence[Post]]
    ) -> Source:
        """Return the source. Raises FeedError for settings that can't be used; nothing is asked yet."""
        rate_per_s = None if self.is_unpaced else self.rate_per_s
        if self.source == "replay":
            return sources["replay"](held_out(), rate_per_s=rate_per_s)
        if self.source == "file":
            if not self.file:
                raise FeedError(
                    "No file was uploaded. Choose a recording or a file of texts, then press Start."
                )
            return Replay.of_file(self.file, rate_per_s=rate_per_s)
        if self.source == "bluesky":
            return sources["bluesky"]()
        if self.source == "mastodon":
            # The instance is anybody's choice: a token of the app's own would be handed to it.
            return sources["mastodon"](self.instance, tag=self.query, token=self.token.strip())
        return sources[self.source](
            self.query, token=self.token.strip(), filter=self.filter, cap_usd=self.cap_usd
        )


def split_words(text: str) -> tuple[str, ...]:
    """Return the parts of a text between commas."""
    return tuple(word for part in (text or "").split(",") if (word := part.strip()))


def app_has_x_token() -> bool:
    """Whether the app has a token of its own for X."""
    return bool(os.environ.get(X_TOKEN, "").strip())


def _digest(file: str) -> str:
    path = Path(file) if file else None
    return hashlib.sha256(path.read_bytes()).hexdigest() if path and path.is_file() else ""
