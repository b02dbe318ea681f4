"""Runs of each kind, finished and not, and what disks, people and other programs make of their records."""

import shutil
from pathlib import Path

from inference.common.store import append_event, write_json
from tests.support import REPOSITORY
from training.recipes import load_recipe
from training.runs.run import Run, create_run, create_run_of

FINISHED = REPOSITORY / "tests" / "fixtures" / "2026-11" / "run"
RENTAL = {
    **{"flavor": "l4x1", "gpu": True, "usd_per_hour": 0.8, "price_source": "the Hub", "namespace": "ada"},
    **{"nonce": "1f", "bundle": "ada/b", "model": "ada/m", "estimated_s": 60, "timeout_s": 600},
    **{"job_id": "7", "job_url": "https://huggingface.co/jobs/ada/7"},
}
DEAD = {"pid": 2**30, "created": 1.0}
RECORDS = ("recipe.toml", "run.json", "status.json", "worker.json", "spent.json", "evaluation.json")
RECORDS += ("events.jsonl", "disagreements.jsonl", "push.json", "rented.json")


def finished(folder: Path) -> Run:
    shutil.copytree(FINISHED, folder, ignore=shutil.ignore_patterns("artifact"))
    return Run(folder)


def failed(folder: Path) -> Run:
    run = create_run(load_recipe("smoke"), run_dir=folder)
    append_event(folder / "events.jsonl", "step", step=1, loss=0.5)
    for name, record in {
        "worker.json": DEAD,
        "spent.json": {"seconds": 3.0},
        "push.json": {"repo_id": "ada/x", "private": True},
        "status.json": {"state": "failed", "message": "The disk was full.", "started_at": 1.0},
    }.items():
        write_json(folder / name, record)
    return run


def rented(folder: Path) -> Run:
    run = create_run(load_recipe("smoke"), run_dir=folder)
    write_json(folder / "rented.json", RENTAL)
    write_json(folder / "worker.json", DEAD)
    write_json(folder / "status.json", {"state": "running", "phase": "train", "progress": 0.5, "pid": 2**30})
    return run


def pushed(folder: Path, kind: str = "push") -> Run:
    order = {"run_id": "x", "source": "runs/x", "repo_id": "ada/x", "who": "ada", "dry_run": False}
    made = create_run_of(kind, order, name="x")
    append_event(made.path / "events.jsonl", "plan", files=[{"name": "config.json", "size": 3}])
    write_json(made.path / "status.json", {"state": "finished", "progress": 1.0})
    return Run(made.path.rename(folder), kind)


KINDS = {
    **{"finished": finished, "failed": failed, "rented": rented, "push": pushed},
    "push-data": lambda folder: pushed(folder, "push-data"),
}
DAMAGES = {
    "empty": b"",
    "blanks": b"  \n",
    "garbage": b"\x00\xff\xfe garbage {",
    "a list": b"[1, 2]\n",
    "a number": b"7\n",
    "null": b"null\n",
    "nested": b"[" * 100_000 + b"\n",
    "utf-16": '{"state": "finished"}'.encode("utf-16"),
    "of another program": b'{"state": [], "pid": "x", "kind": 3, "seconds": "?", "repo_id": 1}\n',
    "not finite": b'{"state": "running", "progress": NaN, "pid": -1, "created": 1e999, "seconds": NaN}\n',
}
