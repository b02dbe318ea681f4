"""X, searched again and again or as a stream: posts that match a query. Both cost money; see `pricing.py`.

    source = XSearch("#python", token="…", cap_usd=0.50)
    source = XStream("#python", token="…", filter=Filter(reposts=False))
    for post in source.posts(stop):
        source.status.cost_usd                  # what it has cost until now

A long post comes whole, and a repost as long as what it repeats: X is asked for both, and for the latter
charges another post. Where X does not give it, the text that is cut is counted.

Authors are not asked for: X charges twice as much for a user as for a post. So `author` is empty, and the
link leads to the post by its number. The bearer token is known to the adapter alone: tweepy, which can log
its headers, is given a placeholder.
"""

import json
import logging
import re
import secrets
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Lock
from typing import Any, cast

import requests
import tweepy  # type: ignore[import-untyped]  # tweepy has no types

from inference.common.store import JsonObject
from inference.live.errors import (
    SourceBadQuery,
    SourceError,
    SourceRateLimited,
    SourceUnauthorised,
    SourceUnavailable,
)
from inference.live.filter import Filter
from inference.live.post import Post, clean, moment
from inference.live.pricing import DEFAULT_CAP_USD, PRICE_PER_POST_USD, Budget, cap_in_posts
from inference.live.sources.base import Backoff, LiveSource, World
from inference.live.sources.http import Adapter, Token, limit_wait_s, used_up

_LONGEST_QUERY = 512
_SMALLEST_PAGE, _LARGEST_PAGE = 10, 100  # X's limits
_MOST_PAGES = 5  # for one search: older posts are skipped, so that no lag grows
_LIMIT_S, _LONGEST_LIMIT_S = 60.0, 900.0  # a 429 that does not say for how long; doubled at each failure
_PLACEHOLDER = "the-adapter-knows-it"
_FIELDS = [
    "created_at",
    "lang",
    "referenced_tweets",
    "in_reply_to_user_id",
    "possibly_sensitive",
    "note_tweet",
]
_EXPANSIONS = ["referenced_tweets.id"]
_CUT = re.compile(r"(…|\.\.\.)(\s*https://t\.co/\w*)?\s*\Z")  # how X ends a text of which there is more
_REPOST = re.compile(r"RT @\w{1,20}: ")
_SHORTEST_CUT = 100  # characters: a shorter text that ends in dots was written so
_TAG = "tweettune"  # how the tags of our rules begin
_POLL_S = 0.1
_HANDOVERS = 30  # so many polls a new stream waits for one that was just stopped to give its place back
_MOST_FOREIGN = 50  # posts of other rules in a row, each paid for, until the stream ends
_NO_RULES = 409
_streaming: set[Token] = set()  # the tokens that have a stream in this process
_streaming_lock = Lock()
logging.getLogger("tweepy").setLevel(logging.INFO)  # at DEBUG it logs whole requests and answers


class _X(LiveSource):
    """What the search and the stream share: the query, the cap, the token, and errors in our words."""

    title = "X"
    # As docs.x.com asks for: network errors, and HTTP errors.
    network_backoff = Backoff(first_s=0.25, factor=1.0, step_s=0.25, max_s=16.0)
    server_backoff = Backoff(first_s=5.0, max_s=320.0)
    box_size = 1  # every post that waits is paid for; while a feed is paused nothing more is asked for
    longest_silence_s = 15.0

    def __init__(
        self,
        query: str = "",
        *,
        token: str = "",
        filter: Filter | None = None,
        cap_usd: float = DEFAULT_CAP_USD,
        base_url: str = "https://api.x.com",
        connect_timeout_s: float = 5.0,
        read_timeout_s: float | None = None,
        world: World | None = None,
        attempts: int = 12,
    ) -> None:
        """Take a query in X's syntax, a filter that becomes part of it, and the most to spend.

        `read_timeout_s`: a connection that is silent for longer is given up; by default `longest_silence_s`.
        Raises SourceUnauthorised without a token, SourceBadQuery for a query or a cap that can't be used.
        """
        super().__init__(world=world, attempts=attempts)
        filter = filter or Filter()
        self.query = x_query(query, filter)
        self._parameters: dict[str, object] = {"tweet_fields": _FIELDS}
        if filter.reposts:  # without any nothing is cut, and what is referred to need not be paid for
            self._parameters["expansions"] = _EXPANSIONS
        self.budget = Budget(cap_in_posts(cap_usd))
        if not token.strip():
            raise SourceUnauthorised("X needs a bearer token. Set X_BEARER_TOKEN, or type one in.")
        self._token = Token(token, of="X")
        self._base_url, self._connect_timeout_s = base_url, connect_timeout_s
        self._read_timeout_s = read_timeout_s or self.longest_silence_s
        self._change(cost_usd=0.0)

    def _mount(self, session: requests.Session) -> Adapter:
        session.max_redirects = 0  # X sends nobody elsewhere
        adapter = Adapter(
            token=self._token,
            base_url=self._base_url,
            connect_timeout_s=self._connect_timeout_s,
            read_timeout_s=self._read_timeout_s,
        )
        session.mount("https://", adapter)
        return adapter

    def _ask(
        self, method: Callable[..., requests.Response], *arguments: object, **options: object
    ) -> tuple[JsonObject, Mapping[str, str]]:
        """Call a method of tweepy's; return the answer and its headers.

        Raises SourceError, unchained: what tweepy and requests raise could hold the token.
        """
        try:
            response = method(*arguments, **options)
        except tweepy.HTTPException as error:
            raise self._refusal(error.response) from None
        except (AttributeError, TypeError, ValueError):
            # tweepy trips over an error whose body or headers are not what it expects
            raise _unreadable() from None
        except (requests.RequestException, OSError) as error:
            raise SourceUnavailable(f"X could not be reached ({type(error).__name__}).") from None
        answer = _json(response.content)
        if not isinstance(answer, dict):
            raise _unreadable()
        return answer, response.headers

    def _refusal(self, response: requests.Response) -> SourceError:
        """Return the error for an answer that is none of 2xx."""
        status, body = response.status_code, _json(response.content)
        body = body if isinstance(body, dict) else {}
        words = _first(body.get("errors")).get("message") or body.get("detail") or body.get("title")
        said = self._short(words)
        if status == 402 or (status == 429 and "usage-capped" in response.text):
            return SourceUnauthorised(
                "X says that no credits are left. Buy some at developer.x.com, or choose another source."
            )
        if status == 401:
            return SourceUnauthorised("X does not accept this bearer token (status 401). Copy it again.")
        if status == 403:
            return SourceUnauthorised(f"X does not let this token read this (status 403: {said}).")
        if status == 429:
            asked_s = limit_wait_s(response.headers, self._world.clock())
            wait_s = min(_LIMIT_S * 2 ** min(self._failures, 10), _LONGEST_LIMIT_S)
            return SourceRateLimited(
                "X is asked too often (status 429).", retry_after_s=asked_s + 1 if asked_s else wait_s
            )
        if status in (400, 404, 422):
            return SourceBadQuery(f"X does not take this query (status {status}: {said}).")
        return SourceUnavailable(f"X answered with status {status}: {said}.", answered=True)

    def _short(self, words: object) -> str:
        """Return X's own words on one line, cut, and without the token."""
        line = self._token.hide(" ".join(clean(words).split()))[:200].rstrip(".")
        return line or "no reason given"

    def _paid(self, data: object, includes: object) -> list[Post]:
        """Return the posts among the `data` of an answer. Every entry is paid for, malformed ones too.

        So is each of the posts that it refers to, which `includes` has.
        """
        entries = data if isinstance(data, list) else []
        included = _objects(includes.get("tweets")) if isinstance(includes, dict) else []
        whole = {str(each.get("id")): _whole(each) for each in included}
        posts = []
        for entry in entries:
            with suppress(KeyError, TypeError, ValueError, AttributeError):
                posts.append(_post(entry, whole))
        self.budget.posts += len(entries) + len(whole.keys() - {post.id for post in posts})
        self._change(cost_usd=self.budget.usd)
        self._count_cut(
            sum(len(post.text) > _SHORTEST_CUT and bool(_CUT.search(post.text)) for post in posts)
        )
        if posts:
            self._in_a_row = 0
        self._unreadable("X", len(entries) - len(posts))
        return posts


class XSearch(_X):
    """The search for recent posts. It asks for what is newer than the newest post so far, within the cap."""

    name = "x"

    def __init__(self, query: str = "", *, interval_s: float = 15.0, **options: Any) -> None:
        """Take what `_X` takes, and how often to ask. Raises the same, and for a cap below a page."""
        super().__init__(query, **options)
        if self.budget.left < _SMALLEST_PAGE:
            raise SourceBadQuery(
                f"A cap of {self.budget.left} posts is too low for X's search, which gives at least "
                f"{_SMALLEST_PAGE} at once. Raise it, or use the stream."
            )
        self._client = tweepy.Client(_PLACEHOLDER, return_type=requests.Response, wait_on_rate_limit=False)
        self._adapter = self._mount(self._client.session)
        self._interval_s = interval_s
        self._newest = ""

    def _session(self, halt: Event) -> Iterator[Post]:
        while not halt.is_set():
            posts, headers = self._search(halt)
            yield from (post for post in posts if self._is_new(post.id))
            if self.budget.left < _SMALLEST_PAGE:  # X gives ten posts at least, and they are paid for
                self._change(reason=self.budget.ended())
                return
            if used_up(headers):
                raise SourceRateLimited(
                    "X gives no further request for now.",
                    retry_after_s=limit_wait_s(headers, self._world.clock()) or _LIMIT_S,
                )
            if self._world.wait(halt, self._interval_s):
                return

    def _search(self, halt: Event) -> tuple[list[Post], Mapping[str, str]]:
        """Return the posts since the last search, oldest first, and the headers of the last answer."""
        found: list[Post] = []
        headers: Mapping[str, str] = {}
        newest, next_page = self._newest, ""
        for page in range(_MOST_PAGES):
            if self.budget.left < _SMALLEST_PAGE or halt.is_set():
                break
            # The first search is a small one: it pays for posts from before anybody watched.
            size = min(_LARGEST_PAGE, self.budget.left) if self._newest else _SMALLEST_PAGE
            options = {"max_results": size, **self._parameters}
            options |= {"since_id": self._newest} if self._newest else {}
            options |= {"next_token": next_page} if next_page else {}
            try:
                answer, headers = self._ask(self._client.search_recent_tweets, self.query, **options)
            except SourceError:
                if page == 0:
                    raise
                self._count_gap()  # paid posts are kept; if X goes on to fail, the next search shows it
                break
            self._alive()
            found += self._paid(answer.get("data"), answer.get("includes"))
            meta: JsonObject = answer["meta"] if isinstance(answer.get("meta"), dict) else {}
            if page == 0 and re.fullmatch(r"\d{1,20}", str(meta.get("newest_id") or "")):
                newest = str(meta["newest_id"])
            next_page = str(meta.get("next_token") or "")
            if not (next_page and self._newest):
                break
        else:
            self._count_gap()
        self._newest = newest
        return found[::-1], headers

    def _abort(self) -> None:
        self._adapter.abort()

    def _close(self) -> None:
        self._client.session.close()


class _Connection(tweepy.StreamingClient):  # type: ignore[misc]  # untyped
    """One connection of tweepy's: it hands lines over and never reconnects by itself.

    tweepy's own reconnecting waits in a way that can't be interrupted. `lines` holds a line, b"" for a
    keep-alive; `closed` is set when no more will come; `problem` says why. `unread`: lines for which there
    was no room any more. X is held up, and not paid, while a line waits.
    """

    def __init__(self, mount: Callable[[requests.Session], Adapter]) -> None:
        super().__init__(_PLACEHOLDER, return_type=requests.Response, max_retries=0, daemon=True)
        self.adapter = mount(self.session)
        self.lines: Queue[bytes] = Queue(1)
        self.unread: list[bytes] = []
        self.closed = Event()
        self.problem: BaseException | str = ""
        self.left = False

    def disconnect(self) -> None:
        self.left = True
        super().disconnect()

    def on_connect(self) -> None:
        if self.left:  # before tweepy's thread had begun, which then would not know
            self.disconnect()
        self.on_data(b"")

    def on_data(self, raw_data: bytes) -> None:
        while self.running:
            with suppress(Full):
                self.lines.put(raw_data, timeout=_POLL_S)
                return
        self.unread.append(raw_data)

    def on_keep_alive(self) -> None:
        self.on_data(b"")

    def on_closed(self, response: requests.Response) -> None:
        self._end("X closed the stream.")

    def on_connection_error(self) -> None:
        self._end("The connection to X broke, or it sent nothing for too long.")

    def on_request_error(self, status_code: int) -> None:
        try:
            cast(requests.Response, self.adapter.last).content  # noqa: B018  (read while it is open)
        except requests.RequestException as error:
            self._end(error)
        self._end("refused")

    def on_exception(self, exception: BaseException) -> None:
        self._end(exception)

    def on_disconnect(self) -> None:
        self.closed.set()

    def _end(self, problem: BaseException | str) -> None:
        self.problem = self.problem or problem
        super().disconnect()


class XStream(_X):
    """The filtered stream: posts as they are written.

    It adds a rule of its own to the app's rules and removes it at the end. X lets an app have one such stream
    at a time, so a second one on the same token is refused here, and once X has let us in, rules that other
    streams of TweetTune left behind are removed: nobody can be using them. X gives nothing that was written
    while it was down: `status.gaps` counts these times. `pause` closes the connection, so that nothing more
    is paid for.

    The cap counts posts that were read. It is overshot by those that X had sent when it was reached: two at
    most that are at hand, and counted, and some in the network's buffers, which can't be counted and may be
    charged for.
    """

    name = "x-stream"
    longest_silence_s = 30.0  # X sends a keep-alive every 20 s

    def __init__(self, query: str = "", **options: Any) -> None:
        super().__init__(query, **options)
        self._rules = _Connection(self._mount)
        self._connection: _Connection | None = None
        self._tag = f"{_TAG}-{secrets.token_hex(8)}"
        self._rule = ""
        self._rule_is_ours = False
        self._left_behind: set[str] = set()
        self._foreign = 0
        self._has_place = False
        self._paused = Event()

    def pause(self) -> None:
        """Close the connection until `resume`: what is not delivered is not paid for. Any thread may call."""
        self._paused.set()
        if self._connection:
            self._connection.disconnect()
            self._connection.adapter.abort()

    def resume(self) -> None:
        self._paused.clear()

    def _session(self, halt: Event) -> Iterator[Post]:
        self._take_place(halt)
        if self._status.reconnects and self._status.read:
            self._count_gap()
        while not halt.is_set():
            if self._paused.is_set():
                self._change(state="ready", reason="")
                halt.wait(_POLL_S)
                continue
            if not self._rule:
                self._add_rule()
            connection = self._connection = _Connection(self._mount)
            if self._paused.is_set():
                continue  # it came too early to find this connection
            was_left = yield from self._connected(connection, halt)
            if not self.budget.left:
                self._change(reason=self.budget.ended())
                return
            if not was_left and not halt.is_set():
                raise self._broken(connection)

    def _take_place(self, halt: Event) -> None:
        """Be the one stream of this token in this process. Raises SourceError when another one goes on."""
        for _ in range(_HANDOVERS):
            with _streaming_lock:
                if self._has_place or self._token not in _streaming:
                    _streaming.add(self._token)
                    self._has_place = True
                    return
            if self._world.wait(halt, _POLL_S):
                break
        raise SourceError(
            "X lets a token have one stream at a time, and another feed has it. Stop that one, or use X's "
            "search."
        )

    def _connected(self, connection: _Connection, halt: Event) -> Generator[Post, None, bool]:
        """Yield the posts of one connection, until it ends or the cap is reached. Returns whether we left."""
        connection.filter(threaded=True, **self._parameters)
        try:
            while not halt.is_set() and self.budget.left:
                was_closed = connection.closed.is_set()
                try:
                    line = connection.lines.get(timeout=_POLL_S)
                except Empty:
                    if was_closed:
                        break
                    continue
                self._remove_left_behind()
                if post := self._read(line):
                    yield post
            return connection.left
        finally:
            connection.disconnect()
            connection.adapter.abort()
            connection.thread.join(1.0)
            # What X has delivered is paid for, although nobody reads it any more.
            with suppress(Empty):
                while True:
                    connection.unread.append(connection.lines.get_nowait())
            messages = [_json(line) for line in connection.unread]
            unread = sum(isinstance(message, dict) and "data" in message for message in messages)
            self.budget.posts += unread
            self._pass_over("unread at the end", unread)
            self._change(cost_usd=self.budget.usd)

    def _read(self, line: bytes) -> Post | None:
        """Return the post of a line, None for any other line.

        Raises SourceUnavailable when X says goodbye, SourceError when nothing but posts of other rules comes.
        """
        if not line.strip():
            self._alive()
            return None
        message = _json(line)
        if not isinstance(message, dict):
            self._unreadable("X")
            return None
        if "data" not in message:
            first = _first(message.get("errors")) or message
            words = self._short(first.get("detail") or first.get("title"))
            raise SourceUnavailable(f"X closed the stream: {words}.")
        self._alive()
        posts, rules = self._paid([message["data"]], message.get("includes")), message.get("matching_rules")
        if not posts:
            return None
        if isinstance(rules, list) and not any(rule.get("id") == self._rule for rule in _objects(rules)):
            self._pass_over("another rule's")
            self._foreign += 1
            if self._foreign >= _MOST_FOREIGN:
                raise SourceError(
                    f"X sent {_MOST_FOREIGN} posts in a row, for ${_MOST_FOREIGN * PRICE_PER_POST_USD:.2f}, "
                    "that only other rules of this token ask for. Remove those rules at X, or use its search."
                )
            return None
        self._foreign = 0
        return posts[0] if self._is_new(posts[0].id) else None

    def _broken(self, connection: _Connection) -> SourceError:
        """Return the error for a connection that ended. An exception of our own code is not swallowed."""
        problem, response = connection.problem, connection.adapter.last
        if isinstance(problem, requests.RequestException | OSError):
            return SourceUnavailable(f"X could not be reached ({type(problem).__name__}).")
        if isinstance(problem, BaseException):
            raise problem
        if problem != "refused" or response is None:
            return SourceUnavailable(problem or "X closed the stream.")
        if response.status_code == _NO_RULES:
            self._rule = ""  # somebody removed it: the next session adds it again
            return SourceUnavailable("X has no rule for this stream any more (status 409).", answered=True)
        return self._refusal(response)

    def _add_rule(self) -> None:
        """Add this source's rule, and note those that other streams of TweetTune left. Raises SourceError."""
        answer, _ = self._ask(self._rules.get_rules)
        known = [rule for rule in _objects(answer.get("data")) if rule.get("id")]
        self._left_behind = {str(rule["id"]) for rule in known if str(rule.get("tag")).startswith(_TAG)}
        answer, _ = self._ask(self._rules.add_rules, tweepy.StreamRule(value=self.query, tag=self._tag))
        added, problem = _first(answer.get("data")), _first(answer.get("errors"))
        if added.get("id"):
            self._rule, self._rule_is_ours = str(added["id"]), True
        elif problem.get("title") == "DuplicateRule" and problem.get("id"):
            self._rule, self._rule_is_ours = str(problem["id"]), False
        else:
            details = problem.get("details")
            words = details[0] if isinstance(details, list) and details else problem.get("detail")
            raise SourceBadQuery(f"X does not take this query: {self._short(words or problem.get('title'))}.")

    def _remove_left_behind(self) -> None:
        """Remove rules that nobody can be using, since X lets one stream in, and that is this one."""
        if self._rule in self._left_behind:
            self._left_behind.remove(self._rule)
            self._rule_is_ours = True
        if self._left_behind:
            with suppress(SourceError):  # their posts are counted; the next connection tries again
                self._ask(self._rules.delete_rules, sorted(self._left_behind))
                self._left_behind = set()

    def _abort(self) -> None:
        self._rules.adapter.abort()
        if self._connection:
            self._connection.disconnect()
            self._connection.adapter.abort()

    def _close(self) -> None:
        """Remove the rule. A failure is shown in the status, since the stream itself has ended by then."""
        try:
            if self._rule and self._rule_is_ours:
                self._ask(self._rules.delete_rules, self._rule)
        except SourceError as error:
            reason = f"{self._status.reason} The rule {self._rule} could not be removed: {error}"
            self._change(reason=reason.strip())
        finally:
            self._rule = ""
            self._rules.session.close()
            if self._has_place:
                with _streaming_lock:
                    _streaming.discard(self._token)


def x_query(query: str, filter: Filter) -> str:
    """Return X's query for a query and a filter, so that posts it would drop are not paid for.

    Raises SourceBadQuery when there is nothing to search for, or too much.
    """
    words = [word for word in filter.keywords if word.strip()]
    tags = [tag.lower() for tag in filter.languages if re.fullmatch(r"[A-Za-z-]{2,10}", tag)]
    parts = [f"({query.strip()})"] if query.strip() else []
    for several in ([_quoted(word) for word in words], [f"lang:{tag}" for tag in tags]):
        if several:
            parts.append(f"({' OR '.join(several)})" if len(several) > 1 else several[0])
    if not (query.strip() or words):
        raise SourceBadQuery("X needs something to search for. Give a query or keywords.")
    parts += [] if filter.reposts else ["-is:retweet"]
    parts += [] if filter.replies else ["-is:reply"]
    full = " ".join(parts)
    if len(full) > _LONGEST_QUERY:
        raise SourceBadQuery(
            f"The query, with its filter, has {len(full)} characters. X takes {_LONGEST_QUERY}: shorten it."
        )
    return full


def _quoted(word: str) -> str:
    bare = " ".join(word.replace('"', " ").split())
    return bare if re.fullmatch(r"[#@]?\w+", bare) else f'"{bare}"'


def _unreadable() -> SourceUnavailable:
    return SourceUnavailable("X answered with something that can't be read.", answered=True)


def _json(text: str | bytes) -> object:
    """Return what JSON holds, None when it is none: a line of a stream can break off."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _objects(value: object) -> list[JsonObject]:
    """Return the objects of a list; of anything else, none."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _first(value: object) -> JsonObject:
    return next(iter(_objects(value)), {})


def _whole(tweet: JsonObject) -> str:
    """Return the text of a tweet, "" when it has none: a long one's is in `note_tweet`."""
    note = tweet.get("note_tweet")
    for text in (note.get("text") if isinstance(note, dict) else None, tweet.get("text")):
        if isinstance(text, str):
            return text
    return ""


def _post(tweet: JsonObject, whole: Mapping[str, str]) -> Post:
    """Make a post of a tweet, and of the texts by id of those that it refers to.

    Raises what `_paid` suppresses for a malformed one.
    """
    if not re.fullmatch(r"\d{1,20}", tweet["id"]) or not isinstance(tweet["text"], str):
        raise ValueError("not a post")
    referred = tweet.get("referenced_tweets") or []
    references = {reference["type"]: str(reference.get("id")) for reference in referred}
    text, language = _whole(tweet), tweet.get("lang")
    if repeated := whole.get(references.get("retweeted", "")):
        mark = _REPOST.match(text)
        text = (mark[0] if mark else "") + repeated
    return Post(
        id=tweet["id"],
        text=clean(text),  # X writes & < > as entities; the feed mends them
        url=f"https://x.com/i/status/{tweet['id']}",
        source="x",
        created=moment(tweet.get("created_at")),
        languages=(language[:35],) if isinstance(language, str) and language else (),
        is_reply="replied_to" in references or bool(tweet.get("in_reply_to_user_id")),
        is_repost="retweeted" in references,
        sensitive=bool(tweet.get("possibly_sensitive")),
    )
