"""Mastodon against an instance on loopback: polling, streaming, limits, and addresses that are not asked."""

import json
import logging
from datetime import UTC, datetime

import pytest

from inference.live.sources import (
    SOURCES,
    Mastodon,
    SourceBadQuery,
    SourceRateLimited,
    SourceUnauthorised,
    SourceUnavailable,
)
from inference.live.sources.base import World
from inference.live.sources.mastodon import instance_url
from tests.servers import Listener, Waits
from tests.servers.mastodon import FIRST_ID
from tests.servers.mastodon import Mastodon as Instance
from tests.servers.web import Answer, Web
from tests.support import wait_for

NOW = datetime(2026, 11, 22, 20, 0, tzinfo=UTC).timestamp()


@pytest.fixture
def server():
    with Instance() as server:
        yield server


def mastodon(server, *, waits=None, **options):
    options = {"timeout_s": 2.0, "allow_loopback": True} | options
    return Mastodon(server.url, world=World(clock=lambda: NOW, wait=waits or Waits()), **options)


def streaming(server, times=1):
    wait_for(lambda: server.opened >= times)


# Polling


def test_posts_come_oldest_first_each_once_and_only_newer_ones_are_asked_for(server):
    server.status("<p>one</p>")
    server.status("<p>two</p>")
    with Listener(mastodon(server)) as heard:
        heard.wait(2)
        server.status(
            "<p>three<br>lines</p><p>&lt;3</p>",
            spoiler_text="careful",
            sensitive=True,
            language="pt-BR",
            in_reply_to_id="1",
            local=False,
        )
        [first, _, third] = heard.wait(3)
        assert heard.source.status.state == "connected"
        wait_for(lambda: len(server.asked) >= 5)
    assert heard.texts == ["one", "two", "careful\n\nthree\nlines\n\n<3"]
    assert first.author == "a@127.0.0.1" and first.url == f"https://example.social/@a/{FIRST_ID}"
    assert first.created == datetime(2026, 8, 30, 23, 5, 46, 839000, tzinfo=UTC)
    assert first.source == "mastodon" and third.language == "pt-BR" and third.author == "a@else.where"
    assert third.is_reply and third.sensitive and not third.is_repost
    assert not first.is_reply and not first.sensitive and not first.is_repost
    assert server.asked[0].query == {"limit": "40"} and server.asked[0].path == "/api/v1/timelines/public"
    assert server.asked[-1].query == {"limit": "40", "min_id": str(FIRST_ID + 2)}
    assert "authorization" not in server.asked[0].headers
    assert heard.source.status.passed_over == {}


def test_a_tag(server):
    server.status("<p>cat</p>", tags=["cats"])
    server.status("<p>dog</p>", tags=["dogs"])
    with Listener(mastodon(server, tag="#cats")) as heard:
        heard.wait(1)
        wait_for(lambda: len(server.asked) >= 2)
    assert heard.texts == ["cat"] and server.asked[0].path == "/api/v1/timelines/tag/cats"
    with Listener(mastodon(server, tag="katzenähnlich")) as heard:
        wait_for(lambda: heard.source.status.state == "connected")
    assert server.asked[-1].path == "/api/v1/timelines/tag/katzen%C3%A4hnlich"


def test_a_burst_is_read_page_after_page(server):
    server.status("<p>first</p>")
    with Listener(mastodon(server)) as heard:
        heard.wait(1)
        for number in range(170):
            server.status(f"<p>{number}</p>")
        heard.wait(171)
    assert heard.texts == ["first", *map(str, range(170))] and heard.source.status.gaps == 0


def test_an_instance_that_is_faster_than_polling_is_skipped_ahead_of(server):
    server.status("<p>first</p>")
    with Listener(mastodon(server)) as heard:
        heard.wait(1)
        first = server.statuses[0]
        server.statuses += [dict(first, id=str(FIRST_ID + 1 + n), content=f"<p>{n}</p>") for n in range(600)]
        wait_for(lambda: "599" in heard.texts)
    assert heard.source.status.gaps == 1 and 240 < len(heard.posts) < 400
    assert len(set(heard.texts)) == len(heard.texts)


def test_what_is_not_public_boosts_and_garbage(server):
    server.status("<p>for followers</p>", visibility="private")
    server.status("<p>direct</p>", visibility="direct")
    boosted = server.status("<p>boosted</p>", local=False)
    server.statuses.clear()
    server.statuses += [
        {},
        3,
        None,
        {"id": "../x"},
        dict(boosted, id="1", content=None),
        dict(boosted, id="2", account=None),
        dict(boosted, id="3", visibility="unlisted"),
        dict(boosted, id="4", reblog=dict(boosted, id="77")),
        dict(boosted, id="5", created_at="yesterday", language=7, url="javascript:alert(1)"),
    ]
    server._timeline = lambda request, tag: Answer(200, server.statuses[::-1])
    with Listener(mastodon(server)) as heard:
        boost, odd = heard.wait(2)
        wait_for(lambda: len(server.asked) >= 2)
    assert boost.is_repost and boost.text == "boosted" and boost.author == "a@else.where" and boost.id == "4"
    assert (odd.created, odd.languages, odd.url) == (None, (), "")
    passed = heard.source.status.passed_over
    assert passed["garbage"] % 6 == 0 and passed["not public"] >= 1


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (
            Answer(401, {"error": "This method requires an authenticated user"}),
            SourceUnauthorised,
            "shows this timeline to its users only (status 401). Give a token, or another instance.",
        ),
        (Answer(422, {}), SourceUnauthorised, "to its users only (status 422)"),
        (Answer(404, b"<html>"), SourceBadQuery, "127.0.0.1 has no such timeline (status 404)."),
        (
            Answer(301, b"", {"Location": "http://169.254.169.254/latest/meta-data"}),
            SourceBadQuery,
            "127.0.0.1 sends us on to '169.254.169.254'. Give that name, if you trust it.",
        ),
        (Answer(302, b"", {"Location": "http://["}), SourceBadQuery, "sends us on without saying where."),
        (Answer(302, b"", {"Location": "http://\xff/"}), SourceBadQuery, "sends us on to 'ÿ'."),
        (Answer(308, b""), SourceBadQuery, "sends us on without saying where. Give another instance."),
        (Answer(429, {}, {"Retry-After": "3600"}), SourceRateLimited, "127.0.0.1 is asked too often."),
    ],
)
def test_what_can_not_be_mended_ends_it_with_a_sentence(server, answer, kind, message):
    server.script.append(answer)
    with Listener(mastodon(server)) as heard:
        error = heard.ended()
    assert type(error) is kind and message in str(error)
    assert len(server.asked) == 1 and heard.source.status.reason == str(error)


def test_the_body_of_a_redirect_is_not_read(server):
    sent = 0

    def pieces():
        nonlocal sent
        while sent < 2000:
            sent += 1
            yield b"x" * 100_000

    server.script.append(Answer(302, None, {"Location": "https://example.com/"}, pieces()))
    with Listener(mastodon(server)) as heard:
        assert "sends us on to 'example.com'" in str(heard.ended())
    assert sent < 100, "what fits into the network's buffers"


def test_limits_are_obeyed(server):
    server.status("<p>after all</p>")
    reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "2026-11-22T20:05:00.000000Z"}
    server.script.append(Answer(429, {"error": "Too many requests"}, reset))
    server.script.append(Answer(429, {}, {"Retry-After": "40"}))
    server.script.append(Answer(429, {}))
    server.headers = reset  # and this one was the last that is allowed
    waits = Waits()
    with Listener(mastodon(server, waits=waits)) as heard:
        heard.wait(1)
        wait_for(lambda: len(waits.seconds) >= 4)
    assert [round(seconds) for seconds in waits.seconds[:4]] == pytest.approx([300, 40, 60, 300], abs=1)


def test_errors_and_nonsense_are_tried_again_with_growing_waits(server):
    server.status("<p>after all</p>")
    for answer in (
        Answer(503, b"oops"),
        Answer(200, b"<html>"),
        Answer(200, {"error": "no list"}),
        Answer(200, pieces=[b"[", Web.DROP]),
        Answer(200, pieces=[b"[" + b" " * 5_000_000]),
        Answer(200, pieces=[b"[", Web.STALL]),
    ):
        server.script.append(answer)
    waits = Waits()
    with Listener(mastodon(server, waits=waits, timeout_s=0.3)) as heard:
        heard.wait(1)
    assert heard.source.status.reconnects == 6
    assert all(first <= got <= 1.25 * first for first, got in zip((5, 10, 20), waits.seconds, strict=False))


def test_a_closed_port_is_reported_in_the_end():
    with Instance() as server:
        pass
    with Listener(mastodon(server, attempts=3)) as heard:
        error = heard.ended()
    assert isinstance(error, SourceUnavailable)
    assert str(error).startswith("127.0.0.1 could not be reached (ConnectionError). It was tried 3 times.")


@pytest.mark.parametrize("moment", ["asking", "waiting", "streaming"])
def test_a_stop_is_heard_at_once(server, moment):
    if moment == "asking":
        server.script.append(Answer(200, pieces=[b"[", Web.STALL]))
    token = server.token if moment == "streaming" else ""
    source = Mastodon(server.url, allow_loopback=True, token=token)
    with Listener(source) as heard:
        wait_for(lambda: server.asked)
        if moment == "streaming":
            streaming(server)
        assert heard.stop() < 2
    assert heard.error is None and source.status.state == "ended" and source.status.reconnects == 0
    wait_for(lambda: server.streams == 0, 2)


def test_a_boost_is_the_whole_post_it_repeats_with_its_warning_and_its_author(server):
    long = "<p>" + "a long story " * 1000 + "the end</p>"
    inner = {
        "id": "5",
        "content": long,
        "spoiler_text": "careful",
        "sensitive": True,
        "language": "pt",
        "url": "https://b.example/@b/5",
        "account": {"acct": "b@b.example"},
        "created_at": "2026-08-01T00:00:00Z",
        "in_reply_to_id": None,
    }
    server.status("", reblog=inner)
    server.status(
        '<p class="quote-inline">RE: <a href="https://a.example/1">https://a.example/1</a></p><p>so true</p>'
    )
    server.status('so <b>true</b><span class="quote-inline"><br>RE: https://a.example/1</span>!')
    with Listener(mastodon(server)) as heard:
        boost, quote, other = heard.wait(3)
    assert boost.text.startswith("careful\n\na long story") and boost.text.endswith("the end")
    assert (boost.author, boost.is_repost, boost.sensitive) == ("b@b.example", True, True)
    assert boost.language == "pt" and boost.url == "https://b.example/@b/5"
    assert (quote.text, other.text) == ("so true", "so true!"), "a quote's link is for clients that show none"
    assert heard.source.status.cut == 0


def test_a_post_longer_than_is_read_is_counted(server):
    server.status("<p>" + "a b " * 20_000 + "</p>")
    with Listener(mastodon(server)) as heard:
        [post] = heard.wait(1)
        wait_for(lambda: heard.source.status.cut == 1)
    assert 40_000 < len(post.text) < 50_000


def test_posts_that_nobody_can_read_end_in_a_sentence(server):
    with Listener(mastodon(server)) as heard:
        for page in (1, 2):
            for number in range(30):
                server.status({"text": number})
            wait_for(lambda page=page: heard.source.status.passed_over.get("garbage", 0) >= 20 * page)
        error = heard.ended()
    assert "sent 50 messages in a row that can't be read, so its format may have changed" in str(error)


# Streaming


def test_a_stream_gives_what_comes_and_fills_its_own_gaps(server):
    source = mastodon(server, token=server.token)
    with Listener(source) as heard:
        streaming(server)
        server.status("<p>one</p>")
        server.event("delete", "108914327388663283")
        server.event("status.update", json.dumps(server.statuses[0]))
        server.event("filters_changed", "undefined")
        server.send(b"event: update\r\ndata: {nonsense\r\n\r\n")
        server.send(b"data: no name\n\n: a comment\nid: 3\nretry: 5\nevent: empty\n\n")
        whole = (
            f"event: update\ndata: {json.dumps(dict(server.statuses[0], id='9', content='in bits é'))}\n\n"
        )
        for byte in whole.encode():
            server.send(bytes([byte]))
        heard.wait(2)
        server.statuses.append(dict(server.statuses[0], id=str(FIRST_ID + 1), content="while away"))
        source._last_id = str(FIRST_ID)
        server.drop()
        streaming(server, 2)
        wait_for(lambda: "while away" in heard.texts)
        server.status("<p>on</p>")
        heard.wait(4)
    assert heard.texts == ["one", "in bits é", "while away", "on"]
    assert (
        source.status.passed_over == {"other events": 3, "edits": 1, "garbage": 1} and source.status.gaps == 0
    )
    streams = [request for request in server.asked if "/streaming/" in request.path]
    assert all(request.headers["authorization"] == f"Bearer {server.token}" for request in streams)
    assert streams[0].path == "/api/v1/streaming/public" and streams[0].query == {}


def test_streams_of_tags_may_be_at_another_host(server):
    with Instance() as other:
        server.streaming_url = other.url.replace("http", "ws")
        with Listener(mastodon(server, token=server.token, tag="cats")) as heard:
            streaming(other)
            other.status("<p>meow</p>")
            heard.wait(1)
    assert other.paths() == ["GET /api/v1/streaming/hashtag"] and other.asked[0].query == {"tag": "cats"}


def test_an_older_server_without_the_page_that_names_a_host_streams_itself(server):
    server.script.append(Answer(404, {"error": "Record not found"}))
    with Listener(mastodon(server, token=server.token)) as heard:
        streaming(server)
        server.status("<p>here</p>")
        heard.wait(1)
        server.statuses += [dict(server.statuses[0], id=str(FIRST_ID + 1 + n)) for n in range(60)]
        server.hang_up()
        streaming(server, 2)
        heard.wait(41)
    assert heard.source.status.gaps == 1, "more than a page was missed"


@pytest.mark.parametrize("named", [None, "wss://10.0.0.1", "wss://evil.example@mastodon.social", 3])
def test_a_streaming_host_is_checked_like_the_instance(server, named):
    server.streaming_url = named
    with Listener(mastodon(server, token=server.token)) as heard:
        if isinstance(named, str):
            error = heard.ended()
            assert isinstance(error, SourceBadQuery) and "is not the address of an instance" in str(error)
        else:
            streaming(server)


def test_a_silent_stream_an_endless_line_and_a_polite_end_are_followed_by_a_new_one(server):
    server.streaming_url = None
    for pieces in ([b":)\n", Web.STALL], [b"data: " + b"x" * 600_000] * 3, [b":)\n"]):
        server.script.extend([Answer(200, pieces=pieces)])
    server.script.appendleft(Answer(200, {}))
    reasons = []

    def wait(event, seconds):
        reasons.append(source.status.reason)
        return event.wait(0.01)

    source = Mastodon(
        server.url, token=server.token, stall_s=0.3, allow_loopback=True, world=World(wait=wait)
    )
    with Listener(source) as heard:
        streaming(server)
        server.status("<p>after all</p>")
        heard.wait(1)
    assert reasons == [
        "127.0.0.1 could not be reached (ReadTimeoutError).",
        "The stream sent an event of more than 1,000 kB.",
        "127.0.0.1 closed the stream.",
    ]


def test_a_stream_needs_a_token_that_is_accepted(server):
    with Listener(mastodon(server, token="another-token")) as heard:
        error = heard.ended()
    assert "127.0.0.1 does not accept this token (status 401)." in str(error)


def test_the_token_is_nowhere_to_be_seen(server, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    server.script.append(Answer(503, f"{server.token}".encode()))
    source = mastodon(server, token=server.token)
    with Listener(source) as heard:
        streaming(server)
        server.drop()
        streaming(server, 2)
        server.script.append(Answer(403, {"error": f"{server.token}"}))
        server.hang_up()
        error = heard.ended()
    seen = [
        repr(source),
        repr(vars(source)),
        repr(source.status),
        str(error),
        caplog.text,
        *capfd.readouterr(),
    ]
    seen += [request.path + str(request.query) for request in server.asked]
    assert all("made-up-user-token" not in text for text in seen)


# Addresses


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("mastodon.social", "https://mastodon.social"),
        (" HTTPS://Mastodon.Social/ ", "https://mastodon.social"),
        ("https://mastodon.social:443", "https://mastodon.social"),
        ("münchen.social", "https://münchen.social"),
        ("xn--mnchen-3ya.social", "https://xn--mnchen-3ya.social"),
    ],
)
def test_addresses_that_can_be_typed(typed, address):
    assert instance_url(typed) == address


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        "http://mastodon.social",
        "ftp://mastodon.social",
        "file:///etc/passwd",
        "javascript:x",
        "https://user:secret@mastodon.social",
        "https://mastodon.social@evil.example",
        "mastodon.social/@a",
        "https://mastodon.social?x=1",
        "https://mastodon.social#x",
        "https://mastodon.social:8443",
        "https://mastodon.social:99999",
        "localhost",
        "https://localhost",
        "127.0.0.1",
        "https://127.0.0.1:8000",
        "https://[::1]",
        "https://[::1",
        "10.0.0.1",
        "169.254.169.254",
        "https://2130706433",
        "0x7f.1",
        "1.1.1.1",
        "intranet",
        "a..b",
        "-a.example",
        "mastodon.social.",
        "a b.example",
        "a" * 300,
        "mastodon.social\r\nHost: x",
    ],
)
def test_addresses_that_are_refused(typed):
    with pytest.raises(SourceBadQuery, match="is not the address of an instance"):
        instance_url(typed)


@pytest.mark.parametrize(
    "typed", ["http://127.0.0.1:80/x", "http://u@127.0.0.1", "http://10.0.0.1", "ftp://localhost"]
)
def test_only_loopback_is_let_through_for_tests(typed):
    assert instance_url("http://localhost:3000", allow_loopback=True) == "http://localhost:3000"
    with pytest.raises(SourceBadQuery):
        instance_url(typed, allow_loopback=True)


@pytest.mark.parametrize("tag", ["two words", "a/b", "../x", "a?b", "x" * 101])
def test_tags_that_are_refused(tag):
    with pytest.raises(SourceBadQuery, match="is not a tag"):
        Mastodon("mastodon.social", tag=tag)
    assert SOURCES["mastodon"] is Mastodon
