"""X's search against its API on loopback, through tweepy: what it reads, what it pays, what it is told."""

import logging
import re
import threading
import time
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from inference.live.filter import Filter
from inference.live.pricing import PRICE_PER_POST_USD, Estimate, cap_in_posts
from inference.live.request import StreamRequest
from inference.live.sources import SourceBadQuery, SourceRateLimited, SourceUnauthorised, SourceUnavailable
from inference.live.sources.base import World
from inference.live.sources.x import XSearch, x_query
from tests.servers import Listener, Waits
from tests.servers.web import Answer, Web
from tests.servers.x import FIRST_ID, X, problem, too_many
from tests.support import wait_for

NOW = 1_800_000_000.0


@pytest.fixture
def server():
    with X() as server:
        yield server


def search(server, query="#python", *, waits=None, **options):
    options = {"token": server.token, "base_url": server.url, "read_timeout_s": 2.0} | options
    return XSearch(query, world=World(clock=lambda: NOW, wait=waits or Waits()), **options)


def test_posts_come_oldest_first_each_once_and_only_newer_ones_are_asked_for(server):
    for number in range(4):
        server.tweet(f"tweet {number}")
    with Listener(search(server)) as heard:
        heard.wait(4)
        server.tweet("tweet 4")
        server.tweet("tweet 5 &lt;3 &amp; more", lang="pt", possibly_sensitive=True)
        last = heard.wait(6)[-1]
        wait_for(lambda: len(server.asked) >= 4)
        status = heard.source.status
    assert heard.texts == [*(f"tweet {number}" for number in range(5)), "tweet 5 &lt;3 &amp; more"]
    assert server.asked[0].query["query"] == "(#python)" and server.asked[0].query["max_results"] == "10"
    assert server.asked[-1].query["since_id"] == str(FIRST_ID + 5)
    assert last.id == str(FIRST_ID + 5) and last.url == f"https://x.com/i/status/{last.id}"
    assert last.created == datetime(2026, 1, 15, 10, 30, tzinfo=UTC) and last.source == "x"
    assert last.language == "pt" and last.sensitive and not last.is_reply and not last.is_repost
    assert status.cost_usd == pytest.approx(6 * PRICE_PER_POST_USD) and status.passed_over == {}
    assert server.asked[0].query["expansions"] == "referenced_tweets.id", "no user: it costs twice as much"


def test_reposts_and_replies_are_known(server):
    server.tweet("RT", referenced_tweets=[{"type": "retweeted", "id": "1"}])
    server.tweet("re", referenced_tweets=[{"type": "replied_to", "id": "1"}], in_reply_to_user_id="2")
    server.tweet("quote", referenced_tweets=[{"type": "quoted", "id": "1"}])
    with Listener(search(server)) as heard:
        posts = heard.wait(3)
    assert [(post.is_repost, post.is_reply) for post in posts] == [
        (True, False),
        (False, True),
        (False, False),
    ]


def test_a_burst_is_read_page_by_page_to_the_cap_and_never_beyond(server):
    server.tweet("first")
    with Listener(search(server, cap_usd=1.25)) as heard:
        heard.wait(1)
        for number in range(400):
            server.tweet(f"{number}")
        assert heard.ended() is None
    assert len(heard.posts) <= 250 and heard.source.budget.posts <= 250 and heard.source.budget.left < 10
    sizes = [int(request.query["max_results"]) for request in server.asked]
    assert sizes[:2] == [10, 10] or sizes[1] == 100
    status = heard.source.status
    assert status.state == "ended" and status.cost_usd <= 250 * PRICE_PER_POST_USD
    assert re.fullmatch(r"The cap is reached: \d+ posts were read for \$1\.2\d\.", status.reason)
    asked = len(server.asked)
    time.sleep(0.1)
    assert len(server.asked) == asked


def test_what_was_paid_for_is_kept_when_the_next_page_fails(server):
    tweets = [{"id": str(FIRST_ID + number), "text": str(number)} for number in range(3)]
    server.script.append(Answer(200, {"data": tweets[:1], "meta": {"newest_id": tweets[0]["id"]}}))
    meta = {"newest_id": tweets[2]["id"], "next_token": "2"}
    server.script.append(Answer(200, {"data": [tweets[2], tweets[1]], "meta": meta}))
    server.script.append(problem(503, "Service Unavailable"))
    with Listener(search(server)) as heard:
        heard.wait(3)
        wait_for(lambda: len(server.asked) >= 4)
    assert heard.texts == ["0", "1", "2"] and heard.source.status.gaps == 1
    assert server.asked[3].query["since_id"] == tweets[2]["id"] and "next_token" not in server.asked[3].query


def test_whoever_pauses_pays_for_nothing_more(server):
    for number in range(10):
        server.tweet(f"{number}")
    source = search(server)
    posts = source.posts(stop := threading.Event())
    assert next(posts).text == "0"
    for number in range(10, 40):
        server.tweet(f"{number}")
    time.sleep(0.5)  # in which fifty looks would be taken
    assert len(server.asked) == 1 and source.budget.posts == 10
    assert [next(posts).text for _ in range(39)] == [f"{number}" for number in range(1, 40)]
    stop.set()
    assert list(posts) == []


def test_cost_is_estimated_beforehand():
    estimate = Estimate(cap_in_posts(1.0))
    assert estimate.usd_per_hour == pytest.approx(36.0) and estimate.cap_posts == 200
    assert estimate.sentence() == (
        "Reading 2 posts a second costs about $36.00 an hour ($0.005 a post, price of November 2026). "
        "It stops at $1.00, that is after 200 posts or about 1 min 40 s."
    )


@pytest.mark.parametrize("cap", [0, -1, float("nan"), float("inf")])
def test_a_cap_that_lets_nothing_through_is_refused(server, cap):
    with pytest.raises(SourceBadQuery, match="Choose more than 0"):
        search(server, cap_usd=cap)


def test_a_cap_below_a_page_is_refused_before_anything_is_paid(server):
    with pytest.raises(
        SourceBadQuery, match=r"A cap of 9 posts is too low for X's search, which gives at least 10"
    ):
        search(server, cap_usd=0.045)
    assert server.asked == []


LONG = "We waited two hours in the rain and nobody told us anything. " * 6 + "Then came cocoa &amp; cake!"


def test_a_long_post_and_a_repost_of_it_are_whole_and_what_was_read_for_that_is_paid(server):
    original = server.tweet(LONG[:275] + "… https://t.co/x", note_tweet={"text": LONG})
    mark = "RT @harbour: "
    server.tweet(
        f"{mark}{LONG[:126]}…",
        referenced_tweets=[{"type": "retweeted", "id": original["id"]}, {"type": "quoted", "id": "9"}],
    )
    server.tweet("short, and quoted", referenced_tweets=[{"type": "quoted", "id": original["id"]}])
    with Listener(search(server)) as heard:
        heard.wait(3)
    assert heard.texts == [LONG, mark + LONG, "short, and quoted"], "the feed mends what X escapes"
    assert [post.is_repost for post in heard.posts] == [False, True, False]
    assert heard.source.status.cut == 0
    assert heard.source.budget.posts == 3, "what is referred to was among them"


def test_what_is_referred_to_costs_too_and_is_not_asked_for_without_reposts(server):
    server.tweet("old", note_tweet={"text": LONG})
    server.tweet(f"RT @a: {LONG[:126]}…", referenced_tweets=[{"type": "retweeted", "id": "1"}])
    with Listener(search(server)) as heard:
        [_, repost] = heard.wait(2)
        assert heard.source.budget.posts == 3 and len(repost.text) > len(LONG) - 9
        assert heard.source.status.cost_usd == pytest.approx(3 * PRICE_PER_POST_USD)
    with Listener(search(server, filter=Filter(reposts=False))) as heard:
        heard.wait(2)
        assert "expansions" not in server.asked[-1].query
        assert "note_tweet" in server.asked[-1].query["tweet.fields"]


@pytest.mark.parametrize(
    ("tweet", "cut"),
    [
        ({"text": f"RT @a: {LONG[:126]}…", "referenced_tweets": [{"type": "retweeted", "id": "77"}]}, 1),
        ({"text": LONG[:275] + "… https://t.co/x"}, 1),
        ({"text": LONG[:275] + "...", "note_tweet": {"text": 5}}, 1),
        ({"text": "well… https://t.co/x"}, 0),
        ({"text": LONG[:275]}, 0),
        ({"text": "RT @a: " + LONG[:90], "referenced_tweets": [{"type": "retweeted", "id": "77"}]}, 0),
    ],
)
def test_a_text_that_is_still_cut_is_counted(server, tweet, cut):
    server.tweet(**tweet)
    with Listener(search(server)) as heard:
        heard.wait(1)
        wait_for(lambda: heard.source.status.cut == cut)


@pytest.mark.parametrize(
    "includes", [None, [], "x", {"tweets": 5}, {"tweets": [{"id": "1"}, {"text": "a"}, 3]}]
)
def test_odd_includes_break_nothing(server, includes):
    data = [{"id": "5", "text": "a repost", "referenced_tweets": [{"type": "retweeted", "id": "1"}]}]
    server.script.append(Answer(200, {"data": data, "includes": includes, "meta": {"newest_id": "5"}}))
    with Listener(search(server)) as heard:
        assert heard.wait(1)[0].text == "a repost"


def test_answers_that_nobody_can_read_end_in_a_sentence(server):
    answer = {"data": [{"id": str(n), "body": "…"} for n in range(60)], "meta": {"newest_id": "60"}}
    server.script.append(Answer(200, answer))
    with Listener(search(server)) as heard:
        error = heard.ended()
    assert str(error).startswith("X sent 50 messages in a row that can't be read, so its format may have")
    assert heard.source.status.passed_over == {"garbage": 60} and heard.source.budget.posts == 60


def test_the_query_holds_the_filter_so_that_nobody_pays_for_what_is_let_go():
    filter = Filter(
        keywords=("train", "night bus", 'a"b'), languages=("en", "pt"), reposts=False, replies=False
    )
    assert x_query("", filter) == '(train OR "night bus" OR "a b") (lang:en OR lang:pt) -is:retweet -is:reply'
    assert x_query("cats OR dogs", Filter(languages=("en",))) == "(cats OR dogs) lang:en"
    with pytest.raises(SourceBadQuery, match="X needs something to search for"):
        x_query(" ", Filter(languages=("en",)))
    with pytest.raises(SourceBadQuery, match=r"has 602 characters. X takes 512: shorten it."):
        x_query("x" * 600, Filter())


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (
            problem(401, "Unauthorized"),
            SourceUnauthorised,
            "X does not accept this bearer token (status 401).",
        ),
        (problem(402, "CreditsDepleted"), SourceUnauthorised, "no credits are left. Buy some"),
        (
            problem(403, "Client Forbidden", "You need Project access."),
            SourceUnauthorised,
            "X does not let this token read this (status 403: You need Project access).",
        ),
        (
            problem(400, "Invalid Request", errors=[{"message": "no viable alternative at 'x'"}]),
            SourceBadQuery,
            "X does not take this query (status 400: no viable alternative at 'x').",
        ),
        (
            problem(429, "UsageCapExceeded", type="https://api.twitter.com/2/problems/usage-capped"),
            SourceUnauthorised,
            "no credits are left",
        ),
        (too_many(reset=int(NOW) + 3600), SourceRateLimited, "X is asked too often (status 429)."),
    ],
)
def test_what_can_not_be_mended_ends_it_with_a_sentence(server, answer, kind, message):
    server.script.append(answer)
    with Listener(search(server)) as heard:
        error = heard.ended()
    assert type(error) is kind and message in str(error)
    assert error.__cause__ is None and error.__suppress_context__
    assert heard.source.status.state == "ended" and heard.source.status.reason == str(error)
    if kind is SourceRateLimited:
        assert error.retry_after_s == 3601


def test_a_rate_limit_is_waited_for_by_the_services_clock(server):
    server.tweet("after all")
    elsewhere = NOW + 86_400  # X's clock is a day ahead of ours
    date = {"Date": format_datetime(datetime.fromtimestamp(elsewhere, UTC), usegmt=True)}
    server.script.append(too_many(reset=int(elsewhere) + 120, **date))
    server.script.append(too_many())
    server.script.append(too_many())
    server.script.append(too_many(**{"Retry-After": "33"}))
    waits = Waits()
    with Listener(search(server, waits=waits)) as heard:
        heard.wait(1)
    assert [round(seconds) for seconds in waits.seconds[:4]] == pytest.approx([121, 120, 240, 34], abs=1)


def test_a_state_can_be_shown_while_it_waits(server):
    server.script.append(too_many(reset=int(NOW) + 120))
    source = XSearch("a", token=server.token, base_url=server.url, world=World(clock=lambda: NOW))
    with Listener(source) as heard:
        wait_for(lambda: source.status.state == "rate limited")
        sentence = r"Rate limited until 08:02:0[12] UTC: X is asked too often \(status 429\)\."
        assert re.fullmatch(sentence, source.status.sentence(NOW))
        assert heard.stop() < 2


def test_when_no_request_is_left_it_waits_before_it_is_refused(server):
    server.tweet("one")
    server.headers = {
        "x-rate-limit-limit": "450",
        "x-rate-limit-remaining": "0",
        "x-rate-limit-reset": str(int(NOW) + 500),
    }
    waits = Waits()
    with Listener(search(server, waits=waits, attempts=1000)) as heard:
        heard.wait(1)
        wait_for(lambda: len(waits.seconds) >= 2)
    assert all(490 < seconds < 503 for seconds in waits.seconds)


def test_servers_errors_are_tried_again_with_growing_waits(server):
    server.tweet("after all")
    for answer in (
        problem(503, "Service Unavailable"),
        Answer(500, b"<html>oops"),
        Answer(502, b"[]"),
        Answer(503, [3]),
        Answer(503, {"errors": [3]}),
        Answer(200, b"{nonsense"),
        Answer(200, b"[1]"),
        Answer(302, b"", {"Location": "http://127.0.0.1:1/"}),
    ):
        server.script.append(answer)
    waits = Waits()
    with Listener(search(server, waits=waits)) as heard:
        heard.wait(1)
    documented = [5, 10, 20, 40, 80, 160, 320]
    assert all(asked <= got <= asked * 1.25 for asked, got in zip(documented, waits.seconds, strict=False))
    assert heard.source.status.reconnects == 8


def test_network_errors_wait_in_small_steps_and_give_up_in_the_end():
    with X() as server:
        gone = server.url
    waits = Waits()
    source = XSearch("a", token="made-up", base_url=gone, attempts=4, world=World(wait=waits))
    with Listener(source) as heard:
        error = heard.ended()
    assert isinstance(error, SourceUnavailable) and "It was tried 4 times." in str(error)
    assert all(step <= got <= step * 1.25 for step, got in zip((0.25, 0.5, 0.75), waits.seconds, strict=True))


def test_a_server_that_does_not_answer_is_given_up_in_time(server):
    server.script.append(Answer(200, pieces=[b'{"da', Web.STALL]))
    server.script.append(Answer(200, pieces=[b'{"data": [', Web.DROP]))
    server.tweet("after all")
    with Listener(search(server, read_timeout_s=0.3)) as heard:
        heard.wait(1)
    assert heard.source.status.reconnects == 2


def test_malformed_tweets_are_counted_and_paid(server):
    bad = [
        {"id": "../x", "text": "a"},
        {"id": "1", "text": 3},
        {"text": "no id"},
        7,
        None,
        {"id": 5, "text": "a"},
    ]
    server.script.append(Answer(200, {"data": [*bad, {"id": "9", "text": "good \ud800"}], "meta": []}))
    with Listener(search(server)) as heard:
        [post] = heard.wait(1)
    assert post.text == "good �" and post.languages == () and post.created is None
    assert heard.source.status.passed_over == {"garbage": 6}
    assert heard.source.status.cost_usd == pytest.approx(7 * PRICE_PER_POST_USD)


@pytest.mark.parametrize("moment", ["asking", "waiting"])
def test_a_stop_is_heard_at_once(server, moment):
    if moment == "asking":
        server.script.append(Answer(200, pieces=[Web.STALL]))
    source = XSearch("a", token=server.token, base_url=server.url)
    with Listener(source) as heard:
        wait_for(lambda: server.asked)
        assert heard.stop() < 2
    assert heard.error is None


def test_a_token_is_needed_and_comes_from_the_environment(server, monkeypatch):
    monkeypatch.delenv("X_BEARER_TOKEN", raising=False)
    with pytest.raises(SourceUnauthorised, match="Set X_BEARER_TOKEN, or type one in"):
        search(server, token="")
    with pytest.raises(SourceUnauthorised, match="characters that no token has"):
        search(server, token="two\r\nlines: evil")
    monkeypatch.setenv("X_BEARER_TOKEN", f" {server.token}\n")
    server.tweet("with the environment's")
    made = {"x": lambda query, **options: search(server, query, **options)}
    with Listener(StreamRequest(source="x", query="#python").open(sources=made)) as heard:
        heard.wait(1)


def test_the_token_is_not_in_the_headers_that_tweepy_logs(server, caplog):
    caplog.set_level(logging.DEBUG, logger="tweepy")
    server.tweet("x")
    with Listener(search(server)) as heard:
        heard.wait(1)
    assert server.asked[0].headers["authorization"] == f"Bearer {server.token}"
    assert "'Authorization': 'Bearer the-adapter-knows-it'" in caplog.text
    assert "made-up-token" not in caplog.text


def test_the_token_is_nowhere_to_be_seen(server, caplog, capfd):
    """Not even when everything is logged and X sends the token back in its errors."""
    caplog.set_level(logging.DEBUG)
    for status in (503, 429, 403):
        server.script.append(problem(status, "Oops", f"Bearer {server.token} and AAAA/made-up-token are bad"))
    server.tweet("x")
    waits, source = Waits(), None
    with Listener(source := search(server, waits=waits)) as heard:
        error = heard.ended()
        seen = [repr(source), repr(vars(source)), str(error), repr(error)]
        seen += [repr(source.status), caplog.text, *capfd.readouterr(), repr(vars(source._client))]
        seen += [request.path + str(request.query) for request in server.asked]
    for text in seen:
        assert server.token not in text and "made-up-token" not in text
    assert "(hidden)" in str(error)
