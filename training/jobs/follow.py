"""Follow a job from here: send it, copy its events into the run's folder, fetch its artifact home.

    python -m training run RUN_DIR       for a run with a rented.json: this, instead of a training

The job goes on when this process dies; started again (`python -m training resume RUN`) it takes up where it
was, since all it needs is in `rented.json` and `events.jsonl`. Knows nothing about how a training works.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import JobStage

from inference.common.wording import dollars, in_words
from training.jobs import wire
from training.jobs.crate import pack
from training.jobs.errors import HubSilent, JobFailed, JobRefused, RentedError
from training.jobs.home import bring_home
from training.jobs.hub import JobsHub, endpoint_for_job, give_up_in_time, quiet
from training.jobs.mirror import Mirror
from training.jobs.record import Rental, keep, load
from training.runs.ending import Cancelled, Ending, Stop
from training.runs.run import Run, find_run

IMAGE = "ghcr.io/astral-sh/uv:python3.11-bookworm"
BOOTSTRAP = Path(__file__).with_name("bootstrap.py")
CANCELLED = "Cancelled: its job was stopped, and costs no more."
GIVE_UP_S = 900.0
_LOOK_S = 2.0
_ENDED = tuple(
    stage.value for stage in (JobStage.COMPLETED, JobStage.CANCELED, JobStage.ERROR, JobStage.DELETED)
)


def main(path: str) -> int:
    """Follow a run's job to its end. Returns the exit status."""
    give_up_in_time()
    quiet()
    run = find_run(path)
    stop = Stop()
    mirror = Mirror(run.path)
    with Ending(mirror, cancelled=CANCELLED) as ending:
        Follower(run, JobsHub.open(), mirror).follow(stop)
    return ending.exit_status


class Follower:
    """One run, its job, and what is known of it."""

    def __init__(
        self, run: Run, hub: JobsHub, mirror: Mirror, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        rental = load(run.path)
        if rental is None:
            raise RentedError(f"The run {run.id} has no rented.json. Train it with --on jobs.")
        self.run, self.hub, self.mirror, self.sleep = run, hub, mirror, sleep
        self.rental: Rental = rental

    def follow(self, stop: Stop) -> None:
        """Start the job unless it runs, follow it, bring its model home. Raises Cancelled, RentedError."""
        try:
            if not self.rental.job_id:
                self._start()
            if not self.rental.ended:
                self._keep(ended=self._watch())
        except Cancelled:
            stop.gently = True  # a second signal must not break off the cancelling
            self.cancel()
            raise
        except JobRefused:
            if not self.rental.job_id:
                self.clear_up()  # there will be no job
            raise
        self._settle()

    def _keep(self, **changes: Any) -> None:
        self.rental = keep(self.run.path, self.rental, **changes)

    def _start(self) -> None:
        """Send the crate, and start the job."""
        rental, mirror = self.rental, self.mirror
        mirror.phase("send")
        crate = pack(self.run.recipe)
        self.hub.create(rental.crate, "dataset")
        revision = self.hub.commit(rental.crate, "dataset", crate.files, message="Add what the job needs")
        mirror.note(f"Sent to the private data set {rental.crate}: {'; '.join(crate.sentences())}.")
        mirror.phase("queue")
        task = {
            "crate": rental.crate,
            "revision": revision,
            "files": list(crate.files),
            "model": rental.model,
            "requirements": crate.requirements,
            "alone": crate.alone,
            "gpu": rental.gpu,
        }
        job = self.hub.submit(
            namespace=rental.namespace,
            nonce=rental.nonce,
            image=IMAGE,
            flavor=rental.flavor,
            command=["python", "-c", BOOTSTRAP.read_text(encoding="utf-8")],
            timeout=rental.timeout_s,
            env={"TWEETTUNE_JOB": json.dumps(task), **endpoint_for_job()},
            secrets={"HF_TOKEN": self.hub.token},
        )
        self._keep(job_id=job.id, job_url=job.url)
        mirror.note(
            f"Job: {job.url}. It goes on when this computer is switched off; it is stopped after "
            f"{in_words(rental.timeout_s)} at the latest."
        )

    def _watch(self) -> str:
        """Copy the job's events until it has ended. Returns the stage it ended in."""
        told = False
        if not self.run.events("progress"):
            self.mirror.phase("queue")
        while True:
            try:
                self._copy_log()
            except RentedError as error:
                if not told:
                    told = True
                    self.mirror.note(f"The job's log broke off, and is read again from its start. {error}")
            job = self._look()
            if job.status.stage in _ENDED:
                self._tell_cost(job)
                return str(job.status.stage)
            self.sleep(_LOOK_S)

    def _look(self) -> Any:
        """Return the job as it is now; waits through a Hub that is silent for a while."""
        since = time.monotonic()
        while True:
            try:
                return self.hub.inspect(self.rental.job_id, self.rental.namespace)
            except HubSilent as error:
                if time.monotonic() - since > GIVE_UP_S:
                    raise HubSilent(
                        f"The Hub gave no answer for {in_words(GIVE_UP_S)}; the job {self.rental.job_url} "
                        f"goes on there. Follow it again with `python -m training resume {self.run.id}`."
                    ) from error
                self.sleep(_LOOK_S)

    def _copy_log(self) -> None:
        """Read the log from its start: known events are passed over, plain output goes to job.log."""
        reader, known = wire.Reader(), self.mirror.known()
        with (self.run.path / "job.log").open("w", encoding="utf-8") as log:
            for line in self.hub.log(self.rental.job_id, self.rental.namespace):
                if not reader.marked(line):
                    log.write(line.rstrip("\n").replace(self.hub.token, "***") + "\n")
                    log.flush()
                    if not known:
                        self.mirror.phase("install")
                elif (found := reader.take(line)) and found[0] not in known:
                    known.add(found[0])
                    self.mirror.copy(*found)
        if reader.torn:
            self.mirror.note(f"{reader.torn} events in the job's log were torn.")

    def _tell_cost(self, job: Any) -> None:
        seconds = (job.durations.running_secs if job.durations else None) or 0
        if not seconds and job.started_at and job.finished_at:
            seconds = (job.finished_at - job.started_at).total_seconds()
        if seconds:
            cost = dollars(self.rental.cost_usd(seconds))
            self.mirror.note(
                f"The job ran {in_words(seconds)} (estimated: {in_words(self.rental.estimated_s)}); at "
                f"${self.rental.usd_per_hour:.2f} an hour that is {cost}."
            )
        if job.status.message:
            self.mirror.note(f"The Hub says of the job: {job.status.message}")

    def _settle(self) -> None:
        """Bring home what the job left, and clear up. Raises JobFailed or Cancelled: there is no model."""
        ended = self.rental.ended
        try:
            if ended == "COMPLETED":
                self.mirror.phase("fetch")
                bring_home(self.run, self.hub, self.rental, self.mirror)
                return
            if ended == "CANCELED":
                raise Cancelled
            raise JobFailed(self._why(ended))
        finally:
            if not (ended == "COMPLETED" and not self.run.artifact.exists()):
                self.clear_up()

    def _why(self, ended: str) -> str:
        errors = [event["message"] for event in self.run.events("error") if "job_seq" in event]
        if errors:
            return f"The job failed: {errors[-1]}"
        said = [e["text"] for e in self.run.events("note") if e["text"].startswith("The Hub says of the job")]
        timed_out = bool(said) and "time" in said[-1].lower()
        todo = "Give a longer --job-timeout" if timed_out else "Its output is in the run's job.log: mend it"
        why = f"{said[-1].rstrip('.')}" if said else "without a word"
        return f"The job ended as {ended} before it had a model ({why}). {todo} and train again."

    def cancel(self) -> None:
        """Stop the job, wherever it stands. Raises RentedError, with the cost, when the Hub can't be told."""
        self.rental = load(self.run.path) or self.rental
        rental = self.rental
        try:
            found = None if rental.job_id else self.hub.find(rental.namespace, rental.nonce)
            job_id = found.id if found else rental.job_id
            if job_id and not rental.ended:
                self.hub.cancel(job_id, rental.namespace)
                self._keep(job_id=job_id, ended="CANCELED")
        except RentedError as error:
            raise HubSilent(
                f"The job could not be cancelled ({error}) It may go on and cost ${rental.usd_per_hour:.2f} "
                f"an hour, until its time-out. Try `python -m training cancel {self.run.id}` again, or stop "
                f"it at {rental.job_url or 'huggingface.co/settings/jobs'}."
            ) from error
        self.clear_up()

    def clear_up(self) -> None:
        """Delete the crate, which may hold your data; when that fails, say where it is."""
        try:
            self.hub.delete(self.rental.crate, "dataset")
        except RentedError as error:
            self.mirror.note(f"The private data set {self.rental.crate} could not be deleted: {error}")


def cancel_now(run: Run) -> None:
    """Stop the job of a run that nobody follows. Raises RentedError."""
    give_up_in_time()
    mirror = Mirror(run.path)
    Follower(run, JobsHub.open(), mirror).cancel()
    mirror.finish("cancelled", CANCELLED)
