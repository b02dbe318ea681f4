"""Data sets of the Hub, against a server on loopback that speaks its wire format.

HF_ENDPOINT is read at import and these tests run offline, so a process of its own does the loading.
"""

import io
import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

REVISION = "a" * 40
SCENARIOS = """
import dataclasses, json, sys, time
from inference.errors import DataError
from training import data
from training.data import DataSpec, load_splits
from training.data_hub import Hub

def tried(name, dataset, hub=None):
    start = time.monotonic()
    try:
        splits = load_splits(DataSpec(dataset=dataset, n_train=30), hub=hub)
        source = dataclasses.asdict(splits.report.source)
        done = {"source": source, "labels": splits.labels, "n": len(splits.train)}
    except DataError as error:
        done = {"error": str(error)}
    results[name] = {**done, "seconds": time.monotonic() - start}

results = {}
closed, silent = sys.argv[1:]
tried("hub", "owner/tweets")
tried("unknown", "owner/nothing")
tried("gated", "owner/gated")
tried("failing", "owner/failing")
tried("no train", "owner/untrained")
tried("closed", "owner/other", Hub(endpoint=closed))
tried("silent", "owner/other", Hub(endpoint=silent, timeout_s=0.3))
tried("cached", "owner/tweets", Hub(endpoint=closed))
tried("auto, closed", "auto", Hub(endpoint=closed))
tried("auto, failing", "auto", Hub())
data.HUB_DATASET = "owner/tweets"
tried("auto", "auto")
tried("auto, cached", "auto", Hub(endpoint=closed))
print(json.dumps(results))
"""


def parquet():
    names = ["negative", "neutral", "positive"]
    buffer = io.BytesIO()
    columns = {"text": [f"tweet {i}" for i in range(300)], "label": [i % 3 for i in range(300)]}
    pq.write_table(pa.table({**columns, "label_text": [names[i % 3] for i in range(300)]}), buffer)
    return buffer.getvalue()


class HubHandler(BaseHTTPRequestHandler):
    """Serves owner/tweets (train.parquet), owner/untrained (test.parquet) and errors for the rest."""

    file = parquet()
    files: ClassVar = {"owner/tweets": "train.parquet", "owner/untrained": "test.parquet"}

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.split("?")[0]
        repository = next((name for name in self.files if f"/{name}" in path), None)
        if repository and "/resolve/" in path and path.endswith(self.files[repository]):
            return self.answer(200, self.file, {"X-Repo-Commit": REVISION, "ETag": f'"{repository[-3:]}"'})
        if repository and path.endswith(f"/tree/{REVISION}"):
            entry = {"type": "file", "path": self.files[repository], "size": len(self.file), "oid": "b" * 40}
            return self.answer(200, json.dumps([entry]).encode())
        if repository and path.startswith("/api/datasets/") and "/tree/" not in path:
            siblings = [{"rfilename": self.files[repository]}]
            info = {"id": repository, "sha": REVISION, "siblings": siblings, "cardData": {"license": "mit"}}
            return self.answer(200, json.dumps(info).encode())
        if "gated" in path:
            return self.answer(403, b"", {"X-Error-Code": "GatedRepo"})
        if "failing" in path or "mteb" in path:
            return self.answer(500, b"")
        return self.answer(404, b"", {"X-Error-Code": "EntryNotFound" if repository else "RepoNotFound"})

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    server = ThreadingHTTPServer(("127.0.0.1", 0), HubHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with socket.socket() as closed, socket.socket() as silent:
        closed.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        urls = [f"http://127.0.0.1:{s.getsockname()[1]}" for s in (closed, silent)]
        env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        env |= {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path_factory.mktemp("hf")),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        run = subprocess.run(
            [sys.executable, "-c", SCENARIOS, *urls],
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    server.shutdown()
    server.server_close()
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout)


def test_a_hub_data_set_is_loaded_with_its_revision_and_licence(results):
    found = results["hub"]
    assert found["labels"] == ["negative", "neutral", "positive"] and found["n"] == 30
    source = found["source"]
    assert (source["kind"], source["revision"], source["licence"]) == ("hub", REVISION, "mit")
    assert source["reason"] == "because the Hub answers"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("unknown", "and the Hub has no public data set of this name; check the spelling"),
        ("gated", "and it is gated on the Hub: accept its terms there and log in with `hf auth login`"),
        ("failing", "and the Hub answers with an error (500); check the network"),
        ("closed", "and the Hub can't be reached; check the network"),
        ("silent", "and the Hub gave no answer in 0.3 s; check the network"),
    ],
)
def test_an_explicit_id_that_cannot_be_had_is_an_error_and_soon(results, name, why):
    assert results[name]["error"].startswith("The data set owner/")
    assert why in results[name]["error"]
    assert results[name]["seconds"] < 4


def test_a_data_set_without_train_split(results):
    assert results["no train"]["error"] == (
        "The data set owner/untrained has no train split (found: test); take another."
    )


def test_what_was_loaded_once_is_had_from_the_cache(results):
    assert results["cached"]["source"]["reason"] == "from the local cache, since the Hub can't be reached"
    assert results["cached"]["source"]["revision"] == REVISION
    assert results["cached"]["labels"] == results["hub"]["labels"]


def test_auto_takes_the_hubs_tweets_when_it_can_and_says_why(results):
    assert results["auto"]["source"]["kind"] == "hub"
    assert results["auto, cached"]["source"]["reason"].startswith("from the local cache")
    assert results["auto, closed"]["source"]["reason"] == "because the Hub can't be reached"
    assert results["auto, failing"]["source"]["reason"] == "because the Hub answers with an error (500)"
    assert {results[name]["source"]["kind"] for name in ("auto, closed", "auto, failing")} == {"embedded"}
