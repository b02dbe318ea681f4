"""The process that publishes for the app: `python -m training.publish.work`, one order on standard input.

    {"source": "runs/demo", "repo_id": "ada/tweets", "private": false, "pr": false, "adapter_only": false,
     "dry_run": false, "token": "hf_…", "endpoint": null, "secrets": ["what must not be in the files"]}

What happens goes to standard output as JSON objects, one a line: `step`s, then one `plan`, `done` or `error`.
The token, and the secrets of whoever asks, come by standard input, so that no list of processes and no file
shows them. Killing the process is safe at any moment: a commit is made whole or not at all. Knows nothing
about who asked.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inference.common.errors import TweetTuneError
from training.publish import Plan, check_rights, prepare, push
from training.publish.plan import export_for_push, find_artifact


def obey(carry_out: Callable[[dict[str, Any]], None]) -> int:
    """Do what the order on standard input says. Returns the exit status."""
    order = json.loads(sys.stdin.readline())
    try:
        carry_out(order)
    except TweetTuneError as error:
        tell("error", text=str(error))
        return 1
    return 0


def _carry_out(order: dict[str, Any]) -> None:
    access: dict[str, Any] = {"token": order.get("token"), "endpoint": order.get("endpoint")}
    if not order.get("dry_run"):
        tell("step", phase="rights")
        check_rights(order["repo_id"], **access, pr=bool(order.get("pr")))
    tell("step", phase="prepare")
    note = ""
    if not order.get("adapter_only"):
        note = export_for_push(find_artifact(order["source"]), dry_run=bool(order.get("dry_run")))
    plan = prepare(
        Path(order["source"]),
        order["repo_id"],
        private=bool(order.get("private")),
        pr=bool(order.get("pr")),
        adapter_only=bool(order.get("adapter_only")),
        secrets=order.get("secrets") or (),
    )
    tell("plan", **_shown(plan, note))
    if not order.get("dry_run"):
        pushed = push(plan, **access, progress=lambda step: tell("step", **dataclasses.asdict(step)))
        tell("done", **dataclasses.asdict(pushed))


def _shown(plan: Plan, note: str) -> dict[str, Any]:
    files = [{"name": file.path_in_repo, "size": file.size} for file in plan.files]
    return {"files": files, "card": plan.card, "notes": [*filter(None, [note]), *plan.notes]}


def tell(kind: str, **more: Any) -> None:
    """Write one JSON object."""
    sys.stdout.write(json.dumps({"kind": kind, **more}, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(obey(_carry_out))
