"""The benchmark of the feed, with tiny numbers: does it measure what it says, and would it see a loss?"""

import json
import time
from types import SimpleNamespace

import pytest

from benchmarks import live, tables
from inference.classifier import Classifier
from inference.common.errors import FeedError
from inference.live.feed import Feed
from inference.live.post import Post
from inference.live.sources import Replay, SourceStatus
from tests.support import tweets, wait_for
from tests.support.feeds import LABELS, Given, classify, posts


@pytest.fixture(scope="module")
def classifier(trained_gpt2):
    return Classifier.load(trained_gpt2.artifact, engine="torch")


@pytest.fixture(scope="module")
def given():
    return [Post(f"replay-{number}", text) for number, (text, _) in enumerate(tweets(400, seed=3))]


def test_it_runs_and_fills_the_table(classifier, given, tmp_path):
    turns = live.in_turns(classifier, given, stretches=3, stretch_s=0.6)
    assert len(turns["stretches"]) == 3 and turns["unaccounted"] == 0
    assert turns["ratio"]["low"] <= turns["ratio"]["value"] <= turns["ratio"]["high"] < 1.5
    fast = live.as_fast_as_possible(classifier, given, seconds=2.4, span_s=0.8, settle_s=0)
    assert len(fast["spans_per_s"]) == 3 and fast["unaccounted"] == 0 and fast["memory"]["samples"] >= 1
    assert 2.4 <= fast["seconds"] < 4
    summary = fast["summary"]
    assert summary["classified"] > 400 and summary["duplicates"] == summary["filtered"] == 0
    assert summary["received"] == summary["classified"] + summary["dropped"]
    assert fast["posts_per_s"]["value"] == pytest.approx(summary["classified"] / fast["seconds"], rel=0.05)
    steady = live.at_a_rate(classifier, given, rate_per_s=60, seconds=2)
    assert steady["arrived_per_s"] == pytest.approx(60, rel=0.2) and steady["unaccounted"] == 0
    assert steady["summary"]["received"] == 120 and 0 < steady["summary"]["lag_p95_s"] < 2
    assert steady["lag_p95_of_received_s"] == pytest.approx(steady["summary"]["lag_p95_s"], abs=0.002)
    found = live.rows(turns, fast, steady, [100.0, 200.0, 150.0], engine="onnx-int8")
    (tmp_path / "live.json").write_text(json.dumps({"rows": found, "base": {"name": "tiny"}}))
    table = tables.measured(tmp_path / "live.json")
    assert "| feed / bare engine, on the same posts in turns (95 % interval) | " in table
    assert "| posts lost uncounted | 0 | 0 |" in table and "| engine | onnx-int8 | – |" in table
    assert "| posts dropped at 80 % of that rate, % of 120 | 0 | at most 1 |" in table
    [per_gemm] = [row["found"] for row in found if "matrix product" in row["name"]]
    assert per_gemm == pytest.approx(fast["posts_per_s"]["value"] / 1.5, rel=0.01)
    late = live.rows(turns, fast, {**steady, "lag_p95_of_received_s": None}, [100.0], engine="torch")
    assert "never: more than 5 % were dropped" in [row["found"] for row in late]


def test_a_post_that_was_dropped_is_late_for_ever():
    def slow(texts):
        time.sleep(0.02 * len(texts))
        return classify(texts)

    feed = Feed(Replay(posts(400), rate_per_s=150), slow, labels=LABELS)
    feed.start()
    feed.wait(5)
    feed.stop()
    assert feed.summary().dropped > 40, "it is three times too slow"
    assert live.lag_of_received(feed, 0.95) is None
    assert 0 < live.lag_of_received(feed, 0.1) <= live.lag_of_received(feed, 0.2) < 3
    assert feed.lag_s(1.0) >= feed.lag_s(0.5) and feed.lag_s(1.01) is None


def test_the_interval_of_the_ratio_is_that_of_its_mean_and_not_of_the_extremes():
    turns = [{"feed_per_s": 90.0 + n, "bare_per_s": 100.0 - n} for n in range(-5, 6)]
    ratio, low, high = live.ratio_with_interval(turns)
    assert low < ratio < high and high - low < 0.1 < 95 / 95 - 85 / 105
    assert live.ratio_with_interval([{"feed_per_s": 95.0, "bare_per_s": 100.0}] * 3) == (0.95, 0.95, 0.95)


def test_a_feed_that_holds_the_engine_up_is_seen(classifier, given):
    def slow(texts):
        began = time.perf_counter()
        found = classifier.predict(texts)
        time.sleep(time.perf_counter() - began)
        return found

    half = SimpleNamespace(
        predict=slow,
        labels=classifier.labels,
        encode=classifier.encode,
        counted=classifier.counted,
        engine=classifier.engine,
        hurried=lambda: None,
        folder=None,
    )
    found = live.in_turns(half, given, stretches=2, stretch_s=0.6)
    assert found["ratio"]["value"] < 0.75


def test_posts_that_are_in_no_place_are_found():
    source = Given(posts(20), stay=True)
    feed = Feed(source, classify, labels=LABELS, listeners=[arrivals := live.Arrivals()])
    feed.start()
    wait_for(lambda: arrivals.count == 20)
    feed.stop()
    source.status = SourceStatus("ended", read=20)
    assert live.accounts(feed, 20)["unaccounted"] == 0
    assert live.accounts(feed, 19)["unaccounted"] == 1
    source.status = SourceStatus("ended", read=23)
    assert live.accounts(feed, 20)["unaccounted"] == 3
    assert arrivals.take() == [f"post {number}" for number in range(20)] and arrivals.take() == []


def test_a_feed_that_breaks_off_is_told(classifier):
    def broken(texts):
        raise FeedError("The model is gone.")

    gone = SimpleNamespace(
        predict=broken,
        labels=LABELS,
        encode=None,
        counted=None,
        engine=None,
        folder=None,
        hurried=lambda: None,
    )
    with pytest.raises(RuntimeError, match=r"The feed ended early: The model is gone\."):
        live.in_turns(gone, posts(5), stretches=1, stretch_s=0.5)
    with pytest.raises(RuntimeError, match=r"The feed ended early: The model is gone\."):
        live.as_fast_as_possible(gone, posts(5), seconds=0.5, span_s=0.5)
