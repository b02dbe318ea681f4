"""Bluesky against a Jetstream on loopback: nothing lost over breaks, nothing twice, all counted."""

import contextlib
import json
import socket
import threading
import time
from datetime import UTC, datetime

import pytest

from inference.live.request import StreamRequest
from inference.live.sources import SOURCES, SourceBadQuery, SourceError, SourceUnavailable
from inference.live.sources.base import World
from inference.live.sources.bluesky import HOSTS, OLD_HOSTS, Bluesky
from tests.servers import Listener, Waits
from tests.servers.jetstream import NSID, START_US, Jetstream
from tests.support import wait_for


def bluesky(*servers, waits=None, clock=lambda: START_US / 1e6, **options):
    options = {"open_timeout_s": 2.0, "stall_s": 5.0, "rewind_s": 0.1} | options
    world = World(clock=clock, wait=waits or Waits())
    return Bluesky(hosts=[server.url for server in servers], world=world, **options)


@pytest.fixture
def server():
    with Jetstream() as server:
        yield server


@contextlib.contextmanager
def socket_that_only_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"


def connected(server, times=1):
    wait_for(lambda: server.joined >= times)


def test_a_post_comes_with_what_is_known_about_it(server):
    with Listener(bluesky(server)) as heard:
        connected(server)
        reply = {"parent": {"cid": "c", "uri": "at://x"}, "root": {"cid": "c", "uri": "at://x"}}
        rkey = server.post("what a day ☀", langs=["en-US", "pt"], reply=reply)
        server.post("", langs=[])
        first, second = heard.wait(2)
        assert heard.source.status.state == "connected" and heard.source.status.read == 2
    assert first.text == "what a day ☀" and first.languages == ("en-US", "pt") and first.language == "en-US"
    assert first.id == f"at://did:plc:abc/app.bsky.feed.post/{rkey}"
    assert first.url == f"https://bsky.app/profile/did:plc:abc/post/{rkey}"
    assert first.created == datetime(2026, 7, 4, 14, 38, 7, 112000, tzinfo=UTC)
    assert (first.source, first.is_reply, first.sensitive, first.label) == ("bluesky", True, False, None)
    assert (second.text, second.languages, second.is_reply) == ("", (), False)
    assert server.asked[0]["wantedCollections"] == ["app.bsky.feed.post"] and "cursor" not in server.asked[0]
    assert heard.source.status.state == "ended"


def test_other_events_and_garbage_are_counted_and_nothing_ends(server):
    with Listener(bluesky(server)) as heard:
        connected(server)
        server.identity()
        server.account()
        server.post("a like", collection="app.bsky.feed.like")
        server.post("gone", operation="delete")
        server.event(kind="a kind of tomorrow")
        for frame in (
            "{nonsense",
            "[]",
            "null",
            '"text"',
            "{}",
            "[" * 50_000,
            b"\xff\xfe",
            "",
            json.dumps({"did": "did:plc:abc", "time_us": "soon", "kind": "commit"}),
            json.dumps({"did": "did:plc:abc", "time_us": START_US, "kind": "commit", "commit": []}),
            json.dumps({"did": "did:plc:abc", "time_us": START_US, "kind": "commit"}),
            json.dumps({"did": "did:plc:abc", "time_us": True, "kind": "identity"}),
            json.dumps({"did": "did:plc:abc", "time_us": 10**30, "kind": "identity"}),
        ):
            server.frame(frame)
        server.post(None)
        server.post("odd author", rkey="../../evil")
        server.post("labels that are none", labels={"values": [3]})
        server.post("still there", langs="en", labels={"values": [{"val": "porn"}]}, createdAt="2099-01-01")
        [post] = heard.wait(1)
        wait_for(lambda: heard.source.status.passed_over.get("garbage", 0) == 16)
    assert post.text == "still there" and post.sensitive and post.languages == ("e", "n")
    assert post.created.year == 2026, "the author's clock is ahead of the stream"
    assert heard.source.status.passed_over == {"other events": 5, "garbage": 16}
    assert heard.source.status.reconnects == 0


def test_half_a_character_does_not_break_what_comes_after(server):
    with Listener(bluesky(server)) as heard:
        connected(server)
        server.post("half \ud83d and whole \U0001f600")
        [post] = heard.wait(1)
    assert post.text == "half � and whole \U0001f600" and post.text.encode()


def test_after_a_drop_it_goes_on_before_the_cursor_and_gives_nothing_twice(server):
    waits = Waits()
    with Listener(bluesky(server, waits=waits)) as heard:
        connected(server)
        for number in range(20):
            server.post(f"a{number}")
        heard.wait(20)
        server.drop()
        for number in range(20):  # while nobody listens
            server.post(f"b{number}")
        heard.wait(40)
        server.close(1012)
        for number in range(20):
            server.post(f"c{number}")
        heard.wait(60)
        status = heard.source.status
    assert heard.texts == [f"{letter}{number}" for letter in "abc" for number in range(20)]
    last_of_a = START_US + 20 * server.step_us
    assert server.asked[1]["cursor"] == [str(last_of_a - 100_000)], "a tenth of a second before the last one"
    assert status.passed_over == {"duplicate": 12}, "six posts of each rewound tenth, both ends included"
    assert status.reconnects == 2 and status.gaps == 0 and status.state == "connected"
    assert all(1 <= seconds <= 1.25 for seconds in waits.seconds), "the first wait, with jitter on top"


def test_many_breaks_at_random_places_lose_and_repeat_nothing(server):
    with Listener(bluesky(server, rewind_s=0.5)) as heard:
        connected(server)
        server.post("the first")
        heard.wait(1)
        for burst in range(12):
            for number in range(40):
                server.post(f"{burst}-{number}")
                if number == burst * 3:
                    server.drop()
            server.frame("{nonsense")
            server.identity()
        heard.wait(481, timeout_s=20)
    assert heard.texts[1:] == [f"{burst}-{number}" for burst in range(12) for number in range(40)]


def test_a_host_that_fails_is_followed_by_the_next():
    with Jetstream() as one, Jetstream() as two:
        one.refusals.extend([(503, {})] * 20)
        two.refusals.extend([(502, {})] * 2)
        waits = Waits()
        with Listener(bluesky(one, two, waits=waits)) as heard:
            connected(two)
            two.post("from the other one")
            heard.wait(1)
        assert abs(len(one.asked) - len(two.asked)) <= 1 and len(two.asked) == 3
        assert waits.seconds[1] >= 2, "the wait doubles"


def test_a_server_that_is_silent_or_dead_is_given_up(server):
    with Listener(bluesky(server, stall_s=0.5)) as heard:
        connected(server)
        server.post("before")
        heard.wait(1)
        server.stall()
        wait_for(lambda: "sent nothing for 0.5 s" in heard.source.status.reason)
        assert heard.source.status.state == "reconnecting" and heard.source.status.until > START_US / 1e6
        server.go_on()
        server.post("after")
        heard.wait(2)
    assert heard.texts == ["before", "after"]


def test_pings_are_answered_and_a_server_that_answers_none_is_given_up(server):
    with Listener(bluesky(server, ping_s=0.2, stall_s=60)) as heard:
        connected(server)
        for connection in list(server.connections):
            assert connection.ping().wait(2), "the answer came"
        server.post("before")
        heard.wait(1)
        server.deafen()
        connected(server, 2)
        server.post("after")
        heard.wait(2)
        assert heard.source.status.reconnects == 1
    assert heard.texts == ["before", "after"]


def test_a_server_that_never_answers_the_handshake_is_given_up():
    with socket_that_only_listens() as url:
        source = Bluesky(hosts=[url], open_timeout_s=0.2, attempts=2, world=World(wait=Waits()))
        with Listener(source) as heard:
            error = heard.ended()
    assert isinstance(error, SourceUnavailable)
    assert str(error) == (
        "Jetstream at 127.0.0.1 could not be reached (TimeoutError). It was tried 2 times. "
        "Look at the network and the service's state, then start again."
    )
    assert source.status.state == "ended" and source.status.reason == str(error)


def test_a_frame_that_can_never_be_read_is_left_behind_in_the_end(server):
    with Listener(bluesky(server, rewind_s=1.0)) as heard:
        connected(server)
        server.post("before")
        heard.wait(1)
        server.poison("x" * 3_000_000)  # larger than the client takes, at every replay
        wait_for(lambda: heard.source.status.gaps == 1)
        connected(server, 4)
        server.post("after")
        heard.wait(2)
    assert heard.texts == ["before", "after"]
    assert heard.source.status.reconnects == 3 and "cursor" not in server.asked[-1]


def test_clocks_that_jump_do_no_harm(server):
    now = [START_US / 1e6]
    with Listener(bluesky(server, clock=lambda: now[0])) as heard:
        connected(server)
        for times, jump_s in enumerate((-86_400, 86_400 * 30, 0), 2):
            server.post(f"before {jump_s}")
            wait_for(lambda jump_s=jump_s: f"before {jump_s}" in heard.texts)
            now[0] = START_US / 1e6 + jump_s
            server.drop()
            connected(server, times)
            server.post(f"after {jump_s}")
            wait_for(lambda jump_s=jump_s: f"after {jump_s}" in heard.texts)
        server.now_us -= 3_600_000_000  # the server's own clock goes back an hour
        server.post("an hour ago")
        wait_for(lambda: "an hour ago" in heard.texts)
        server.drop()
        connected(server, 5)
        server.post("and on")
        wait_for(lambda: "and on" in heard.texts)
    assert len(heard.texts) == len(set(heard.texts)) == 8
    assert heard.source.status.gaps == 2, "when the clocks were more than five minutes apart, it is not sure"


def test_after_a_long_break_it_does_not_replay_it_all(server):
    now = [START_US / 1e6]
    with Listener(bluesky(server, clock=lambda: now[0], catch_up_s=60)) as heard:
        connected(server)
        server.post("before")
        heard.wait(1)
        now[0] += 3600
        server.drop()
        wait_for(lambda: len(server.asked) == 2)
    assert server.asked[1]["cursor"] == [str(START_US + 3540 * 1_000_000)]
    assert heard.source.status.gaps == 1


@pytest.mark.parametrize("moment", ["connected", "waiting", "refused", "flooded"])
def test_a_stop_is_heard_at_once(server, moment):
    stalled = World(clock=lambda: START_US / 1e6)
    source = Bluesky(hosts=[server.url], world=stalled)
    if moment in ("waiting", "refused"):
        server.refusals.extend([(503, {})] * 5)
    with Listener(source) as heard:
        wait_for(lambda: server.asked)
        if moment == "flooded":
            connected(server)
            for number in range(5000):
                server.post(f"{number}")
        if moment == "waiting":
            wait_for(lambda: source.status.state == "reconnecting")
        assert heard.stop() < 2
    assert heard.error is None and source.status.state == "ended"


def test_a_reader_that_pauses_gets_no_growing_heap_and_loses_nothing(server):
    source, stop = bluesky(server), threading.Event()
    stream = source.posts(stop)

    def flood():
        connected(server)
        for number in range(600):
            server.post(f"{number}")

    threading.Thread(target=flood).start()
    read = [next(stream)]
    wait_for(lambda: len(server.history) == 600)
    read += [next(stream) for _ in range(299)]
    time.sleep(0.2)
    stop.set()
    assert list(stream) == []
    assert [post.text for post in read] == [str(number) for number in range(300)]
    assert source.status.read == 300 and 0 < source.status.passed_over["unread at the end"] <= 257


def test_limits_and_refusals(server):
    server.refusals.append((429, {"Retry-After": "7"}))
    waits = Waits()
    with Listener(bluesky(server, waits=waits)) as heard:
        connected(server)
        assert 7 <= waits.seconds[0] <= 8
    server.refusals.append((400, {}))
    with Listener(bluesky(server)) as heard:
        error = heard.ended()
    assert isinstance(error, SourceBadQuery) and "does not accept the request" in str(error)


def test_it_is_registered_and_asks_todays_hosts_before_the_old_ones():
    assert SOURCES["bluesky"] is Bluesky
    assert all(host.startswith("wss://jetstream.us-") for host in HOSTS) and len(HOSTS) == 2
    found = Bluesky()._hosts
    assert set(found[:2]) == set(HOSTS) and sorted(found[2:]) == sorted(OLD_HOSTS)


# v2


def test_frames_of_v2_give_the_same_posts():
    with Jetstream() as old, Jetstream(v2=True) as new:
        posts = []
        for server in (old, new):
            with Listener(bluesky(server)) as heard:
                connected(server)
                server.identity()
                server.account()
                server.event(kind="sync", sync={"rev": "3x"})
                server.post("gone", operation="delete")
                server.post("edited", operation="update")
                reply = {"parent": {"cid": "c", "uri": "at://x"}}
                server.post("what a day ☀", langs=["pt"], reply=reply, createdAt="2099-01-01", rkey="3abc")
                server.post("short")
                posts.append(heard.wait(2))
            assert heard.source.status.passed_over == {"other events": 5}
        assert posts[0] == posts[1] and posts[0][0].created.year == 2026
    assert new.asked == [
        {"collections": ["app.bsky.feed.post"], "kinds": ["commit"], "maxMessageSizeBytes": ["1000000"]}
    ]
    assert old.asked[0]["wantedCollections"] == ["app.bsky.feed.post"] and "kinds" not in old.asked[0]


def test_v2_goes_on_where_it_was_and_from_host_to_host():
    with Jetstream(v2=True) as one, Jetstream() as two:
        source = bluesky(one, two)
        source._hosts = [one.url, two.url]
        with Listener(source) as heard:
            connected(one)
            one.post("a")
            heard.wait(1)
            place = one.now_us
            one.drop()
            connected(two)
            two.drop()
            connected(one, 2)
            one.post("b")
            heard.wait(2)
    assert [asked[-1]["cursor"] for asked in (two.asked, one.asked)] == [[str(place - 100_000)]] * 2
    assert heard.texts == ["a", "b"] and heard.source.status.passed_over == {"duplicate": 1}


def test_a_notice_of_v2_is_no_garbage_and_a_goodbye_is_a_sentence():
    with Jetstream(v2=True) as server, Listener(bluesky(server)) as heard:
        connected(server)
        for name in ("FutureCursor", "OutdatedCursor"):
            payload = {"$type": f"{NSID}#info", "name": name, "message": "…"}
            server.frame(json.dumps({"$type": "message", "payload": payload}))
        server.frame(json.dumps({"$type": "error", "error": "ConsumerTooSlow", "message": "read faster"}))
        wait_for(lambda: "ended the stream: ConsumerTooSlow read faster." in heard.source.status.reason)
        connected(server, 2)
        server.post("after")
        heard.wait(1)
        assert heard.source.status.gaps == 1 and heard.source.status.passed_over == {"other events": 2}


def test_a_host_that_says_nothing_at_first_is_left_for_the_next_one(server):
    with Jetstream() as silent:
        source = bluesky(silent, server, first_s=0.5, stall_s=30.0)
        source._hosts = [silent.url, server.url]
        with Listener(source) as heard:
            wait_for(lambda: "Jetstream at 127.0.0.1 sent nothing for 0.5 s." in heard.source.status.reason)
            connected(server)
            server.post("from the other one")
            heard.wait(1)
            time.sleep(0.6)  # it has spoken: now it may be quiet for longer
            assert heard.source.status.reconnects == 1 and heard.source.status.state == "connected"


def test_the_only_host_may_be_quiet_but_the_status_tells(server):
    with Listener(bluesky(server, first_s=0.5, stall_s=30.0)) as heard:
        wait_for(lambda: "sent nothing for 0.5 s." in heard.source.status.reason)
        assert heard.source.status.state == "connecting" and heard.source.status.reconnects == 0
        server.post("at last")
        heard.wait(1)
        assert heard.source.status.reason == ""
    assert Bluesky(hosts=["ws://a"])._first_s == 5.0


@pytest.mark.parametrize("v2", [False, True])
def test_frames_that_nobody_can_read_end_in_a_sentence(v2):
    with Jetstream(v2=v2) as server, Listener(bluesky(server)) as heard:
        connected(server)
        server.post("before")
        heard.wait(1)
        for _ in range(50):
            server.identity()  # what else comes is no sign that posts can be read
            server.frame(json.dumps({"$type": "message", "payload": {"$type": "some.nsid.of.tomorrow#post"}}))
        error = heard.ended()
        assert type(error) is SourceError
        assert str(error) == (
            "Jetstream at 127.0.0.1 sent 50 messages in a row that can't be read, so its format may have "
            "changed. Look for a newer TweetTune, or choose another source."
        )
        assert heard.source.status.passed_over["garbage"] == 50


def test_every_host_is_tried_before_that(server):
    with Jetstream() as other:
        source = bluesky(other, server)
        source._hosts = [other.url, server.url]
        with Listener(source) as heard:
            connected(other)
            for _ in range(50):
                other.frame("{}")
            connected(server)
            server.post("this one can be read")
            heard.wait(1)


def test_a_host_of_ones_own(server, monkeypatch):
    for given in (server.url, f"{server.url}/subscribe", f"{server.url}/", server.url.replace("ws", "http")):
        assert Bluesky(given)._hosts == [server.url]
    assert Bluesky("jet.example:6008")._hosts == ["wss://jet.example:6008"]
    with Listener(StreamRequest(source="bluesky", host=server.url).open()) as heard:
        connected(server)
        server.post("mine")
        heard.wait(1)
    monkeypatch.setenv("JETSTREAM_HOST", "jet.example")
    assert StreamRequest(source="bluesky").open()._hosts == ["wss://jet.example"]
    assert StreamRequest(source="bluesky", host="other.example").open()._hosts == ["wss://other.example"]
    keys = {
        StreamRequest(source="bluesky", host=host).key(model="m", owner="") for host in ("", "a", "A ", "b")
    }
    assert len(keys) == 3


@pytest.mark.parametrize("host", ["ftp://a", "wss://", "a/b", "wss://a@b", "http://[::1", "a:99999", "a b"])
def test_what_is_no_host_is_one_sentence(host):
    with pytest.raises(SourceBadQuery, match=r"is no host of a Jetstream\. Give its name, such as jet"):
        Bluesky(host)
