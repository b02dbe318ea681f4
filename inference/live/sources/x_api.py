"""X's API v2, as far as `x.py` and `x_stream.py` share it: prices, the cap, queries, errors, posts.

    estimate(2.0, cap_usd=1.0).sentence()
    # "Reading 2 posts a second costs about $36.00 an hour ($0.005 a post, price of November 2026). …"

Authors are not asked for: X charges twice as much for a user as for a post. So `author` is empty, and the
link leads to the post by its number. The bearer token comes from the caller or from X_BEARER_TOKEN, and is
known to the adapter alone: tweepy, which can log its headers, is given a placeholder.
"""

import html
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
import tweepy  # type: ignore[import-untyped]  # tweepy has no types

from inference.live.filter import Filter
from inference.live.post import Post, clean, moment
from inference.live.sources.errors import (
    SourceBadQuery,
    SourceError,
    SourceRateLimited,
    SourceUnauthorised,
    SourceUnavailable,
)
from inference.live.sources.http import Adapter, Token, limit_wait_s
from inference.live.sources.live import Backoff

BASE_URL = "https://api.x.com"
PRICE_PER_POST_USD = 0.005
PRICE_DATE = "November 2026"  # X may change its price: look at developer.x.com
DEFAULT_CAP_USD = 1.0
LONGEST_QUERY = 512
PLACEHOLDER = "the-adapter-knows-it"
TWEET_FIELDS = ["created_at", "lang", "referenced_tweets", "in_reply_to_user_id", "possibly_sensitive"]
# As docs.x.com asks for: network errors, HTTP errors, and 429 without a time to wait.
NETWORK_BACKOFF = Backoff(first_s=0.25, factor=1.0, step_s=0.25, max_s=16.0)
SERVER_BACKOFF = Backoff(first_s=5.0, max_s=320.0)
LIMIT_BACKOFF = Backoff(first_s=60.0, max_s=900.0)
logging.getLogger("tweepy").setLevel(logging.INFO)  # at DEBUG it logs whole requests and answers
_CREDITS = "X says that there are no credits left. Buy some at developer.x.com, or choose another source."


@dataclass(frozen=True)
class Estimate:
    """What reading costs at a rate, and when the cap ends it. `hours`: None without a cap."""

    posts_per_s: float
    usd_per_hour: float
    cap_posts: int | None
    hours: float | None

    def sentence(self) -> str:
        """Return the estimate in words, to be shown before a feed starts."""
        cost = (
            f"Reading {self.posts_per_s:g} posts a second costs about ${self.usd_per_hour:,.2f} an hour "
            f"(${PRICE_PER_POST_USD:g} a post, price of {PRICE_DATE})."
        )
        if self.cap_posts is None or self.hours is None:
            return f"{cost} There is no cap."
        return (
            f"{cost} It stops at ${self.cap_posts * PRICE_PER_POST_USD:,.2f}, that is after "
            f"{self.cap_posts:,} posts or about {_duration(self.hours)}."
        )


@dataclass
class Budget:
    """Counts posts that were paid for. `cap_posts`: None for no cap."""

    cap_posts: int | None
    posts: int = 0

    @property
    def usd(self) -> float:
        """Dollars spent. X may charge less: a post that is read twice in a day is charged once."""
        return self.posts * PRICE_PER_POST_USD

    @property
    def left(self) -> int:
        """Posts that may still be read."""
        return max(0, self.cap_posts - self.posts) if self.cap_posts is not None else 1_000_000

    def ended(self) -> str:
        """Return why a source stops at its cap."""
        return f"The cap is reached: {self.posts:,} posts were read for ${self.usd:,.2f}."


def cap_in_posts(cap_usd: float | None, cap_posts: int | None) -> int | None:
    """Return the smaller of two caps, in posts. Raises SourceBadQuery for one that is not above 0."""
    for cap in (cap_usd, cap_posts):
        if cap is not None and not cap > 0:
            raise SourceBadQuery(f"A cap of {cap:g} lets nothing be read. Choose more than 0.")
    caps = [] if cap_posts is None else [cap_posts]
    if cap_usd is not None and cap_usd < float("inf"):
        caps.append(int(cap_usd / PRICE_PER_POST_USD + 1e-9))
    return min(caps, default=None)


def estimate(
    posts_per_s: float, *, cap_usd: float | None = DEFAULT_CAP_USD, cap_posts: int | None = None
) -> Estimate:
    """Return what reading at a rate costs."""
    cap = cap_in_posts(cap_usd, cap_posts)
    hours = cap / posts_per_s / 3600 if cap is not None and posts_per_s > 0 else None
    return Estimate(posts_per_s, posts_per_s * 3600 * PRICE_PER_POST_USD, cap, hours)


def _duration(hours: float) -> str:
    seconds = hours * 3600
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if hours < 2 else f"{hours:.0f} hours"


def x_token(given: str) -> Token:
    """Return the token that was given, else the environment's. Raises SourceUnauthorised without one."""
    value = given or os.environ.get("X_BEARER_TOKEN", "")
    if not value.strip():
        raise SourceUnauthorised("X needs a bearer token. Set X_BEARER_TOKEN, or type one in.")
    return Token(value, of="X")


def x_query(query: str, wanted: Filter) -> str:
    """Return X's query for a query and a filter, so that unwanted posts are not paid for.

    Raises SourceBadQuery when there is nothing to search for, or too much.
    """
    parts = [f"({query.strip()})"] if query.strip() else []
    for several in (
        [_quoted(word) for word in wanted.keywords if word.strip()],
        [f"lang:{tag.lower()}" for tag in wanted.languages if re.fullmatch(r"[A-Za-z-]{2,10}", tag)],
    ):
        if several:
            parts.append(f"({' OR '.join(several)})" if len(several) > 1 else several[0])
    parts += [] if wanted.reposts else ["-is:retweet"]
    parts += [] if wanted.replies else ["-is:reply"]
    if not (query.strip() or any(word.strip() for word in wanted.keywords)):
        raise SourceBadQuery("X needs something to search for. Give a query or keywords.")
    full = " ".join(parts)
    if len(full) > LONGEST_QUERY:
        raise SourceBadQuery(
            f"The query, with its filter, has {len(full)} characters. X takes {LONGEST_QUERY}: shorten it."
        )
    return full


def _quoted(word: str) -> str:
    bare = " ".join(word.replace('"', " ").split())
    return bare if re.fullmatch(r"[#@]?\w+", bare) else f'"{bare}"'


class XApi:
    """How both sources of X talk to it: an adapter that holds the token, and errors in our words."""

    def __init__(self, token: str, *, base_url: str, connect_timeout_s: float, read_timeout_s: float) -> None:
        """Take the token, or "" for the environment's. Raises SourceUnauthorised without one."""
        self.token = x_token(token)
        self._options: dict[str, Any] = {
            "token": self.token,
            "base_url": base_url,
            "connect_timeout_s": connect_timeout_s,
            "read_timeout_s": read_timeout_s,
        }

    def mount(self, session: requests.Session) -> Adapter:
        """Let a session of tweepy's speak through an adapter of its own, which is returned."""
        adapter = Adapter(**self._options)
        session.max_redirects = 0  # X sends nobody elsewhere
        session.mount("https://", adapter)
        return adapter

    @contextmanager
    def translated(self, *, now: float, failures: int) -> Iterator[None]:
        """Turn what tweepy and requests raise into SourceError, unchained: it could tell too much."""
        try:
            yield
        except tweepy.HTTPException as error:
            raise self.refusal(error.response, now=now, failures=failures) from None
        except (AttributeError, TypeError, ValueError):
            # tweepy trips over an error whose body or headers are not what it expects
            raise SourceUnavailable("X answered with something that can't be read.", answered=True) from None
        except (requests.RequestException, OSError) as error:
            raise SourceUnavailable(f"X could not be reached ({type(error).__name__}).") from None

    def refusal(self, response: requests.Response, *, now: float, failures: int) -> SourceError:
        """Return the error for an answer that is none of 2xx. `failures`: how many there were in a row."""
        status, said = response.status_code, self._said(response)
        if status == 402 or (status == 429 and "usage-capped" in response.text):
            return SourceUnauthorised(_CREDITS)
        if status == 401:
            return SourceUnauthorised("X does not accept this bearer token (status 401). Copy it again.")
        if status == 403:
            return SourceUnauthorised(f"X does not let this token read this (status 403: {said}).")
        if status == 429:
            told_s = limit_wait_s(response.headers, now)
            longest_s = LIMIT_BACKOFF.max_s
            untold_s = min(LIMIT_BACKOFF.first_s * LIMIT_BACKOFF.factor ** min(failures, 10), longest_s)
            return SourceRateLimited(
                "X is asked too often (status 429).", retry_after_s=told_s + 1 if told_s else untold_s
            )
        if status in (400, 404, 422):
            return SourceBadQuery(f"X does not take this query (status {status}: {said}).")
        return SourceUnavailable(f"X answered with status {status}: {said}.", answered=True)

    def _said(self, response: requests.Response) -> str:
        """Return X's own words on an error, in short."""
        try:
            body = response.json()
            first = (body.get("errors") or [{}])[0]
            words = first.get("message") or body.get("detail") or body.get("title") or "no reason given"
        except (ValueError, AttributeError, TypeError, IndexError, KeyError):
            words = "no reason given"
        return self.short(words)

    def short(self, words: object) -> str:
        """Return a stranger's words on one line, cut, and without the token."""
        return self.token.hide(" ".join(clean(words).split()))[:200].rstrip(".")


def read_posts(data: object) -> tuple[list[Post], int]:
    """Return the posts among the `data` of an answer, and how many entries were malformed."""
    entries = data if isinstance(data, list) else []
    posts, garbage = [], 0
    for entry in entries:
        try:
            posts.append(_post(entry))
        except (KeyError, TypeError, ValueError, AttributeError):
            garbage += 1
    return posts, garbage


def read_json(text: str | bytes) -> Any:
    """Return what JSON holds, None when it is none: a line of a stream can break off."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _post(tweet: dict[str, Any]) -> Post:
    if not re.fullmatch(r"\d{1,20}", tweet["id"]) or not isinstance(tweet["text"], str):
        raise ValueError("not a post")
    kinds = {reference["type"] for reference in tweet.get("referenced_tweets") or []}
    language = tweet.get("lang")
    return Post(
        id=tweet["id"],
        text=html.unescape(clean(tweet["text"])),  # X writes & < > as entities
        url=f"https://x.com/i/status/{tweet['id']}",
        source="x",
        created=moment(tweet.get("created_at")),
        languages=(language[:35],) if isinstance(language, str) and language else (),
        is_reply="replied_to" in kinds or bool(tweet.get("in_reply_to_user_id")),
        is_repost="retweeted" in kinds,
        sensitive=bool(tweet.get("possibly_sensitive")),
    )
