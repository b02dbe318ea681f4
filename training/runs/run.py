"""Runs: trainings in a child process each, and the folders that record them.

    run = create_run(load_recipe("quick"))
    start(run)                      # a child process; this one may end, the run goes on
    run.status().time_left_s
    cancel(run); resume(run)        # a cancelled, failed or interrupted run goes on from its checkpoint

    runs/<id>/recipe.toml           the settings
              events.jsonl          what happened, append-only: see `worker`
              status.json           state and progress, written by rename
              worker.json           the process that runs it
              spent.json            the seconds that earlier processes took
              log.txt               all that the process printed
              checkpoints/          to resume from
              artifact/             the servable folder, when it is finished
              evaluation.json       fine-tuned, base and baselines on the test split
              disagreements.jsonl   the test rows on which they disagree
              push.json             where `train --push` was told to put the model, until it is there
              rented.json           the job that trains it elsewhere: see `training.jobs`

The folder is the record: whoever reads it later (the app after a restart, the CLI) finds every run again.
Knows nothing about what a training does.
"""

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from inference.artifact import read_record
from inference.common.errors import RecipeError, RunError
from inference.common.paths import runs_dir
from inference.common.store import append_event, read_jsonl, write_json
from training.evaluate.scores import Disagreement, Evaluation, read_all, read_evaluation
from training.jobs.record import load as load_rental
from training.recipes import Recipe, load_recipe, save_recipe
from training.runs.preflight import NotEnoughRoom, check_room

ACTIVE = ("queued", "running")
RESUMABLE = ("cancelled", "failed", "interrupted")
_CODE = Path(__file__).resolve().parent.parent.parent
_children: list[subprocess.Popen[bytes]] = []  # kept, so that a worker that ends is reaped


@dataclass(frozen=True)
class Status:
    """Where a run stands."""

    state: str
    """queued, running, finished, failed, cancelled, or interrupted: its process died."""
    phase: str = ""
    progress: float = 0.0
    """From 0 to 1, over the whole run."""
    time_left_s: float | None = None
    message: str = ""
    pid: int | None = None
    started_at: float | None = None
    finished_at: float | None = None


@dataclass(frozen=True)
class Run:
    """A training and its folder."""

    path: Path
    recipe: Recipe

    @property
    def id(self) -> str:
        """The name of the run's folder."""
        return self.path.name

    @property
    def artifact(self) -> Path:
        """The servable folder; it exists when the run is finished."""
        return self.path / "artifact"

    @property
    def was_started(self) -> bool:
        """Whether a process was ever started for it."""
        return (self.path / "worker.json").exists()

    def status(self) -> Status:
        """Read the run's state; a run whose process died is interrupted."""
        worker = read_record(self.path, "worker.json")
        ended = worker is not None and not _alive(worker)  # before the status, which may be its last word
        record = read_record(self.path, "status.json") or {"state": "queued"}
        status = Status(**{key: value for key, value in record.items() if key in Status.__dataclass_fields__})
        if not (ended and status.state in ACTIVE):
            return status
        state, message = "interrupted", "Its process ended without a word"
        if worker and worker.get("cancelled"):
            state, message = "cancelled", "Cancelled"
        if (rental := load_rental(self.path)) and rental.open:
            message = (
                f"Nobody follows its job {rental.job_url}, which may go on and cost (stop it with "
                f"`python -m training cancel {self.id}`)"
            )
        return replace(
            status,
            state=state,
            time_left_s=None,
            pid=None,
            message=f"{message}; resume it with `python -m training resume {self.id}`.",
        )

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the events so far, all or of one kind; after a resume, the newer of two for one step."""
        found = [e for e in read_jsonl(self.path / "events.jsonl") if kind is None or e.get("kind") == kind]
        if kind in ("step", "validation"):
            return [event for _, event in sorted({event["step"]: event for event in found}.items())]
        return found

    def evaluation(self) -> Evaluation | None:
        """Return what was measured on the test split, None before it is there; ArtifactError if torn."""
        return read_evaluation(self.path)

    def disagreements(self) -> list[Disagreement]:
        """Return the test rows on which base and fine-tuned disagree."""
        return list(read_all(Disagreement, list(read_jsonl(self.path / "disagreements.jsonl"))))


def create_run(recipe: Recipe, *, run_dir: Path | None = None) -> Run:
    """Make the folder of a new run. Raises RunError when the place is taken or can't be written."""
    path = (run_dir or runs_dir()).absolute()
    if run_dir and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"{path} is not empty. Give --run-dir a new folder, or resume the run that is there.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        path = path if run_dir else _new_folder(path, recipe)
        save_recipe(recipe, path / "recipe.toml")
        write_json(path / "status.json", {"state": "queued", "started_at": time.time()})
    except OSError as error:
        raise RunError(
            f"The run folder {path} can't be written ({error.strerror}). Give another --run-dir."
        ) from error
    return Run(path, recipe)


def _new_folder(runs: Path, recipe: Recipe) -> Path:
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{re.sub('[^a-zA-Z0-9]+', '-', recipe.name) or 'run'}"
    for number in itertools.count(1):
        path = runs / (stem if number == 1 else f"{stem}-{number}")
        with contextlib.suppress(FileExistsError):  # another process may start a run in the same second
            path.mkdir()
            break
    return path


def start(run: Run) -> None:
    """Start a run's process, which outlives this one.

    Raises RunError if it runs already, is finished, or if memory or disk are too small for it.
    """
    state, spent = run.status().state, spent_s(run)
    if state == "finished" or (state in ACTIVE and run.was_started):
        raise RunError(f"The run {run.id} is {state} already. See it with `python -m training runs`.")
    if (rental := load_rental(run.path)) and rental.lost:
        raise RunError(
            f"The job of the run {run.id} has ended ({rental.ended}), and a rented run has no checkpoint "
            "here. Train again with `--on jobs`."
        )
    if not rental:
        _check_room(run, state)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads must not take a core from the app
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_CODE), os.environ.get("PYTHONPATH")]))
    try:
        if spent:
            write_json(run.path / "spent.json", {"seconds": spent})
        write_json(run.path / "status.json", {"state": "queued", "started_at": time.time()})
        (run.path / "worker.json").unlink(missing_ok=True)
        with (run.path / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "training", "run", str(run.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C in a terminal and a closed app must not reach it
            )
        _children.append(process)
        created = psutil.Process(process.pid).create_time()
        write_json(run.path / "worker.json", {"pid": process.pid, "created": created})
    except OSError as error:
        raise RunError(
            f"The run {run.id} can't be started ({error.strerror or error}). Free the disk."
        ) from error


def spent_s(run: Run) -> float:
    """Return for how many seconds a run's processes have worked so far, the one at work included."""
    before = (read_record(run.path, "spent.json") or {}).get("seconds", 0.0)
    worker = read_record(run.path, "worker.json") or {}
    files = [run.path / name for name in ("status.json", "events.jsonl")]
    last = max((file.stat().st_mtime for file in files if file.exists()), default=0.0)
    return float(before + max(0.0, last - worker.get("created", last)))


def _check_room(run: Run, state: str) -> None:
    try:
        if unchecked := check_room(run.recipe, run.path):
            append_event(run.path / "events.jsonl", "note", text=unchecked)
    except NotEnoughRoom as error:
        if state == "queued":  # else it stays what it was, and can be resumed
            write_json(run.path / "status.json", {"state": "failed", "message": str(error)})
        raise


def cancel(run: Run) -> None:
    """Ask a run to stop at its next step and leave a checkpoint. Raises RunError when it is not running."""
    worker = read_record(run.path, "worker.json")
    if run.status().state not in ACTIVE and (rental := load_rental(run.path)) and rental.open:
        from training.jobs.follow import cancel_now  # noqa: PLC0415  (it needs this module)

        return cancel_now(run)
    if run.status().state not in ACTIVE or worker is None:
        raise RunError(f"The run {run.id} is not running ({run.status().state}): there is nothing to cancel.")
    append_event(run.path / "events.jsonl", "note", text="Cancelling: it stops at the next step.")
    write_json(
        run.path / "worker.json", {**worker, "cancelled": True}
    )  # it may be too young to say so itself
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.kill(worker["pid"], signal.SIGTERM)


def resume(run: Run) -> None:
    """Start a cancelled, failed or interrupted run again from its last checkpoint. Raises RunError."""
    state = run.status().state
    if state not in RESUMABLE:
        raise RunError(f"The run {run.id} is {state}: only a {', '.join(RESUMABLE)} run can be resumed.")
    start(run)


def list_runs(folder: Path | None = None) -> list[Run]:
    """Return the runs below a folder (default: `runs/`), newest first; other folders are left out."""
    runs = []
    for path in (folder or runs_dir()).glob("*/recipe.toml"):
        try:
            runs.append(Run(path.parent, load_recipe(path)))
        except RecipeError:
            continue
    return sorted(runs, key=lambda run: (run.path / "recipe.toml").stat().st_mtime, reverse=True)


def find_run(id_or_path: str | Path) -> Run:
    """Return a run by its id in `runs/` or by its folder. Raises RunError, naming the runs there are."""
    for path in (Path(id_or_path), runs_dir() / id_or_path):
        if (path / "recipe.toml").is_file():
            return Run(path.absolute(), load_recipe(path / "recipe.toml"))
    known = ", ".join(run.id for run in list_runs()[:5]) or "none yet"
    raise RunError(
        f"There is no run {str(id_or_path)!r} (runs: {known}). Start one with `python -m training train`."
    )


def running() -> Run | None:
    """Return the run that is at work in `runs/`, if one is."""
    return next((run for run in list_runs() if run.status().state in ACTIVE), None)


def _alive(worker: dict[str, Any]) -> bool:
    for child in _children:
        child.poll()
    try:
        process = psutil.Process(worker["pid"])
        # A number can be given to another process.
        same: bool = abs(process.create_time() - worker["created"]) < 1
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
