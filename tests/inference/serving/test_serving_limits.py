"""Who may ask, and how much: tokens, rates in bounded memory, tokens from files and the environment."""

import re

import pytest

from inference.serving.command import tokens
from inference.serving.errors import RateLimited, ServingError, Unauthorized
from inference.serving.limits import RateLimiter, check_token, network
from inference.serving.schema import Settings


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic first", "first", "Bearer first2"]
)
def test_without_a_right_token_nobody_comes_in(header):
    with pytest.raises(
        Unauthorized, match=r"A token is needed\. Send the header 'Authorization: Bearer TOKEN'\."
    ):
        check_token(header, ("first", "sécond"))


@pytest.mark.parametrize(("header", "who"), [("Bearer first", "token 0"), ("bearer sécond", "token 1")])
def test_any_of_the_tokens_opens_and_tells_the_client(header, who):
    assert check_token(header, ("first", "sécond")) == who


def test_without_tokens_everybody_comes_in():
    assert check_token("", ()) is None


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_client_may_send_a_burst_then_its_rate():
    clock = Clock()
    limiter = RateLimiter(2, clock=clock)
    for _ in range(20):
        limiter.check("a")
        limiter.spend("a", 1)
    with pytest.raises(
        RateLimited, match=r"You send more than 2 texts a second\. Try again in 1 s\."
    ) as found:
        limiter.check("a")
    assert found.value.retry_after_s == 1
    limiter.check("b")
    clock.now = 0.5
    limiter.check("a")


def test_a_large_request_passes_and_is_paid_for_by_waiting():
    clock = Clock()
    limiter = RateLimiter(2, clock=clock)
    limiter.check("a")
    limiter.spend("a", 100)
    with pytest.raises(RateLimited, match="Try again in 41 s"):
        limiter.check("a")
    clock.now = 41
    limiter.check("a")


def test_quiet_clients_are_forgotten_first():
    limiter = RateLimiter(1, clock=Clock(), max_clients=3)
    for client in ("a", "b", "c", "a", "d"):
        limiter.spend(client, 50)
    assert list(limiter._buckets) == ["c", "a", "d"]


def test_a_rate_of_zero_is_no_limit():
    limiter = RateLimiter(0)
    for _ in range(1000):
        limiter.check("a")
        limiter.spend("a", 1000)
    assert not limiter._buckets


def test_tokens_come_from_the_environment_and_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TWEETTUNE_TOKENS", "one, two\nthree")
    file = tmp_path / "tokens"
    file.write_text("# ours\n\nfour  \n")
    assert tokens(None) == ("one", "two", "three")
    assert tokens(file) == ("one", "two", "three", "four")


def test_a_token_file_without_tokens_is_refused_lest_the_server_stand_open(tmp_path):
    file = tmp_path / "tokens"
    file.write_text("# none yet\n\n")
    with pytest.raises(ServingError, match=r"holds no token\. Write one a line\."):
        tokens(file)
    with pytest.raises(ServingError, match="can't be read"):
        tokens(tmp_path / "nowhere")


def test_settings_never_show_their_tokens():
    assert "secret" not in repr(Settings(tokens=("secret",)))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"max_texts": 0}, "max_texts is 0. Give a number above 0."),
        ({"deadline_s": -1.5}, "deadline_s is -1.5."),
        ({"window_ms": float("nan")}, "window_ms is nan."),
        ({"max_body_mb": float("inf")}, "max_body_mb is inf."),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, sentence):
    with pytest.raises(ServingError, match=re.escape(sentence)):
        Settings(**settings)
    assert Settings(window_ms=0, rate_limit=0).window_ms == 0


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8::9", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("not:an:address", "not:an:address"),
    ],
)
def test_a_client_is_an_address_or_a_network(host, client):
    assert network(host) == client
