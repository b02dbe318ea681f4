"""What does HTTP add, and does the server stay whole under load? The real command, driven by wrk.

    python -m benchmarks load --dataset DATA

One client for the latency that HTTP adds; 64 clients for a minute against the offline rate, in turns; 64
clients for ten minutes, for the memory; SIGTERM under load. The model is the embedded base fine-tuned by
`make demo`, exported; generator and server share the cores, so what the generator takes is told beside.
"""

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import load, results
from benchmarks.serving import DEMO, TUNED, copied
from inference import Classifier
from inference.engine.export import export_onnx
from training.data import DataSpec, load_splits

CLIENTS = 64
TURNS = 3
LONG_S = 600


def main(dataset: str) -> None:
    """Measure, and write results/load.json."""
    splits = load_splits(DataSpec(dataset=dataset, n_train=100, n_validation=1000, n_test=1024))
    texts = list(splits.test["text"])
    with tempfile.TemporaryDirectory() as folder:
        artifact = copied(DEMO, Path(folder) / "tuned")
        validation = splits.validation
        export_onnx(
            artifact, list(validation["text"]), [splits.labels[label] for label in validation["label"]]
        )
        classifier = Classifier.load(artifact)
        with load.server(artifact) as running:
            one = load.one_client(running, classifier, texts)
            print(f"one client: {one}", flush=True)
            turns = []
            for _ in range(TURNS):
                offline = _offline(classifier, texts)
                turns.append((offline, load.many_clients(running, texts, clients=CLIENTS, seconds=60)))
                print(f"offline {offline:.1f}/s, {CLIENTS} clients: {turns[-1][1]}", flush=True)
        del classifier
        with load.server(artifact) as running:
            long = load.many_clients(running, texts, clients=CLIENTS, seconds=LONG_S, settle_s=60.0)
            print(f"{LONG_S} s: {long}", flush=True)
            end = load.stopped(running, texts, clients=CLIENTS)
            print(f"SIGTERM: {end}", flush=True)
    results.write("load", base={"name": TUNED}, data=splits.report.to_json()["source"],
                  rows=_rows(one, turns, long, end), one_client=one,
                  turns=[{"offline_per_s": offline, **found} for offline, found in turns],
                  long=long, sigterm=end)  # fmt: skip


def _offline(classifier: Classifier, texts: list[str]) -> float:
    began = time.perf_counter()
    classifier.predict(texts)
    return len(texts) / (time.perf_counter() - began)


def _with_quartiles(one: dict[str, Any]) -> dict[str, float]:
    low, high = one["added_quartiles_ms"]
    return {"value": one["added_ms"], "low": low, "high": high}


def _rows(
    one: dict[str, Any], turns: list[tuple[float, dict[str, Any]]], long: dict[str, Any], end: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the claims, each with what was found and its goal."""
    shares = [found["per_second"] / offline for offline, found in turns]
    # 64 clients send one text each, so a batch at saturation takes 64 texts' time at the offline rate.
    tails = [found["p99_ms"] / (CLIENTS / offline * 1000) for offline, found in turns]
    failed = sum(found["not_answered_200"] for _, found in turns) + long["not_answered_200"]
    slope = long["memory"]["mb_per_min"]
    found = {
        "HTTP adds to p50, one client, ms": (_with_quartiles(one), "under 3"),
        "64 clients: share of the offline rate": (round(median(shares), 3), "at least 0.85"),
        "64 clients: p99 / time of a batch of 64": (round(median(tails), 2), "under 4"),
        "64 clients: answers that were not 200": (failed, "none but 429"),
        "64 clients, 10 minutes: memory, MB a minute": (slope, "0"),
        "SIGTERM under load: accepted and not answered": (end["lost"], "0"),
        "cores that the load generator took": (turns[0][1]["wrk_cores"], "–"),
    }
    return [{"name": name, "found": value, "goal": goal} for name, (value, goal) in found.items()]
