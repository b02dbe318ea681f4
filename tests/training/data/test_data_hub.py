"""Data sets of the Hub, from the local Hub with the real clients.

HF_ENDPOINT is read at import and these tests run offline, so a process of its own does the loading.
"""

import io
import json
import socket
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.servers.hub import LocalHub
from tests.support.hub_fixtures import ADA

SCENARIOS = """
import dataclasses, json, sys, time
from inference.common.hub import Timeouts, hub_session
from inference.common.errors import DataError
from training.data import load as data
from training.data.load import DataSpec, load_splits
from training.data.hub import Hub

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
tried("private", "owner/private")
tried("mine", "ada/private")
with hub_session(Timeouts(answer_s=0.5)):
    tried("stuck", "owner/stuck")
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


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    with LocalHub() as hub, socket.socket() as closed, socket.socket() as silent:
        hub.add_user("ada", token=ADA)
        card, file = b"---\nlicense: mit\n---\n", parquet()
        hub.lfs_over = 1000  # the storage sends the tables
        revision = hub.create_repo(
            "owner/tweets", kind="dataset", files={"README.md": card, "train.parquet": file}
        )
        hub.create_repo("owner/untrained", kind="dataset", files={"test.parquet": file})
        hub.create_repo("owner/gated", kind="dataset", gated=True, files={"train.parquet": file})
        hub.create_repo("owner/private", kind="dataset", private=True, files={"train.parquet": file})
        hub.create_repo("ada/private", kind="dataset", private=True, files={"train.parquet": file})
        hub.create_repo("owner/stuck", kind="dataset", files={"train.parquet": file})
        for pattern in ("* /api/datasets/owner/failing*", "* /api/datasets/mteb/*"):
            hub.fail(pattern, status=500, times=None)
        hub.silence("* /api/datasets/owner/stuck/*", times=None)
        closed.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        urls = [f"http://127.0.0.1:{s.getsockname()[1]}" for s in (closed, silent)]
        run = subprocess.run(
            [sys.executable, "-c", SCENARIOS, *urls],
            env=hub.environment(ADA, home=tmp_path_factory.mktemp("hf")),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, run.stderr[-3000:]
        assert not [request for request in hub.requests if ADA in request.path]
        return json.loads(run.stdout) | {"revision": revision}


def test_a_hub_data_set_is_loaded_with_its_revision_and_licence(results):
    found = results["hub"]
    assert found["labels"] == ["negative", "neutral", "positive"] and found["n"] == 30
    source = found["source"]
    assert (source["kind"], source["licence"]) == ("hub", "mit")
    assert source["revision"] == results["revision"]
    assert source["reason"] == "because the Hub answers"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("unknown", "and there is no owner/nothing on the Hub that this login may see. Check its name"),
        ("gated", "access); accept its terms on the Hub and log in with `hf auth login`."),
        (
            "private",
            "there is no owner/private on the Hub that this login may see. Check its name, or log in as",
        ),
        ("failing", "and the Hub has trouble (500). Try again in a few minutes, or take --dataset embedded"),
        ("closed", "and the Hub can't be reached. Check the network"),
        ("silent", "and the Hub gave no answer in 0.3 s. Check the network"),
    ],
)
def test_an_explicit_id_that_cannot_be_had_is_an_error_and_soon(results, name, why):
    assert results[name]["error"].startswith("The data set owner/")
    assert why in results[name]["error"]
    assert results[name]["seconds"] < 4


def test_a_hub_that_falls_silent_after_the_preflight_is_an_error_too(results):
    assert results["stuck"]["error"].startswith("The data set owner/stuck can't be loaded (")
    assert results["stuck"]["seconds"] < 20


def test_a_private_data_set_is_loaded_with_a_login_that_may_see_it(results):
    assert results["mine"]["n"] == 30


def test_a_data_set_without_train_split(results):
    assert results["no train"]["error"] == (
        "The data set owner/untrained has no train split (found: test); take another."
    )


def test_what_was_loaded_once_is_had_from_the_cache(results):
    assert results["cached"]["source"]["reason"] == "from the local cache, since the Hub can't be reached"
    assert results["cached"]["source"]["revision"] == results["revision"]
    assert results["cached"]["labels"] == results["hub"]["labels"]


def test_auto_takes_the_hubs_tweets_when_it_can_and_says_why(results):
    assert results["auto"]["source"]["kind"] == "hub"
    assert results["auto, cached"]["source"]["reason"].startswith("from the local cache")
    assert results["auto, closed"]["source"]["reason"] == "because the Hub can't be reached"
    assert results["auto, failing"]["source"]["reason"] == "because the Hub has trouble (500)"
    assert {results[name]["source"]["kind"] for name in ("auto, closed", "auto, failing")} == {"embedded"}
