"""Does a feed keep up with the model? Replay through the exported engine, beside the bare engine, in turns.

    python -m benchmarks live --dataset DATA

Five minutes of Replay as fast as possible, in thirty stretches. After each the feed is paused, and the
bare engine, without feed and tokenizer, answers the newer half of the very posts that the feed has just
classified, so a slow minute of the machine falls on both. Then two minutes of Replay at 80 % of the rate that
was found, with the feed as it runs for a live source, for the lag. Every post must be in one place in the
end, and memory is sampled each second. The model is the embedded base fine-tuned by `make demo`, exported.
Takes a quarter of an hour.
"""

import json
import math
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks import load, results
from benchmarks.serving import DEMO, TUNED, copied
from inference import Classifier
from inference.batches import budgeted_batches
from inference.engine.export import export_onnx
from inference.feed import ClassifiedPost, Feed
from inference.sources import Post, Replay
from inference.sources.live import IDS_REMEMBERED
from training.data import DataSpec, load_splits
from training.estimate import gflops

STRETCHES, STRETCH_S = 30, 10.0
STEADY_S, STEADY_SHARE = 120.0, 0.8
SETTLE_S = 60.0
PATIENCE_S = 60.0
_POLL_S = 0.02
_ENDLESS = 1_000_000  # rounds of the replay


def main(dataset: str) -> None:
    """Measure, and write results/live.json."""
    splits = load_splits(DataSpec(dataset=dataset, n_train=100, n_validation=1000, n_test=0))
    posts = [Post(f"replay-{number}", text) for number, text in enumerate(splits.test["text"])]
    with tempfile.TemporaryDirectory() as folder:
        artifact = copied(DEMO, Path(folder) / "tuned")
        validation = splits.validation
        labels = [splits.labels[label] for label in validation["label"]]
        parity = export_onnx(artifact, list(validation["text"]), labels)
        classifier = Classifier.load(artifact)
        engine = {"name": classifier.engine.name, "why": parity["why"]}
        print(f"engine: {engine}", flush=True)
        gemm = [gflops(seconds=1.0)]
        fast = as_fast_as_possible(classifier, posts, stretches=STRETCHES, stretch_s=STRETCH_S)
        gemm.append(gflops(seconds=1.0))
        rate_per_s = STEADY_SHARE * fast["posts_per_s"]["value"]
        steady = at_a_rate(classifier, posts, rate_per_s=rate_per_s, seconds=STEADY_S)
        gemm.append(gflops(seconds=1.0))
    results.write("live", base={"name": TUNED}, data=splits.report.to_json()["source"], engine=engine,
                  rows=rows(fast, steady, gemm), fast=fast, steady=steady,
                  gemm_gflops=[round(each, 1) for each in gemm])  # fmt: skip


def as_fast_as_possible(
    classifier: Classifier,
    posts: Sequence[Post],
    *,
    stretches: int,
    stretch_s: float,
    settle_s: float = SETTLE_S,
) -> dict[str, Any]:
    """Return the rates of a feed and of the bare engine in turns, its summary, and its memory's slope.

    `ratio`: the feed's rate over the bare engine's, median, lowest and highest of the stretches. The slope of
    memory leaves out the first `settle_s`, and the time in which the list of known ids grows to its size.
    """
    told = Told()
    feed = Feed(
        Replay(posts, rate_per_s=None, rounds=_ENDLESS), classifier.predict, labels=classifier.labels,
        patient=True, idle_s=math.inf, listeners=[told],
    )  # fmt: skip
    turns: list[dict[str, float]] = []
    known_s: float | None = None
    with memory() as samples:
        for number in range(stretches):
            texts, feed_per_s = _stretch(feed, told, stretch_s)
            bare_per_s = bare_rate(classifier, texts[len(texts) // 2 :])
            turns.append({"feed_per_s": round(feed_per_s, 2), "bare_per_s": round(bare_per_s, 2),
                          "ratio": round(feed_per_s / bare_per_s, 4)})  # fmt: skip
            print(f"stretch {number + 1}: {json.dumps(turns[-1])}", flush=True)
            if known_s is None and told.count >= IDS_REMEMBERED:
                known_s = samples[-1][0]
        feed.stop()
    return {
        "seconds": round(feed.snapshot(watching=False).running_s, 1),
        "posts_per_s": spread([turn["feed_per_s"] for turn in turns]),
        "bare_posts_per_s": spread([turn["bare_per_s"] for turn in turns]),
        "ratio": spread([turn["ratio"] for turn in turns]),
        "turns": turns,
        **accounts(feed, told.count),
        "ids_known_after_s": known_s,
        "memory": load.memory_slope(samples, settle_s=max(settle_s, known_s or 0.0)),
    }


def at_a_rate(
    classifier: Classifier, posts: Sequence[Post], *, rate_per_s: float, seconds: float
) -> dict[str, Any]:
    """Return the lag and the counts of a feed that gets so many posts a second, as from a live source."""
    told = Told()
    feed = Feed(
        Replay(posts, rate_per_s=rate_per_s, rounds=_ENDLESS), classifier.predict, labels=classifier.labels,
        idle_s=math.inf, listeners=[told], limit=max(1, round(rate_per_s * seconds)),
    )  # fmt: skip
    feed.start()
    if not feed.wait(seconds + PATIENCE_S):
        print(f"The feed was stopped {PATIENCE_S:g} s after its time.", flush=True)
    feed.stop()
    running_s = feed.snapshot(watching=False).running_s
    found = accounts(feed, told.count)
    arrived_per_s = found["summary"]["received"] / running_s
    print(f"{rate_per_s:.1f} a second: {json.dumps(found)}", flush=True)
    return {"rate_per_s": round(rate_per_s, 2), "arrived_per_s": round(arrived_per_s, 2), **found}


class Told:
    """A listener that counts all posts, and keeps the texts of those since it was last asked for them."""

    def __init__(self) -> None:
        self.count = 0
        self._texts: list[str] = []

    def __call__(self, batch: Sequence[ClassifiedPost]) -> None:
        """Count and keep."""
        self._texts += [one.post.text for one in batch]
        self.count += len(batch)

    def take(self) -> list[str]:
        """Return the texts since the last time, oldest first."""
        texts, self._texts = self._texts, []
        return texts


def _stretch(feed: Feed, told: Told, seconds: float) -> tuple[list[str], float]:
    """Let a feed run for a while, and answer what waits then. Returns the texts, and posts a second."""
    began = time.perf_counter()
    feed.resume() if feed.state == "paused" else feed.start()
    feed.wait(seconds)
    feed.pause()
    _wait_for(lambda: feed.snapshot().pending == 0)
    took_s = time.perf_counter() - began
    _wait_for(lambda: told.count == feed.snapshot().classified)
    if feed.state != "paused":
        raise RuntimeError(f"The feed ended early: {feed.snapshot().message or feed.snapshot().reason}")
    texts = told.take()
    return texts, len(texts) / took_s


def _wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError(f"The feed did not come to rest within {PATIENCE_S:g} s.")
        time.sleep(_POLL_S)


def bare_rate(classifier: Classifier, texts: Sequence[str]) -> float:
    """Return the texts a second of the engine alone: token ids at hand, batches of like length over all."""
    token_ids = classifier.encode(texts).token_ids
    began = time.perf_counter()
    for batch in budgeted_batches([len(ids) for ids in token_ids], tokens=classifier.engine.batch_tokens):
        classifier.engine.logits([token_ids[row] for row in batch])
    return len(texts) / (time.perf_counter() - began)


def accounts(feed: Feed, seen: int) -> dict[str, Any]:
    """Return the summary of a feed that has ended, and how many posts are in no place or in two.

    Three counts that know nothing of each other must agree: what the source handed over, the sum of the
    feed's places, and what a listener was told.
    """
    summary = feed.summary()
    placed = summary.classified + summary.filtered + summary.duplicates + summary.dropped
    lost = abs(feed.source.status.read - summary.received) + abs(summary.received - placed)
    numbers = {
        key: round(value, 3) if isinstance(value, float) else value for key, value in vars(summary).items()
    }
    return {"summary": numbers, "unaccounted": lost + abs(summary.classified - seen)}


@contextmanager
def memory() -> Iterator[list[tuple[float, float]]]:
    """Yield a list that gets a (second, MB) of this process's memory each second."""
    samples: list[tuple[float, float]] = []
    over, process, began = threading.Event(), psutil.Process(), time.monotonic()

    def sample() -> None:
        while not over.wait(1.0):
            samples.append((time.monotonic() - began, process.memory_info().rss / 2**20))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median, the lowest and the highest."""
    return {"value": round(median(values), 4), "low": min(values), "high": max(values)}


def rows(fast: dict[str, Any], steady: dict[str, Any], gemm: Sequence[float]) -> list[dict[str, Any]]:
    """Return the claims, each with what was found and its goal."""
    share = f"{100 * STEADY_SHARE:.0f} % of that rate"
    found = {
        f"posts a second, as fast as possible, {fast['seconds']:.0f} s": (fast["posts_per_s"], "50"),
        "posts a second for each 100 GFLOP/s of a matrix product": (
            round(fast["posts_per_s"]["value"] / median(gemm) * 100, 1),
            "–",
        ),
        "feed / bare engine, on the same posts in turns": (fast["ratio"], "at least 0.95"),
        "posts lost uncounted": (fast["unaccounted"] + steady["unaccounted"], "0"),
        f"memory, MB a minute, after {fast['memory']['settle_s']:.0f} s": (fast["memory"]["mb_per_min"], "0"),
        f"lag p95 at {share}, s": (steady["summary"]["lag_p95_s"], "under 2"),
        f"posts dropped at {share}, of {steady['summary']['received']:,}": (
            steady["summary"]["dropped"],
            "–",
        ),
    }
    return [{"name": name, "found": value, "goal": goal} for name, (value, goal) in found.items()]
