"""X's filtered stream against its API on loopback, through tweepy's client: rules, lines, breaks, cost."""

import json
import logging
import threading
import time

import pytest
import requests

from inference.live.feed import Feed
from inference.live.filter import Filter
from inference.live.pricing import PRICE_PER_POST_USD
from inference.live.sources import SourceBadQuery, SourceUnauthorised
from inference.live.sources.base import World
from inference.live.sources.x import XStream
from tests.servers import Listener, Waits
from tests.servers.web import Answer, Web
from tests.servers.x import DISCONNECT, TOO_MANY_CONNECTIONS, X, problem, too_many
from tests.support import wait_for
from tests.support.feeds import LABELS, classify

RULES, STREAM = "/2/tweets/search/stream/rules", "/2/tweets/search/stream"


@pytest.fixture
def server():
    with X() as server:
        yield server


def stream(server, query="#python", *, waits=None, **options):
    options = {"token": server.token, "base_url": server.url, "read_timeout_s": 2.0} | options
    return XStream(query, world=World(wait=waits or Waits()), **options)


def streaming(server, times=1):
    wait_for(lambda: server.opened >= times)


def tweet_once_connected(server, count):
    streaming(server)
    for number in range(count):
        server.tweet(f"{number}")


def test_the_stream_gives_long_posts_and_reposts_whole(server):
    long = "one of very many words " * 20 + "and the end"
    with Listener(stream(server)) as heard:
        wait_for(lambda: server.streams)
        server.tweet(long[:275] + "… https://t.co/x", note_tweet={"text": long})
        server.tweet(f"RT @a: {long[:126]}…", referenced_tweets=[{"type": "retweeted", "id": "1"}])
        heard.wait(2)
    assert heard.texts == [long, f"RT @a: {long}"]
    assert heard.source.status.cut == 0 and heard.source.budget.posts == 3


def test_posts_come_as_they_are_written_and_the_rule_is_removed_at_the_end(server):
    source = stream(server, filter=Filter(reposts=False))
    with Listener(source) as heard:
        streaming(server)
        assert [rule["value"] for rule in server.rules.values()] == ["(#python) -is:retweet"]
        time.sleep(0.15)  # some keep-alives
        server.tweet("one")
        server.tweet("two &amp; more \U0001f600")
        heard.wait(2)
        assert source.status.state == "connected"
        assert source.status.cost_usd == pytest.approx(2 * PRICE_PER_POST_USD)
        assert heard.stop() < 2
    wait_for(lambda: not server.rules)
    assert heard.texts == ["one", "two &amp; more \U0001f600"] and heard.posts[0].source == "x"
    assert source.status.passed_over == {} and source.status.reconnects == 0


def test_lines_in_pieces_and_garbage(server):
    with Listener(stream(server)) as heard:
        streaming(server)
        whole = json.dumps({"data": {"id": "5", "text": "in pieces"}}).encode()
        for byte in whole:
            server.send(bytes([byte]))
        server.send(b"\r")
        server.send(
            b"\n{nonsense\r\n[1]\r\n\r\n\r\n" + b'{"data": {"id": "6"}}\r\n{"data": 3}\r\n\xff\xfe\r\n'
        )
        server.tweet("after all")
        heard.wait(2)
    assert heard.texts == ["in pieces", "after all"]
    assert heard.source.status.passed_over == {"garbage": 5} and heard.source.status.reconnects == 0


def test_breaks_of_every_kind_are_followed_by_a_new_connection(server):
    waits = Waits()
    with Listener(stream(server, waits=waits)) as heard:
        streaming(server)
        server.tweet("0")
        heard.wait(1)
        breaks = (
            lambda: server.drop(),
            lambda: server.hang_up(),
            lambda: (server.send(b'{"data": {"id": "77", "te'), server.hang_up()),
            lambda: server.message({"errors": [DISCONNECT]}),
            lambda: server.message(TOO_MANY_CONNECTIONS),
        )
        for number, breaks_off in enumerate(breaks, 1):
            breaks_off()
            wait_for(lambda number=number: heard.source.status.reconnects >= number)
            wait_for(lambda: server.streams == 1 and heard.source.status.state == "connected")
            server.tweet(str(number))
            wait_for(lambda number=number: str(number) in heard.texts)
    assert heard.texts == [str(number) for number in range(6)]
    status = heard.source.status
    assert status.reconnects >= 5 and status.gaps >= 5 and status.passed_over == {"garbage": 1}


def test_a_goodbye_is_reported_in_the_services_words(server):
    reasons = []

    def wait(event, seconds):
        reasons.append(source.status.reason)
        return event.wait(0.01)

    source = XStream("a", token=server.token, base_url=server.url, world=World(wait=wait))
    with Listener(source):
        streaming(server)
        server.message({"errors": [DISCONNECT]})
        wait_for(lambda: reasons)
    assert reasons[0] == (
        "X closed the stream: This stream has been disconnected upstream for operational reasons."
    )


def test_a_connection_is_given_back_at_once_after_a_goodbye(server):
    goodbye = json.dumps({"errors": [DISCONNECT]}).encode() + b"\r\n"
    with Listener(stream(server, read_timeout_s=20)) as heard:
        streaming(server)
        server.script.append(Answer(200, pieces=[b"\r\n", goodbye, Web.STALL]))
        server.hang_up()
        wait_for(lambda: heard.source.status.reconnects >= 2)
        wait_for(lambda: server._queues, 3)  # there may be only one, and the old one did not end by itself
        server.tweet("on")
        heard.wait(1)


def test_a_stream_that_falls_silent_is_given_up(server):
    server.rules["1"] = {"id": "1", "value": "other", "tag": "mine"}
    with Listener(stream(server, read_timeout_s=0.3)) as heard:
        streaming(server)
        server.tweet("before")
        heard.wait(1)
        server.script.append(Answer(200, pieces=[b"\r\n", Web.STALL]))
        server.hang_up()
        wait_for(lambda: "sent nothing for too long" in heard.source.status.reason)
        wait_for(lambda: server.streams == 1 and heard.source.status.state == "connected")
        server.tweet("after")
        heard.wait(2)


def test_a_rule_that_somebody_removed_is_added_again(server):
    with Listener(stream(server)) as heard:
        streaming(server)
        server.rules.clear()
        server.hang_up()
        streaming(server, 2)
        server.tweet("on")
        heard.wait(1)
    assert server.paths().count(f"POST {RULES}") >= 2


def test_rules_of_others_stay_and_their_posts_are_paid_but_not_shown(server):
    server.rules = {
        "1": {"id": "1", "value": "somebody's", "tag": "theirs"},
        "2": {"id": "2", "value": "left behind", "tag": "tweettune"},
    }
    with Listener(stream(server)) as heard:
        streaming(server)
        wait_for(lambda: "2" not in server.rules and len(server.rules) == 2)
        server.message({"data": {"id": "8", "text": "theirs"}, "matching_rules": [{"id": "1"}]})
        server.tweet("ours")
        heard.wait(1)
    wait_for(lambda: list(server.rules) == ["1"])
    assert heard.texts == ["ours"] and heard.source.status.passed_over == {"another rule's": 1}
    assert heard.source.status.cost_usd == pytest.approx(2 * PRICE_PER_POST_USD)


def test_a_rule_that_exists_already_is_used_and_left(server):
    server.rules = {"1": {"id": "1", "value": "(#python)", "tag": "theirs"}}
    with Listener(stream(server)) as heard:
        streaming(server)
        server.tweet("ours")
        heard.wait(1)
    time.sleep(0.2)
    assert list(server.rules) == ["1"]


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (problem(401, "Unauthorized"), SourceUnauthorised, "X does not accept this bearer token"),
        (problem(403, "Forbidden", "Not your plan."), SourceUnauthorised, "status 403: Not your plan)"),
        (
            Answer(201, {"errors": [{"title": "Invalid Rule", "details": ["Cannot parse (position 3)"]}]}),
            SourceBadQuery,
            "X does not take this query: Cannot parse (position 3).",
        ),
        (
            problem(400, "Invalid Request", "Bad."),
            SourceBadQuery,
            "X does not take this query (status 400: Bad).",
        ),
    ],
)
def test_what_can_not_be_mended_ends_it_with_a_sentence(server, answer, kind, message):
    server.script.extend([Answer(200, {}), answer])  # no rules yet; then the answer to the new one
    with Listener(stream(server)) as heard:
        error = heard.ended()
    assert type(error) is kind and message in str(error)


def test_a_refused_stream_is_waited_for_as_it_asks(server):
    waits = Waits()
    with Listener(stream(server, waits=waits)) as heard:
        wait_for(lambda: server.rules)
        server.script.clear()
        streaming(server)
        for answer in (
            too_many(**{"Retry-After": "90"}),
            too_many(),
            problem(503, "Service Unavailable"),
            Answer(500, b"<html>"),
        ):
            server.script.append(answer)
        server.hang_up()
        wait_for(lambda: not server.script)
        wait_for(lambda: server.streams == 1 and heard.source.status.state == "connected")
        server.tweet("on")
        heard.wait(1)
    closed, *refused = waits.seconds
    assert 0.25 <= closed <= 0.32, "the stream was closed in order: a network error's wait"
    assert [round(seconds) for seconds in refused[:2]] == pytest.approx([91, 240], abs=1)
    assert 40 <= refused[2] <= 50 and 80 <= refused[3] <= 100, "the fourth and fifth failure in a row"


def test_the_cap_ends_it_and_the_rule_is_removed(server):
    source = stream(server, cap_usd=0.015)
    with Listener(source) as heard:
        streaming(server)
        for number in range(9):
            server.tweet(f"{number}")
        assert heard.ended() is None
    assert heard.texts == ["0", "1", "2"]
    paid = source.budget.posts
    assert source.status.reason == f"The cap is reached: {paid} posts were read for ${paid * 0.005:,.2f}."
    assert not server.rules


def test_what_was_delivered_and_not_read_any_more_is_paid_and_counted(server):
    source = stream(server)
    posts = source.posts(stop := threading.Event())
    threading.Thread(target=tweet_once_connected, args=(server, 420)).start()
    assert next(posts).text == "0"
    # Nobody reads: one post waits in the box, one to get there, one as a line, and one to become it.
    wait_for(lambda: source.budget.posts == 3 and source._connection.lines.full())
    time.sleep(0.5)
    assert source.budget.posts == 3, "X is held up"
    stop.set()
    assert list(posts) == []
    status = source.status
    delivered = 1 + status.passed_over["unread at the end"]
    assert 4 <= delivered <= 5 and status.passed_over.keys() == {"unread at the end"}
    assert source.budget.posts == delivered and status.cost_usd == pytest.approx(
        delivered * PRICE_PER_POST_USD
    )


def test_a_burst_overshoots_the_cap_by_two_posts_at_most_and_the_reason_counts_them(server):
    source = stream(server, cap_usd=0.05)
    with Listener(source) as heard:
        streaming(server)
        for number in range(400):
            server.tweet(f"{number}")
        assert heard.ended() is None
    paid = 10 + source.status.passed_over.get("unread at the end", 0)
    assert len(heard.posts) == 10 and paid <= 12 and source.budget.posts == paid
    assert source.status.cost_usd == pytest.approx(paid * PRICE_PER_POST_USD)
    assert f"{paid} posts were read" in source.status.reason


def test_a_feed_that_is_paused_is_not_connected_and_pays_for_nothing(server):
    source = stream(server, cap_usd=0.5)
    feed = Feed(source, classify, labels=LABELS)
    feed.start()
    streaming(server)
    server.tweet("post 1")
    wait_for(lambda: feed.snapshot().classified == 1)
    feed.pause()
    wait_for(lambda: server.streams == 0)
    for number in range(50):
        server.tweet(f"{number}")
    time.sleep(0.3)
    assert server.streams == 0 and source.budget.posts == 1 and source.status.state == "ready"
    feed.resume()
    streaming(server, 2)
    server.tweet("post 2")
    wait_for(lambda: feed.snapshot().classified == 2)
    feed.stop()
    assert source.budget.posts == 2 and source.status.reconnects == source.status.gaps == 0


def test_posts_at_hand_when_it_is_paused_are_shown_when_it_goes_on(server):
    source = stream(server)
    posts = source.posts(threading.Event())
    threading.Thread(target=tweet_once_connected, args=(server, 40)).start()
    texts = [next(posts).text]
    wait_for(lambda: source.budget.posts == 3 and source._connection.lines.full())
    source.pause()
    wait_for(lambda: server.streams == 0)
    source.resume()
    texts += [next(posts).text for _ in range(3)]
    assert texts == ["0", "1", "2", "3"]
    posts.close()


def test_a_second_stream_on_one_token_is_refused_and_the_first_goes_on(server):
    with Listener(stream(server)) as first:
        streaming(server)
        with Listener(stream(server, "#dogs")) as second:
            error = second.ended()
        assert str(error).startswith("X lets a token have one stream at a time, and another feed has it.")
        assert [rule["value"] for rule in server.rules.values()] == ["(#python)"]
        server.tweet("one")
        first.wait(1)
        assert second.source.status.cost_usd == 0 and second.posts == []

    def wait(event, seconds):  # for the place of the first one in real time, for all else in compressed time
        return event.wait(min(seconds, 0.1))

    with Listener(stream(server, "#dogs", waits=wait)) as next_one:
        streaming(server, 2)
        server.tweet("two")
        next_one.wait(1)


def test_rules_of_a_stream_that_has_the_connection_stay(server):
    """Another machine, with the same token: X turns this one away, and so it removes nothing."""
    server.rules = {"7": {"id": "7", "value": "theirs", "tag": "tweettune-0123456789abcdef"}}
    theirs = requests.get(
        server.url + STREAM, headers={"Authorization": f"Bearer {server.token}"}, stream=True, timeout=5
    )
    with Listener(stream(server)) as heard:
        wait_for(lambda: heard.source.status.state == "rate limited")
        assert "7" in server.rules and len(server.rules) == 2
        theirs.raw.shutdown()
        theirs.close()
        wait_for(lambda: "7" not in server.rules)  # they have left, and X lets this one in
        assert len(server.rules) == 1


def test_posts_of_other_rules_alone_end_it_before_they_cost_much(server):
    with Listener(stream(server)) as heard:
        streaming(server)
        for number in range(70):
            server.message({"data": {"id": f"{number}", "text": "x"}, "matching_rules": [{"id": "1"}]})
        error = heard.ended()
    assert str(error) == (
        "X sent 50 posts in a row, for $0.25, that only other rules of this token ask for. "
        "Remove those rules at X, or use its search."
    )
    assert heard.source.budget.posts <= 52


def test_a_rule_that_can_not_be_removed_is_reported(server):
    source = stream(server, cap_usd=0.005)
    with Listener(source) as heard:
        streaming(server)
        server.script.append(problem(503, "Service Unavailable", "Over capacity."))
        server.tweet("x")
        assert heard.ended() is None
    assert "could not be removed: X answered with status 503: Over capacity." in source.status.reason


@pytest.mark.parametrize("moment", ["rules", "connecting", "streaming", "waiting"])
def test_a_stop_is_heard_at_once(server, moment):
    if moment == "rules":
        server.script.append(Answer(200, pieces=[Web.STALL]))
    if moment == "waiting":
        server.script.append(problem(503, "Service Unavailable"))
    source = XStream("a", token=server.token, base_url=server.url)
    with Listener(source) as heard:
        wait_for(lambda: server.asked)
        if moment == "connecting":
            server.script.extend([Answer(200, {}), Answer(200, {})])
        if moment == "streaming":
            streaming(server)
        assert heard.stop() < 2
    assert heard.error is None
    if moment == "streaming":
        wait_for(lambda: server.streams == 0, 2)  # the connection is given back: there may be only one


def test_the_token_is_nowhere_to_be_seen(server, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    server.script.append(problem(503, "Oops", f"Bearer {server.token} is bad"))
    with Listener(stream(server)) as heard:
        streaming(server)
        server.message({"title": "x", "detail": f"{server.token}"})
        wait_for(lambda: heard.source.status.reconnects >= 2)
        connection = heard.source._connection
        seen = [
            repr(heard.source),
            repr(vars(heard.source)),
            repr(heard.source.status),
            repr(vars(connection)),
        ]
    seen += [caplog.text, *capfd.readouterr(), *server.paths()]
    assert all("made-up-token" not in text for text in seen)
