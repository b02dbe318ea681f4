"""Requests to services: which addresses are asked, where a token goes, how limits and bodies are read."""

import itertools
import pickle
import socket
import threading
import time
from datetime import UTC, datetime

import pytest
import requests

from inference.live.sources import SourceBadQuery, SourceUnauthorised, SourceUnavailable
from inference.live.sources.http import (
    Adapter,
    Token,
    checked_addresses,
    is_loopback,
    limit_wait_s,
    read_body,
    used_up,
)
from tests.servers.web import Answer, Web


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0"),
        *("100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::"),
        "ff02::1",
    ],
)
def test_private_addresses_are_not_asked(address, monkeypatch):
    """A public name may lead anywhere, one of its addresses may be public, and it may change its mind."""
    for found in ([address], ["93.184.216.34", address]):
        answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 443)) for each in found]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *a, answer=answer, **k: answer)
        with pytest.raises(SourceBadQuery, match="leads to an address inside a private network"):
            checked_addresses("innocent.example", 443, allow_loopback=False)


def test_public_addresses_are_asked_and_loopback_where_it_is_allowed(monkeypatch):
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 443))] * 2
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: answer)
    assert checked_addresses("example.com", 443, allow_loopback=False) == ["93.184.216.34"]
    monkeypatch.undo()
    assert checked_addresses("127.0.0.1", 80, allow_loopback=True) == ["127.0.0.1"]
    with pytest.raises(SourceBadQuery):
        checked_addresses("10.0.0.1", 80, allow_loopback=True)
    assert is_loopback("localhost") and is_loopback("[::1]") and not is_loopback("example.com")


class Echo(Web):
    def answer(self, request):
        return Answer(200, {"headers": request.headers})


def test_a_guarded_connection_does_not_even_begin_and_is_made_to_the_checked_address(monkeypatch):
    with Echo() as server:
        port = server.url.rsplit(":", 1)[1]
        session = requests.Session()
        for allowed in (False, True):
            adapter = Adapter(connect_timeout_s=1, read_timeout_s=1, only_public=True, allow_loopback=allowed)
            session.mount("http://", adapter)
            if not allowed:
                with pytest.raises(SourceBadQuery, match="localhost leads to an address inside a private"):
                    session.get(f"http://localhost:{port}/")
                assert server.asked == []
        real, asked = socket.getaddrinfo, []

        def changes_its_mind(host, *rest, **named):
            asked.append(host)
            return real("127.0.0.1" if len(asked) == 1 else host, *rest, **named)

        monkeypatch.setattr(socket, "getaddrinfo", changes_its_mind)
        assert (
            session.get(f"http://moving.example:{port}/").json()["headers"]["host"]
            == f"moving.example:{port}"
        )
        assert asked == ["moving.example", "127.0.0.1"], "the name was looked up once"
        session.close()


def test_an_adapter_adds_the_token_last_and_takes_it_out_again(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine service.example login a password from-netrc\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    with Echo() as server:
        session, token = requests.Session(), Token("se/cret", of="X")
        session.mount(
            "https://", Adapter(token=token, base_url=server.url, connect_timeout_s=1, read_timeout_s=1)
        )
        answer = session.get("https://service.example/a/b?c=d")
        session.close()
    assert server.asked[0].path == "/a/b" and server.asked[0].query == {"c": "d"}
    assert answer.json()["headers"]["authorization"] == "Bearer se/cret"
    assert "se/cret" not in str(answer.request.headers)


def test_a_token_shows_itself_nowhere():
    token = Token(" se/cret%3D\n", of="X")
    assert token.header() == "Bearer se/cret%3D"
    for shown in (repr(token), str(token), f"{token}", repr([token]), repr({"token": token})):
        assert "se/cret" not in shown and "Token(hidden)" in shown
    assert token.hide("a se/cret%3D b se%2Fcret%253D c se/cret= d") == "a (hidden) b (hidden) c (hidden) d"
    with pytest.raises(TypeError, match="A token is not stored"):
        pickle.dumps(token)
    for odd in ("", "abc", "two words", "line\nbreak", "x" * 5000, "é" * 9):
        with pytest.raises(
            SourceUnauthorised, match="The token for X is empty or holds characters"
        ) as caught:
            Token(odd, of="X")
        assert not odd or odd not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"Retry-After": "30"}, 30),
        ({"Retry-After": "Sun, 22 Nov 2026 20:01:00 GMT"}, 60),
        ({"x-rate-limit-reset": "1795377660"}, 60),
        ({"X-RateLimit-Reset": "2026-11-22T20:01:00.000000Z"}, 60),
        ({"X-RateLimit-Reset": "2026-11-22T19:00:00Z"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"x-rate-limit-reset": "nan"}, None),
        ({"x-rate-limit-reset": "1e999"}, None),
        ({"Retry-After": "-5"}, None),
        ({"x-rate-limit-reset": "1795377660", "Date": "Sun, 22 Nov 2026 20:00:30 GMT"}, 30),
        ({"Retry-After": "5", "X-RateLimit-Reset": "2026-11-22T20:01:00Z"}, 60),
        ({"Date": "nonsense"}, None),
    ],
)
def test_how_long_a_limit_lasts(headers, wait_s):
    now = datetime(2026, 11, 22, 20, 0, tzinfo=UTC).timestamp()
    assert limit_wait_s(headers, now) == wait_s
    assert used_up({"X-RateLimit-Remaining": "0"}) and used_up({"x-rate-limit-remaining": " 0"})
    assert not used_up({"X-RateLimit-Remaining": "10"}) and not used_up({})


def test_a_body_is_read_up_to_a_size_and_a_time():
    with Echo() as server, requests.Session() as session:
        for pieces, message in (
            ([b"x" * 1000] * 5, "longer than 3 kB"),
            (
                itertools.chain.from_iterable([b"x"] for _ in iter(lambda: time.sleep(0.02), 1)),
                "within 0.2 s",
            ),
        ):
            server.script.append(Answer(200, pieces=pieces))
            with (
                session.get(server.url, stream=True, timeout=2) as answer,
                pytest.raises(SourceUnavailable, match=message),
            ):
                read_body(answer, limit_bytes=3000, timeout_s=0.2, halt=threading.Event())
