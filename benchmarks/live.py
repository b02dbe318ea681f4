"""Does a feed keep up with the model? Replay through the exported engine, beside the bare engine.

    python -m benchmarks live --dataset DATA

Every feed has what the app's feeds have: statistics and a recording. Three parts, a quarter of an hour:
1. The ratio: stretches of Replay as fast as possible, and after each, while the feed is paused, the bare
   engine, without feed and tokenizer, answers the newer half of the very posts that the feed has just
   classified. So a slow minute of the machine falls on both.
2. Five minutes of Replay as fast as possible without a break, for the rate that lasts, and for memory.
3. Two minutes at 80 % of that rate, with the feed as it runs for a live source, for drops and lag. The lag's
   95 % are of all posts received; a dropped one counts as infinitely late.
Every post must be in one place in the end. The model is the embedded base fine-tuned by `make demo`, and
exported.
"""

import json
import math
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import load, results
from benchmarks.serving import TUNED, bare, copied, exported
from inference import Classifier
from inference.live.feed import Feed
from inference.live.post import ClassifiedPost, Post
from inference.live.recording import Recorder
from inference.live.sources import Replay
from inference.live.sources.base import IDS_REMEMBERED
from inference.live.statistics import LiveStatistics
from training.data.load import DataSpec, load_splits
from training.fit.estimate import gflops

STRETCHES, STRETCH_S = 16, 10.0
SUSTAINED_S, SPAN_S = 300.0, 30.0
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
        artifact = copied(Path(folder) / "tuned")
        why = exported(artifact, splits).why
        classifier = Classifier.load(artifact)
        engine = {"name": classifier.engine.name, "why": why}
        print(f"engine: {engine}", flush=True)
        gemm = [gflops(seconds=1.0)]
        turns = in_turns(classifier, posts, stretches=STRETCHES, stretch_s=STRETCH_S)
        gemm.append(gflops(seconds=1.0))
        fast = as_fast_as_possible(classifier, posts, seconds=SUSTAINED_S, span_s=SPAN_S)
        gemm.append(gflops(seconds=1.0))
        rate_per_s = STEADY_SHARE * fast["posts_per_s"]["value"]
        steady = at_a_rate(classifier, posts, rate_per_s=rate_per_s, seconds=STEADY_S)
        gemm.append(gflops(seconds=1.0))
    results.write(
        "live",
        base={"name": TUNED},
        data=splits.report.to_json()["source"],
        engine=engine,
        rows=rows(turns, fast, steady, gemm, engine=classifier.engine.name),
        turns=turns,
        fast=fast,
        steady=steady,
        gemm_gflops=[round(each, 1) for each in gemm],
    )


def in_turns(
    classifier: Classifier, posts: Sequence[Post], *, stretches: int, stretch_s: float
) -> dict[str, Any]:
    """Return the rates of a feed and of the bare engine in turns.

    `ratio`: the feed's over the bare engine's, with its 95 % interval.
    """
    turns: list[dict[str, float]] = []
    with running_feed(classifier, posts) as (feed, arrivals):
        for number in range(stretches):
            texts, feed_s = _stretch(feed, arrivals, stretch_s)
            half = texts[len(texts) // 2 :]
            turns.append({"feed_per_s": len(texts) / feed_s, "bare_per_s": bare_rate(classifier, half)})
            print(f"stretch {number + 1}: {json.dumps(turns[-1])}", flush=True)
    ratio, low, high = ratio_with_interval(turns)
    return {
        "ratio": {"value": round(ratio, 4), "low": round(low, 4), "high": round(high, 4)},
        "stretches": [{name: round(value, 2) for name, value in turn.items()} for turn in turns],
        **accounts(feed, arrivals.count),
    }


def ratio_with_interval(
    turns: Sequence[dict[str, float]], *, draws: int = 4000
) -> tuple[float, float, float]:
    """Return the feed's rate over the bare engine's, with its 95 % interval: a bootstrap over the stretches.

    The mean times of a post are compared, so that each stretch weighs the same.
    """
    rng = random.Random(0)

    def ratio(chosen: Sequence[dict[str, float]]) -> float:
        return sum(1 / turn["bare_per_s"] for turn in chosen) / sum(1 / turn["feed_per_s"] for turn in chosen)

    drawn = sorted(ratio(rng.choices(turns, k=len(turns))) for _ in range(draws))
    return ratio(turns), drawn[int(0.025 * draws)], drawn[int(0.975 * draws) - 1]


def as_fast_as_possible(
    classifier: Classifier,
    posts: Sequence[Post],
    *,
    seconds: float,
    span_s: float,
    settle_s: float = SETTLE_S,
) -> dict[str, Any]:
    """Return the rate of a feed that runs without a break, of its slowest and fastest span, and its memory.

    The slope of memory leaves out the first `settle_s`, and the time in which the list of known ids grows to
    its size.
    """
    known_s: float | None = None
    spans: list[float] = []
    with running_feed(classifier, posts) as (feed, arrivals), load.memory(os.getpid()) as samples:
        feed.start()
        began = time.perf_counter()
        for number in range(1, max(1, round(seconds / span_s)) + 1):
            before, at = arrivals.count, time.perf_counter()
            feed.wait(began + number * span_s - at)
            _refuse_an_early_end(feed)
            spans.append(round((arrivals.count - before) / (time.perf_counter() - at), 2))
            print(f"span {number}: {spans[-1]} posts a second", flush=True)
            arrivals.take()
            if known_s is None and arrivals.count >= IDS_REMEMBERED:
                known_s = samples[-1][0]
        feed.stop()
    found = accounts(feed, arrivals.count)
    rate_per_s = found["summary"]["rate_per_s"]
    return {
        "seconds": round(feed.snapshot(watching=False).running_s, 1),
        "posts_per_s": {"value": rate_per_s, "low": min(spans), "high": max(spans)},
        "span_s": span_s,
        "spans_per_s": spans,
        **found,
        "ids_known_after_s": known_s,
        "memory": load.memory_slope(samples, settle_s=max(settle_s, known_s or 0.0)),
    }


def at_a_rate(
    classifier: Classifier, posts: Sequence[Post], *, rate_per_s: float, seconds: float
) -> dict[str, Any]:
    """Return the lag and the counts of a feed that gets so many posts a second, as from a live source."""
    limit = max(1, round(rate_per_s * seconds))
    with running_feed(classifier, posts, rate_per_s=rate_per_s, limit=limit) as (feed, arrivals):
        feed.start()
        if not feed.wait(seconds + PATIENCE_S):
            print(f"The feed was stopped {PATIENCE_S:g} s after its time.", flush=True)
        feed.stop()
    running_s = feed.snapshot(watching=False).running_s
    found = accounts(feed, arrivals.count)
    received, dropped = found["summary"]["received"], found["summary"]["dropped"]
    print(f"{rate_per_s:.1f} a second: {json.dumps(found)}", flush=True)
    return {
        "rate_per_s": round(rate_per_s, 2),
        "arrived_per_s": round(received / running_s, 2),
        "dropped_share": round(dropped / received, 5) if received else 0.0,
        "lag_p95_of_received_s": lag_of_received(feed, 0.95),
        **found,
    }


def lag_of_received(feed: Feed, share: float) -> float | None:
    """Return the lag within which such a share of all received posts was answered, None for never."""
    summary = feed.summary()
    lag_s = feed.lag_s(share * summary.received / summary.classified) if summary.classified else None
    return None if lag_s is None else round(lag_s, 3)


@contextmanager
def running_feed(
    classifier: Classifier,
    posts: Sequence[Post],
    *,
    rate_per_s: float | None = None,
    limit: int | None = None,
) -> Iterator[tuple[Feed, "Arrivals"]]:
    """Yield a feed as the app has it, with statistics and a recording, and its arrivals; stop it after."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Recorder(Path(folder) / "posts.jsonl", texts=False) as recorder,
    ):
        arrivals = Arrivals()
        feed = Feed(
            Replay(posts, rate_per_s=rate_per_s, rounds=_ENDLESS),
            classifier.predict,
            labels=classifier.labels,
            hurried=classifier.hurried(),
            lossless=rate_per_s is None,
            limit=limit,
            idle_s=math.inf,
            listeners=[LiveStatistics.of(classifier), arrivals, recorder],
        )
        try:
            yield feed, arrivals
        finally:
            feed.stop()
            recorder.close()


class Arrivals:
    """A listener that counts all classified posts and keeps the texts since the last `take`."""

    def __init__(self) -> None:
        self.count = 0
        self._texts: list[str] = []

    def __call__(self, batch: Sequence[ClassifiedPost]) -> None:
        self._texts += [one.post.text for one in batch]
        self.count += len(batch)

    def take(self) -> list[str]:
        """Return the texts since the last time, oldest first."""
        texts, self._texts = self._texts, []
        return texts


def _stretch(feed: Feed, arrivals: Arrivals, seconds: float) -> tuple[list[str], float]:
    """Let a feed run for a while and answer the waiting posts. Returns the texts, and the seconds."""
    began = time.perf_counter()
    feed.resume() if feed.state == "paused" else feed.start()
    feed.wait(seconds)
    feed.pause()
    _wait_for(lambda: feed.snapshot().pending == 0)
    took_s = time.perf_counter() - began
    _wait_for(lambda: arrivals.count == feed.snapshot().classified)
    _refuse_an_early_end(feed)
    return arrivals.take(), took_s


def _refuse_an_early_end(feed: Feed) -> None:
    if feed.state == "ended":
        raise RuntimeError(f"The feed ended early: {feed.snapshot().message or feed.snapshot().reason}")


def _wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError(f"The feed did not come to rest within {PATIENCE_S:g} s.")
        time.sleep(_POLL_S)


def bare_rate(classifier: Classifier, texts: Sequence[str]) -> float:
    """Return the texts a second of the engine alone, from token ids in batches of like length."""
    token_ids = classifier.encode(texts).token_ids
    began = time.perf_counter()
    bare(classifier, token_ids)
    return len(texts) / (time.perf_counter() - began)


def accounts(feed: Feed, seen: int) -> dict[str, Any]:
    """Return the summary of a feed that has ended, and how many posts are in no place or in two.

    Three independent counts must agree: posts that the source handed over, the sum of the feed's places, and
    posts that a listener got.
    """
    summary = feed.summary()
    placed = summary.classified + summary.filtered + summary.duplicates + summary.dropped
    lost = abs(feed.source.status.read - summary.received) + abs(summary.received - placed)
    numbers = {
        key: round(value, 3) if isinstance(value, float) else value for key, value in vars(summary).items()
    }
    return {"summary": numbers, "unaccounted": lost + abs(summary.classified - seen)}


def rows(
    turns: dict[str, Any], fast: dict[str, Any], steady: dict[str, Any], gemm: Sequence[float], *, engine: str
) -> list[dict[str, Any]]:
    """Return the claims, each with its result and its goal."""
    share = f"{100 * STEADY_SHARE:.0f} % of that rate"
    lag_s, parts = steady["lag_p95_of_received_s"], (turns, fast, steady)
    found = {
        "engine": (engine, "–"),
        f"posts a second, as fast as possible, {fast['seconds']:.0f} s without a break (slowest and fastest "
        f"{fast['span_s']:g} s)": (fast["posts_per_s"], "50"),
        "posts a second for each 100 GFLOP/s of a matrix product": (
            round(fast["posts_per_s"]["value"] / median(gemm) * 100, 1),
            "–",
        ),
        "feed / bare engine, on the same posts in turns (95 % interval)": (turns["ratio"], "at least 0.95"),
        "posts lost uncounted": (sum(part["unaccounted"] for part in parts), "0"),
        f"memory, MB a minute, after {fast['memory']['settle_s']:.0f} s (95 % interval)": (
            fast["memory"]["mb_per_min"],
            "0",
        ),
        f"lag p95 at {share}, s, of all posts that came": (
            "never: more than 5 % were dropped" if lag_s is None else lag_s,
            "under 2",
        ),
        f"posts dropped at {share}, % of {steady['summary']['received']:,}": (
            round(100 * steady["dropped_share"], 2),
            "at most 1",
        ),
        f"answered by int8 alone at {share}, % of {steady['summary']['classified']:,}": (
            round(100 * steady["summary"]["hurried"] / max(steady["summary"]["classified"], 1), 1),
            "–",
        ),
    }
    return [{"name": name, "found": value, "goal": goal} for name, (value, goal) in found.items()]
