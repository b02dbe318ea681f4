"""The tools, asked by the protocol's own client over both of its transports."""

import contextlib
import http.client
import json
import signal
import statistics
import threading
import time

import pytest
import uvicorn
from fastapi import FastAPI

from inference.baselines.index import Index, Neighbours
from inference.baselines.model import Answering
from inference.common.command import BROKEN_PIPE
from inference.serving.app import create_server
from inference.serving.mcp import mount_mcp
from inference.serving.routes import add_routes
from inference.serving.schema import Settings
from inference.serving.service import Service
from tests.support.agents import TEXTS, agent_process, check_classified, content, error, over_http, over_stdio

TOKEN = "a-token-of-these-tests"
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}


@contextlib.contextmanager
def served(app: FastAPI):
    """Run an app on loopback, and yield its port."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)


@contextlib.contextmanager
def mounted(artifacts, *, index=None, load=None, **limits):
    """Serve artifacts by name, with the tools at /mcp."""
    service = Service(artifacts, settings=Settings(**limits), index=index, load=load)
    service.load()
    with served(create_server(service)) as port:
        yield port, service


@pytest.fixture(scope="module")
def two(trained_gpt2, trained_llama):
    artifacts = {"first": trained_gpt2.artifact, "second": trained_llama.artifact}
    with mounted(artifacts, max_texts=50, max_body_mb=0.5) as (port, service):
        yield port, service


def test_http_classifies_and_compares(two, trained_gpt2, trained_llama):
    port, _ = two
    tools, first, second, compared = over_http(
        port,
        ("classify", {"inputs": TEXTS}),
        ("classify", {"inputs": TEXTS, "model": "second"}),
        ("compare", {"inputs": TEXTS}),
    )
    assert [tool.name for tool in tools] == ["classify", "compare"]
    check_classified(content(first), trained_gpt2.artifact)
    check_classified(content(second), trained_llama.artifact)
    assert content(first)["model"] == "first"
    assert content(first)["truncated_texts"] == 0
    results = content(compared)["results"]
    assert content(compared)["models"] == ["first", "second"]
    for row, one, other in zip(results, content(first)["results"], content(second)["results"], strict=True):
        assert row["predictions"]["first"]["label"] == one[0]["label"]
        assert row["predictions"]["second"]["score"] == pytest.approx(other[0]["score"], abs=1e-6)
        assert row["agree"] == (one[0]["label"] == other[0]["label"])


def test_stdio_classifies_and_compares(trained_gpt2, trained_llama):
    tools, classified, compared, wrong = over_stdio(
        f"first={trained_gpt2.artifact}",
        f"second={trained_llama.artifact}",
        calls=[("classify", {"inputs": TEXTS}), ("compare", {"inputs": TEXTS}), ("classify", {"inputs": 5})],
    )
    assert [tool.name for tool in tools] == ["classify", "compare"]
    check_classified(content(classified), trained_gpt2.artifact)
    assert content(compared)["models"] == ["first", "second"]
    assert error(wrong) == "inputs is a number. Give a text, or a list of texts."


def test_stdio_answers_what_was_asked_before_the_input_ended(trained_gpt2):
    asked = [
        {"id": 0, "method": "initialize", "params": HELLO},
        {"method": "notifications/initialized"},
        {
            "id": 1,
            "method": "tools/call",
            "params": {"name": "classify", "arguments": {"inputs": TEXTS * 99}},
        },
        {
            "id": 2,
            "method": "tools/call",
            "params": {"name": "classify", "arguments": {"inputs": "a \ud800"}},
        },
        {"id": 3, "method": "tools/call", "params": {"name": "classify", "arguments": []}},
    ]
    lines = [json.dumps({"jsonrpc": "2.0"} | each).encode() for each in asked]
    with agent_process(trained_gpt2.artifact) as process:
        out, log = process.communicate(b"\n".join([lines[0], b"garbage \xff", b"", *lines[1:]]), timeout=60)
    answers = {said["id"]: said for line in out.splitlines() if "id" in (said := json.loads(line))}
    assert process.returncode == 0 and b"Traceback" not in log
    assert answers.keys() == {0, 1, 3}, "half a character is no JSON to the library"
    assert len(answers[1]["result"]["structuredContent"]["results"]) == 3 * 99
    assert answers[3]["error"]["message"] == "Invalid request parameters"


def test_stdio_ends_with_its_agent_and_at_an_interrupt(trained_gpt2):
    hello = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": HELLO}).encode()
    with agent_process(trained_gpt2.artifact) as process:
        process.stdout.close()
        _, log = process.communicate(hello, timeout=60)
    assert process.returncode == BROKEN_PIPE and b"Traceback" not in log
    with agent_process(trained_gpt2.artifact) as process:
        process.stdin.write(hello + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 0
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == -signal.SIGINT


LABELLED = {"inputs": ["that gig was zorgle", "so zorgle!"], "labels": ["positive", "positive"]}
ASKED = {"inputs": ["zorgle"], "vote": 1.0}


def test_with_an_index_answers_rest_on_labelled_texts_and_more_can_be_added(trained_gpt2, tmp_path):
    path, artifact = tmp_path / "index.sqlite", trained_gpt2.artifact
    index = Index(path, ("negative", "neutral", "positive"))
    with mounted({"one": artifact}, index=index, max_texts=5) as (port, _):
        tools, empty, added, again, found, wrong, unknown, other, missing = over_http(
            port,
            ("retrieve", ASKED),
            ("add_texts", LABELLED),
            ("add_texts", LABELLED),
            ("retrieve", ASKED),
            ("add_texts", {"inputs": ["a"], "labels": ["angry"]}),
            ("retrieve", {"inputs": ["a"], "k": 0}),
            ("retrieve", {"inputs": ["a"], "model": "two"}),
            ("train", {}),
        )
    assert [tool.name for tool in tools] == ["classify", "compare", "retrieve", "add_texts"]
    assert [tool.annotations.readOnlyHint for tool in tools] == [True, True, True, False]
    assert tools[3].inputSchema["properties"]["labels"]["items"]["enum"] == list(index.labels)
    for tool in tools[2:]:
        assert all(given.get("description") for given in tool.inputSchema["properties"].values()), tool.name
        assert tool.inputSchema["properties"]["inputs"]["anyOf"][1]["maxItems"] == 5
    assert error(empty).startswith("The index holds no labelled text yet")
    counts = {"negative": 0, "neutral": 0, "positive": 2}
    assert content(added) == {"added": 2, "changed": 0, "known": 0, "locked": 0, "held": counts}
    assert content(again)["known"] == 2
    [answer] = content(found)["results"]
    assert answer["label"] == "positive" and answer["rests_on"][0]["label"] == "positive"
    assert {one["text"] for one in answer["rests_on"]} == set(LABELLED["inputs"])
    assert "'angry' is no label of the index" in error(wrong)
    assert error(unknown) == "k is 0. Give a whole number from 1 to 100."
    assert error(other) == "There is no model 'two' here. Known: one."
    assert error(missing) == "There is no tool 'train'. Known: classify, compare, retrieve, add_texts."
    tools, found = over_stdio(artifact, "--index", path, calls=[("retrieve", ASKED)])
    assert len(tools) == 4 and content(found)["results"][0]["rests_on"], "it is there after a restart"


def test_classify_names_the_texts_that_an_answer_rests_on_where_it_is_asked():
    index = Index(None, ("negative", "neutral", "positive"))
    index.add(LABELLED["inputs"], LABELLED["labels"])
    near = Answering(Neighbours(index, k=2, by="words"), name="near")
    given = {"inputs": ["zorgle"], "top_k": 1}
    with mounted({"near": "near"}, load=lambda source: near) as (port, _):
        _, asked, plain = over_http(port, ("classify", {**given, "rests_on": True}), ("classify", given))
    [[best]] = content(asked)["results"]
    assert {one["text"] for one in best["rests_on"]} == set(LABELLED["inputs"])
    assert content(plain)["results"][0][0].keys() == {"label", "score"}


def test_the_tools_describe_what_they_take_and_return(two):
    port, _ = two
    [[classify, compare]] = over_http(port)
    assert "Labels: negative, neutral, positive." in classify.description
    assert "Models: first, second." in compare.description
    assert classify.inputSchema["required"] == ["inputs"]
    assert classify.inputSchema["properties"]["model"]["enum"] == ["first", "second"]
    assert classify.inputSchema["properties"]["inputs"]["anyOf"][1]["maxItems"] == 50
    for tool in (classify, compare):
        assert tool.annotations.readOnlyHint
        assert all(given.get("description") for given in tool.inputSchema["properties"].values())


def test_one_text_top_k_and_a_text_that_is_cut(two):
    port, _ = two
    _, found = over_http(port, ("classify", {"inputs": "the train " * 400, "top_k": 1}))
    assert len(content(found)["results"][0]) == 1
    assert content(found)["truncated_texts"] == 1


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("classify", {}, 'inputs is missing. Give a text, or a list of texts: {"inputs": "…"}.'),
        ("classify", {"inputs": ["a", 5]}, "Item 1 of inputs is a number, not a text."),
        (
            "classify",
            {"inputs": ["a"] * 51},
            "51 texts are more than the 50 one request may hold. Send them in parts.",
        ),
        ("classify", {"inputs": "a", "top_k": 0}, "top_k is 0. Give a whole number from 1 to 1000."),
        (
            "classify",
            {"inputs": "a", "model": "../etc"},
            "There is no model '../etc' here. Known: first, second.",
        ),
        ("classify", {"inputs": "a", "model": 5}, "model is not a name. Known: first, second."),
        (
            "classify",
            {"inputs": "a", "text": "b"},
            "classify has no argument 'text'. Known: inputs, model, top_k, precision, abstain_below, "
            "out_of_scope, rests_on.",
        ),
        (
            "compare",
            {"inputs": "a", "models": ["first"]},
            "models must name two models or more, each once. Known: first, second.",
        ),
        (
            "compare",
            {"inputs": "a", "models": ["first", "third"]},
            "There is no model 'third' here. Known: first, second.",
        ),
        ("train", {}, "There is no tool 'train'. Known: classify, compare."),
        ("retrieve", {"inputs": "a"}, "There is no tool 'retrieve'. Known: classify, compare."),
    ],
)
def test_a_wrong_call_is_a_tool_error_of_one_sentence(two, name, arguments, sentence):
    port, _ = two
    _, wrong, right = over_http(port, (name, arguments), ("classify", {"inputs": "a"}))
    assert error(wrong) == sentence
    assert content(right)["results"]


def post(port: int, body: bytes, **headers: str) -> tuple[int, dict, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        known = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        connection.request("POST", "/mcp", body, {**known, **headers})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


PING = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'


def test_http_keeps_the_limits_of_the_other_routes(two):
    port, service = two
    before = service.metrics.exposition()
    assert post(port, PING)[0] == 200
    assert post(port, b"x" * 2**20)[0] == 413
    assert post(port, PING, **{"Content-Type": "text/plain"})[0] == 415
    assert post(port, PING, **{"X-Request-ID": "mine"})[1]["x-request-id"] == "mine"
    after = service.metrics.exposition()
    assert b'route="/mcp",status="413"' not in before
    assert b'route="/mcp",status="413"' in after


def test_large_messages_do_not_hold_up_the_others(two):
    """The library reads them on the event loop, so they are bounded below other bodies."""
    port, _ = two
    status, _, answer = post(port, b" " * 300_000)
    assert status == 413 and b"larger than 262144 bytes" in answer
    params = {"name": "classify", "arguments": {"inputs": "a", "x": [[]] * 64_000}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    over = threading.Event()

    def flood() -> None:
        while not over.is_set():
            assert post(port, body)[0] == 200

    flooding = threading.Thread(target=flood)
    flooding.start()
    waited = []
    for _ in range(30):
        began = time.monotonic()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request("GET", "/healthz")
            assert connection.getresponse().read()
        waited.append(time.monotonic() - began)
    over.set()
    flooding.join(30)
    assert statistics.median(waited) < 0.3, waited


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"jsonrpc": "2.0", "id": NaN, "method": "ping"}',
        b"\xff\xfe",
        b"[]",
        b'{"jsonrpc": "2.0", "id": 1, "method": "\\ud800"}',
        b'{"a": 1, "a": 1}',
        b'{"jsonrpc": "1.0"}',
    ],
)
def test_what_is_no_message_is_refused_without_a_server_error(two, body):
    port, _ = two
    status, _, answer = post(port, body)
    assert 400 <= status < 500 or (status == 200 and b'"error"' in answer)
    assert post(port, PING)[0] == 200


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_no_streams_and_no_sessions_are_held_open(two, method):
    connection = http.client.HTTPConnection("127.0.0.1", two[0], timeout=5)
    with contextlib.closing(connection):
        connection.request(method, "/mcp", headers={"Accept": "text/event-stream"})
        assert connection.getresponse().status == 405


def test_a_web_page_may_call_only_from_an_origin_that_was_allowed(two, trained_gpt2):
    status, _, answer = post(two[0], PING, Origin="https://evil.example")
    assert status == 403 and "A page of another site sent this" in json.loads(answer)["error"]
    with mounted({"one": trained_gpt2.artifact}, cors_origins=("https://good.example",)) as (port, _):
        assert post(port, PING, Origin="https://good.example")[0] == 200
        assert post(port, PING, Origin="https://evil.example")[0] == 403


def test_the_servers_tokens_open_it_too(trained_gpt2):
    with mounted({"one": trained_gpt2.artifact}, tokens=(TOKEN,)) as (port, _):
        assert post(port, PING)[0] == 401
        headers = {"Authorization": f"Bearer {TOKEN}"}
        _, found = over_http(port, ("classify", {"inputs": TEXTS}), headers=headers)
        check_classified(content(found), trained_gpt2.artifact)


def test_one_model_cannot_be_compared(trained_gpt2):
    with mounted({"one": trained_gpt2.artifact}) as (port, _):
        _, found = over_http(port, ("compare", {"inputs": "a"}))
    assert error(found) == "Comparing needs two models or more; this server has one (one)."


def test_calls_share_the_batches_of_the_rest_routes(two):
    """While a large request is in work, small ones gather, by whichever way they came."""
    port, service = two

    def batches() -> float:
        return service.metrics.registry.get_sample_value("tweettune_batch_texts_count", {"model": "first"})

    def rest(inputs) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with contextlib.closing(connection):
            body = json.dumps({"inputs": inputs})
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            answers.append(connection.getresponse().status)

    def tool(inputs) -> None:
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "classify", "arguments": {"inputs": inputs}},
        }
        status, _, answer = post(port, json.dumps(body).encode())
        answers.append(status if json.loads(answer)["result"]["structuredContent"]["results"] else 0)

    before, answers = batches(), []
    threads = [threading.Thread(target=rest, args=(["the train is late again " * 40] * 50,))]
    threads += [threading.Thread(target=(rest, tool)[i % 2], args=("a day",)) for i in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 41
    assert batches() - before < 30


def test_an_app_with_other_routes_starts_and_stops_it_each_time(trained_gpt2):
    """As app.py does it: the lifespan of the app around it runs too, more than once."""
    service = Service({"one": trained_gpt2.artifact})
    service.load()
    started = []

    @contextlib.asynccontextmanager
    async def lifespan(app):
        started.append("up")
        yield
        started.append("down")

    app = FastAPI(lifespan=lifespan)
    mount_mcp(app, add_routes(app, service))
    for _ in range(2):
        with served(app) as port:
            assert post(port, PING)[0] == 200
    assert started == ["up", "down"] * 2
    service.close()
