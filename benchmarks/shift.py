"""How often does the shift alert cry wolf, and how soon does it notice a true shift?

    python -m benchmarks shift

The stream is the embedded tweets' own labels (or those of `--dataset`; no model is asked) in random order,
so nothing shifts, and every alarm is false; the rate has nothing to do with any model. A second row has
five equal labels in a row, as when people answer to one event: then it cries wolf more often. A shift is
made by turning negative posts into positive ones, or the other way about, by lot, until net sentiment has
moved by 10 or 20 points; an alarm in the wrong direction does not count. Each stream is drawn anew, with
replacement, by one seed.
"""

import random
from statistics import median
from typing import Any

from scipy.stats import chi2

from benchmarks import results
from inference.common.intervals import poles
from inference.live.shift import ALLOWANCE, MEMORY, THRESHOLD, WARM_UP, ShiftDetector
from training.data.load import DataSpec, load_splits

QUIET_STREAMS, QUIET_POSTS = 250, 40_000
RUN, RUN_STREAMS = 5, 50
SHIFTED_STREAMS, LIMIT_POSTS = 60, 10_000
POINTS = (10, 20)
REFERENCE_POSTS = (2_000, 10_000)
SEED = 0


def main(dataset: str) -> None:
    """Measure, and write results/shift.json."""
    splits = load_splits(DataSpec(dataset="embedded" if dataset == "auto" else dataset))
    pool = [splits.labels[i] for i in splits.train["label"]]
    rng = random.Random(SEED)
    alarms = sum(_alarms(splits.labels, rng.choices(pool, k=QUIET_POSTS)) for _ in range(QUIET_STREAMS))
    false_alarms = _rate(
        alarms, QUIET_STREAMS * QUIET_POSTS, f"random order, {QUIET_STREAMS} streams of {QUIET_POSTS:,} posts"
    )
    print(f"false alarms: {alarms} in {QUIET_STREAMS * QUIET_POSTS:,} posts", flush=True)
    in_a_row = sum(
        _alarms(splits.labels, [each for each in rng.choices(pool, k=QUIET_POSTS // RUN) for _ in range(RUN)])
        for _ in range(RUN_STREAMS)
    )
    clustered = _rate(
        in_a_row,
        RUN_STREAMS * QUIET_POSTS,
        f"{RUN} equal labels in a row, {RUN_STREAMS} streams of {QUIET_POSTS:,} posts",
    )
    print(f"in a row: {in_a_row} in {RUN_STREAMS * QUIET_POSTS:,} posts", flush=True)
    delays = [
        _delays(splits.labels, pool, rng, points=points, reference=reference)
        for points in POINTS
        for reference in REFERENCE_POSTS
    ]
    results.write(
        "shift",
        data=splits.report.to_json()["source"],
        seed=SEED,
        detector={"threshold": THRESHOLD, "allowance": ALLOWANCE, "warm_up": WARM_UP, "memory": MEMORY},
        rows=[false_alarms, clustered],
        delays=delays,
    )


def _alarms(labels: tuple[str, ...], stream: list[str]) -> int:
    detector = ShiftDetector(labels)
    return sum(detector.add(label) is not None for label in stream)


def _rate(alarms: int, posts: int, name: str) -> dict[str, Any]:
    """Return alarms per million posts with Garwood's exact 95 % interval (1936, doi 10.2307/2333958)."""
    per = 1_000_000 / posts
    low = float(chi2.ppf(0.025, 2 * alarms)) / 2 if alarms else 0.0
    high = float(chi2.ppf(0.975, 2 * alarms + 2)) / 2
    rate = {"value": alarms * per, "low": low * per, "high": high * per}
    return {
        "name": name,
        "posts": posts,
        "false_alarms": alarms,
        "per_million_posts": {key: round(value, 2) for key, value in rate.items()},
    }


def _delays(
    labels: tuple[str, ...], pool: list[str], rng: random.Random, *, points: int, reference: int
) -> dict[str, Any]:
    """Return how many posts after a shift it is noticed, half of the shifts going up and half going down."""
    found: list[int] = []
    for turn in range(SHIFTED_STREAMS):
        source, target = poles(labels) if turn % 2 else poles(labels)[::-1]
        turned = points / 200 / (pool.count(source) / len(pool))  # each turned post moves the net by two
        detector = ShiftDetector(labels)
        for label in rng.choices(pool, k=reference):
            detector.add(label)
        for number, label in enumerate(rng.choices(pool, k=LIMIT_POSTS), 1):
            shifted = target if label == source and rng.random() < turned else label
            noticed = detector.add(shifted)
            if noticed and noticed.rises == bool(turn % 2):
                found.append(number)
                break
    found.sort()
    record = {
        "name": f"{points} points, after {reference:,} posts",
        "streams": SHIFTED_STREAMS,
        f"noticed_within_{LIMIT_POSTS:,}_posts": len(found),
        "their_median_delay_posts": median(found) if found else None,
        "their_p90_delay_posts": found[int(len(found) * 0.9)] if found else None,
    }
    print(
        f"{points} points after {reference:,} posts: noticed {len(found)} of {SHIFTED_STREAMS}, "
        f"median delay {record['their_median_delay_posts']} posts",
        flush=True,
    )
    return record
