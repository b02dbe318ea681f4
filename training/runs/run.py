"""Runs: long pieces of work in a child process each, and the folders that record them.

    run = create_run(load_recipe("quick"))           # then `training.runs.process`: start, cancel, resume
    run.status().time_left_s
    find_run("20261125-quick"), list_runs()          # trainings; kind=None: pushes too
    ahead_of(run)                                    # what a run that was started waits for
    delete(run); rename(run, "airlines")

    runs/<id>/recipe.toml           the settings of a training
              run.json              of any other kind of run: what it is, and what it was asked to do
              events.jsonl          what happened, append-only: see `training.runs.log`
              status.json           state and progress, written by rename
              worker.json           the process that runs it
              spent.json            the seconds that earlier processes took
              log.txt               all that the process printed
              checkpoints/          to resume from
              artifact/             the servable folder, when it is finished
              evaluation.json       fine-tuned, base and baselines on the test split
              disagreements.jsonl   the test rows on which they disagree
              push.json             where `train --push` is to put the model, until it is there
              rented.json           the job that trains it elsewhere: see `training.jobs`

The folder is the record: whoever reads it later (the app after a restart, the CLI) finds every run again.
One with a record that is torn, empty or foreign is "damaged", and its message says what to do: listing
and reading runs never raises.
"""

import contextlib
import itertools
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import psutil

from inference.common.errors import ArtifactError, RecipeError, RunError
from inference.common.paths import runs_dir
from inference.common.store import Damaged, JsonObject, read_json, write_json
from inference.tables.formats import is_path, open_table
from training.evaluate.scores import Disagreement, Evaluation, read_all, read_evaluation
from training.recipes import DATASET_ID, LEFT_OVER, Recipe, check_unlabelled, save_recipe
from training.runs import records
from training.runs.records import DISAGREEMENTS, EVENTS, ORDER, RECIPE, STATUS, WORKER, State, Status, Worker

ACTIVE = ("queued", "running")
RESUMABLE = ("cancelled", "failed", "interrupted")
TRAIN, LADDER, TUNE, FORECAST = "train", "ladder", "tune", "forecast"
ADAPT, FORGETTING, AUDIT = "adapt", "forgetting", "audit"
STUDIES = (LADDER, TUNE, FORECAST, ADAPT, FORGETTING, AUDIT)
"""The kinds of `training.runs.study`."""
_LONGEST = 60  # characters of a name in the name of a folder


@dataclass(frozen=True)
class Run:
    """A piece of work and its folder."""

    path: Path
    kind: str = TRAIN
    """Its work: a key of `training.worker.WORK`."""

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def can_resume(self) -> bool:
        """Whether a new process goes on where an earlier one ended."""
        return self.kind in (TRAIN, *STUDIES)

    @cached_property
    def recipe(self) -> Recipe:
        """The settings of a training. Raises RecipeError, for a run of another kind too."""
        return records.read_recipe(self.path / RECIPE)

    @property
    def known_recipe(self) -> Recipe | None:
        """The same for whoever lists runs: None for a run of another kind, and where it can't be used."""
        with contextlib.suppress(RecipeError):
            return self.recipe if self.kind == TRAIN else None
        return None

    @property
    def order(self) -> JsonObject:
        """The order of a run of another kind; {} where it can't be read."""
        with contextlib.suppress(Damaged):
            return read_json(self.path / ORDER) or {}
        return {}

    @property
    def artifact(self) -> Path:
        """The servable folder; it exists when a training is finished."""
        return self.path / "artifact"

    @property
    def was_started(self) -> bool:
        """Whether a process was ever started for it."""
        return os.path.lexists(self.path / WORKER)

    def can_start(self, status: Status) -> bool:
        """Whether a process may take it up: it ended early, or was made and never started."""
        return status.state in RESUMABLE or (status.state == "queued" and not self.was_started)

    def worker(self) -> Worker | None:
        """Return the process that runs it, or ran it; None where there is none that could be read."""
        with contextlib.suppress(Damaged):
            return records.read_as(Worker, self.path / WORKER)
        return None

    def status(self) -> Status:
        """Read the run's state: interrupted when its process died, damaged when a record can't be used."""
        worker = self.worker()
        alive = worker is not None and worker.alive  # before the status, which may be its last word
        try:
            status = records.read_as(Status, self.path / STATUS) or Status("queued")
        except Damaged:
            status = Status("running" if alive else "damaged")
        if not alive and (wrong := records.damage(self.path, finished=status.state == "finished")):
            return _without_process(status, "damaged", wrong)
        ended = not alive if worker else bool(status.pid and not psutil.pid_exists(status.pid))
        if not (ended and status.state in ACTIVE):
            return status
        state: State = "interrupted"
        message = "Its process ended without a word"
        if worker and worker.cancelled:
            state, message = "cancelled", "Cancelled"
        try:
            if runner := runner_of(self):
                message = runner.unfollowed(self) or message
        except RunError as error:
            return _without_process(status, "damaged", str(error))
        advice = f"resume it with `python -m training resume {self.id}`"
        if not self.can_resume:
            advice = "start it again: nothing is sent twice"
        return _without_process(status, state, f"{message}; {advice}.")

    def check(self) -> None:
        """Raise RunError for a damaged run, with what to do."""
        status = self.status()
        if status.state == "damaged":
            raise RunError(f"The run {self.id} is damaged. {status.message}")

    def events(self, kind: str | None = None) -> list[JsonObject]:
        """Return the events so far, all or of one kind; after a resume, the newer of two for one step."""
        found = [event for event in records.events(self.path / EVENTS) if kind in (None, event["kind"])]
        if kind in ("step", "validation"):
            return [event for _, event in sorted({event["step"]: event for event in found}.items())]
        return found

    def evaluation(self) -> Evaluation | None:
        """Return what was measured on the test split, None before it is there, and where it is torn."""
        with contextlib.suppress(ArtifactError):
            return read_evaluation(self.path)
        return None

    def disagreements(self) -> list[Disagreement]:
        return list(read_all(Disagreement, records.lines(self.path / DISAGREEMENTS)))


def _without_process(status: Status, state: State, message: str) -> Status:
    return replace(status, state=state, time_left_s=None, pid=None, message=message)


class Runner(Protocol):
    """Who does the work of a run that is not done by a process of this machine, such as a rented one."""

    def has(self, run: Run) -> bool:
        """Whether this run is one of its own."""

    def unfollowed(self, run: Run) -> str:
        """Say of a run whose process died that the work may go on elsewhere, "" for nothing.

        Raises RunError where its record of that can't be used.
        """

    def check_start(self, run: Run) -> None:
        """Raise RunError when the run can't be started again."""

    def cancel(self, run: Run) -> bool:
        """Stop what goes on elsewhere though nobody follows it; False when nothing does."""

    def work(self, run: Run) -> int:
        """Follow the work to its end, in the run's process. Returns the exit status."""


RUNNERS: dict[str, Runner] = {}
"""By name. `training.jobs.runner` registers the one of the Hub's jobs: runs don't know of jobs."""


def runner_of(run: Run) -> Runner | None:
    """Return who does the work of a run, None for this machine."""
    return next((runner for runner in RUNNERS.values() if runner.has(run)), None)


def create_run(recipe: Recipe, *, run_dir: Path | None = None) -> Run:
    """Make the folder of a new training.

    Raises RunError when the place is taken or can't be written, and what `check_named` raises.
    """
    recipe = with_whole_paths(recipe)
    check_named(recipe)
    path = (run_dir or runs_dir()).absolute()
    if run_dir and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"{path} is not empty. Give --run-dir a new folder, or resume the run that is there.")
    with _writing(path, "Give another --run-dir."):
        path.mkdir(parents=True, exist_ok=True)
        path = path if run_dir else _new_folder(path, recipe.name)
        save_recipe(recipe, path / RECIPE)
        write_json(path / STATUS, {"state": "queued", "started_at": time.time()})
    return Run(path)


def create_run_of(kind: str, order: JsonObject, *, name: str, recipe: Recipe | None = None) -> Run:
    """Make the folder of a new run of another kind: `order` says what it is to do, and holds no secret.

    Raises as `create_run` does; `recipe`: what it is about.
    """
    if recipe:
        check_named(recipe)
    runs = runs_dir().absolute()
    with _writing(runs, "Free the disk, or set TWEETTUNE_HOME to another one."):
        runs.mkdir(parents=True, exist_ok=True)
        path = _new_folder(runs, f"{kind}-{name}")
        write_json(path / ORDER, {**order, "kind": kind})
        write_json(path / STATUS, {"state": "queued", "started_at": time.time()})
    return Run(path, kind)


def check_named(recipe: Recipe) -> None:
    """Raise BaseError, DataError or RecipeError where what a recipe names is not there, or is another.

    Downloads and the files' content are checked by the run itself.
    """
    from training.model.bases import check_named as check_base  # noqa: PLC0415  (not for those who only look)

    check_base(recipe.base)
    check_unlabelled(recipe.unlabelled.strip())
    for name in ("dataset", "more_data", "unlabelled"):
        path = _path(recipe, name)
        on_hub = name == "dataset" and DATASET_ID.fullmatch(path) and not is_path(path)
        if path and not on_hub and not (os.path.isdir(path) and name == "dataset"):
            open_table(Path(path))
    if recipe.report_to == "trackio" and not find_spec("trackio"):
        raise RecipeError(
            "report_to is trackio, which is not installed. Run `pip install trackio`, or set it to none."
        )


def with_whole_paths(recipe: Recipe) -> Recipe:
    """Return a recipe whose files and folders are found from any folder: somebody may go on from another."""
    whole = {}
    for name in ("base", "dataset", "more_data", "teacher", "unlabelled"):
        path = _path(recipe, name)
        if path and os.path.exists(path):
            whole[name] = str(Path(path).absolute())
        elif name == "base" and path and (runs_dir() / path / "artifact").is_dir():
            whole[name] = str(runs_dir() / path)
    return recipe.model_copy(update=whole)


def _path(recipe: Recipe, name: str) -> str:
    """Return what a setting names, which may be a path; "" for nothing and for a word."""
    words = (LEFT_OVER,) if name == "unlabelled" else ("auto", "embedded")
    named = os.path.expanduser(getattr(recipe, name).strip())
    return "" if named in words else named


@contextlib.contextmanager
def _writing(path: Path, advice: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"The run folder {path} can't be written ({error.strerror}). {advice}") from error


def _new_folder(runs: Path, name: str) -> Path:
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{re.sub('[^a-zA-Z0-9]+', '-', name)[:_LONGEST] or 'run'}"
    for number in itertools.count(1):
        path = runs / (stem if number == 1 else f"{stem}-{number}")
        with contextlib.suppress(FileExistsError):  # another process may start a run in the same second
            path.mkdir()
            break
    return path


def list_runs(*, kind: str | None = TRAIN) -> list[Run]:
    """Return the runs below `runs/`, newest first; other folders are left out.

    `kind`: trainings unless another one is asked for; None: all.
    """
    found = []
    for path in runs_dir().glob("*"):
        if (run := _read(path)) and kind in (None, run.kind):
            file = next((path / name for name in (RECIPE, ORDER) if os.path.lexists(path / name)), path)
            with contextlib.suppress(FileNotFoundError):  # it is just being removed
                found.append((file.lstat().st_mtime, run))
    return [run for _, run in sorted(found, key=lambda one: one[0], reverse=True)]


def find_run(id_or_path: str | Path, *, kind: str | None = TRAIN) -> Run:
    """Return a run by its id in `runs/` or by its folder. Raises RunError, naming the runs there are."""
    for path in (Path(id_or_path), runs_dir() / id_or_path) if str(id_or_path) else ():
        run = _read(path.absolute())
        if run and (kind in (None, run.kind) or not run.kind):  # which it is can't be read
            return run
    raise _no_run(id_or_path, kind)


def _no_run(name: str | Path, kind: str | None = TRAIN) -> RunError:
    known = ", ".join(run.id for run in list_runs(kind=kind)[:5]) or "none yet"
    return RunError(
        f"There is no run {str(name)!r} (runs: {known}). Start one with `python -m training train`."
    )


def _read(path: Path) -> Run | None:
    """Return the run in a folder, damaged or not; None where there is none."""
    names = [name for name in (RECIPE, ORDER, STATUS) if os.path.lexists(path / name)]
    if ORDER in names and RECIPE not in names:
        return Run(path, str(Run(path).order.get("kind") or ""))
    return Run(path) if names or (path.is_dir() and not os.access(path, os.R_OK | os.X_OK)) else None


def long_runs() -> list[Run]:
    """Return the trainings and the other long work below `runs/`, newest first; no pushes."""
    return [run for run in list_runs(kind=None) if run.can_resume]


def running() -> Run | None:
    """Return the long work that is at work in `runs/`, if one is; else the next one in the queue."""
    active = [(run.status().state, run) for run in long_runs()]
    active = [(state, run) for state, run in active if state in ACTIVE]
    return next((run for state, run in active if state == "running"), active[-1][1] if active else None)


def ahead_of(run: Run) -> list[Run]:
    """Return the runs that a run of `runs/` waits for: the one at work, then those started before it.

    Trainings and other long work on this machine queue; pushes, rented runs and folders elsewhere don't.
    """
    if not _queues(run):
        return []
    own, found = run.status(), []
    if own.state == "running":
        return []
    last = (True, (own.started_at or 0.0) if own.state == "queued" else time.time(), run.id)
    for other in list_runs(kind=None):
        worker = other.worker()
        if other.id == run.id or not (worker and worker.alive and _queues(other)):
            continue
        status = other.status()
        place = (status.state == "queued", status.started_at or 0.0, other.id)
        if status.state in ACTIVE and place < last:
            found.append((place, other))
    return [other for _, other in sorted(found, key=lambda one: one[0])]


def _queues(run: Run) -> bool:
    return run.can_resume and run.path.parent == runs_dir().absolute() and runner_of(run) is None


def delete(run: Run) -> None:
    """Remove a run with all that it made. Raises RunError while it is at work, or where that can't be."""
    if not os.path.lexists(run.path / STATUS) and run.path.parent != runs_dir().absolute():
        raise _no_run(run.path)  # somebody's own folder, with all else that is in it
    _check_idle(run, "deleted")
    try:
        shutil.rmtree(run.path)
    except OSError as error:
        raise RunError(
            f"The run {run.id} can't be deleted whole ({error.strerror or error}). Try again."
        ) from error


def rename(run: Run, name: str) -> Run:
    """Give a run another name, behind the time in front of it. Raises RunError where that can't be."""
    _check_idle(run, "renamed")
    slug = re.sub(r"[^\w.-]+", "-", name).strip("-.")[:_LONGEST]
    if not slug:
        raise RunError(f"{name!r} is no name for a run. Write letters, digits and hyphens.")
    began = re.match(r"\d{8}-\d{6}-", run.id)
    path = run.path.with_name(f"{began[0] if began else ''}{slug}")
    if path.exists():
        raise RunError(f"There is a run {path.name} already. Choose another name.")
    try:
        run.path.rename(path)
    except OSError as error:
        raise RunError(f"The run {run.id} can't be renamed ({error.strerror}). Try again.") from error
    return Run(path, run.kind)


def _check_idle(run: Run, what: str) -> None:
    worker = run.worker()
    if (worker and worker.alive) or (run.was_started and run.status().state in ACTIVE):
        raise RunError(f"The run {run.id} is at work, so it can't be {what}. Cancel it first.")
