"""What does HTTP add, and does the server stay whole under load? The real command, driven by wrk.

    python -m benchmarks load --dataset DATA

One client for the latency that HTTP adds; 64 clients for a minute, each time between two measurements of the
offline rate; 64 clients for ten minutes, for the memory; SIGTERM under load. The model is the embedded base
fine-tuned by `make demo`, exported. Generator and server share the cores, so the results also hold the
generator's share.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import load, results
from benchmarks.serving import TUNED, copied, exported
from inference import Classifier
from training.data.load import DataSpec, load_splits

CLIENTS = 64
TURNS = 3
LONG_S = 600


def main(dataset: str) -> None:
    """Measure, and write results/load.json."""
    splits = load_splits(DataSpec(dataset=dataset, n_train=100, n_validation=1000, n_test=1024))
    texts = list(splits.test["text"])
    with tempfile.TemporaryDirectory() as folder:
        artifact = copied(Path(folder) / "tuned")
        exported(artifact, splits)
        classifier = Classifier.load(artifact)
        with load.server(artifact) as running:
            one = load.one_client(running, classifier, texts)
            print(f"one client: {one}", flush=True)
            turns = [_turn(running, classifier, texts) for _ in range(TURNS)]
        del classifier
        with load.server(artifact) as running:
            long = load.many_clients(running, texts, clients=CLIENTS, seconds=LONG_S, settle_s=60.0)
            print(f"{LONG_S} s: {long}", flush=True)
            end = load.stopped(running, texts, clients=CLIENTS)
            print(f"SIGTERM: {end}", flush=True)
    results.write(
        "load",
        base={"name": TUNED},
        data=splits.report.to_json()["source"],
        rows=claims(one, turns, long, end),
        one_client=one,
        turns=turns,
        long=long,
        sigterm=end,
    )


def _turn(running: load.Server, classifier: Classifier, texts: list[str]) -> dict[str, Any]:
    """Measure many clients, and the offline rate just before and just after."""
    before = _offline(classifier, texts)
    found = load.many_clients(running, texts, clients=CLIENTS, seconds=60)
    after = _offline(classifier, texts)
    print(f"offline {before:.1f}/s, then {after:.1f}/s, {CLIENTS} clients: {found}", flush=True)
    return {"offline_per_s": {"value": (before + after) / 2, "before": before, "after": after}, **found}


def _offline(classifier: Classifier, texts: list[str]) -> float:
    began = time.perf_counter()
    classifier.predict(texts)
    return len(texts) / (time.perf_counter() - began)


def _with_quartiles(one: dict[str, Any]) -> dict[str, float]:
    low, high = one["added_quartiles_ms"]
    return {"value": one["added_ms"], "low": low, "high": high}


def claims(
    one: dict[str, Any], turns: list[dict[str, Any]], long: dict[str, Any], end: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the claims, each with its result and its goal; of turns the median, lowest and highest."""
    offline = [(turn, turn["offline_per_s"][when]) for turn in turns for when in ("before", "after")]
    shares = [turn["per_second"] / rate for turn, rate in offline]
    tails = [turn["p99_ms"] / turn["batch_ms"] for turn in turns]
    failed = sum(turn["not_answered_200"] for turn in turns) + long["not_answered_200"]
    slope = long["memory"]["mb_per_min"]
    found = {
        "HTTP adds to p50, one client, ms": (_with_quartiles(one), "under 3"),
        "64 clients: share of the offline rate": (results.spread(shares, 3), "at least 0.85"),
        "64 clients: p99 / mean time of a batch": (results.spread(tails), "under 4"),
        "64 clients: answers that were not 200": (failed, "none but 429"),
        "64 clients, 10 minutes: memory, MB a minute": (slope, "0"),
        "SIGTERM under load: accepted and not answered": (end["lost"], "0"),
        "SIGTERM under load: sent in the last 50 ms and not answered": (end["raced"], "–"),
        "cores that the load generator took": (turns[0]["wrk_cores"], "–"),
    }
    return [{"name": name, "found": value, "goal": goal} for name, (value, goal) in found.items()]
