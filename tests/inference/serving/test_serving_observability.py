"""What the server reports of itself: readiness, version, metrics, its OpenAPI document, its log."""

import json
import logging
import shutil
import socket
import threading

import pytest

from inference import Classifier, __version__
from inference.serving.process import JsonFormatter, listen
from tests.support import wait_for
from tests.support.serve import metric, serving

TEXT = "what a happy sunny day"


def test_metrics_count_what_happened(sources):
    with serving({"demo": sources["demo"]}) as running:
        answers = running.ask({"inputs": [TEXT, "awful", "happy " * 500]})
        running.ask(b"{")
        assert answers.headers["x-truncated-texts"] == "1"
        assert metric(running, "tweettune_requests_total", route="/", status="200") == 1
        assert metric(running, "tweettune_requests_total", route="/", status="422") == 1
        assert metric(running, "tweettune_request_seconds_count", route="/") == 2
        assert metric(running, "tweettune_rejections_total", reason="bad_request") == 1
        assert metric(running, "tweettune_texts_total", model="demo") == 3
        assert metric(running, "tweettune_truncated_texts_total", model="demo") == 1
        assert metric(running, "tweettune_batch_texts_sum", model="demo") == 3
        assert metric(running, "tweettune_batch_tokens_sum", model="demo") > 128
        assert metric(running, "tweettune_queue_texts", model="demo") == 0
        assert metric(running, "tweettune_close_calls", model="demo") == 0  # PyTorch answers here
        assert metric(running, "tweettune_model_info", model="demo") == 1
        for label in ("negative", "neutral", "positive"):
            count = sum(row[0]["label"] == label for row in answers.json)
            assert metric(running, "tweettune_predictions_total", label=label) == count


def test_version_tells_the_provenance_and_no_path(server, trained_gpt2):
    version = server.get("/version").json
    [demo, other] = version["models"]
    assert demo["name"] == version["default"] == "demo" and other["name"] == "other"
    assert demo["labels"] == ["negative", "neutral", "positive"]
    assert demo["provenance"]["base"] == trained_gpt2.base.name
    assert demo["provenance"]["recipe"] == "smoke" and version["packages"]["torch"]
    assert str(trained_gpt2.base.parent) not in json.dumps(version)
    assert not [word for word in json.dumps(version).split('"') if word.startswith("/")]


def test_version_tells_names_where_the_record_has_paths(tmp_path, sources):
    shutil.copytree(sources["demo"], tmp_path / "model")
    record = json.loads((tmp_path / "model" / "provenance.json").read_text())
    record["base"]["name"], record["data"]["source"]["name"] = "/srv/bases/mine", r"C:\data\tweets.csv"
    (tmp_path / "model" / "provenance.json").write_text(json.dumps(record))
    with serving({"demo": tmp_path / "model"}) as running:
        [model] = running.get("/version").json["models"]
    assert (model["provenance"]["base"], model["provenance"]["data"]) == ("mine", "tweets.csv")


def test_the_openapi_document_has_examples_that_work(server):
    document = server.get("/openapi.json").json
    assert set(document["paths"]) >= {
        "/",
        "/models/{name}",
        "/predict",
        "/v1/compare",
        "/metrics",
        "/version",
    }
    for path, methods in document["paths"].items():
        if "post" not in methods:
            continue
        content = methods["post"]["requestBody"]["content"]["application/json"]
        for example in content["schema"]["examples"]:
            assert server.ask(example, path.replace("{name}", "demo")).status == 200


def test_ready_only_when_every_model_is_warm(sources):
    with serving(sources, start=False, load=slowly(gate := threading.Event())) as running:
        assert running.get("/healthz").json == {"status": "ok"}
        not_yet = running.get("/readyz")
        assert (not_yet.status, not_yet.json["status"]) == (503, "loading")
        answer = running.ask({"inputs": TEXT})
        assert answer.status == 503 and answer.headers["retry-after"] == "20"
        assert answer.json == {"error": "Model demo is currently loading", "estimated_time": 20.0}
        gate.set()
        wait_for(lambda: running.get("/readyz").status == 200)
        assert running.get("/readyz").json == {"status": "ready", "models": {"demo": True, "other": True}}
        assert running.ask({"inputs": TEXT}).status == 200


def slowly(gate):
    def load(source):
        assert gate.wait(30)
        return Classifier.load(source)

    return load


@pytest.mark.parametrize("log_texts", [False, True])
def test_the_log_is_json_and_holds_texts_only_when_asked(sources, caplog, log_texts):
    secret = 'my secret\r\n{"level": "error"}\x1b[31m\u2028'
    caplog.set_level(logging.INFO, logger="inference.serving")
    with serving({"demo": sources["demo"]}, log_texts=log_texts) as running:
        running.ask({"inputs": [secret, "ok"]}, X_Request_ID="mine-1")
        running.ask({"inputs": secret, "parameters": {secret: 1}})
    lines = [JsonFormatter().format(record) for record in caplog.records if hasattr(record, "fields")]
    assert all(line.isascii() and line.isprintable() for line in lines)
    good, bad = (json.loads(line) for line in lines)
    assert good.items() >= {"id": "mine-1", "route": "/", "status": 200, "texts": 2}.items()
    assert good["tokens"] > 2 and 0 < good["ms"] < 60_000 and good["time"].endswith("+00:00")
    assert bad.items() >= {"status": 422, "refused": "bad_request"}.items()
    assert ("my secret" in "".join(lines)) == log_texts


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1.2_3", True), ("a b", False), ("x" * 65, False), ("", False)]
)
def test_a_request_id_is_kept_only_when_it_is_sane(server, given, kept):
    found = server.ask({"inputs": TEXT}, X_Request_ID=given).headers["x-request-id"]
    assert (found == given) == kept and len(found) <= 64


def test_an_answer_waits_for_no_acknowledgement():
    """Connections inherit TCP_NODELAY: without it the second write of an answer would wait for 40 ms."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_health_and_info_are_text_embeddings_inferences(server, sources):
    assert server.get("/health").status == server.get("/").status == 200
    info = server.get("/info").json
    assert info.items() >= {"model_id": "demo", "model_sha": None, "model_dtype": "float32"}.items()
    assert info["model_type"] == {
        "classifier": {
            "id2label": {"0": "negative", "1": "neutral", "2": "positive"},
            "label2id": {"negative": 0, "neutral": 1, "positive": 2},
        }
    }
    model = server.service.models.get().classifier
    assert info["max_input_length"] == model.max_length and info["max_client_batch_size"] == 1000
    assert info["auto_truncate"] is True and info["max_concurrent_requests"] == 1024
    assert info["version"] == __version__
    assert str(sources["demo"].parent) not in json.dumps(info)


def test_health_says_no_until_the_model_is_there(sources):
    hold = {"start": False, "load": slowly(gate := threading.Event())}
    with serving({"demo": sources["demo"]}, tokens=("secret",), **hold) as running:
        for path in ("/health", "/", "/readyz"):
            found = running.get(path)
            assert (found.status, found.json["error_type"]) == (503, "Unhealthy")
        assert running.get("/info").status == 401
        assert running.get("/info", Authorization="Bearer secret").status == 503
        gate.set()
        wait_for(lambda: running.get("/health").status == 200)


def test_probes_ask_by_head(server):
    for path in ("/", "/health", "/healthz", "/readyz", "/info", "/version", "/metrics", "/openapi.json"):
        found = server.ask(None, path, method="HEAD")
        assert (found.status, found.json) == (200, b""), path
