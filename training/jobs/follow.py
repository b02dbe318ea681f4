"""Follow a job from here: send it, copy its events into the run's folder, download its artifact.

    python -m training.worker RUN_DIR    for a run with a rented.json: this, instead of a training

The job goes on when this process dies; started again (`python -m training resume RUN`) it takes up where
it was, since all it needs is in `rented.json` and `events.jsonl`. Afterwards the run's folder is what a local
training leaves.
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import JobInfo, JobStage, Volume

from inference.artifact import EVALUATION, VALIDATION, check_artifact, read_record
from inference.common.hub import HubBusy, HubError, HubRefused, HubSilent, hub_session
from inference.common.store import JsonObject, read_jsonl, sha256_of, write_json
from inference.common.wording import dollars, in_words
from training.jobs.bundle import pack
from training.jobs.hub import PATIENT, JobsHub
from training.jobs.record import JobFailed, Rental, RentedError, keep, load
from training.jobs.work import MARK, event_line, read_event
from training.runs.log import RunRecord
from training.runs.process import Cancelled, FinalStatus, Stop
from training.runs.records import DISAGREEMENTS, EVENTS
from training.runs.run import Run, find_run

IMAGE = "ghcr.io/astral-sh/uv:python3.11-bookworm"
MOUNTED = "/bundle"
CANCELLED = "Cancelled: its job was stopped, and costs no more."
GIVE_UP_S = 900.0
_POLL_S = 2.0
_ENDED = (JobStage.COMPLETED, JobStage.CANCELED, JobStage.ERROR, JobStage.DELETED)
_SHARES = {"send": 0.0, "queue": 0.01, "install": 0.02, "push": 0.96, "fetch": 0.98}
_TRAINING = (0.03, 0.96)  # the share of the whole that the job's own progress fills


def main(path: str) -> int:
    """Follow a run's job to its end. Returns the exit status."""
    run = find_run(path)
    stop = Stop()
    log = FollowedLog(run.path)
    with hub_session(PATIENT), FinalStatus(log, cancelled=CANCELLED) as final:
        Follower(run, JobsHub.open(), log).follow(stop)
    return final.exit_status


def cancel_now(run: Run) -> None:
    """Stop the job of a run that nobody follows. Raises RentedError, NotLoggedIn."""
    log = FollowedLog(run.path)
    with hub_session(PATIENT):
        Follower(run, JobsHub.open(), log).cancel()
    log.finish("cancelled", CANCELLED)


class FollowedLog(RunRecord):
    """The record of a run whose work is a job.

    Events get the time at which they came in, `job_seq` and the job's own `job_time`.
    """

    def __init__(self, run: Path) -> None:
        super().__init__(run)
        self.started = Run(run).status().started_at or self.started
        self._left_s: float | None = None
        self._status("running")

    def phase(self, name: str) -> None:
        """Record what is being done, where the job's own events don't say."""
        if name != self._phase:
            self._phase, self._left_s = name, None
            self._share = max(self._share, _SHARES.get(name, self._share))
            self._status("running")

    def known(self) -> set[int]:
        """Return the numbers of the job's events that are here."""
        return {e["job_seq"] for e in read_jsonl(self.run / EVENTS) if "job_seq" in e}

    def copy(self, number: int, event: JsonObject) -> None:
        content = {key: value for key, value in event.items() if key not in ("kind", "time")}
        kind = str(event.get("kind", "note"))
        self.event(kind, **content, job_seq=number, job_time=event.get("time"))
        if kind == "progress":
            low, high = _TRAINING
            self._phase, self._left_s = str(event.get("phase", "")), event.get("time_left_s")
            self._share = max(self._share, low + (high - low) * float(event.get("progress") or 0.0))
            self._status("running")

    def time_left_s(self) -> float | None:
        return self._left_s

    def overall(self) -> float:
        """Return the share of the whole, the machine's start and the download included."""
        return self._share


class Follower:
    """One run, its job, and what is known of it."""

    def __init__(
        self, run: Run, hub: JobsHub, log: FollowedLog, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        rental = load(run.path)
        if rental is None:
            raise RentedError(f"The run {run.id} has no rented.json. Train it with --on jobs.")
        self.run, self.hub, self.log, self.sleep = run, hub, log, sleep
        self.rental: Rental = rental

    def follow(self, stop: Stop) -> None:
        """Start the job unless it runs, follow it, download its model.

        Raises Cancelled, RentedError, HubError.
        """
        try:
            if not self.rental.job_id:
                self._start()
            if not self.rental.ended:
                self._keep(ended=self._watch())
        except Cancelled:
            stop.gently = True  # a second signal must not break off the cancelling
            self.cancel()
            raise
        except HubRefused:
            if not self.rental.job_id:
                self._delete_bundle()  # there will be no job
            raise
        self._settle()

    def _keep(self, **changes: Any) -> None:
        self.rental = keep(self.run.path, self.rental, **changes)

    def _start(self) -> None:
        rental, log = self.rental, self.log
        log.phase("send")
        bundle = pack(self.run.recipe)
        self.hub.create(rental.bundle, "dataset")
        revision = self.hub.commit(rental.bundle, "dataset", bundle.files, message="Add what the job needs")
        log.note(f"Sent to the private data set {rental.bundle}: {'; '.join(bundle.sentences())}.")
        log.phase("queue")
        task = {"bundle": rental.bundle, "model": rental.model, "alone": bundle.alone, "gpu": rental.gpu}
        endpoint = os.environ.get("HF_ENDPOINT", "")  # not the real Hub: the job must find it too
        job = self.hub.submit(
            nonce=rental.nonce,
            namespace=rental.namespace,
            script="python",
            script_args=["-m", "training.jobs.work"],
            dependencies=list(bundle.requirements),
            python="3.11",
            image=IMAGE,
            flavor=rental.flavor,
            timeout=rental.timeout_s,
            env={
                "PYTHONPATH": MOUNTED,
                "PYTHONUNBUFFERED": "1",
                "TWEETTUNE_JOB": json.dumps(task),
                **({"HF_ENDPOINT": endpoint} if endpoint else {}),
            },
            secrets={"HF_TOKEN": self.hub.token},
            volumes=[Volume(type="dataset", source=rental.bundle, revision=revision, mount_path=MOUNTED)],
        )
        self._keep(job_id=job.id, job_url=job.url)
        log.note(
            f"Job: {job.url}. It goes on when this computer is switched off; it is stopped after "
            f"{in_words(rental.timeout_s)} at the latest."
        )

    def _watch(self) -> str:
        """Copy the job's events until it has ended. Returns the stage it ended in."""
        noted = False
        if not self.run.events("progress"):
            self.log.phase("queue")
        while True:
            try:
                self._copy_log()
            except HubError as error:
                if not noted:
                    noted = True
                    self.log.note(f"The job's log broke off, and is read again from its start. {error}")
            job = self._inspect()
            if job.status.stage in _ENDED:
                self._note_cost(job)
                return str(JobStage(job.status.stage).value)
            self.sleep(_POLL_S)

    def _inspect(self) -> JobInfo:
        """Return the job as it is now; waits through a Hub that is silent for a while."""
        since = time.monotonic()
        while True:
            try:
                return self.hub.inspect(self.rental.job_id, self.rental.namespace)
            except (HubBusy, HubSilent) as error:
                if time.monotonic() - since > GIVE_UP_S:
                    raise RentedError(
                        f"The Hub gave no answer for {in_words(GIVE_UP_S)}; the job {self.rental.job_url} "
                        f"goes on there. Follow it again with `python -m training resume {self.run.id}`."
                    ) from error
                self.sleep(_POLL_S)

    def _copy_log(self) -> None:
        """Read the log from its start: known events are passed over, plain output goes to job.log."""
        torn, known = 0, self.log.known()
        with (self.run.path / "job.log").open("w", encoding="utf-8") as file:
            for line in self.hub.log(self.rental.job_id, self.rental.namespace):
                if not line.startswith(MARK):
                    file.write(line.rstrip("\n").replace(self.hub.token, "***") + "\n")
                    file.flush()
                    if not known:
                        self.log.phase("install")
                elif (found := read_event(line)) is None:
                    torn += 1
                elif found[0] not in known:
                    known.add(found[0])
                    self.log.copy(*found)
        if torn:
            self.log.note(f"{torn} events in the job's log were torn.")

    def _note_cost(self, job: JobInfo) -> None:
        seconds = float((job.durations.running_secs if job.durations else None) or 0)
        if not seconds and job.started_at and job.finished_at:
            seconds = (job.finished_at - job.started_at).total_seconds()
        if seconds:
            self.log.note(
                f"The job ran {in_words(seconds)} (estimated: {in_words(self.rental.estimated_s)}); at "
                f"${self.rental.usd_per_hour:.2f} an hour that is {dollars(self.rental.cost_usd(seconds))}."
            )
        if job.status.message:
            self.log.note(f"The Hub says of the job: {job.status.message}")

    def _settle(self) -> None:
        """Download what the job left, and clear up. Raises JobFailed or Cancelled: there is no model."""
        ended = self.rental.ended
        try:
            if ended == "COMPLETED":
                self.log.phase("fetch")
                self._download_records()
                self._download_artifact()
                return
            if ended == "CANCELED":
                raise Cancelled
            raise JobFailed(self._why(ended))
        finally:
            if not (ended == "COMPLETED" and not self.run.artifact.exists()):
                self._delete_bundle()

    def _why(self, ended: str) -> str:
        errors = [event["message"] for event in self.run.events("error") if "job_seq" in event]
        if errors:
            return f"The job failed: {errors[-1]}"
        said = [e["text"] for e in self.run.events("note") if e["text"].startswith("The Hub says of the job")]
        timed_out = bool(said) and "time" in said[-1].lower()
        todo = "Give a longer --job-timeout" if timed_out else "Its output is in the run's job.log: mend it"
        why = f"{said[-1].rstrip('.')}" if said else "without a word"
        return f"The job ended as {ended} before it had a model ({why}). {todo} and train again."

    def _download_records(self) -> None:
        """Download what the job left in the bundle, and add the events that its log did not bring."""
        partial = self.run.path / "result.partial"
        try:
            self.hub.fetch(self.rental.bundle, "dataset", "main", ["result/*"], partial)
        except HubError as error:
            self.log.note(f"The job's records could not be fetched, only its model: {error}")
            return
        result, known, missed = partial / "result", self.log.known(), 0
        for number, event in enumerate(read_jsonl(result / EVENTS), 1):
            if number not in known:
                self.log.copy(number, event)
                missed += event_line(number, event) is not None  # else it was too long for the log
        if missed:
            self.log.note(f"{missed} of the job's events were not in its log, and were fetched.")
        places = {"log.txt": "job-training.log"}
        for name in (DISAGREEMENTS, VALIDATION, *places):
            if (result / name).is_file():
                (result / name).replace(self.run.path / places.get(name, name))
        shutil.rmtree(partial)

    def _download_artifact(self) -> None:
        """Download the model's commit, each file compared with the job's own checksum; can be done again."""
        events = self.run.events("pushed")
        if not events:
            raise JobFailed(
                "The job ended well but told of no model, so there is nothing to fetch. Its output is in the "
                "run's job.log."
            )
        repo, sha256 = events[-1]["repo"], events[-1]["sha256"]
        partial = self.run.path / "artifact.partial"
        self.hub.fetch(repo, "model", events[-1]["commit"], list(sha256), partial)
        shutil.rmtree(partial / ".cache", ignore_errors=True)
        differing = [
            name
            for name, expected in sha256.items()
            if not (partial / name).is_file() or sha256_of(partial / name) != expected
        ]
        if differing:
            shutil.rmtree(partial)
            raise RentedError(
                f"{len(differing)} of {len(sha256)} files of {repo} are not what the job pushed "
                f"(first: {sorted(differing)[0]}). "
                f"Fetch them again: `python -m training resume {self.run.id}`."
            )
        check_artifact(partial)
        shutil.rmtree(self.run.artifact, ignore_errors=True)
        partial.rename(self.run.artifact)
        write_json(self.run.path / EVALUATION, read_record(self.run.artifact, EVALUATION) or {})
        self.log.note(f"The model is here, and in the private repository {repo}.")

    def cancel(self) -> None:
        """Stop the job, at any stage. Raises RentedError, with the cost, when the Hub can't be reached."""
        self.rental = load(self.run.path) or self.rental
        rental = self.rental
        try:
            found = None if rental.job_id else self.hub.find(rental.namespace, rental.nonce)
            job_id = found.id if found else rental.job_id
            if job_id and not rental.ended:
                self.hub.cancel(job_id, rental.namespace)
                self._keep(job_id=job_id, ended="CANCELED")
        except HubError as error:
            raise RentedError(
                f"The job could not be cancelled: {error.why}. It may go on and cost "
                f"${rental.usd_per_hour:.2f} an hour, until its time-out. Try `python -m training cancel "
                f"{self.run.id}` again, or stop it at {rental.job_url or 'huggingface.co/settings/jobs'}."
            ) from error
        self._delete_bundle()

    def _delete_bundle(self) -> None:
        """Delete the bundle, which may hold your data; when that fails, say where it is."""
        try:
            self.hub.delete(self.rental.bundle, "dataset")
        except HubError as error:
            self.log.note(f"The private data set {self.rental.bundle} could not be deleted: {error}")
