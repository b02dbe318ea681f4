"""X by polling: recent posts that match a query, newest since the last look. Costs money: see `x_api.py`.

    source = XSearch("#python", cap_usd=0.50)
    estimate(2.0, cap_usd=0.50).sentence()      # what it will cost, before
    for post in source.posts(stop):
        source.status.cost_usd                  # what it has cost, until now

Asks every `interval_s` for what is newer than the newest post so far, and never for more than the cap leaves.
Knows nothing about feeds.
"""

import re
from collections.abc import Iterator, Mapping
from threading import Event
from typing import Any

import requests
import tweepy  # type: ignore[import-untyped]  # tweepy has no types

from inference.live.filter import Filter
from inference.live.post import Post
from inference.live.sources.errors import SourceBadQuery, SourceError, SourceRateLimited, SourceUnavailable
from inference.live.sources.http import limit_wait_s, used_up
from inference.live.sources.live import LiveSource, Seen, World
from inference.live.sources.x_api import (
    BASE_URL,
    DEFAULT_CAP_USD,
    NETWORK_BACKOFF,
    PLACEHOLDER,
    SERVER_BACKOFF,
    TWEET_FIELDS,
    Budget,
    XApi,
    cap_in_posts,
    read_json,
    read_posts,
    x_query,
)

_SMALLEST_PAGE, _LARGEST_PAGE = 10, 100  # X's limits
_MOST_PAGES = 5  # for one look: what is older is left, so that no lag grows


class XSearch(LiveSource):
    """The search for recent posts of X, asked again and again."""

    name = "x"
    title = "X"
    network_backoff, server_backoff = NETWORK_BACKOFF, SERVER_BACKOFF
    box_size = 1  # while a feed is paused nothing more is asked for, and so nothing more is paid for

    def __init__(
        self,
        query: str = "",
        *,
        token: str = "",
        filter: Filter | None = None,
        cap_usd: float | None = DEFAULT_CAP_USD,
        cap_posts: int | None = None,
        interval_s: float = 15.0,
        base_url: str = BASE_URL,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 15.0,
        world: World | None = None,
        attempts: int = 12,
    ) -> None:
        """Take a query of X's, a filter that is made part of it, and what may be spent: both caps hold.

        Raises SourceUnauthorised without a token, SourceBadQuery for a query or a cap that can't be used.
        """
        super().__init__(world=world, attempts=attempts)
        self.query = x_query(query, filter or Filter())
        self.budget = Budget(cap_in_posts(cap_usd, cap_posts))
        if self.budget.left < _SMALLEST_PAGE:
            raise SourceBadQuery(
                f"A cap of {self.budget.left} posts is too low for X's search, which gives at least "
                f"{_SMALLEST_PAGE} at once. Raise it, or use the stream."
            )
        self._api = XApi(
            token, base_url=base_url, connect_timeout_s=connect_timeout_s, read_timeout_s=read_timeout_s
        )
        self._client = tweepy.Client(PLACEHOLDER, return_type=requests.Response, wait_on_rate_limit=False)
        self._adapter = self._api.mount(self._client.session)
        self._interval_s = interval_s
        self._newest = ""
        self._seen = Seen()
        self._change(cost_usd=0.0)

    def _session(self, halt: Event) -> Iterator[Post]:
        while not halt.is_set():
            posts, headers = self._look(halt)
            for post in posts:
                if self._seen.is_new(post.id):
                    yield post
                else:
                    self._pass_over("duplicate")
            if self.budget.left < _SMALLEST_PAGE:  # X gives ten posts at least, and they are paid for
                self._change(reason=self.budget.ended())
                return
            if used_up(headers):
                raise SourceRateLimited(
                    "X gives no further request for now.",
                    retry_after_s=limit_wait_s(headers, self._world.clock()) or 60.0,
                )
            if self._world.wait(halt, self._interval_s):
                return

    def _look(self, halt: Event) -> tuple[list[Post], Mapping[str, str]]:
        """Return the posts since the last look, oldest first, and the headers of the last answer."""
        found: list[Post] = []
        headers: Mapping[str, str] = {}
        newest, next_page = self._newest, ""
        for page in range(_MOST_PAGES):
            if self.budget.left < _SMALLEST_PAGE or halt.is_set():
                break
            # The first look of all is a small one: it pays for what was posted before anybody watched.
            size = min(_LARGEST_PAGE, self.budget.left) if self._newest else _SMALLEST_PAGE
            try:
                answer, headers = self._ask(size, next_page)
            except SourceError:
                if page == 0:
                    raise
                # What was paid for is not thrown away. If X goes on to fail, the next look tells.
                self._change(gaps=self._status.gaps + 1)
                break
            found += self._paid(answer)
            meta: dict[str, Any] = answer["meta"] if isinstance(answer.get("meta"), dict) else {}
            if page == 0 and re.fullmatch(r"\d{1,20}", str(meta.get("newest_id") or "")):
                newest = str(meta["newest_id"])
            next_page = str(meta.get("next_token") or "")
            if not (next_page and self._newest):
                break
        else:
            self._change(gaps=self._status.gaps + 1)
        self._newest = newest
        return found[::-1], headers

    def _ask(self, size: int, next_page: str) -> tuple[dict[str, Any], Mapping[str, str]]:
        options: dict[str, Any] = {"max_results": size, "tweet_fields": TWEET_FIELDS}
        options |= {"since_id": self._newest} if self._newest else {}
        options |= {"next_token": next_page} if next_page else {}
        with self._api.translated(now=self._world.clock(), failures=self._failures):
            response = self._client.search_recent_tweets(self.query, **options)
        answer = read_json(response.content)
        if not isinstance(answer, dict):
            raise SourceUnavailable("X answered with something that can't be read.", answered=True)
        self._alive()
        return answer, response.headers

    def _paid(self, answer: dict[str, Any]) -> list[Post]:
        posts, garbage = read_posts(answer.get("data"))
        self.budget.posts += len(posts) + garbage
        self._change(cost_usd=self.budget.usd)
        self._pass_over("garbage", garbage)
        return posts

    def _abort(self) -> None:
        self._adapter.abort()

    def _close(self) -> None:
        self._client.session.close()
