"""The process of one run, whatever its kind: `python -m training.worker RUN_DIR`.

The CLI and the app start it alike (`training.runs.process.start`). It does the work of the run's kind and
makes sure that its status says in one sentence how it ended. Secrets come by standard input, as one JSON
object, and are written nowhere.
"""

import argparse
import dataclasses
import io
import json
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from huggingface_hub import HfApi

import training.jobs.runner  # noqa: F401  (registers who does the work of a rented run)
from inference.common.errors import RunError
from inference.common.store import JsonObject
from training.runs import launch
from training.runs.log import RunLog, masked
from training.runs.process import FinalStatus, Stop, wait_in_queue
from training.runs.records import SPENT, Spent, read_as
from training.runs.run import ADAPT, AUDIT, FORECAST, LADDER, STUDIES, TRAIN, TUNE, Run, find_run, runner_of


@dataclass(frozen=True)
class Task:
    """A run that is to be done, and what its process was given."""

    run: Run
    log: RunLog
    final: FinalStatus
    handed: JsonObject
    """Secrets, from whoever started it."""
    max_minutes: int = 0

    @property
    def api(self) -> HfApi:
        """The Hub with the caller's token: without one anonymous, and never with this process's own login."""
        return HfApi(token=self.handed.get("token") or False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Take a run to its end. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.worker", description=__doc__)
    parser.add_argument("run", metavar="RUN_DIR")
    parser.add_argument("--max-minutes", type=int, default=0)
    given = parser.parse_args(arguments)
    run = find_run(given.run, kind=None)
    if runner := runner_of(run):
        return runner.work(run)
    handed = json.loads(sys.stdin.readline() or "{}") if run.kind != TRAIN else {}
    hidden = _secrets(handed)
    if hidden:
        sys.stdout, sys.stderr = _Masked(sys.stdout, hidden), _Masked(sys.stderr, hidden)
    log = (RunLog if launch.is_first() else launch.Mute)(run.path, hidden=hidden, waits=True)
    with FinalStatus(log) as final:
        if run.can_resume and launch.is_first():
            Stop()
            wait_in_queue(run)
        log.begin()
        if run.kind not in WORK:
            raise RunError(f"{run.id} is of an unknown kind, {run.kind!r} (known: {', '.join(WORK)}).")
        WORK[run.kind](Task(run, log, final, handed, given.max_minutes))
    return final.exit_status


def _secrets(handed: JsonObject) -> tuple[str, ...]:
    """Return all that must not be written: the token, and each one of a list of them."""
    given = [handed.get("token") or "", *handed.get("secrets", ())]
    parts = {part for secret in given for part in (secret, *secret.split(",")) if len(part.strip()) >= 8}
    return tuple(sorted(parts, key=len, reverse=True))


class _Masked(io.TextIOBase):
    """A stream that writes no secret: it goes to the run's log.txt."""

    def __init__(self, stream: IO[str], hidden: Sequence[str]) -> None:
        self.stream, self.hidden = stream, hidden

    def write(self, text: str) -> int:
        return self.stream.write(masked(text, self.hidden))

    def flush(self) -> None:
        self.stream.flush()

    def fileno(self) -> int:
        return self.stream.fileno()


def _long(task: Task) -> None:
    """Train, or do a study. One that is cancelled goes on with its next step when it is resumed."""
    stop = Stop()  # first: the imports below take seconds
    if task.max_minutes:
        _limit(task, stop)
    import datasets  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    logging.set_verbosity_error()  # progress bars and remarks of the libraries stay out of log.txt
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    run, log = task.run, task.log
    if run.kind == TRAIN:
        from training.fit.run import train_run  # noqa: PLC0415

        train_run(run, log, stop)
    elif run.kind == ADAPT:
        from training.studies.adapt import adapt  # noqa: PLC0415

        adapt(run, log, stop)
    elif run.kind == LADDER:
        from training.ladder.climb import climb  # noqa: PLC0415

        climb(run, log)
    elif run.kind == TUNE:
        from training.studies.search import search  # noqa: PLC0415

        search(run, log)
    elif run.kind == FORECAST:
        from training.studies.forecast import forecast  # noqa: PLC0415

        forecast(run, log)
    elif run.kind == AUDIT:
        from training.studies.audit import audit_data  # noqa: PLC0415

        audit_data(run, log)
    else:
        from training.studies.forgetting import forgetting  # noqa: PLC0415

        forgetting(run, log)


def _limit(task: Task, stop: Stop) -> None:
    """Stop the run, with a checkpoint, after its minutes. The time of its earlier processes counts too.

    Raises RunError when nothing is left.
    """
    minutes = task.max_minutes
    spent = read_as(Spent, task.run.path / SPENT) or Spent()
    left_s = 60 * minutes - spent.seconds
    if left_s <= 0:
        raise RunError(
            f"The run has had its {minutes} min, the most allowed here (MAX_RUN_MINUTES). "
            "Start one with fewer rows or epochs."
        )

    def too_long(number: int, frame: FrameType | None) -> None:
        task.final.cancelled = (
            f"Stopped after {minutes} min, the most allowed here (MAX_RUN_MINUTES). "
            "Its last checkpoint is kept; start a run with fewer rows or epochs."
        )
        stop.on_signal(number, frame)

    signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, left_s)


def _push(task: Task) -> None:
    """Push a model. Killing it is safe at any moment: a commit is made whole or not at all."""
    from training.publish.plan import export_for_push, find_artifact, prepare  # noqa: PLC0415
    from training.publish.pushing import push  # noqa: PLC0415  (a second)
    from training.publish.rights import check_rights  # noqa: PLC0415  (a second)

    order, log = task.run.order, task.log
    dry_run, adapter_only, pr = (bool(order.get(name)) for name in ("dry_run", "adapter_only", "pr"))
    if not dry_run:
        log.enter("rights")
        check_rights(order["repo_id"], task.api, pr=pr)
    log.enter("prepare")
    note = "" if adapter_only else export_for_push(find_artifact(order["source"]), dry_run=dry_run)
    plan = prepare(
        Path(order["source"]),
        order["repo_id"],
        private=bool(order.get("private")),
        pr=pr,
        adapter_only=adapter_only,
        secrets=task.handed.get("secrets", ()),
    )
    files = [{"name": file.path_in_repo, "size": file.size} for file in plan.files]
    log.event("plan", files=files, card=plan.card, notes=[*filter(None, [note]), *plan.notes])
    if not dry_run:
        steps = _Steps(log)
        pushed = push(plan, task.api, progress=lambda s: steps.show(s.phase, s.text, s.done, s.total))
        log.event("result", **dataclasses.asdict(pushed))


def _push_data(task: Task) -> None:
    from training.publish.dataset import prepare_data, push_data  # noqa: PLC0415  (a second)

    order, steps = task.run.order, _Steps(task.log)
    plan = prepare_data(Path(order["source"]), order["repo_id"], private=bool(order.get("private")))
    files = [{"name": file.path_in_repo, "size": file.size} for file in plan.files]
    task.log.event("plan", files=files)
    pushed = push_data(plan, task.api, progress=steps.show)
    task.log.event("result", **dataclasses.asdict(pushed))


class _Steps:
    """Writes a push's steps as the phases, notes and progress of a run."""

    def __init__(self, log: RunLog) -> None:
        self.log, self.phase = log, ""

    def show(self, phase: str, text: str = "", done: int | None = None, total: int | None = None) -> None:
        if phase != self.phase:
            self.phase = phase
            self.log.enter(phase)
        if text:
            self.log.note(text)
        if done is not None and total is not None:
            self.log.progress(done, total)


Work = Callable[[Task], None]
WORK: dict[str, Work] = {**dict.fromkeys((TRAIN, *STUDIES), _long), "push": _push, "push-data": _push_data}
"""The work of a run, by its kind."""

if __name__ == "__main__":
    sys.exit(main())
