"""The process that pushes labels for the app, one order on standard input.

    python -m training.publish.labels_work

    {"source": "labels/labels-1.jsonl", "repo_id": "ada/labels", "private": false, "token": "hf_…"}

It speaks as `training.publish.work` does, which pushes models: `step`s, one `plan`, then `done` or `error`.
Killing it is safe at any moment. Knows nothing about who asked.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from training.publish.dataset import prepare_data, push_data
from training.publish.work import obey, tell


def _carry_out(order: dict[str, Any]) -> None:
    plan = prepare_data(Path(order["source"]), order["repo_id"], private=bool(order.get("private")))
    tell("plan", files=[{"name": file.path_in_repo, "size": file.size} for file in plan.files])
    pushed = push_data(plan, token=order.get("token"), progress=lambda said: tell("step", phase=said))
    tell("done", **dataclasses.asdict(pushed))


if __name__ == "__main__":
    sys.exit(obey(_carry_out))
