"""The server over the wire, on real tiny models: real clients, limits, refusals, logs and counts."""

import asyncio
import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient, constants
from huggingface_hub.errors import HfHubHTTPError

from inference import Classifier
from inference.baselines import rests_on
from inference.baselines.index import Index, Neighbours
from inference.baselines.model import Answering
from tests.support import tweets, wait_for
from tests.support.serve import Gated, loaded, metric, post, serving

TEXT = "what a happy sunny day"


@pytest.fixture(autouse=True)
def loopback_is_no_hub(monkeypatch):
    """The tests forbid the Hub's library to open any connection; here it talks to our own server."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def gated(sources):
    """Return a server of one model whose gate can be closed, with a queue of 3 texts."""
    with serving({"demo": sources["demo"]}, load=Gated, max_queue=3) as running:
        running.model = running.service.models.get("demo").classifier
        yield running
        running.model.gate.set()


def scores(answer):
    return {row["label"]: row["score"] for row in answer}


def expected(server, text, model="demo"):
    classifier = server.service.models.get(model).classifier
    [found] = classifier.predict([text])
    return pytest.approx(dict(zip(classifier.labels, found.probabilities, strict=True)), abs=1e-6)


# real clients


@pytest.mark.parametrize("how", ["base_url", "model"])
@pytest.mark.parametrize(
    ("path", "name"), [("/", "demo"), ("/models/demo", "demo"), ("/models/other", "other")]
)
def test_the_hubs_client_gets_what_the_classifier_says(server, how, path, name):
    client = InferenceClient(**{how: server.url + path})
    found = client.text_classification(TEXT)
    assert {row.label: row.score for row in found} == expected(server, TEXT, name)
    assert [row.score for row in found] == sorted((row.score for row in found), reverse=True)
    [best] = client.text_classification(TEXT, top_k=1, function_to_apply="none")
    assert best.label == found[0].label


def test_the_hubs_async_client_asks_many_at_once(server):
    texts = [text for text, _ in tweets(60, seed=3)]

    async def ask():
        async with AsyncInferenceClient(base_url=server.url) as client:
            return await asyncio.gather(*map(client.text_classification, texts))

    for text, found in zip(texts, asyncio.run(ask()), strict=True):
        assert {row.label: row.score for row in found} == expected(server, text)


def test_the_hubs_client_shows_our_sentence(server):
    with pytest.raises(HfHubHTTPError) as found:
        InferenceClient(base_url=server.url).text_classification(TEXT, top_k=-1)
    assert found.value.response.status_code == 422
    assert "top_k is -1. Give a whole number from 1 to 1000." in str(found.value)


def test_a_list_is_answered_text_by_text_as_each_alone(server):
    texts = [text for text, _ in tweets(40, seed=5)] + [
        "b" * 70_000,
        "",
        "🙂",
        "a\x00b",
        "\ud800",
        "مرحبا",
        "x" * 9000,
    ]
    answer = server.ask({"inputs": texts})
    assert answer.status == 200
    for text, found in zip(texts, answer.json, strict=True):
        assert scores(found) == expected(server, text)
    assert server.ask({"inputs": []}).json == []


def test_predict_answers_as_text_embeddings_inference(server):
    single, batch = (server.ask({"inputs": inputs}, "/predict").json for inputs in (TEXT, [[TEXT], ["ok"]]))
    assert scores(single) == expected(server, TEXT) and batch[0] == single and len(batch) == 2
    raw = server.ask({"inputs": TEXT, "raw_scores": True}, "/predict").json
    assert [row["label"] for row in raw] == [row["label"] for row in single]
    assert sum(row["score"] for row in raw) != pytest.approx(1)
    assert server.ask({"inputs": ["a", "b"]}, "/predict").json["error_type"] == "Validation"
    long = {"inputs": "happy " * 500, "truncate": False}
    refused = server.ask(long, "/predict")
    assert (refused.status, refused.json["error_type"]) == (413, "Validation")
    assert server.ask({**long, "truncate": True}, "/predict").headers["x-truncated-texts"] == "1"


def test_compare_asks_every_model(server):
    answer = server.ask({"inputs": [TEXT, "awful"]}, "/v1/compare").json
    assert answer["models"] == ["demo", "other"] and len(answer["results"]) == 2
    for name in answer["models"]:
        assert answer["results"][0]["predictions"][name]["scores"] == expected(server, TEXT, name)
    unknown = server.ask({"inputs": TEXT, "models": ["demo", "nope"]}, "/v1/compare")
    assert unknown.status == 404
    assert unknown.json == {"error": "There is no model 'nope' here. Known: demo, other."}


# batches and the queue


def test_requests_that_come_together_are_computed_together(gated):
    gated.model.close_gate()
    with ThreadPoolExecutor(3) as clients:
        first = clients.submit(gated.ask, {"inputs": TEXT})
        gated.model.entered.acquire(timeout=20)
        rest = [clients.submit(gated.ask, {"inputs": text}) for text in ("ok", "awful")]
        wait_for(lambda: gated.service.models.get().batcher.load().texts == 3)
        gated.model.gate.set()
        answers = [future.result() for future in (first, *rest)]
    assert [answer.status for answer in answers] == [200] * 3
    for text, answer in zip((TEXT, "ok", "awful"), answers, strict=True):
        assert scores(answer.json[0]) == expected(gated, text)
    assert metric(gated, "tweettune_batch_texts_count") == 2


def test_a_full_queue_is_429_with_retry_after(gated):
    gated.model.close_gate()
    with ThreadPoolExecutor(1) as clients:
        waiting = clients.submit(gated.ask, {"inputs": ["a", "b", "c"]})
        gated.model.entered.acquire(timeout=20)
        for path, more in (("/", {}), ("/predict", {"error_type": "Overloaded"})):
            refused = gated.ask({"inputs": TEXT}, path)
            assert refused.status == 429 and 1 <= int(refused.headers["retry-after"]) <= 120
            assert refused.json["error"].startswith("The queue is full (texts: 3, tokens: ")
            assert refused.json.items() >= more.items()
        gated.model.gate.set()
        assert waiting.result().status == 200
    assert metric(gated, "tweettune_rejections_total", reason="overloaded") == 2


def test_a_comparison_passes_on_why_a_model_refused(sources):
    with serving(sources, load=Gated, max_queue=1) as running:
        model = running.service.models.get("other").classifier
        model.close_gate()
        with ThreadPoolExecutor(1) as clients:
            waiting = clients.submit(running.ask, {"inputs": "a"}, "/models/other")
            model.entered.acquire(timeout=20)
            assert running.ask({"inputs": TEXT}, "/v1/compare").status == 429
            model.gate.set()
            assert waiting.result().status == 200
        assert running.ask({"inputs": TEXT}, "/v1/compare").status == 200


def test_an_answer_that_is_not_ready_in_time_is_504(sources):
    with serving({"demo": sources["demo"]}, load=Gated, deadline_s=0.2) as running:
        model = running.service.models.get().classifier
        model.close_gate()
        late = running.ask({"inputs": TEXT})
        assert late.status == 504
        assert late.json["error"].startswith("The answer was not ready within 0.2 s.")
        model.gate.set()
        wait_for(lambda: running.service.models.get().batcher.load().texts == 0)
        assert running.ask({"inputs": TEXT}).status == 200


def test_the_work_of_a_client_that_has_gone_is_dropped(gated):
    gated.model.close_gate()
    with ThreadPoolExecutor(1) as clients:
        first = clients.submit(gated.ask, {"inputs": TEXT})
        gated.model.entered.acquire(timeout=20)
        with socket.create_connection(("127.0.0.1", gated.port)) as gone:
            gone.sendall(post(b'{"inputs": "never mind"}'))
            wait_for(lambda: gated.service.models.get().batcher.load().texts == 2)
        wait_for(lambda: gated.service.models.get().batcher.load().texts == 1)
        gated.model.gate.set()
        assert first.result().status == 200
    assert metric(gated, "tweettune_texts_total") == 1
    assert metric(gated, "tweettune_rejections_total", reason="client_gone") == 1


# refusals


@pytest.mark.parametrize(
    ("content", "headers", "status", "sentence"),
    [
        (b"{", {}, 422, "The body is not JSON"),
        (b'{"inputs": NaN}', {}, 422, "NaN is no number of JSON"),
        ({"inputs": 1}, {}, 422, "inputs is a number. Give a text, or a list of texts."),
        ({"inputs": "a"}, {"Content_Type": "text/plain"}, 415, "'text/plain'. Send application/json."),
        ({"inputs": "a"}, {"Content_Encoding": "gzip"}, 415, "The content encoding is 'gzip'"),
        ({"inputs": ["a"] * 1001}, {}, 413, "1001 texts are more than the 1000 one request may hold."),
    ],
)
@pytest.mark.parametrize("path", ["/", "/models/other", "/predict", "/v1/compare"])
def test_what_is_wrong_is_refused_in_a_sentence(server, path, content, headers, status, sentence):
    answer = server.ask(content, path, **headers)
    assert answer.status == status
    if not (path == "/predict" and status == 422 and isinstance(content, dict)):
        assert sentence in answer.json["error"]
    assert set(answer.json) == ({"error", "error_type"} if path == "/predict" else {"error"})


@pytest.mark.parametrize(
    "name", ["nope", "..", "%2e%2e%2fetc%2fpasswd", "..%2f..", "demo%00", "%", "demo%2f..", "a" * 9000, "%ff"]
)
def test_a_models_name_is_looked_up_and_never_a_path(server, name):
    answer = server.ask({"inputs": TEXT}, f"/models/{name}")
    assert answer.status == 404 and "root:" not in str(answer.json)


def test_an_address_or_a_method_that_is_not_served_says_so(server):
    assert server.get("/nope").json["error"].startswith("There is nothing at this address.")
    answer = server.get("/predict")
    assert answer.status == 405 and answer.json["error"].startswith("This address does not take GET.")
    assert server.get("/docs").status == 404


def test_a_body_is_counted_as_it_comes_in(sources):
    with serving({"demo": sources["demo"]}, max_body_mb=0.01) as running:
        large = json.dumps({"inputs": "x" * 50_000}).encode()
        for headers in ({}, {"Expect": "100-continue"}):
            answer = running.ask(large, **headers)
            assert answer.status == 413
            assert answer.json["error"].startswith("The body is larger than 10485 bytes")
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (large[:30_000], large[30_000:]))
        head = post(b"", "Transfer-Encoding: chunked", length="")
        assert raw(running, head + chunks + b"0\r\n\r\n").startswith(b"HTTP/1.1 413 ")
        assert running.ask({"inputs": TEXT}).status == 200


def raw(running, content):
    """Send bytes, and return the first that come back."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        connection.sendall(content)
        return connection.recv(65536)


def test_the_bodies_of_all_requests_together_are_bounded(sources):
    with serving({"demo": sources["demo"]}, max_bodies_mb=0.01) as running:
        with socket.create_connection(("127.0.0.1", running.port)) as slow:
            slow.sendall(post(b"x" * 8000, length=9000))
            answer = wait_for(lambda: (a := running.ask({"inputs": "y" * 4000})).status == 429 and a)
            assert answer.json["error"] == "The server is receiving too much at once. Try again in 1 s."
            assert answer.headers["retry-after"] == "1"
        wait_for(lambda: running.ask({"inputs": "y" * 4000}).status == 200)


def test_a_client_that_sends_too_slowly_is_408(sources):
    with serving({"demo": sources["demo"]}, body_timeout_s=0.2) as running:
        with socket.create_connection(("127.0.0.1", running.port), timeout=20) as slow:
            slow.sendall(post(b'{"inputs"', length=100))
            answer = slow.recv(65536)
            assert answer.startswith(b"HTTP/1.1 408 ") and b"connection: close" in answer.lower()
            assert b"The body did not arrive within 0.2 s." in answer
            assert slow.recv(10) == b""
        assert running.ask({"inputs": TEXT}).status == 200


def test_tokens_open_all_but_the_probes(sources):
    with serving({"demo": sources["demo"]}, tokens=("first", "second")) as running:
        for answer in (running.ask({"inputs": TEXT}), running.get("/version"), running.get("/metrics")):
            assert answer.status == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert running.get("/readyz").status == running.get("/healthz").status == 200
        assert running.get("/metrics", Authorization="Bearer second").status == 200
        found = InferenceClient(base_url=running.url, token="first").text_classification(TEXT)
        assert {row.label: row.score for row in found} == expected(running, TEXT)


def test_a_client_over_its_rate_is_429_and_others_are_not(sources):
    with serving({"demo": sources["demo"]}, rate_limit=0.5, tokens=("mine", "yours")) as running:
        assert running.ask({"inputs": [TEXT] * 9}, Authorization="Bearer mine").status == 200
        refused = running.ask({"inputs": TEXT}, Authorization="Bearer mine")
        assert refused.status == 429 and int(refused.headers["retry-after"]) in range(8, 11)
        assert "You send more than 0.5 texts a second." in refused.json["error"]
        assert running.ask({"inputs": TEXT}, Authorization="Bearer yours").status == 200


def test_other_web_pages_are_let_in_only_when_named(server, sources):
    page = {"Origin": "https://page.example", "Access_Control_Request_Method": "POST"}
    assert "access-control-allow-origin" not in server.ask({"inputs": TEXT}, **page).headers
    assert server.ask(None, method="OPTIONS", **page).status == 405
    with serving({"demo": sources["demo"]}, cors_origins=("https://page.example",)) as running:
        assert running.ask(None, method="OPTIONS", **page).status == 200
        answer = running.ask({"inputs": TEXT}, **page)
        assert answer.headers["access-control-allow-origin"] == "https://page.example"
        other = running.ask({"inputs": TEXT}, Origin="https://other.example")
        assert "access-control-allow-origin" not in other.headers


# what other clients send


def test_the_parameters_of_the_pipeline_are_taken_by_every_route(server):
    known = scores(server.ask({"inputs": [TEXT]}).json[0])
    sent = {"truncation": True, "padding": "longest", "batch_size": 8, "return_all_scores": True}
    for path in ("/", "/models/demo"):
        assert scores(server.ask({"inputs": TEXT, "parameters": sent}, path).json[0]) == known
    for body in ({"inputs": TEXT, "parameters": sent}, {"inputs": TEXT, **sent}):
        assert scores(server.ask(body, "/predict").json) == known
    [one] = server.ask({"inputs": TEXT, "parameters": {"return_all_scores": False}}).json
    assert len(one) == 1 == len(server.ask({"inputs": TEXT, "top_k": 1}, "/predict").json)
    for path in ("/", "/models/demo", "/predict"):
        refused = server.ask({"inputs": TEXT, "parameters": {"truncate_it": 1}}, path)
        assert (
            refused.status == 422
            and "parameters has no 'truncate_it'. Known: top_k," in refused.json["error"]
        )


def test_a_long_text_is_cut_where_it_is_asked_or_refused(server):
    long = "happy " * 500
    for path in ("/", "/predict"):
        for truncation in (False, "do_not_truncate"):
            body = {"inputs": long, "parameters": {"truncation": truncation}}
            refused = server.ask(body, path)
            assert refused.status == 413 and "Let them be truncated" in refused.json["error"]
            assert server.ask({**body, "inputs": TEXT}, path).status == 200
    assert server.ask({"inputs": long, "truncate": False}, "/predict").status == 413
    shorter = server.ask({"inputs": f"happy {long}", "parameters": {"max_length": 12}})
    assert shorter.status == 200 and shorter.headers["x-truncated-texts"] == "1"
    assert scores(shorter.json[0]) != scores(server.ask({"inputs": f"happy {long}"}).json[0])
    both = {"inputs": TEXT, "parameters": {"max_length": 2, "truncation": False}}
    assert server.ask(both).status in (413, 422)


# what answers rest on


def resting():
    """Return the vote of the nearest of three labelled tweets, as a rung of a ladder is served."""
    index = Index(None, ("negative", "neutral", "positive"))
    index.add(["so happy today", "what a happy day", "an awful day"], ["positive", "positive", "negative"])
    return Answering(Neighbours(index, k=2, by="words"), name="nearest")


def test_answers_name_the_texts_that_they_rest_on_where_it_is_asked(sources):
    def load(source):
        return resting() if source == "nearest" else loaded(source)

    texts = ["happy", "an awful sound", "happy"]
    expected = [[one.text for one in rests_on(each)] for each in resting().predict(texts)]
    asked = {"inputs": texts, "parameters": {"rests_on": True}}
    with serving({"near": "nearest", "demo": sources["demo"]}, load=load, batch_tokens=8) as running:
        rows = running.ask(asked).json
        assert [[one["text"] for one in row[0]["rests_on"]] for row in rows] == expected and all(expected)
        assert rows[0][0]["rests_on"][0].keys() == {"text", "label", "score"}
        assert not any("rests_on" in other for row in rows for other in row[1:]), "the best label has them"
        single = {"inputs": texts[0], "rests_on": True, "top_k": 1}
        assert [one["text"] for one in running.ask(single, "/predict").json[0]["rests_on"]] == expected[0]
        assert "rests_on" not in running.ask({"inputs": texts}).json[0][0], "nobody asks"
        plain = running.ask(asked, "/models/demo").json
        assert [row[0]["rests_on"] for row in plain] == [[], [], []], "a network rests on no text"
        refused = running.ask({"inputs": "a", "parameters": {"rests_on": "yes"}})
        assert refused.json["error"] == 'rests_on is "yes". Give true or false.'
        assert [rests_on(one) for one in running.service.predict(texts)] == [
            rests_on(one) for one in resting().predict(texts)
        ]


# an index


def test_an_index_grows_while_it_is_served_and_answers_show_their_ground(sources, tmp_path):
    path = tmp_path / "index.sqlite"
    labels = Classifier.load(sources["demo"]).labels
    Index(path, labels, locked=["a row of the test split"]).close()
    asked = {"inputs": "the gig was zorgle", "vote": 1.0, "k": 3}
    with serving({"demo": sources["demo"]}, index=Index(path)) as running:
        refused = running.ask(asked, "/v1/retrieve")
        assert refused.status == 422 and refused.json["error"].startswith("The index holds no labelled text")
        rows = {"inputs": ["so zorgle today", "A row of the TEST split"], "labels": [labels[-1]] * 2}
        added = running.ask(rows, "/v1/index")
        assert added.json == {"added": 1, "changed": 0, "known": 0, "locked": 1}
        [found] = running.ask(asked, "/v1/retrieve").json
        assert found["label"] == labels[-1] and found["scores"][labels[-1]] == pytest.approx(2 / 4)
        [ground] = found["rests_on"]
        assert ground["text"] == "so zorgle today" and ground["score"] > 0
        [plain] = running.ask({**asked, "vote": 0}, "/v1/retrieve").json
        assert plain["label"] == plain["model"] and plain["scores"] == expected(running, asked["inputs"])
        other = Index(path)  # the command line, in another process
        other.add(["more zorgle"], [labels[0]])
        other.close()
        assert sum(running.get("/v1/index").json.values()) == 2
        for wrong, sentence in (
            ({"inputs": ["a"], "labels": ["angry"]}, "'angry' is no label of the index"),
            ({"inputs": ["a"], "labels": []}, "1 texts have 0 labels."),
            ({"inputs": ["a"]}, "labels is missing."),
            ({"inputs": ["a"], "labels": [1]}, "Item 0 of labels is a number, not a text."),
        ):
            answer = running.ask(wrong, "/v1/index")
            assert answer.status == 422 and answer.json["error"].startswith(sentence), answer.json
        assert (
            running.ask({**asked, "vote": 2}, "/v1/retrieve")
            .json["error"]
            .startswith("vote is 2. Give a share")
        )
        assert {"/v1/index", "/v1/retrieve"} <= running.get("/openapi.json").json["paths"].keys()
    with serving({"demo": sources["demo"]}, index=Index(path)) as again:
        assert len(again.ask(asked, "/v1/retrieve").json[0]["rests_on"]) == 2, "after a restart"
    with serving({"demo": sources["demo"]}) as without:
        assert without.ask(asked, "/v1/retrieve").status == 404
