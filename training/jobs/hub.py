"""The Hub's calls that a rented training needs.

    with hub_session(PATIENT):
        hub = JobsHub.open()                 # the token of HF_TOKEN or of `hf auth login`
        hub.user(); hub.hardware(); hub.commit("ada/bundle", "dataset", {"recipe.toml": b"…"}, message="…")

Every method raises a HubError, after some tries: somebody waits for a machine that is paid.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import CommitOperationAdd, HfApi, JobHardwareInfo, JobInfo

from inference.common.hub import CLIENT_ERRORS, HubError, Timeouts, ask, explained, token_of

PATIENT = Timeouts(answer_s=20.0, connect_s=10.0, tries=4)
LABEL = "tweettune"
T = TypeVar("T")


@dataclass(frozen=True)
class JobsHub:
    """The Hub, for one user."""

    api: HfApi
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def open(cls) -> "JobsHub":
        """Return it with the token of HF_TOKEN or of `hf auth login`. Raises NotLoggedIn without one."""
        return cls(HfApi(token=token_of(HfApi(), "rent a machine")))

    @property
    def token(self) -> str:
        return token_of(self.api, "rent a machine")

    def ask(self, doing: str, call: Callable[[], T], *, repo: str = "") -> T:
        """Make a call that may be repeated, and retry it while the Hub is silent or busy."""
        return ask(doing, call, repo=repo, when_silent=True, sleep=self.sleep)

    def user(self) -> str:
        return str(self.ask("read who you are", self.api.whoami)["name"])

    def hardware(self) -> list[JobHardwareInfo] | None:
        """Return the machines and their prices; None when the Hub does not say."""
        try:
            return list(ask("list its machines", self.api.list_jobs_hardware, tries=1)) or None
        except HubError:
            return None  # the table of prices is used, and the plan says so

    def create(self, repo: str, kind: str) -> None:
        """Create a private repository, or keep the one that is there."""
        self.ask(
            f"create {repo}",
            lambda: self.api.create_repo(repo, repo_type=kind, private=True, exist_ok=True),
            repo=repo,
        )

    def commit(self, repo: str, kind: str, files: Mapping[str, bytes | Path], *, message: str) -> str:

        def write() -> str:
            adds = [CommitOperationAdd(name, content) for name, content in files.items()]
            return str(self.api.create_commit(repo, adds, commit_message=message, repo_type=kind).oid)

        return self.ask(f"write to {repo}", write, repo=repo)

    def fetch(self, repo: str, kind: str, revision: str, patterns: list[str], folder: Path) -> None:
        self.ask(
            f"read {repo}",
            lambda: self.api.snapshot_download(
                repo, repo_type=kind, revision=revision, allow_patterns=patterns, local_dir=folder
            ),
            repo=repo,
        )

    def delete(self, repo: str, kind: str) -> None:
        """Delete a repository; one that is gone already is fine."""
        self.ask(f"delete {repo}", lambda: self.api.delete_repo(repo, repo_type=kind, missing_ok=True))

    def find(self, namespace: str, nonce: str) -> JobInfo | None:
        """Return the job with this nonce, None when there is none."""

        def search() -> JobInfo | None:
            found = self.api.list_jobs(labels={LABEL: nonce}, namespace=namespace)
            return next((job for job in found if (job.labels or {}).get(LABEL) == nonce), None)

        return self.ask("list the jobs", search)

    def submit(self, *, namespace: str, nonce: str, **spec: Any) -> JobInfo:
        """Start a job once, and return it.

        It searches for the job before it starts one, also after every lost answer: a job costs money.
        """

        def start() -> JobInfo:
            return self.find(namespace, nonce) or self.api.run_uv_job(
                namespace=namespace, labels={LABEL: nonce}, **spec
            )

        return self.ask("start a job", start)

    def inspect(self, job_id: str, namespace: str) -> JobInfo:
        return self.ask("look at the job", lambda: self.api.inspect_job(job_id=job_id, namespace=namespace))

    def cancel(self, job_id: str, namespace: str) -> None:
        self.ask("cancel the job", lambda: self.api.cancel_job(job_id=job_id, namespace=namespace))

    def log(self, job_id: str, namespace: str) -> Iterator[str]:
        """Yield a job's lines from its start on, until it ends."""
        try:
            yield from self.api.fetch_job_logs(job_id=job_id, namespace=namespace, follow=True)
        except CLIENT_ERRORS as error:
            raise explained(error, "read the job's log") from error
