"""Whose page may speak to the server: own names, other sites, names that an owner adds; over the wire."""

import asyncio
import socket

import pytest

from inference.serving.command import host_of
from inference.serving.errors import ServingError
from inference.serving.hosts import OwnHosts, from_another_site, is_own, own_names
from inference.serving.schema import Settings
from inference.serving.service import Service
from tests.support.serve import metric, serving

TEXT = "what a happy sunny day"
OWN = [
    "localhost",
    "LocalHost:7860",
    "localhost.",
    "127.0.0.1:7860",
    "127.8.9.10",
    "[::1]:80",
    "[::ffff:127.0.0.1]",
]
OTHERS = [
    "evil.example",
    "evil.example:7860",
    "EVIL.example.",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "127.0.0.1.nip.io:80",
    "evil.localhost.example:80",
    "localhost@evil.example",
    "evil.example@localhost",
    "localhost:80:80",
    "localhost, evil.example",
    "localhost/evil",
    "[::1].evil.example",
    "[evil.example]",
    "8.8.8.8",
    "10.0.0.1:80",
    "[2001:db8::1]:80",
    "",
    ":80",
    "*",
]


@pytest.fixture(scope="module")
def server(trained_gpt2):
    with serving({"demo": trained_gpt2.artifact}) as running:
        yield running


@pytest.mark.parametrize(
    "host", [*OWN, socket.gethostname(), f"{socket.gethostname().split('.')[0]}.local:80"]
)
def test_this_machines_names_are_its_own(host):
    assert is_own(host, own_names())


@pytest.mark.parametrize("host", OTHERS)
def test_any_other_name_is_not(host):
    assert not is_own(host, own_names())


def test_an_address_is_nobodys_name_to_who_comes_from_outside():
    """A container is asked at its host's address, and a name alone can be rebound."""
    assert is_own("192.0.2.7:8080", own_names(), at="172.17.0.2")
    assert is_own("[2001:db8::1]", own_names(), at="fe80::1%eth0")
    assert not is_own("evil.example", own_names(), at="172.17.0.2")


ROUTES = {
    "GET": ["/", "/health", "/info", "/healthz", "/readyz", "/version", "/metrics", "/openapi.json", "/nope"],
    "HEAD": ["/", "/health", "/metrics"],
    "POST": ["/", "/models/demo", "/predict", "/v1/compare", "/mcp", "/nope"],
    "OPTIONS": ["/"],
    "DELETE": ["/"],
}


@pytest.mark.parametrize("host", ["evil.example", "EVIL.EXAMPLE.:80", "8.8.8.8"])
def test_no_route_answers_under_another_name(server, host):
    for method, paths in ROUTES.items():
        for path in paths:
            body = {"inputs": TEXT} if method == "POST" else None
            answer = server.ask(body, path, method=method, Host=host, X_Forwarded_Host="localhost")
            assert answer.status == 421, (method, path)
    said = server.get("/healthz", Host=host).json["error"]
    assert said.startswith(f"This server does not answer to the name {host!r}. Open it as http://localhost")
    assert metric(server, "tweettune_rejections_total", reason="wrong_host") > 0


@pytest.mark.parametrize("host", OWN)
def test_every_spelling_of_its_own_name_is_answered(server, host):
    assert server.ask({"inputs": TEXT}, Host=host, X_Forwarded_Host="evil.example").status == 200


def test_a_second_host_does_not_hide_the_first(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert connection.recv(65536).startswith((b"HTTP/1.1 421 ", b"HTTP/1.1 400 "))


def test_a_client_without_a_host_is_no_browser(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "http://[::1"},
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site", "Origin": "http://127.0.0.1:9"},
    {"Origin": "http://evil.example", "X_Forwarded_Host": "evil.example"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_another_sites_page_changes_nothing_but_may_ask_whether_it_is_up(server, headers):
    for path in ROUTES["POST"]:
        assert server.ask({"inputs": TEXT}, path, **headers).status == 403, path
    said = server.ask({"inputs": TEXT}, **headers).json["error"]
    assert said.startswith("A page of another site sent this, so it may change nothing here.")
    assert server.get("/healthz", **headers).status == 200


def test_its_own_page_and_those_that_were_named_may(server, trained_gpt2):
    own = f"127.0.0.1:{server.port}"
    assert server.ask({"inputs": TEXT}, Origin=f"http://{own}").status == 200
    assert server.ask({"inputs": TEXT}, Sec_Fetch_Site="same-origin").status == 200
    with serving({"demo": trained_gpt2.artifact}, cors_origins=("https://a.example",)) as named:
        assert named.ask({"inputs": TEXT}, Origin="https://a.example").status == 200
        assert named.ask({"inputs": TEXT}, Origin="https://b.example").status == 403


def test_names_that_the_owner_adds(trained_gpt2):
    added = ("model.example.com", "*.svc.cluster.local")
    with serving({"demo": trained_gpt2.artifact}, allowed_hosts=added) as running:
        found = [
            running.ask({"inputs": TEXT}, Host=host).status
            for host in (
                "Model.Example.com:443",
                "a.b.svc.cluster.local.",
                "svc.cluster.local",
                "example.com",
            )
        ]
        assert found == [200, 200, 421, 421]
        proxied = {"Host": "127.0.0.1:8000", "Origin": "http://model.example.com"}
        assert running.ask({"inputs": TEXT}, **proxied).status == 200, "a proxy may write another Host"
    with serving({"demo": trained_gpt2.artifact}, allowed_hosts=("*",)) as running:
        assert running.get("/healthz", Host="evil.example").status == 200
        assert running.ask({"inputs": TEXT}, Origin="http://evil.example").status == 403


@pytest.mark.parametrize("name", ["http://a.example", "a.example:80", "*.", "a*.example", ""])
def test_what_is_no_name_is_one_sentence(name):
    with pytest.raises(ServingError, match=r"which is no name\. Give names such as model"):
        Settings(allowed_hosts=(name,))


def test_a_space_is_asked_by_its_own_name_and_may_be_part_of_another_page(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "Ada/tweet_tune.2")
    monkeypatch.delenv("SPACE_HOST", raising=False)
    assert is_own("ada-tweet-tune-2.hf.space", own_names()) and not is_own("evil.hf.space", own_names())
    monkeypatch.setenv("SPACE_HOST", "ada-x.hf.space, own.example")
    assert is_own("own.example", own_names()) and not is_own("ada-tweet-tune-2.hf.space", own_names())
    assert not from_another_site({"origin": "https://own.example", "host": "10.0.0.7:7860"})
    assert from_another_site({"origin": "https://evil.example", "host": "own.example"})


def test_a_web_socket_is_a_door_too():
    """uvicorn speaks none here, but what comes may."""
    sent, passed = [], []

    async def app(scope, receive, send):
        passed.append(scope["type"])

    async def send(message):
        sent.append(message)

    guard = OwnHosts(app, service=Service({"demo": "nowhere"}))
    for headers in ({"host": "evil.example"}, {"host": "localhost", "origin": "http://evil.example"}, {}):
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        asyncio.run(guard({"type": "websocket", "headers": raw, "server": ("127.0.0.1", 1)}, None, send))
    assert [message["reason"] for message in sent] == ["wrong_host", "another_site"]
    asyncio.run(guard({"type": "lifespan"}, None, send))
    assert passed == ["websocket", "lifespan"]


def test_it_listens_on_this_machine_alone_unless_it_is_a_space_or_asked(monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert host_of() == host_of("") == "127.0.0.1" and host_of("0.0.0.0") == "0.0.0.0"
    monkeypatch.setenv("SPACE_ID", "ada/x")
    assert host_of() == "0.0.0.0" and host_of("127.0.0.1") == "127.0.0.1"
