"""The routes beside the app's page: the app answers what it accepted, in time, and says what is loaded."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification

from app import create_app
from inference.serving.schema import Settings
from inference.serving.service import Service
from tests.support import WORDS, wait_for
from tests.support.agents import check_classified, content, over_http
from tests.support.serve import Running, listen, metric, post
from tests.support.served import ROOT, app_process
from ui.server import Server
from ui.state import Workbench

TEXT = "the train is late again and it is so awful " * 12
REQUESTS = 4


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory, tiny_tokenizer):
    """Return a classifier that needs a while for a hundred long texts: a real GPT-2 with random weights.

    It is narrow, so that each process computes it in float32 and finds the same scores.
    """
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tiny_tokenizer),
        n_positions=256,
        n_embd=120,
        n_layer=16,
        n_head=4,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        id2label=dict(enumerate(WORDS)),
        label2id={name: place for place, name in enumerate(WORDS)},
    )
    folder = tmp_path_factory.mktemp("slow") / "artifact"
    GPT2ForSequenceClassification(config).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


class Asking(threading.Thread):
    """A client of one request, which takes the server a while."""

    def __init__(self, port: int):
        super().__init__()
        self.port, self.status, self.texts, self.ended = port, 0, 0, 0.0
        self.start()

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=90)
        with contextlib.closing(connection):
            body = json.dumps({"inputs": [TEXT] * 50})
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            self.status = answer.status
            self.texts = len(json.loads(answer.read())) if self.status == 200 else 0
        self.ended = time.monotonic()


def test_the_app_answers_people_agents_and_at_sigterm_what_it_accepted(tmp_path, slow_model):
    with app_process(tmp_path, "--model", str(slow_model)) as (port, process):
        at_app = Running(port)
        wait_for(lambda: at_app.get("/readyz").status == 200)
        listening = psutil.Process(process.pid).net_connections("tcp")
        assert {one.laddr.ip for one in listening if one.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
        models = {"fine-tuned": True, "base": False}
        assert at_app.get("/readyz").json == {"status": "ready", "models": models}
        refused = at_app.ask({"inputs": "a"}, "/models/base")
        assert refused.status == 503
        assert refused.json["error"] == "No model is loaded as base. Loaded: fine-tuned."
        texts = ["i love this sunny day", "worst monday", "the paper"]
        tools, classified = over_http(port, ("classify", {"inputs": texts}))
        assert [tool.name for tool in tools] == ["classify", "compare"]
        check_classified(content(classified), slow_model)
        with socket.create_connection(("127.0.0.1", port), timeout=60) as page:  # as an open page holds it
            page.sendall(b"GET /gradio_api/heartbeat/abc HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert page.recv(65536).startswith(b"HTTP/1.1 200 ")
            asking = [Asking(port) for _ in range(REQUESTS)]
            wait_for(lambda: metric(Running(port), "tweettune_queue_texts") == 50 * REQUESTS)
            signalled = time.monotonic()
            process.send_signal(signal.SIGTERM)
            for one in asking:
                one.join()
            assert process.wait(60) == 0, "an open page must not hold the app: it would, for 81 s"
    log = (tmp_path / "app.log").read_text()
    assert [(one.status, one.texts) for one in asking] == [(200, 50)] * REQUESTS, log
    last = max(one.ended for one in asking)
    assert last - signalled > 1.1, "the load was over too soon to show anything"
    assert "Traceback" not in log


@contextlib.contextmanager
def in_a_thread(**settings):
    """Run the app's own server in a thread, with no model."""
    service = Service({"fine-tuned": "", "base": ""}, settings=Settings(**settings), expected=())
    workbench = Workbench(on_expected=service.models.expect, on_loaded=service.put)

    async def built():
        return create_app(workbench, service)

    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = Server(service, asyncio.run(built()), workbench, host="127.0.0.1", port=port)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield Running(port, service)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
        service.close()


@pytest.fixture(scope="module")
def empty():
    with in_a_thread(body_timeout_s=1) as running:
        yield running


def test_a_head_that_comes_too_slowly_is_cut_off(empty):
    with socket.create_connection(("127.0.0.1", empty.port), timeout=10) as slow:
        began = time.monotonic()
        for byte in b"POST / HTTP/1.1\r\nX: ":
            try:
                slow.sendall(bytes([byte]))
                time.sleep(0.2)
            except OSError:
                break
        with contextlib.suppress(ConnectionError):
            assert slow.recv(100) == b""
        assert time.monotonic() - began < 5


def test_a_body_that_comes_too_slowly_is_408(empty):
    with socket.create_connection(("127.0.0.1", empty.port), timeout=10) as slow:
        slow.sendall(post(b"", length=100))
        assert slow.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_without_a_model_it_says_so_and_does_not_promise_one(empty):
    refused = empty.ask({"inputs": "a day"})
    assert (refused.status, refused.json) == (503, {"error": "No model is loaded. Load one, then ask again."})
    assert "retry-after" not in refused.headers
    ready = empty.get("/readyz")
    assert (ready.status, ready.json["status"]) == (503, "empty")


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/predict"), ("GET", "/mcp"), ("PUT", "/models/a")])
def test_a_method_that_is_not_served_is_answered_by_the_route(empty, method, path):
    found = empty.ask({"inputs": "a"}, path, method=method)
    assert found.status == 405
    assert found.json["error"] == f"This address does not take {method}. /openapi.json lists what there is."


def test_a_route_that_fails_says_so_in_json(empty, monkeypatch):
    monkeypatch.setattr(empty.service.metrics, "exposition", lambda: 1 / 0)
    found = empty.get("/metrics")
    assert (found.status, found.headers["content-type"]) == (500, "application/json")
    assert found.json["error"] == "The server failed on this request; its log says why."


READ = """/ /config /theme.css /static/img/logo.svg /healthz /readyz /info /openapi.json /gradio_api/info
/gradio_api/file=/etc/passwd /gradio_api/call/run_action/x /gradio_api/queue/data?session_hash=x
/gradio_api/heartbeat/x"""
CHANGED = """/gradio_api/call/run_action /gradio_api/run/run_action /gradio_api/queue/join /gradio_api/upload
/gradio_api/reset / /predict /models/base /mcp"""
DOORS = {"GET": READ.split(), "HEAD": ["/", "/healthz"], "POST": CHANGED.split()}


def test_no_door_of_the_app_is_open_under_another_name(empty):
    """A page of another site leads its own name here: its requests look like those of the app's own page."""
    name = f"evil.example:{empty.port}"
    own_page = {"Origin": f"http://{name}", "Sec_Fetch_Site": "same-origin"}
    for method, paths in DOORS.items():
        for path in paths:
            body = {"data": ["use", "first"]} if method == "POST" else None
            assert empty.ask(body, path, method=method, Host=name, **own_page).status == 421, path
            assert empty.ask(body, path, method=method, Host="localhost.evil.example").status == 421, path


def test_another_sites_page_changes_nothing_in_the_app(empty):
    for path in DOORS["POST"]:
        for headers in ({"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
            assert empty.ask({"data": ["use", "first"]}, path, **headers).status == 403, path
    assert empty.get("/healthz", Origin="http://evil.example").status == 200


def test_probes_ask_by_head(empty):
    for path, status in {"/": 200, "/healthz": 200, "/readyz": 503, "/health": 503, "/metrics": 200}.items():
        found = empty.ask(None, path, method="HEAD")
        assert (found.status, found.json) == (status, b""), path


def test_a_port_that_is_none_is_one_sentence(tmp_path):
    environment = {**os.environ, "TWEETTUNE_HOME": str(tmp_path), "PORT": "abc"}
    environment.pop("GRADIO_SERVER_PORT", None)  # Gradio itself reads that one, when it is imported
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr == "PORT is 'abc'. Give a number from 0 to 65535.\n"
