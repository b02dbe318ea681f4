"""The load generator itself: does it count what a server does, and would it see one that loses requests?"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import load
from benchmarks.__main__ import main
from benchmarks.under_load import claims
from tests.support import tweets
from tests.support.hostile import ask

pytestmark = pytest.mark.usefixtures("warm_starts")

SERVER = """
import http.server, itertools, json, os, signal, sys, time

STATUSES = itertools.cycle([int(status) for status in sys.argv[2].split(",")])
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]
        time.sleep(float(sys.argv[1]))
        self.send_response(next(STATUSES))
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *words):
        pass


http.server.ThreadingHTTPServer.request_queue_size = 64
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@pytest.fixture
def other(request):
    """Run a foreign server: it answers late, with statuses in turn, and exits on request."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, *request.param], stdout=subprocess.PIPE, text=True
    )
    yield load.Server(f"http://127.0.0.1:{process.stdout.readline().strip()}", process, Path("/dev/null"))
    process.kill()
    process.communicate()


@pytest.mark.alone
@pytest.mark.parametrize("other", [("5", "200")], indirect=True)
def test_a_server_that_drops_what_it_accepted_is_found_out(other):
    found = load.stopped(other, ["a"], clients=8, seconds=1)
    assert found["lost"] == 8
    assert found["raced"] == 0
    assert found["answered"] == 0
    assert found["exit_status"] == 0


@pytest.mark.alone
@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
@pytest.mark.parametrize("other", [("0.01", "200,200,429,503")], indirect=True)
def test_answers_are_counted_by_status(other):
    found = load.drive(other, ["a", 'b "quoted" \n', "😀"], clients=4, seconds=1)
    counts = found["by_status"]
    assert set(counts) == {"200", "429", "503"}
    assert sum(counts.values()) == found["answers"] > 20
    assert abs(counts["200"] - 2 * counts["429"]) <= 8
    assert found["not_answered_200"] == counts["429"] + counts["503"]
    assert 10 < found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"] <= found["max_ms"]
    assert found["per_second"] == pytest.approx(counts["200"] / found["seconds"], abs=0.01)
    assert 0 <= found["wrk_cores"] < 1


@pytest.mark.alone
@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
@pytest.mark.parametrize("other", [("0", "200")], indirect=True)
def test_one_client_is_set_beside_the_bare_classifier(other):
    class Slow:
        def predict(self, texts):
            time.sleep(0.005)

    found = load.one_client(other, Slow(), ["a"], rounds=1, seconds=1)
    assert 5 <= found["bare_p50_ms"] < 50
    assert found["added_ms"] == pytest.approx(found["http_p50_ms"] - found["bare_p50_ms"], abs=0.002)


def test_what_lacks_is_said_before_anything_runs(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "load"])
    with pytest.raises(SystemExit, match=r"needs wrk, and it is not installed\. Run: make wrk"):
        main()


def test_the_time_of_a_batch_is_what_the_server_counted(trained_gpt2):
    texts = [text for text, _ in tweets(20)]
    with load.server(trained_gpt2.artifact) as running:
        count, seconds = load.batches(running)
        assert count == seconds == 0
        for text in texts:
            ask(running.port, {"inputs": text})
        count, seconds = load.batches(running)
        assert count == 20 and 0 < seconds / count < 5
        assert set(load.stopped(running, texts, clients=2, seconds=0.5)) >= {"lost", "raced"}


def test_turns_become_claims_with_their_spread():
    turns = [
        {
            "offline_per_s": {"before": 100.0, "after": 80.0},
            "per_second": rate,
            "p99_ms": 90.0,
            "batch_ms": 30.0,
            "not_answered_200": 0,
            "wrk_cores": 0.01,
        }
        for rate in (72.0, 76.0)
    ]
    one = {"added_ms": 1.0, "added_quartiles_ms": [0.9, 1.1]}
    long = {"not_answered_200": 0, "memory": {"mb_per_min": None}}
    rows = {row["name"]: row["found"] for row in claims(one, turns, long, {"lost": 0, "raced": 3})}
    assert rows["64 clients: share of the offline rate"] == {"value": 0.83, "low": 0.72, "high": 0.95}
    assert rows["64 clients: p99 / mean time of a batch"]["value"] == 3.0
    assert rows["SIGTERM under load: sent in the last 50 ms and not answered"] == 3


def test_the_slope_of_memory_is_found_with_its_interval():
    rising = [(float(second), 100 + 0.5 * second + (second % 2) * 0.1) for second in range(60)]
    found = load.memory_slope([(0.5, 20.0), *rising], settle_s=10)
    slope = found["mb_per_min"]
    assert slope["low"] < 30 < slope["high"]
    assert slope["value"] == pytest.approx(30, abs=0.1)
    assert (found["samples"], found["first_mb"], found["highest_mb"]) == (50, 105.0, 129.6)
    assert load.memory_slope([(1.0, 5.0)], settle_s=0)["mb_per_min"] is None


def test_a_server_that_does_not_get_ready_is_told_with_its_log(tmp_path):
    with pytest.raises(RuntimeError, match="did not get ready") as caught, load.server(tmp_path / "nothing"):
        pass
    assert "nothing" in str(caught.value)
