"""The Hub's calls that a rented training needs, each with a time-out and with errors in one sentence.

    hub = JobsHub.open()                     # the token of HF_TOKEN or of `hf auth login`
    hub.user(); hub.hardware(); hub.commit("ada/bundle", "dataset", {"recipe.toml": b"…"}, message="…")

The Hub's client has no time-outs of its own; `give_up_in_time` sets them for the whole process.
Knows nothing about recipes or runs.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from huggingface_hub import (
    CommitOperationAdd,
    HfApi,
    JobHardwareInfo,
    JobInfo,
    constants,
    get_token,
    set_client_factory,
    snapshot_download,
)
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils._http import default_client_factory
from huggingface_hub.utils.tqdm import disable_progress_bars

from training.jobs.record import HubSilent, JobRefused, RentedError

TIMEOUT_S = 20.0
TRIES = 4
T = TypeVar("T")
_LATER = (408, 425, 429, 500, 502, 503, 504)


def give_up_in_time(timeout_s: float = TIMEOUT_S) -> None:
    """Give every request of this process's Hub client a time-out; a stream's counts from byte to byte."""

    def client() -> httpx2.Client:
        made = default_client_factory()
        made.timeout = httpx2.Timeout(timeout_s, connect=min(timeout_s, 10.0))
        return made

    set_client_factory(client)
    constants.HF_HUB_DISABLE_XET = True  # its transfers have no time-outs, and errors of their own


def quiet() -> None:
    """Keep the client's progress and warnings out of the log: they hold addresses that are signed."""
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    disable_progress_bars()


@contextmanager
def hub_errors(doing: str) -> Iterator[None]:
    """Within it, what the Hub's client raises becomes a RentedError. `doing` completes "may not …"."""
    try:
        yield
    except HfHubHTTPError as error:
        raise _refusal(error, doing) from error
    except HFValidationError as error:
        raise JobRefused(f"The Hub takes no such name ({error}). Give --run-dir a plainer one.") from error
    except (httpx2.HTTPError, OSError) as error:
        what = " ".join(str(error).split())[:120] or type(error).__name__
        raise HubSilent(f"The Hub can't be reached to {doing} ({what}). Try again later.") from error


def _refusal(error: HfHubHTTPError, doing: str) -> RentedError:
    status = error.response.status_code
    said = " ".join((error.server_message or "").split())[:200].rstrip(".")
    match status:
        case 401:
            return JobRefused(
                "The Hub does not take the token (401). Log in again with `hf auth login`, or set HF_TOKEN."
            )
        case 402:
            return JobRefused(
                "The account has no credit for jobs (402). Add some at huggingface.co/settings/billing."
            )
        case 403:
            return JobRefused(
                f"The token may not {doing} (403{f': {said}' if said else ''}). Make one that may write "
                "repositories and start jobs, at huggingface.co/settings/tokens."
            )
        case _ if status in _LATER:
            wait = error.response.headers.get("Retry-After", "")
            when = f"in {wait} s" if wait.isdigit() else "later"
            return HubSilent(f"The Hub can't {doing} now ({status}). Try again {when}.")
        case _:
            return JobRefused(f"The Hub refuses to {doing} ({status}{f': {said}' if said else ''}).")


@dataclass(frozen=True)
class JobsHub:
    """The Hub, for one user. Every method raises a RentedError in one sentence."""

    api: HfApi
    token: str
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def open(cls) -> "JobsHub":
        """Return it with the token of HF_TOKEN or of `hf auth login`. Raises JobRefused without one."""
        token = get_token()
        if not token:
            raise JobRefused(
                "Nobody is logged in to the Hub, so nothing can be rented. "
                "Log in with `hf auth login`, or set HF_TOKEN."
            )
        return cls(HfApi(token=token), token)

    def again(self, doing: str, work: Callable[[], T]) -> T:
        """Do what may be done twice, up to TRIES times while the Hub is silent or busy."""
        for attempt in range(TRIES):
            try:
                with hub_errors(doing):
                    return work()
            except HubSilent:
                if attempt == TRIES - 1:
                    raise
            self.sleep(2.0**attempt)
        raise AssertionError("the last try returns or raises")

    def user(self) -> str:
        """Return the user's name."""
        return str(self.again("read who you are", self.api.whoami)["name"])

    def hardware(self) -> list[JobHardwareInfo] | None:
        """Return the machines and their prices; None when the Hub does not say."""
        try:
            with hub_errors("list its machines"):
                return list(self.api.list_jobs_hardware()) or None
        except RentedError:
            return None  # the table of prices is taken, and said to be

    def create(self, repo: str, kind: str) -> None:
        """Create a private repository, or keep the one that is there."""
        self.again(
            f"create {repo}", lambda: self.api.create_repo(repo, repo_type=kind, private=True, exist_ok=True)
        )

    def commit(self, repo: str, kind: str, files: Mapping[str, bytes | Path], *, message: str) -> str:
        """Write files in one commit. Returns its id."""

        def write() -> str:
            adds = [
                CommitOperationAdd(name, str(content) if isinstance(content, Path) else content)
                for name, content in files.items()
            ]
            return str(self.api.create_commit(repo, adds, commit_message=message, repo_type=kind).oid)

        return self.again(f"write to {repo}", write)

    def fetch(self, repo: str, kind: str, revision: str, patterns: list[str], folder: Path) -> None:
        """Download files of a repository into a folder."""
        self.again(
            f"read {repo}",
            lambda: snapshot_download(
                repo,
                repo_type=kind,
                revision=revision,
                allow_patterns=patterns,
                local_dir=folder,
                token=self.token,
                endpoint=self.api.endpoint,
                etag_timeout=TIMEOUT_S,
            ),
        )

    def delete(self, repo: str, kind: str) -> None:
        """Delete a repository; one that is gone already is fine."""

        def remove() -> None:
            try:
                self.api.delete_repo(repo, repo_type=kind)
            except RepositoryNotFoundError:
                return

        self.again(f"delete {repo}", remove)

    def find(self, namespace: str, nonce: str) -> JobInfo | None:
        """Return the JobInfo of the job with this nonce, None when there is none."""
        label = {"tweettune": nonce}

        def look() -> JobInfo | None:
            found = self.api.list_jobs(labels=label, namespace=namespace, timeout=int(TIMEOUT_S))
            return next((job for job in found if (job.labels or {}).get("tweettune") == nonce), None)

        return self.again("list the jobs", look)

    def submit(self, *, namespace: str, nonce: str, **spec: Any) -> JobInfo:
        """Start a job once. Returns its JobInfo.

        It looks before it starts one, again after every answer that was lost: a job costs money.
        """
        for attempt in range(TRIES):
            if job := self.find(namespace, nonce):
                return job
            try:
                with hub_errors("start a job"):
                    started: JobInfo = self.api.run_uv_job(
                        namespace=namespace, labels={"tweettune": nonce}, **spec
                    )
                    return started
            except HubSilent:
                if attempt == TRIES - 1:
                    raise
            self.sleep(2.0**attempt)
        raise AssertionError("the last try returns or raises")

    def inspect(self, job_id: str, namespace: str) -> JobInfo:
        """Return a job's JobInfo."""
        job: JobInfo = self.again(
            "look at the job", lambda: self.api.inspect_job(job_id=job_id, namespace=namespace)
        )
        return job

    def cancel(self, job_id: str, namespace: str) -> None:
        """Stop a job."""
        self.again("cancel the job", lambda: self.api.cancel_job(job_id=job_id, namespace=namespace))

    def log(self, job_id: str, namespace: str) -> Iterator[str]:
        """Yield a job's lines from its start on, until it ends."""
        with hub_errors("read the job's log"):
            yield from self.api.fetch_job_logs(job_id=job_id, namespace=namespace, follow=True)
