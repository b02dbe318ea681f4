"""Who a client is behind a proxy, what a request costs it, and that every option reaches the settings."""

import re
from dataclasses import replace

import pytest

from inference import cli
from inference.serving.command import port_of, settings_of, trusted_proxies
from inference.serving.errors import ServingError
from inference.serving.schema import LOOPBACK, PRIVATE_NETWORKS, Settings
from tests.support.serve import serving

TEXT = "what a happy sunny day"


def statuses(running, *forwarded: str) -> list[int]:
    """Ask for a client's whole allowance of 5 texts once for each header."""
    return [running.ask({"inputs": [TEXT] * 5}, X_Forwarded_For=each).status for each in forwarded]


def test_behind_a_trusted_proxy_each_visitor_has_a_rate_of_its_own(trained_gpt2):
    with serving({"demo": trained_gpt2.artifact}, rate_limit=0.5) as running:  # loopback is trusted
        assert statuses(running, "203.0.113.1", "203.0.113.2", "203.0.113.1") == [200, 200, 429]


def test_a_socket_of_ipv6_tells_clients_of_ipv4_apart(trained_gpt2):
    with serving({"demo": trained_gpt2.artifact}, rate_limit=0.5, host="::") as running:
        assert statuses(running, "203.0.113.1", "203.0.113.2", "203.0.113.1") == [200, 200, 429]
        assert statuses(running, "::ffff:203.0.113.3", "::ffff:203.0.113.4") == [200, 200], "as nginx says it"


def test_what_a_visitor_prepends_does_not_make_another_one_of_it(trained_gpt2):
    """A proxy appends whom it saw: what stands before that came from the visitor."""
    with serving({"demo": trained_gpt2.artifact}, rate_limit=0.5) as running:
        forged = [f"198.51.100.{n}, 203.0.113.9" for n in range(3)]
        assert statuses(running, *forged) == [200, 429, 429]


def test_a_header_from_where_no_proxy_is_trusted_is_not_believed(trained_gpt2):
    settings = {"rate_limit": 0.5, "trusted_proxies": "10.0.0.0/8"}
    with serving({"demo": trained_gpt2.artifact}, **settings) as running:
        assert statuses(running, "203.0.113.1", "203.0.113.2") == [200, 429]


def test_two_hops_of_a_private_network_are_passed_over(trained_gpt2):
    with serving(
        {"demo": trained_gpt2.artifact}, rate_limit=0.5, trusted_proxies=PRIVATE_NETWORKS
    ) as running:
        assert statuses(running, "203.0.113.1, 10.1.2.3", "203.0.113.2, 10.1.2.3") == [200, 200]
        assert statuses(running, "203.0.113.1, 10.9.9.9") == [429]


def test_a_comparison_costs_a_text_once_for_each_model(trained_gpt2):
    with serving({"a": trained_gpt2.artifact, "b": trained_gpt2.artifact}, rate_limit=1) as running:
        assert running.ask({"inputs": [TEXT] * 10}, "/v1/compare").status == 200
        refused = running.ask({"inputs": TEXT})
        assert refused.status == 429
        assert 9 <= int(refused.headers["retry-after"]) <= 11  # 20 texts of 10 a burst, not 10


@pytest.mark.parametrize(
    ("environment", "trusted"),
    [
        ({}, LOOPBACK),
        ({"SPACE_ID": "ada/tweets"}, PRIVATE_NETWORKS),
        ({"SPACE_ID": "ada/tweets", "FORWARDED_ALLOW_IPS": "192.0.2.1"}, "192.0.2.1"),
    ],
)
def test_whom_the_environment_trusts(monkeypatch, environment, trusted):
    for name in ("SPACE_ID", "FORWARDED_ALLOW_IPS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert trusted_proxies() == trusted


def test_a_network_that_is_none_is_refused():
    sentence = "trusted_proxies has '10.0.0.0/99', which is no address. Give addresses or networks such as"
    with pytest.raises(ServingError, match=re.escape(sentence)):
        Settings(trusted_proxies="127.0.0.1,10.0.0.0/99")


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        ("--max-queue", "max_queue", 7),
        ("--rate-limit", "rate_limit", 2.5),
        ("--window-ms", "window_ms", 9.0),
        ("--deadline-s", "deadline_s", 5.0),
        ("--max-texts", "max_texts", 3),
        ("--max-body-mb", "max_body_mb", 0.5),
        ("--body-timeout-s", "body_timeout_s", 4.0),
        ("--cors-origin", "cors_origins", ("https://a.example",)),
        ("--trusted-proxies", "trusted_proxies", "10.0.0.0/8"),
        ("--allowed-hosts", "allowed_hosts", ("a.example", "*.b.example")),
    ],
)
def test_an_option_reaches_its_setting_and_no_other(monkeypatch, option, name, value):
    for variable in ("SPACE_ID", "FORWARDED_ALLOW_IPS", "TWEETTUNE_TOKENS", "TWEETTUNE_ALLOWED_HOSTS"):
        monkeypatch.delenv(variable, raising=False)
    given = ",".join(value) if isinstance(value, tuple) else str(value)
    found = settings_of(cli.parser().parse_args(["serve", "demo", option, given]))
    assert found == replace(Settings(), **{name: value}) != Settings()


def test_a_port_that_is_none_is_an_error_of_serve_alone(monkeypatch, capsys):
    monkeypatch.setenv("PORT", "abc")
    assert cli.main(["serve", "demo"]) == 1
    assert capsys.readouterr().err == "PORT is 'abc'. Give a number from 0 to 65535.\n"
    assert cli.parser().parse_args(["classify", "demo", "a day"]).text == ["a day"]
    assert port_of(8000, GRADIO_SERVER_PORT="", PORT="8123") == 8123
    assert port_of(8000, PORT=None) == 8000
