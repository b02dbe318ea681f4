"""Does a training that is killed at a random moment lose anything?

    python -m benchmarks kills

A tiny, real GPT-2 is trained by the same worker as a user's model, and stopped 50 times at random moments:
by SIGKILL, by SIGTERM, or by a full disk (a limit on the size of its files, at which the system fails a write
halfway). After each stop all that was reported must still be there: each line of events.jsonl, a readable
status, the newest whole checkpoint. Then it is resumed, must go on from that checkpoint, and is stopped
again, until it ends; its weights must equal those of an undisturbed training.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from benchmarks import results
from benchmarks.doctor import Draw, base
from training.fit.trainer import last_checkpoint
from training.recipes import Recipe
from training.runs.process import start
from training.runs.run import ACTIVE, Run, create_run

STOPS, SEED = 50, 1
WAYS = ("SIGKILL", "SIGTERM", "full disk")
SAME = 1e-4
"""The largest difference between equal weights: the order of sums may differ."""


def main(dataset: str, *, stops: int = STOPS) -> None:
    """Stop trainings so many times, and write results/kills.json. The data is made up, not `dataset`."""
    rng = random.Random(SEED)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        draw = Draw.healthy(SEED)
        draw.write(folder / "data")
        recipe = Recipe(
            name="killed",
            base=str(base(folder / "base")),
            dataset=str(folder / "data"),
            epochs=6,
            evals_per_epoch=4,
            batch_size=8,
            trunk_layers="1",
            learning_rate=3e-3,
        )
        undisturbed = create_run(recipe, run_dir=folder / "undisturbed")
        began = time.monotonic()
        start(undisturbed)
        _ended(undisturbed, 600)
        lasts = time.monotonic() - began
        expected = load_file(undisturbed.artifact / "model.safetensors")
        found: list[dict[str, Any]] = []
        runs = 0
        while len(found) < stops:
            run = create_run(recipe, run_dir=folder / f"run-{runs}")
            runs += 1
            while run.status().state != "finished":
                way = rng.choice(WAYS) if len(found) < stops else ""
                record = _stopped(run, way, rng.uniform(0.2, 0.9 * lasts), rng)
                if way and (record["state"] != "finished" or record["lost"]):  # it came in time
                    found.append(record)
                print(json.dumps(record), flush=True)
            weights = load_file(run.artifact / "model.safetensors")
            apart = max(float((weights[name] - tensor).abs().max()) for name, tensor in expected.items())
            if apart > SAME and found:
                found[-1]["lost"].append(f"the weights differ by {apart:.2g} at the end")
    results.write(
        "kills",
        runs=runs,
        seconds_undisturbed=round(lasts, 1),
        stops=found,
        rows=[_row(way, [one for one in found if one["by"] == way]) for way in WAYS],
    )


def _stopped(run: Run, way: str, after_s: float, rng: random.Random) -> dict[str, Any]:
    """Start a run, stop it after some seconds, and return what was lost; without a way it runs to its end."""
    before = run.events()
    kept = int((last_checkpoint(run.path / "checkpoints") or "-0").rpartition("-")[2])
    limit = ["prlimit", f"--fsize={rng.randint(20_000, 400_000)}"] if way == "full disk" else []
    start(run, command=(*limit, sys.executable, "-m", "training.worker"))
    if way in ("SIGKILL", "SIGTERM"):
        time.sleep(after_s)
        if (now := run.status()).state in ACTIVE and now.pid:
            os.kill(now.pid, getattr(signal, way))
    status = _ended(run, 120)
    lost, events = [], run.events()
    if events[: len(before)] != before:
        lost.append("events")
    if status.state not in ("finished", "interrupted", "cancelled", "failed"):
        lost.append(f"the status is {status.state}")
    if status.state == "failed" and (not status.message or "\n" in status.message):
        lost.append("a failed run without a sentence")
    steps = [event["step"] for event in events[len(before) :] if event["kind"] == "step"]
    if kept and steps and steps[0] > kept + 1:
        lost.append(f"steps {kept + 1} to {steps[0] - 1}")
    if kept and steps and steps[0] <= kept:
        lost.append(f"the checkpoint of step {kept}")
    return {"by": way or "nothing", "after_s": round(after_s, 2), "state": status.state, "lost": lost}


def _ended(run: Run, seconds: float) -> Any:
    end = time.monotonic() + seconds
    while (status := run.status()).state in ACTIVE:
        if time.monotonic() > end:
            raise SystemExit(f"{run.path} did not end within {seconds:.0f} s.")
        time.sleep(0.02)
    return status


def _row(way: str, some: list[dict[str, Any]]) -> dict[str, Any]:
    bad = sum(bool(one["lost"]) for one in some)
    return {"name": way, "stops": len(some), "lost": results.share(bad, len(some))}
