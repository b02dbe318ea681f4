"""Inside the job: train by the crate's recipe, tell every event, push the artifact, fill the crate.

    python -m training.jobs.work         started by `bootstrap`, in the folder of the crate

The training is the same child process as at home. Exit status 0 means: the artifact is on the Hub.
Knows nothing about who follows.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from inference.common.errors import TweetTuneError
from inference.common.store import append_event, read_jsonl, sha256_of
from training.jobs import wire
from training.jobs.hub import JobsHub, give_up_in_time, quiet
from training.publish.files import Outgoing, allowed
from training.publish.scan import check
from training.recipes import load_recipe
from training.runs import run as jobs

RESULTS = ("events.jsonl", "disagreements.jsonl", "validation.jsonl", "log.txt")
_EVERY_S = 0.3


class Teller:
    """Tells a run's events by the output, each once."""

    def __init__(self, run: jobs.Run) -> None:
        self.path = run.path / "events.jsonl"
        self.told = 0

    def catch_up(self) -> None:
        """Tell what is new. A line that is just being written waits for the next look."""
        for event in list(read_jsonl(self.path))[self.told :]:
            self.told += 1
            for line in wire.lines(self.told, event):
                print(line, flush=True)  # noqa: T201  (a job speaks by its output)

    def note(self, kind: str, **content: Any) -> None:
        """Add an event of the job's own, and tell it."""
        append_event(self.path, kind, **content)
        self.catch_up()


def main() -> int:
    """Do the job. Returns the exit status."""
    give_up_in_time(60.0)
    quiet()
    task = json.loads(os.environ["TWEETTUNE_JOB"])
    run = jobs.create_run(load_recipe("recipe.toml"), run_dir=Path("run"))
    teller = Teller(run)
    try:
        if task["gpu"]:
            _require_gpu()
        if not _train(run, teller):
            return 1
        _push(run, task, teller)
    except (TweetTuneError, OSError) as error:
        teller.note("error", message=str(error), text=str(error))
        return 1
    return 0


def _require_gpu() -> None:
    import torch  # noqa: PLC0415  (seconds; a job on a CPU does not need it here)

    if not torch.cuda.is_available():
        raise TweetTuneError(
            f"The job's machine has a GPU, but PyTorch {torch.__version__} can't use it, so it was stopped "
            "before it cost more. Report it, or take --on jobs:cpu-upgrade."
        )


def _train(run: jobs.Run, teller: Teller) -> bool:
    """Train in a child process until it ends. Returns whether it finished."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_signal)
    jobs.start(run)
    try:
        while (state := run.status().state) in jobs.ACTIVE:
            teller.catch_up()
            time.sleep(_EVERY_S)
    except KeyboardInterrupt:  # the job was cancelled
        jobs.cancel(run)
        return False
    teller.catch_up()
    if state != "finished":
        sys.stdout.write((run.path / "log.txt").read_text(encoding="utf-8", errors="replace")[-20_000:])
        if not run.events("error"):
            teller.note("error", message=run.status().message, text=run.status().message)
    return state == "finished"


def _push(run: jobs.Run, task: dict[str, Any], teller: Teller) -> None:
    """Push the artifact in one commit, then what only the run needs to the crate."""
    hub = JobsHub.open()
    files, notes = looked_at(run)
    for note in notes:
        teller.note("note", text=note)
    teller.note("progress", phase="push", done=0, total=1, progress=1.0, time_left_s=None)
    hub.create(task["model"], "model")
    commit = hub.commit(task["model"], "model", files, message="Add the model of a training job")
    sha256 = {name: sha256_of(path) for name, path in files.items()}
    teller.note("pushed", repo=task["model"], commit=commit, sha256=sha256)
    results = {f"result/{name}": run.path / name for name in RESULTS if (run.path / name).is_file()}
    hub.commit(task["crate"], "dataset", results, message="Add what the run needs at home")


def looked_at(run: jobs.Run) -> tuple[dict[str, Path], list[str]]:
    """Return the files to be pushed, looked at byte by byte, and what is to be said of that.

    Raises NotPublishable, as a push from here does: see `training.publish.scan`.
    """
    files, left_out = pushable(run.artifact)
    check([Outgoing.of(name, path) for name, path in files.items()])
    lost = f"Not on the list of what may be pushed, and lost: {', '.join(left_out)}."
    return files, [lost] if left_out else []


def pushable(artifact: Path) -> tuple[dict[str, Path], list[str]]:
    """Return an artifact's files that may be pushed, by their path in it, and the names of the others."""
    found = sorted(path for path in artifact.rglob("*") if path.is_file())
    named = {path.relative_to(artifact).as_posix(): path for path in found}
    files = {name: path for name, path in named.items() if allowed(name)}
    return files, [name for name in named if name not in files]


if __name__ == "__main__":
    sys.exit(main())
