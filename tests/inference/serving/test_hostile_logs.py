"""What a hostile client could make a server tell or lose: its log, texts, tokens, accepted requests."""

import json
import os
import pickle
import shutil
import signal
import time

import pytest

from benchmarks import load
from tests.support.hostile import ask, fetch, post_head, raw, shared_target, target

SECRET = "a-very-secret-text-of-somebody"
TOKEN = "a-token-of-these-tests"
INJECTED = '\n{"time": "now", "level": "info", "message": "all is well"}\n\x1b[31mred\x1b[0m\r\u2028\u0085'


@pytest.fixture(scope="module")
def server(trained_gpt2):
    return shared_target(trained_gpt2.artifact)


def lines(log: str) -> list[dict]:
    """Return the records of a log: each line is one JSON object, in ASCII, without control characters."""
    assert log.isascii()
    assert not [sign for sign in log if ord(sign) < 32 and sign != "\n"]
    return [json.loads(line) for line in log.split("\n") if line]


def log_of(server) -> str:
    time.sleep(0.2)
    return server.running.log.read_bytes().decode()


def test_no_client_writes_a_line_of_its_own(server):
    before = len(lines(log_of(server)))
    quoted = INJECTED.encode()
    escaped = "".join(f"%{byte:02x}" for byte in quoted)
    for path in (f"/models/{escaped}", f"/{escaped}", f"/predict?{escaped}"):
        fetch(server.port, path)
        fetch(
            server.port,
            path,
            "POST",
            body=b"{}",
            **{"Content-Type": "application/json", "Content-Length": "2"},
        )
    ask(server.port, {"inputs": INJECTED, "parameters": {INJECTED: INJECTED}})
    ask(server.port, {"inputs": INJECTED, "models": [INJECTED, "gpt2"]}, "/v1/compare")
    for name in ("X-Request-ID", "User-Agent", "X-Forwarded-For", "Authorization", "Content-Type"):
        value = b"\x1b[31m" + name.encode() + b"\t\xff\xfe"
        raw(server.port, post_head(2)[:-2] + name.encode() + b": " + value + b"\r\n\r\n{}", timeout_s=3)
        raw(server.port, post_head(2)[:-2] + name.encode() + b": a" + quoted + b"\r\n\r\n{}", timeout_s=3)
    raw(server.port, b"GET /\x1b[31m HTTP/1.1\r\nHost: localhost\r\n\r\n", timeout_s=3)
    raw(server.port, quoted, timeout_s=3)
    found = lines(log_of(server))
    assert len(found) > before
    assert "all is well" not in [line["message"] for line in found]
    assert "\x1b" not in json.dumps(found, ensure_ascii=False)
    server.still_answers()


def test_no_tool_call_writes_a_line_of_its_own(server):
    headers = {"Accept": "application/json, text/event-stream"}
    for message in (
        {"jsonrpc": "2.0", "id": INJECTED, "method": INJECTED, "params": {INJECTED: INJECTED}},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": INJECTED, "arguments": {}}},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": 5, "arguments": INJECTED}},
        {"jsonrpc": "2.0", "method": INJECTED},
        {"jsonrpc": "2.0", "id": 1, "result": INJECTED},
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "classify", "arguments": {"inputs": "a", "model": INJECTED}},
        },
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": INJECTED}},
    ):
        status, _ = ask(server.port, message, "/mcp", **headers)
        assert status < 500
        ask(server.port, message, "/mcp", **headers, **{"MCP-Protocol-Version": "\x85 what"})
    assert "\x1b" not in json.dumps(lines(log_of(server)), ensure_ascii=False)
    server.still_answers()


def test_an_odd_request_id_is_replaced_and_a_sane_one_kept(server):
    def id_of(given: bytes) -> bytes:
        answer = raw(
            server.port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: " + given + b"\r\n\r\n"
        )
        return next(line for line in answer.split(b"\r\n") if line.lower().startswith(b"x-request-id"))[14:]

    assert id_of(b"my-id.1") == b"my-id.1"
    for odd in (b"a b", b"a" * 65, b"\xff", b"<script>", b"a%0d%0ab", b""):
        assert id_of(odd) not in (odd, b"")
        assert len(id_of(odd)) == 32


@pytest.fixture(scope="module")
def guarded(trained_gpt2, tmp_path_factory):
    file = tmp_path_factory.mktemp("tokens") / "tokens.txt"
    file.write_text(f"# ours\n{TOKEN}\n", encoding="utf-8")
    with load.server(trained_gpt2.artifact, "--token-file", str(file)) as running:
        yield running


def test_texts_and_tokens_are_not_in_the_log(guarded):
    port, header = guarded.port, {"Authorization": f"Bearer {TOKEN}"}
    assert ask(port, {"inputs": SECRET}, **header)[0] == 200
    assert ask(port, {"inputs": [SECRET, 5]}, **header)[0] == 422
    assert ask(port, {"inputs": SECRET, "parameters": {SECRET: 1}}, **header)[0] == 422
    assert ask(port, f'{{"inputs": "{SECRET}'.encode(), **header)[0] == 422
    assert ask(port, {"inputs": SECRET}, Authorization=f"Bearer {SECRET}")[0] == 401
    assert fetch(port, f"/version?token={TOKEN}")[0] == 401
    accepts = header | {"Accept": "application/json, text/event-stream"}
    for message in (
        {"id": 1, "method": "tools/call", "params": {"name": "classify", "arguments": [SECRET]}},
        {"id": 1, "method": "tools/call", "params": {"name": SECRET, "arguments": {"inputs": SECRET}}},
        {"id": 1, "method": "resources/read", "params": {"text": SECRET}},
        {"id": 1, "result": {"text": SECRET}},
        {"method": "notifications/progress", "params": {"text": SECRET}},
    ):
        assert ask(port, {"jsonrpc": "2.0"} | message, "/mcp", **accepts)[0] < 500
    time.sleep(0.2)
    log = guarded.log.read_text(encoding="utf-8")
    assert len(lines(log)) > 5
    assert SECRET not in log
    assert TOKEN not in log


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN[:-1]}",
        "Bearer \xff\xfe",
        f"Bearer {TOKEN}, Bearer x",
        "Bearer " + "a" * 50_000,
    ],
    ids=range(10),
)
def test_a_wrong_token_opens_nothing(guarded, header):
    for path in ("/", "/predict", "/v1/compare", "/mcp", "/models/gpt2"):
        assert ask(guarded.port, {"inputs": "a"}, path, Authorization=header)[0] in (400, 401)
    for path in ("/version", "/metrics"):
        assert fetch(guarded.port, path, Authorization=header)[0] in (400, 401)


def test_a_pickle_in_place_of_the_model_is_not_taken_on_reload(trained_gpt2, tmp_path):
    """Nor does it matter how it got there: a file that is overwritten must not be in use as memory."""
    shutil.copytree(trained_gpt2.artifact, tmp_path / "gpt2")
    weights = tmp_path / "gpt2" / "model.safetensors"
    with target(tmp_path / "gpt2") as server:
        weights.write_bytes(pickle.dumps(print))
        reload(server, times=1)
        (tmp_path / "new").write_bytes(pickle.dumps(print))
        (tmp_path / "new").rename(weights)
        reload(server, times=2)
        lines(log_of(server))


def reload(server, *, times: int) -> None:
    """Tell a server to load its model again, and wait until it has refused to for so many times."""
    os.kill(server.running.process.pid, signal.SIGHUP)
    until = time.monotonic() + 20
    while log_of(server).count("stays as it was") < times:
        assert time.monotonic() < until, log_of(server)
    server.still_answers()
