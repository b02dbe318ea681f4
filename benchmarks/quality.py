"""How good is `quick`? One data set, its whole test split, simple baselines on the same rows, end to end.

    python -m benchmarks quality --dataset DATA

Rows: the majority class, TF-IDF of words and characters with logistic regression on the same training tweets,
the untouched base answering a prompt (calibrated zero-shot), and `quick`. The run goes through the command
line as a person's would, so its minutes and its memory are what a person gets.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks import results
from inference.artifact import PROVENANCE, read_record
from inference.baselines.bag_of_words import BagOfWords, Majority
from training.data.load import Splits, load_splits
from training.evaluate.metrics import scores
from training.evaluate.scores import BASE, SINGLE_SCORES, TUNED, Evaluation, Scores
from training.fit.estimate import gflops
from training.recipes import change, load_recipe
from training.runs.run import find_run

POLL_S = 0.2


def main(dataset: str) -> None:
    """Measure, and write results/quality.json."""
    recipe = change(load_recipe("quick"), {"dataset": dataset, "base": "embedded"})
    splits = load_splits(change(recipe, {"n_test": "0"}).data)
    print("simple baselines", flush=True)
    rows = _baselines(splits)
    rate = gflops(seconds=1.0)
    print(f"quick, end to end ({rate:.0f} GFLOP/s)", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "quick"
        minutes, peak_mb = _train(run_dir, dataset)
        record = read_record(run_dir / "artifact", PROVENANCE) or {}
        events = find_run(run_dir).events("estimate")
        print(f"quick took {minutes:.1f} min, {peak_mb:.0f} MB; scoring the whole test split", flush=True)
        evaluation = _evaluate(run_dir / "artifact")
    seconds = sum(record["duration_s"].values())
    base, fine_tuned = evaluation.base, evaluation.tuned
    comparison = evaluation.comparison(BASE, TUNED)
    assert base and fine_tuned and comparison
    zero_shot = {"name": "base, zero-shot, calibrated", "labels_used": 0}
    rows.append({**zero_shot, **_shown(evaluation.n, base.scores)})
    tuned = {"name": "quick", "labels_used": record["sizes"]["train"], "minutes": round(minutes, 2)}
    rows.append({**tuned, **_shown(evaluation.n, fine_tuned.scores)})
    results.write(
        "quality",
        base=record["base"],
        data=record["data"]["source"],
        sizes={**record["sizes"], "test_scored": evaluation.n},
        recipe=record["recipe"],
        rows=rows,
        comparison=dataclasses.asdict(comparison),
        quick={
            "minutes_end_to_end": round(minutes, 2),
            "test_rows_scored_in_the_run": record["sizes"]["test"],
            "peak_memory_mb": round(peak_mb),
            "gemm_gflops_beside_it": round(rate, 1),
            "estimated_s": events[-1]["seconds"],
            "from_estimate_to_end_s": round(seconds - record["duration_s"]["prepare"], 1),
            "duration_s": record["duration_s"],
            "depth": record["depth"],
            "trunk_layers": record["trunk_layers"],
        },
    )


def _shown(n: int, found: Scores) -> dict[str, Any]:
    return {"n": n} | {name: getattr(found, name).to_json() for name in SINGLE_SCORES}


def _baselines(splits: Splits) -> list[dict[str, Any]]:
    """Choose the bag of words' C on the validation split, as `quick` chooses its epoch there."""
    texts, labels = splits.train["text"], splits.train["label"]
    validation = (splits.validation["text"], splits.validation["label"])
    bag = BagOfWords.fit(texts, labels, names=splits.labels, validation=validation)
    rows = []
    for name, baseline in (
        ("majority class", Majority.fit(labels, names=splits.labels)),
        ("TF-IDF, logistic regression", bag),
    ):
        row = {"name": name, "labels_used": len(splits.train)}
        if baseline.seconds:
            row["minutes"] = round(baseline.seconds / 60, 2)
        found = [prediction.probabilities for prediction in baseline.predict(splits.test["text"])]
        rows.append(row | _shown(len(found), scores(splits.test["label"], found, splits.labels)))
    return rows


def _train(run_dir: Path, dataset: str) -> tuple[float, float]:
    """Run `train quick` and return its minutes and its worker's greatest resident memory in MB."""
    started = time.perf_counter()
    command = [
        "train",
        "quick",
        "--base",
        "embedded",
        "--dataset",
        dataset,
        "--run-dir",
        str(run_dir),
        "--json",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "training", *command],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
    )
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, _memory_mb(run_dir / "worker.json"))
        time.sleep(POLL_S)
    if process.returncode:
        raise SystemExit(f"`train quick` failed; see {run_dir / 'log.txt'}.")
    return (time.perf_counter() - started) / 60, peak


def _memory_mb(worker: Path) -> float:
    try:
        return float(psutil.Process(json.loads(worker.read_text())["pid"]).memory_info().rss / 2**20)
    except (OSError, ValueError, psutil.Error):
        return 0.0


def _evaluate(artifact: Path) -> Evaluation:
    command = [sys.executable, "-m", "training", "evaluate", str(artifact), "--with-base", "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Evaluation.from_json(json.loads(done.stdout))
