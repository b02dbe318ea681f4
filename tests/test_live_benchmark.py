"""The benchmark of the feed, with tiny numbers: does it measure what it says, and would it see a loss?"""

import json
import time
from types import SimpleNamespace

import pytest
from conftest import tweets
from test_feed import LABELS, Given, classify, posts, wait_for

from benchmarks import live, tables
from inference.classifier import Classifier
from inference.errors import FeedError
from inference.feed import Feed
from inference.sources import Post, Status


@pytest.fixture(scope="module")
def classifier(trained_gpt2):
    return Classifier.load(trained_gpt2.artifact, engine="torch")


@pytest.fixture(scope="module")
def given():
    return [Post(f"replay-{number}", text) for number, (text, _) in enumerate(tweets(400, seed=3))]


def test_it_runs_and_fills_the_table(classifier, given, tmp_path):
    fast = live.as_fast_as_possible(classifier, given, stretches=3, stretch_s=0.6, settle_s=0)
    assert len(fast["turns"]) == 3 and fast["unaccounted"] == 0 and fast["memory"]["samples"] >= 1
    assert fast["seconds"] >= 1.8, "the bare engine's turns are not the feed's"
    summary = fast["summary"]
    assert summary["classified"] > 400 and summary["duplicates"] == summary["filtered"] == 0
    assert summary["received"] == summary["classified"] + summary["dropped"] and summary["dropped"] <= 1
    assert fast["ratio"]["low"] <= fast["ratio"]["value"] <= fast["ratio"]["high"] < 1.5
    steady = live.at_a_rate(classifier, given, rate_per_s=60, seconds=2)
    assert steady["arrived_per_s"] == pytest.approx(60, rel=0.2) and steady["unaccounted"] == 0
    assert steady["summary"]["received"] == 120 and 0 < steady["summary"]["lag_p95_s"] < 2
    record = {"rows": live.rows(fast, steady, [100.0, 200.0, 150.0]), "base": {"name": "tiny"}}
    (tmp_path / "live.json").write_text(json.dumps(record))
    table = tables.measured(tmp_path / "live.json")
    assert "| feed / bare engine, on the same posts in turns | " in table and "| at least 0.95 |" in table
    assert (
        "| posts lost uncounted | 0 | 0 |" in table
        and "| posts dropped at 80 % of that rate, of 120 |" in table
    )
    [per_gemm] = [row["found"] for row in record["rows"] if "matrix product" in row["name"]]
    assert per_gemm == pytest.approx(fast["posts_per_s"]["value"] / 1.5, rel=0.01)


def test_a_feed_that_holds_the_engine_up_is_seen(classifier, given):
    def slow(texts):
        began = time.perf_counter()
        found = classifier.predict(texts)
        time.sleep(time.perf_counter() - began)
        return found

    half = SimpleNamespace(
        predict=slow, labels=classifier.labels, encode=classifier.encode, engine=classifier.engine
    )
    found = live.as_fast_as_possible(half, given, stretches=2, stretch_s=0.6)
    assert found["ratio"]["value"] < 0.75


def test_posts_that_are_in_no_place_are_found():
    source = Given(posts(20), stay=True)
    feed = Feed(source, classify, labels=LABELS, listeners=[told := live.Told()])
    feed.start()
    wait_for(lambda: told.count == 20)
    feed.stop()
    source.status = Status("ended", read=20)
    assert live.accounts(feed, 20)["unaccounted"] == 0
    assert live.accounts(feed, 19)["unaccounted"] == 1
    source.status = Status("ended", read=23)
    assert live.accounts(feed, 20)["unaccounted"] == 3
    assert told.take() == [f"post {number}" for number in range(20)] and told.take() == []


def test_a_feed_that_breaks_off_is_told(classifier):
    def broken(texts):
        raise FeedError("The model is gone.")

    gone = SimpleNamespace(predict=broken, labels=LABELS, encode=None, engine=None)
    with pytest.raises(RuntimeError, match=r"The feed ended early: The model is gone\."):
        live.as_fast_as_possible(gone, posts(5), stretches=1, stretch_s=0.5)
