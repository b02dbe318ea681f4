"""Was fine-tuning worth it? The whole ladder on the locked test rows, and with few labels by many draws.

    python -m benchmarks ladder --dataset DATA                    # measure, hours; or take what is measured:
    python -m benchmarks ladder --runs runs/…-ladder-…
    python -m benchmarks retrieval --dataset DATA                 # the nearest or drawn examples, 20 minutes
    python -m benchmarks few_labels --dataset DATA                # 10 ladders of 96 rows, about an hour
    python -m benchmarks few_labels --runs runs/…-ladder-… runs/…-ladder-…

With few labels it follows the protocol of public leaderboards: 10 draws with as many rows of each class, and
the mean of the draws with its 95 % interval (Student's t). A ladder goes through the command line, as a
user's would. Its picture goes to docs/.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import ROOT, results
from inference.common.machine import cores
from training.ladder.order import Order
from training.ladder.results import Ladder, StepResult
from training.runs.run import LADDER, Run, find_run

LABELS, DRAWS = 96, 10
FEW, FEW_ROWS = ("bag-of-words", "few-shot-4", "head", "lora"), 1000
"""The rungs of each draw, one a kind, and its test rows: all rungs on all rows would take a day."""
EXAMPLES = ("few-shot-4", "retrieval-words")
"""The rungs with as many examples in the prompt, drawn and near."""
PICTURE = ROOT / "docs" / "ladder.png"


def main(dataset: str, runs: Sequence[str] = ()) -> None:
    """Measure one ladder of all rungs, or take a finished one, and write results/ladder.json."""
    if len(runs) > 1:
        raise SystemExit(
            f"The table is that of one ladder, and {len(runs)} were given. Give one with --runs."
        )
    with tempfile.TemporaryDirectory() as home:
        [(run, ladder)] = finished(runs or [_climb(home, dataset)])
        shutil.copyfile(run.path / "intervals.png", PICTURE)
        results.write(
            "ladder",
            **made_from(run, ladder),
            rows=[_row(step) for step in ladder.ranked],
            comparison={"sentence": ladder.headline},
            pairs=[asdict(pair) for pair in ladder.pairs],
            left_out=dict(ladder.left_out),
        )


def retrieval(dataset: str, runs: Sequence[str] = ()) -> None:
    """Measure the nearest examples beside as many drawn ones, or take a ladder, and write retrieval.json."""
    with tempfile.TemporaryDirectory() as home:
        [(run, ladder)] = finished(runs or [_climb(home, dataset, "--rungs", ",".join(EXAMPLES))])
        if not ladder.nearest_or_drawn:
            raise SystemExit(f"The ladder {run.id} has no pair of {' and '.join(EXAMPLES)} of one number.")
        rows = [_row(step) for step in ladder.ranked if step.rung in EXAMPLES]
        results.write(
            "retrieval", **made_from(run, ladder), rows=rows, comparison={"sentence": ladder.nearest_or_drawn}
        )


def few_labels(dataset: str, runs: Sequence[str] = ()) -> None:
    """Measure the ladders of all draws, or take finished ones, and write results/few_labels.json."""
    with tempfile.TemporaryDirectory() as home:
        draws = ["--rungs", ",".join(FEW), "--labels", str(LABELS), "--balanced", "--limit", str(FEW_ROWS)]
        runs = runs or [_climb(home, dataset, *draws, "--seed", str(seed)) for seed in range(1, DRAWS + 1)]
        found = finished(runs)
        seeds = [Order.from_json(run.order).seed for run, _ in found]
        if len(set(seeds)) < max(len(seeds), 2):
            raise SystemExit(f"Draws need seeds of their own, two or more, and these have {seeds}.")
        ladders = [ladder for _, ladder in found]
        if len({(ladder.n, ladder.base.get("sha256")) for ladder in ladders}) > 1:
            raise SystemExit("The draws have another base or other test rows. Give ladders of the same.")
        first = ladders[0]
        steps = {
            step.name: [s for each in ladders for s in each.steps if s.name == step.name]
            for step in first.steps
        }
        rows = [_mean(found) for found in steps.values() if len(found) == len(ladders)]
        results.write(
            "few_labels",
            **made_from(found[0][0], first),
            draws=len(ladders),
            rows=sorted(rows, key=lambda row: -row["accuracy"]["value"]),
        )


def _climb(home: str, dataset: str, *more: str) -> str:
    """Measure a ladder on the embedded base and return its folder."""
    found = results.of_command(home, "ladder", "--base", "embedded", "--dataset", dataset, *more)
    return str(Path(home) / "runs" / found["run"])


def finished(runs: Sequence[str]) -> list[tuple[Run, Ladder]]:
    """Return ladders by the names or folders of their runs. Raises SystemExit for one without results."""
    found = []
    for name in runs:
        run = find_run(name, kind=LADDER)
        ladder = Ladder.read(run.path)
        if ladder is None:
            raise SystemExit(f"The ladder {run.id} is {run.status().state}: it has no results yet.")
        found.append((run, ladder))
    return found


def made_from(run: Run, ladder: Ladder) -> Mapping[str, Any]:
    """Return a results file's facts on base, data and rows; the machine must be this one."""
    if ladder.cores != (here := cores()):
        raise SystemExit(
            f"The ladder {run.id} was measured on {ladder.cores} cores, and here are {here}: its times would "
            "stand beside another machine's name. Take it over where it was measured."
        )
    rows = ladder.rows
    return {
        "run": run.id,
        "base": dict(ladder.base),
        "data": {"name": rows.data, "revision": rows.revision, "sha256": rows.sha256} if rows else None,
        "sizes": {"validation": ladder.n_validation, "test": ladder.n},
        "ladder": {key: getattr(ladder, key) for key in ("price", "cores")},
    }


def _row(step: StepResult) -> dict[str, Any]:
    return {
        "name": step.rung,
        "labels_used": step.labels_used,
        "n": step.n,
        **results.scores_of([step.scores]),
        "minutes": round(step.minutes_to_prepare, 2),
        "ms_a_tweet": round(step.ms_a_tweet, 2),
        "usd_per_1000": round(step.usd_a_thousand, 5),
    }


def _mean(steps: Sequence[StepResult]) -> dict[str, Any]:
    """Return the means over the draws, of each score with Student's interval."""
    return {
        "name": steps[0].rung,
        "labels_used": steps[0].labels_used,
        "n": steps[0].n,
        **results.scores_of([step.scores for step in steps]),
        "minutes": round(fmean(step.minutes_to_prepare for step in steps), 2),
    }
