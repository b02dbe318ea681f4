"""How good are the recipes? Each on a whole test split, beside the base and simple baselines.

    python -m benchmarks quality --dataset DATA         # measure, hours; what was stopped goes on
    python -m benchmarks quality --runs runs/quick-… runs/…    # or take finished runs over

A run goes through the command line, so its minutes and its memory are those of a user's run. A seed draws the
training rows and all that is random in training; several seeds give the mean with Student's 95 % interval.
The runs stay in .cache/quality, so that a stopped benchmark goes on.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import CACHE, results
from inference.artifact import PROVENANCE, read_record
from inference.common.store import JsonObject
from training.evaluate.scores import BAG_OF_WORDS, BASE, MAJORITY, TUNED, Evaluation
from training.runs.run import find_run

SEEDS = {"quick": (1, 2, 3, 4, 5), "unlabelled": (1,), "lora": (1,)}
KEPT = CACHE / "quality"
_PLAIN = {MAJORITY: "majority class", BAG_OF_WORDS: "TF-IDF, logistic regression", BASE: "base, zero-shot"}


def main(dataset: str, runs: Sequence[str] = ()) -> None:
    """Train what is not trained yet, or take finished runs, and write results/quality.json."""
    found = [
        _finished(run)
        for run in runs or [_train(dataset, name, seed) for name in SEEDS for seed in SEEDS[name]]
    ]
    if len({json.dumps([made["base"], _rows(made)], sort_keys=True) for made, _ in found}) > 1:
        raise SystemExit("The runs have another base or other test rows. Give runs of the same.")
    made, first = found[0]
    comparison = first.comparison(BASE, TUNED)
    assert comparison
    names = dict.fromkeys(made["recipe"]["name"] for made, _ in found)
    results.write(
        "quality",
        base=made["base"],
        data=made["data"]["source"],
        sizes=made["sizes"],
        rows=[
            *(_row(title, [(made, first)], name) for name, title in _PLAIN.items() if first.system(name)),
            *(_row(name, [one for one in found if one[0]["recipe"]["name"] == name]) for name in names),
        ],
        comparison={"sentence": comparison.sentence},
    )


def _train(dataset: str, name: str, seed: int) -> str:
    folder = KEPT / f"{name}-{seed}"
    print(f"{name}, seed {seed}", flush=True)
    changes = {"base": "embedded", "dataset": str(Path(dataset).absolute()), "n_test": "0", "seed": str(seed)}
    results.of_command(str(KEPT), "train", name, "--run-dir", str(folder), "--reuse", **changes)
    return str(folder)


def _finished(name: str) -> tuple[JsonObject, Evaluation]:
    run = find_run(name)
    made, evaluation = read_record(run.artifact, PROVENANCE), run.evaluation()
    if not made or not evaluation:
        raise SystemExit(f"The run {run.id} is {run.status().state}: it has no results yet.")
    return made, evaluation


def _rows(made: JsonObject) -> Any:
    return made["sizes"]["test"], made["data"]["source"].get("sha256")


def _row(title: str, found: Sequence[tuple[JsonObject, Evaluation]], name: str = TUNED) -> dict[str, Any]:
    """Return the row of a recipe, or of a baseline of the first run."""
    systems = [system for _, evaluation in found if (system := evaluation.system(name))]
    row: dict[str, Any] = {"name": title, "labels_used": 0 if name == BASE else found[0][0]["sizes"]["train"]}
    if name == TUNED:
        row["seeds"] = len(found)
        row["minutes"] = fmean(sum(made["duration_s"].values()) / 60 for made, _ in found)
        row["peak_memory_gb"] = max(made.get("peak_memory_mb") or 0 for made, _ in found) / 1024
    elif systems[0].seconds:
        row["minutes"] = systems[0].seconds / 60
    return row | {"n": found[0][1].n} | results.scores_of([system.scores for system in systems])
