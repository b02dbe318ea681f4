"""Hostile connections: too many bytes, too slow, cut off, or no HTTP at all. Real sockets, a real server."""

import contextlib
import json
import socket
import struct
import time

import psutil
import pytest

from tests.support.hostile import TEXT, ask, connected, post_head, raw, read_all, shared_target, statuses

BODY = json.dumps({"inputs": TEXT}).encode()
ONE_REQUEST = post_head(len(BODY)) + BODY
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def server(trained_gpt2):
    return shared_target(trained_gpt2.artifact)


@pytest.fixture(autouse=True)
def still_right(server):
    """Whatever a test did, the next client gets its right answer."""
    yield
    server.still_answers()


def test_a_body_that_says_it_is_too_large_is_refused(server):
    answer = raw(server.port, post_head(10 * MEGABYTE, "Expect: 100-continue"))
    assert statuses(answer) == [413]
    assert b"The body is larger than" in answer


def test_a_body_that_is_too_large_is_refused_though_it_hid_its_size(server):
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = post_head(None, "Transfer-Encoding: chunked")
    before = psutil.Process(server.running.process.pid).memory_info().rss
    with connected(server.port) as connection:
        try:
            connection.sendall(head)
            for _ in range(1024):  # 64 MB
                connection.sendall(chunk)
            connection.sendall(b"0\r\n\r\n")
        except ConnectionError:
            pass  # it closed on us, as it may
        answer = read_all(connection, quiet_s=0.3)
    assert statuses(answer) in ([413], []), answer[:200]
    assert psutil.Process(server.running.process.pid).memory_info().rss - before < 40 * MEGABYTE


def test_ten_thousand_texts_are_refused(server):
    status, answer = ask(server.port, {"inputs": ["a"] * 10_000})
    assert status == 413
    assert "10000 texts are more than the 1000" in answer["error"]


def test_one_text_of_megabytes_is_cut_and_does_not_hold_up_the_others(server):
    body = json.dumps({"inputs": "a" * (3 * MEGABYTE)}).encode()
    with connected(server.port, timeout_s=60) as slow:
        slow.sendall(post_head(len(body), "Connection: close") + body)
        start = time.monotonic()
        server.still_answers()
        assert time.monotonic() - start < 2
        assert statuses(read_all(slow)) == [200]


def test_texts_of_megabytes_do_not_hold_up_longer_posts(server):
    """A text of some thousand characters must not wait for minutes of others' tokenizing."""
    body = json.dumps({"inputs": "ab " * MEGABYTE}).encode()
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(connected(server.port)).sendall(post_head(len(body)) + body)
        start = time.monotonic()
        assert ask(server.port, {"inputs": "a long day " * 300})[0] == 200
        assert time.monotonic() - start < 5


def test_large_bodies_that_never_end_do_not_shut_out_small_ones(server):
    """However many bodies are kept waiting, in bounded memory, a post of a few bytes gets through."""
    before = psutil.Process(server.running.process.pid).memory_info().rss
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            connection = stack.enter_context(connected(server.port))
            with contextlib.suppress(ConnectionError):
                connection.sendall(post_head(4 * MEGABYTE - 1) + b" " * (3 * MEGABYTE))
        for _ in range(5):
            server.still_answers()
        grown = psutil.Process(server.running.process.pid).memory_info().rss - before
    assert grown < 130 * MEGABYTE


def test_a_slow_body_is_cut_off_and_holds_up_nobody(server):
    with connected(server.port, timeout_s=20) as slow:
        slow.sendall(post_head(100))
        start = time.monotonic()
        slow.sendall(b"{")
        server.still_answers()
        answer = read_all(slow)
        assert time.monotonic() - start < 8
    assert statuses(answer) == [408]


def test_two_hundred_slow_heads_are_cut_off_and_hold_up_nobody(server):
    """Slowloris: heads that never end, a byte now and then."""
    connections = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(200)]
    try:
        for connection in connections:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: b")
        server.still_answers()
        until = time.monotonic() + 8  # the server was told: two seconds for a request
        kept = [connection for connection in connections if not is_closed(connection, until)]
        assert not kept, f"{len(kept)} of 200 are open after 8 s"
    finally:
        for connection in connections:
            connection.close()


def test_connections_that_say_nothing_are_cut_off(server):
    with connected(server.port) as silent:
        assert is_closed(silent, time.monotonic() + 8)


def is_closed(connection: socket.socket, until: float) -> bool:
    """Tell whether the server closes a connection in time; bytes are dripped into it meanwhile."""
    connection.settimeout(0.2)
    while time.monotonic() < until:
        try:
            if not connection.recv(65536):
                return True
        except TimeoutError:
            pass
        except ConnectionError:
            return True
    return False


@pytest.mark.parametrize("cut", [1, 20, len(ONE_REQUEST) // 2, len(ONE_REQUEST) - 1, len(ONE_REQUEST)])
def test_connections_dropped_midway_cost_nothing(server, cut):
    for _ in range(20):
        with connected(server.port) as connection:
            connection.sendall(ONE_REQUEST[:cut])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset


def test_an_answer_that_nobody_reads_holds_up_nobody(server):
    body = json.dumps({"inputs": ["a"] * 1000}).encode()
    with connected(server.port) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall((post_head(len(body)) + body) * 5)
        server.still_answers()


def test_pipelined_requests_are_answered_in_order(server):
    bodies = [json.dumps({"inputs": TEXT, "parameters": {"top_k": k}}).encode() for k in (1, 2, 3)]
    answer = raw(server.port, b"".join(post_head(len(body)) + body for body in bodies))
    assert statuses(answer) == [200, 200, 200]
    assert [part.count(b'"label"') for part in answer.split(b"HTTP/1.1 ")[1:]] == [1, 2, 3]


GARBAGE = {
    "nothing": b"\r\n\r\n",
    "not http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "no version": b"GET /\r\n\r\n",
    "http 9": b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "long line": b"GET /" + b"a" * (2 * MEGABYTE) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "endless line": b"A" * (8 * MEGABYTE),
    "no colon": b"GET /healthz HTTP/1.1\r\nHost a\r\n\r\n",
    "nul in a header": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: \x00\r\n\r\n",
    "two lengths": post_head(len(BODY), "Content-Length: 3") + BODY,
    "length and chunks": post_head(3, "Transfer-Encoding: chunked") + b"0\r\n\r\n" + ONE_REQUEST,
    "negative length": post_head(-5) + BODY,
    "length of words": post_head(None, "Content-Length: many") + BODY,
    "length beyond 64 bits": post_head(10**30) + BODY,
    "chunk of words": post_head(None, "Transfer-Encoding: chunked") + b"zz\r\nabc\r\n0\r\n\r\n",
    "chunk beyond 64 bits": post_head(None, "Transfer-Encoding: chunked") + b"f" * 40 + b"\r\nabc\r\n",
    "unknown encoding": post_head(len(BODY), "Transfer-Encoding: sorcery") + BODY,
    "connect": b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n",
    "trace": b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "unknown method": b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "http 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "upgrade": b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "absolute address": b"GET http://127.0.0.1:1/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "http 1.0": b"GET /healthz HTTP/1.0\r\n\r\n",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_refused_without_a_server_error(server, name):
    answer = raw(server.port, GARBAGE[name], timeout_s=5)
    assert not [status for status in statuses(answer) if status >= 500], answer[:300]
    assert b"Traceback" not in answer


def test_a_smuggled_request_is_not_answered_as_a_second_one(server):
    """Length and chunks disagree: a proxy and this server must not see two different requests."""
    assert statuses(raw(server.port, GARBAGE["length and chunks"], timeout_s=5)) in ([400], [])


@pytest.mark.parametrize(
    "lines",
    [
        [f"X-{number}: {'b' * 1000}" for number in range(4000)],
        ["X-One: " + "b" * (4 * MEGABYTE)],
        ["Cookie: " + "a=b; " * 200_000],
        [f"Authorization: Bearer {'t' * MEGABYTE}"],
    ],
    ids=["many", "one", "cookie", "token"],
)
def test_a_bomb_of_headers_is_refused_or_ignored(server, lines):
    before = psutil.Process(server.running.process.pid).memory_info().rss
    answer = raw(server.port, post_head(len(BODY), *lines) + BODY, timeout_s=10)
    assert not [status for status in statuses(answer) if status >= 500], answer[:300]
    assert psutil.Process(server.running.process.pid).memory_info().rss - before < 40 * MEGABYTE


@pytest.mark.parametrize(
    ("start", "line"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", b"X-A: " + b"b" * 8000 + b"\r\n"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: ", b"b" * 8000),
        (b"GET /", b"b" * 8000),
        (post_head(None, "Transfer-Encoding: chunked") + b"0\r\n", b"X-A: " + b"b" * 8000 + b"\r\n"),
        (post_head(None, "Transfer-Encoding: chunked") + b"0\r\nX-A: ", b"b" * 8000),
    ],
    ids=["headers", "a header", "a path", "trailers", "a trailer"],
)
def test_endless_headers_are_cut_off_in_bounded_memory(server, start, line):
    before = psutil.Process(server.running.process.pid).memory_info().rss
    with connected(server.port) as connection:
        connection.sendall(start)
        try:
            for _ in range(8 * 1024):  # 64 MB
                connection.sendall(line)
        except OSError:
            return  # cut off, as it should be
    grown = psutil.Process(server.running.process.pid).memory_info().rss - before
    pytest.fail(f"it took 64 MB of headers and kept {grown / MEGABYTE:.0f} MB")


def test_a_thousand_connections_at_once_do_no_harm(server):
    connections = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(900)]
    server.still_answers()
    for connection in connections:
        connection.close()
