"""Write a results file: the claim's figures with the machine they were measured on."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median
from typing import Any

from scipy.stats import sem, t

from benchmarks import RESULTS
from inference.artifact import read_record
from inference.common.intervals import wilson
from inference.common.store import write_json
from training.evaluate.scores import SINGLE_SCORES, Bits, Scores
from training.fit.estimate import gflops
from training.runs.provenance import machine, versions

FOLDER = RESULTS
MADE = "made.json"
"""In a benchmark's own folder: the runs that it made, by their command."""


def write(name: str, **content: Any) -> Path:
    """Write benchmarks/results/NAME.json, with date, commit, machine, GEMM rate and versions added."""
    FOLDER.mkdir(exist_ok=True)
    if "location" in content.get("data", {}):  # a path of the machine that measured is nobody's business
        content["data"] = {**content["data"], "location": os.path.relpath(content["data"]["location"])}
    record = {
        "benchmark": name,
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
        "machine": {**machine(), "gemm_gflops": round(gflops(seconds=1.0), 1)},
        "versions": versions(),
        **content,
    }
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False, default=asdict) + "\n", encoding="utf-8")
    print(f"wrote {path.relative_to(FOLDER.parent.parent)}", flush=True)
    return path


def of_command(home: str, *command: str, **changes: str) -> dict[str, Any]:
    """Return the output of `python -m training COMMAND --json`, with runs in `home`.

    `changes`: settings of its recipe, for --set. Raises SystemExit if it fails.
    """
    command += tuple(word for name, value in changes.items() for word in ("--set", f"{name}={value}"))
    done = subprocess.run(
        [sys.executable, "-m", "training", *command, "--json"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "TWEETTUNE_HOME": home, "OMP_WAIT_POLICY": "PASSIVE"},
    )
    if done.returncode:
        raise SystemExit(f"`training {' '.join(command)}` failed with exit status {done.returncode}.")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def once(home: Path, *command: str, **changes: str) -> Path:
    """Return the folder of the run that `of_command` makes in `home`, or made there before.

    So a stopped benchmark goes on with its next run, and two can share one.
    """
    known, asked = read_record(home, MADE) or {}, json.dumps([command, changes])
    if asked not in known:
        print(f"training {' '.join(command)}", flush=True)
        known[asked] = of_command(str(home), *command, **changes)["run"]
        write_json(home / MADE, known)
    return home.absolute() / "runs" / str(known[asked])


def scores_of(each: Sequence[Scores]) -> dict[str, Any]:
    """Return one system's scores with their own intervals, or the means of several with Student's."""
    found = {name: [getattr(scores, name) for scores in each] for name in SINGLE_SCORES}
    return {
        name: values[0].to_json() if len(values) == 1 else mean_of([one.value for one in values])
        for name, values in found.items()
    }


def share(part: int, whole: int) -> dict[str, float] | None:
    """Return a share as its two numbers, with Wilson's interval; None of nothing."""
    found = wilson(part, whole)
    return {"part": part, "of": whole, "low": found.low, "high": found.high} if found else None


def spread(values: Sequence[float], digits: int = 2) -> dict[str, float]:
    """Return the median of turns, with the lowest and the highest."""
    found = {"value": median(values), "low": min(values), "high": max(values)}
    return {key: round(value, digits) for key, value in found.items()}


def bits_of(bits: Bits) -> dict[str, str]:
    """Return how well a language model predicts, before and after, as cells of a table."""
    change = bits.change
    return {
        "bits_a_character_before": f"{bits.before:.3f}",
        "after": f"{bits.after:.3f}",
        "change": f"{change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f})",
    }


def mean_of(values: Sequence[float]) -> dict[str, float]:
    """Return the mean of draws with Student's 95 % interval."""
    middle, reach = fmean(values), t.ppf(0.975, len(values) - 1) * sem(values)
    return {"value": middle, "low": float(middle - reach), "high": float(middle + reach)}


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()

    dirty = "+changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return git("rev-parse", "--short", "HEAD") + dirty
