"""Bring a job's model and records home into the run's folder, each file compared with what the job pushed.

    bring_home(run, hub, rental, mirror)

Afterwards the folder is what a local training leaves. Knows nothing about how a job runs.
"""

import shutil
from typing import Any

from inference.artifact import EVALUATION, check_artifact, read_record
from inference.common.store import read_jsonl, sha256_of, write_json
from training.jobs.errors import JobFailed, RentedError
from training.jobs.hub import JobsHub
from training.jobs.mirror import Mirror
from training.jobs.record import Rental
from training.runs.run import Run


def bring_home(run: Run, hub: JobsHub, rental: Rental, mirror: Mirror) -> None:
    """Fetch the records, then the artifact. Raises RentedError, or ArtifactError; can be done again."""
    _fetch_records(run, hub, rental, mirror)
    pushed = run.events("pushed")
    if not pushed:
        raise JobFailed(
            "The job ended well but told of no model, so there is nothing to fetch. Its output is in the "
            "run's job.log."
        )
    _fetch_artifact(run, hub, pushed[-1])
    write_json(run.path / EVALUATION, read_record(run.artifact, EVALUATION) or {})
    mirror.note(f"The model is here, and in the private repository {pushed[-1]['repo']}.")


def _fetch_records(run: Run, hub: JobsHub, rental: Rental, mirror: Mirror) -> None:
    """Fetch what the job left in the crate, and add the events that its log did not bring."""
    folder = run.path / "result.partial"
    try:
        hub.fetch(rental.crate, "dataset", "main", ["result/*"], folder)
    except RentedError as error:
        mirror.note(f"The job's records could not be fetched, only its model: {error}")
        return
    known, missed = mirror.known(), 0
    for number, event in enumerate(read_jsonl(folder / "result" / "events.jsonl"), 1):
        if number not in known:
            mirror.copy(number, event)
            missed += 1
    if missed:
        mirror.note(f"{missed} of the job's events were not in its log, and were fetched.")
    for name in ("disagreements.jsonl", "validation.jsonl"):
        if (folder / "result" / name).is_file():
            (folder / "result" / name).replace(run.path / name)
    if (folder / "result" / "log.txt").is_file():
        (folder / "result" / "log.txt").replace(run.path / "job-training.log")
    shutil.rmtree(folder)


def _fetch_artifact(run: Run, hub: JobsHub, pushed: dict[str, Any]) -> None:
    """Fetch the model's commit, and compare every file with the job's own sums."""
    partial = run.path / "artifact.partial"
    hub.fetch(pushed["repo"], "model", pushed["commit"], list(pushed["sha256"]), partial)
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    differing = [
        name
        for name, sha256 in pushed["sha256"].items()
        if not (partial / name).is_file() or sha256_of(partial / name) != sha256
    ]
    if differing:
        shutil.rmtree(partial)
        raise RentedError(
            f"{len(differing)} of {len(pushed['sha256'])} files of {pushed['repo']} are not what the job "
            f"pushed (first: {sorted(differing)[0]}). Fetch them again: `python -m training resume {run.id}`."
        )
    check_artifact(partial)
    shutil.rmtree(run.artifact, ignore_errors=True)
    partial.rename(run.artifact)
