"""The request for a stream: a source with its settings, and a filter. The command line and the Live form both
fill one.

    request = StreamRequest(source="mastodon", instance="mastodon.social", query="cats", languages=("en",))
    request.key(model="demo", owner="")      # requests with one key share a feed
    request.open(held_out=posts)             # -> Mastodon(...); raises SourceError

A token is in the request until the source has it, and in no key and no repr.
"""

import hashlib
import math
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from inference.common.errors import FeedError
from inference.live.filter import Filter
from inference.live.pricing import DEFAULT_CAP_USD

if TYPE_CHECKING:
    from inference.live.post import Post
    from inference.live.sources import Source

SOURCE_NAMES = ("replay", "file", "bluesky", "mastodon", "x", "x-stream")
DEFAULT_INSTANCE = "mastodon.social"
X_TOKEN = "X_BEARER_TOKEN"
"""The environment's token for X. No Mastodon instance, which may be anybody's, gets a token from it."""
JETSTREAM = "JETSTREAM_HOST"
"""The environment's host for Bluesky, which is asked unless another one is named."""
SETTINGS_OF: Mapping[str, tuple[str, ...]] = {
    "rate_per_s": ("replay", "file"),
    "file": ("file",),
    "query": ("bluesky", "mastodon", "x", "x-stream"),
    "instance": ("mastodon",),
    "host": ("bluesky",),
    "token": ("mastodon", "x", "x-stream"),
    "cap_usd": ("x", "x-stream"),
}
"""The sources that a setting is for."""


@dataclass(frozen=True, kw_only=True)
class StreamRequest:
    """A source with its settings, a filter, and the second model of a duel. All as typed in."""

    source: str = "replay"
    query: str = ""
    """Bluesky: words, separated by commas; Mastodon: a tag; X: a query in X's own syntax."""
    instance: str = DEFAULT_INSTANCE
    host: str = ""
    """Bluesky: a Jetstream of one's own; "" for that of the environment, or Bluesky's."""
    token: str = field(default="", repr=False)
    file: str = ""
    """The path of a recording or a table, for the source "file"."""
    text_column: str = ""
    label_column: str = "label"
    rate_per_s: float | None = 2.0
    """Replay and file: posts a second; None: as fast as the model answers, and no post is dropped."""
    cap_usd: float = DEFAULT_CAP_USD
    keywords: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    reposts: bool = True
    replies: bool = True
    precision: float | None = None
    """The required share of right answers, where the model may be not sure; None: it always answers."""
    second: str = ""
    """The second model, by the name that the caller knows it by; "" for no duel."""

    def __post_init__(self) -> None:
        if self.source not in SOURCE_NAMES:
            raise FeedError(f"There is no source {self.source!r}. Known: {', '.join(SOURCE_NAMES)}.")
        if self.source == "file" and not self.file:
            raise FeedError(
                "There is nothing to replay: no file was given. Choose a recording or a file of texts."
            )
        if self.is_x and not (math.isfinite(self.cap_usd) and self.cap_usd > 0):
            raise FeedError("The cap is not a number of dollars above 0. Give one, such as 1.")

    def uses(self, setting: str) -> bool:
        """Whether a setting of `SETTINGS_OF` is one of this source's."""
        return self.source in SETTINGS_OF[setting]

    @property
    def is_x(self) -> bool:
        """Whether reading it costs money."""
        return self.uses("cap_usd")

    @property
    def is_private(self) -> bool:
        """Whether it has a token that somebody typed in, or a file: such a feed is that person's alone."""
        return self.source == "file" or (self.uses("token") and bool(self.token.strip()))

    @property
    def is_lossless(self) -> bool:
        """Whether its source waits for the model, so that no post is dropped."""
        return self.uses("rate_per_s") and self.rate_per_s is None

    @property
    def costs_the_app(self) -> bool:
        """Whether it spends the money of whoever runs the app, by the app's own token for X."""
        return self.is_x and not self.is_private

    @property
    def filter(self) -> Filter:
        """Which of the source's posts to classify; Bluesky's words are looked for here, too."""
        words = (*self.keywords, *(split_words(self.query) if self.source == "bluesky" else ()))
        return Filter(keywords=words, languages=self.languages, reposts=self.reposts, replies=self.replies)

    def title(self) -> str:
        """Return what distinguishes it from others of its source: query, tag or file, and the filter."""
        what = self.query.strip() if self.uses("query") else Path(self.file).name
        if self.source == "mastodon":
            where = self.instance.strip().removeprefix("https://").strip("/")
            what = f"{where} #{what.removeprefix('#')}" if what else where
        return " · ".join(part for part in (what, ", ".join(self.keywords), " ".join(self.languages)) if part)

    def key(self, *, model: str, owner: str) -> Hashable:
        """Return the key by which requests share a feed. It holds no token."""
        return (
            self.source,
            " ".join(self.query.split()) if self.uses("query") else "",
            self.instance.strip().casefold() if self.uses("instance") else "",
            self.host.strip().casefold() if self.uses("host") else "",
            (_digest(self.file), self.text_column, self.label_column) if self.uses("file") else "",
            self.cap_usd if self.is_x else 0,
            self.filter,
            model,
            self.second,
            self.precision,
            self.is_lossless,
            owner if self.is_private else "",
        )

    def open(
        self,
        *,
        held_out: "Callable[[], Sequence[Post]]" = list,
        sources: "Mapping[str, Callable[..., Source]] | None" = None,
    ) -> "Source":
        """Return the source, without a request to its service yet. `held_out`: the posts of "replay".

        `sources`: `SOURCES`, or others that take the same. Raises FeedError for settings that can't be used.
        """
        if sources is None:
            from inference.live.sources import SOURCES  # noqa: PLC0415  (the services' libraries take a second)

            sources = SOURCES
        make, token = sources[self.source], self.token.strip()
        if self.source == "replay":
            return make(held_out(), rate_per_s=self.rate_per_s)
        if self.source == "file":
            columns = {"text_column": self.text_column, "label_column": self.label_column}
            return make(self.file, rate_per_s=self.rate_per_s, **columns)
        if self.source == "bluesky":
            host = self.host or os.environ.get(JETSTREAM, "")
            return make(host) if host else make()
        if self.source == "mastodon":
            return make(self.instance, tag=self.query, token=token)
        token = token or os.environ.get(X_TOKEN, "")
        return make(self.query, token=token, filter=self.filter, cap_usd=self.cap_usd)


def split_words(text: str | None) -> tuple[str, ...]:
    """Return the parts of a text between commas."""
    return tuple(word for part in (text or "").split(",") if (word := part.strip()))


def app_has_x_token() -> bool:
    """Whether the environment holds a token for X."""
    return bool(os.environ.get(X_TOKEN, "").strip())


def _digest(file: str) -> str:
    path = Path(file)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
