"""A Hub on loopback, for the real clients: huggingface_hub, transformers, datasets.

    with LocalHub() as hub:
        hub.add_user("ada", token="hf_ada…", orgs=("crew",))
        hub.create_repo("ada/tweets", files={"README.md": b"# Tweets"})
        HfApi(endpoint=hub.endpoint, token="hf_ada…").create_commit("ada/tweets", …)
        hub.files("ada/tweets"), hub.commits("ada/tweets"), hub.requests

    hub.fail("POST /api/models/*/commit/*", status=503, times=2)      # and silence, cut, lose, slow
    subprocess.run(…, env=hub.environment("hf_ada…"))                 # for a process of its own

The wire format is that of huggingface_hub 2.4, read from its source; routes that it never calls are missing.
Not known: Xet's protocol (clients run with HF_HUB_DISABLE_XET=1), sign-in pages, search, billing.
"""

import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from tests.servers import hub_commits as commits
from tests.servers import hub_repos as repos
from tests.servers.hub_cards import check_card
from tests.servers.hub_faults import Fault, Faults
from tests.servers.hub_http import Asked, HttpServer, Refusal, Reply, Request
from tests.servers.hub_jobs import JobRecord, Jobs
from tests.servers.hub_lfs import Large
from tests.servers.hub_rights import Bearer, Rights, check_read, check_write
from tests.servers.hub_spaces import SpaceRecord, Spaces
from tests.servers.hub_store import Commit, Repo, Store

__all__ = ["Commit", "JobRecord", "LocalHub", "Request", "SpaceRecord"]

_REV = r"([^/]+)"
# method, what stands behind /api/models/OWNER/NAME, who may, the answer
REPO_ROUTES: list[tuple[str, str, str, Callable[..., Reply]]] = [
    ("GET", "", "read", repos.info),
    ("GET", f"/revision/{_REV}", "read", repos.info),
    ("GET", f"/tree/{_REV}(?:/(.+))?", "read", repos.tree),
    ("POST", f"/paths-info/{_REV}", "read", repos.paths_info),
    ("GET", "/refs", "read", repos.refs),
    ("GET", f"/commits/{_REV}", "read", repos.commits),
    ("GET", "/auth-check", "file", lambda hub, asked, repo: Reply({})),
    ("GET", "/auth-check/write", "write", lambda hub, asked, repo: Reply({})),
    ("POST", f"/preupload/{_REV}", "read", commits.preupload),
    ("POST", f"/commit/{_REV}", "read", commits.commit),
    ("POST", f"/branch/{_REV}", "write", commits.branch),
    ("DELETE", f"/branch/{_REV}", "write", commits.branch),
    ("POST", f"/tag/{_REV}", "write", commits.tag),
    ("DELETE", f"/tag/{_REV}", "write", commits.tag),
    ("PUT", "/settings", "write", commits.settings),
    ("GET", "/discussions", "read", commits.discussions),
    ("POST", "/discussions", "read", commits.discuss),
    ("GET", r"/discussions/(\d+)", "read", commits.discussion),
    ("POST", r"/discussions/(\d+)/(merge|status)", "write", commits.act),
]
_API = re.compile(r"/api/(models|datasets|spaces)/([^/]+)(?:/([^/]+))?(/.*)?")
_FILE = re.compile(r"/(?:(datasets|spaces)/)?([^/]+(?:/[^/]+)?)/resolve/([^/]+)/(.+)")
_LFS = re.compile(r"/(?:(datasets|spaces)/)?([^/]+/[^/]+)\.git/info/lfs/objects/(batch|verify)")
_BUCKET = re.compile(r"/api/buckets/([^/]+)/([^/]+)")
_NO_NAMES = {"revision", "tree", "resolve", "commit", "refs", "commits", "discussions", "paths-info"}


class LocalHub(HttpServer):
    """The Hub. A test may set and read its attributes."""

    def __init__(self):
        self._folder = Path(tempfile.mkdtemp(prefix="local-hub-"))
        self.store = Store(self._folder / "store")
        self.rights = Rights()
        self.requests: list[Request] = []
        self.lfs_over: int | None = 10_000_000
        """Files of more bytes go through LFS; None: none do."""
        self.part_size: int | None = 50_000_000
        """Large files of more bytes are uploaded in parts of this size; None: none are."""
        self.page_size = 1000
        """Entries of a page of a listing."""
        super().__init__(Faults(), self.requests, threading.Event())
        self.large = Large(self, self.store)
        self.spaces = Spaces(self)
        self._jobs = Jobs(self)
        self.endpoint = self.url

    def __enter__(self) -> "LocalHub":
        self.start()
        return self

    def __exit__(self, *exception):
        self.stop()

    def start(self):
        """Start to accept requests."""
        super().start()
        self.large.start()

    def stop(self):
        """Break every connection, stop, and delete all files."""
        super().stop()
        self.large.stop()
        self._jobs.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    # What a test does

    def add_user(
        self,
        name: str,
        *,
        token: str,
        orgs: Sequence[str] = (),
        role: str = "write",
        scopes: Mapping[str, Sequence[str]] | Sequence[str] = (),
        paying: bool = True,
    ) -> Bearer:
        """Add a user, or another token of one. Roles and scopes: see hub_rights."""
        return self.rights.add(name, token, orgs=orgs, role=role, scopes=scopes, paying=paying)

    def create_repo(
        self,
        repo_id: str,
        *,
        kind: str = "model",
        private: bool = False,
        gated: bool | str = False,
        files: Mapping[str, bytes | Path] | None = None,
    ) -> str:
        """Create a repository with files (those above `lfs_over` as large ones); return its commit."""
        author = repo_id.split("/")[0]
        repo = self.store.add(kind, repo_id, author=author, private=private, gated=gated)
        if kind == "space":
            self.spaces.made(repo, {"sdk": "gradio"})
        return self.commit(repo_id, files, kind=kind) if files else repo.refs["main"]

    def commit(
        self,
        repo_id: str,
        files: Mapping[str, bytes | Path | None],
        *,
        kind: str = "model",
        title: str = "change",
        branch: str = "main",
    ) -> str:
        """Add a commit, as somebody else would; None deletes a file. Return its oid."""
        repo, blobs = self.store.repos[kind, repo_id], {}
        for path, content in files.items():
            size = (
                0
                if content is None
                else len(content)
                if isinstance(content, bytes)
                else content.stat().st_size
            )
            large = self.lfs_over is not None and size > self.lfs_over
            blobs[path] = None if content is None else self.store.blob(content, lfs=large)
        return repo.commit(branch, blobs, title=title, author=repo.owner).oid

    def grant(self, repo_id: str, user: str, *, kind: str = "model") -> None:
        """Let a user into a gated repository."""
        self.store.repos[kind, repo_id].allowed.add(user)

    def repo(self, repo_id: str, *, kind: str = "model") -> Repo | None:
        """Return a repository's record, None without one."""
        return self.store.repos.get((kind, repo_id))

    def files(self, repo_id: str, *, kind: str = "model", revision: str = "main") -> dict[str, bytes]:
        """Return a revision's files; .gitattributes, which the Hub makes itself, is left out."""
        tree = self.store.repos[kind, repo_id].tree(revision)
        return {path: blob.content() for path, blob in tree.items() if path != ".gitattributes"}

    def commits(self, repo_id: str, *, kind: str = "model", revision: str = "main") -> list[Commit]:
        """Return a revision's commits, the oldest first; the first is the creation."""
        return self.store.repos[kind, repo_id].history(revision)[::-1]

    def space(self, repo_id: str) -> SpaceRecord:
        """Return a Space's settings and stage, to read or to set."""
        return self.spaces.records[repo_id]

    @property
    def jobs(self) -> list[JobRecord]:
        """All jobs, in the order they were started."""
        return self._jobs.records

    @property
    def on_job(self) -> Callable[[JobRecord], None] | None:
        """The function that does a job's work, in a thread of its own."""
        return self._jobs.work

    @on_job.setter
    def on_job(self, work: Callable[[JobRecord], None] | None) -> None:
        self._jobs.work = work

    def environment(self, token: str | None = None, *, home: Path | None = None) -> dict[str, str]:
        """Return the environment of a process that uses this Hub, with a cache of its own."""
        home = home or Path(tempfile.mkdtemp(dir=self._folder, prefix="home-"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        return (
            kept
            | {
                "HF_ENDPOINT": self.endpoint,
                "HF_HOME": str(home),
                "HF_HUB_OFFLINE": "0",
                "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1",
                "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                "HF_HUB_DISABLE_SYMLINKS_WARNING": "1",
                "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0",
            }
            | ({"HF_TOKEN": token} if token else {})
        )

    # Faults: "METHOD /path" with *; they strike in the order they were added

    def fail(
        self,
        pattern: str,
        *,
        status: int = 500,
        times: int | None = 1,
        headers: Mapping[str, str] | None = None,
        code: str | None = None,
        message: str | None = None,
    ) -> None:
        """Refuse the next matching requests."""
        self.faults.add(Fault(pattern, "status", times, status, dict(headers or {}), code, message))

    def silence(self, pattern: str, *, times: int | None = 1) -> None:
        """Accept the next matching requests and never answer."""
        self.faults.add(Fault(pattern, "silent", times))

    def cut(self, pattern: str, *, after_bytes: int = 1000, times: int | None = 1) -> None:
        """Break off after so many bytes of the request's body, or of the answer's."""
        self.faults.add(Fault(pattern, "cut", times, after_bytes=after_bytes))

    def lose(self, pattern: str, *, times: int | None = 1) -> None:
        """Carry out the request and break off before the answer."""
        self.faults.add(Fault(pattern, "lost", times))

    def slow(self, pattern: str, *, bytes_per_s: float, times: int | None = None) -> None:
        """Receive and send bodies slowly."""
        self.faults.add(Fault(pattern, "slow", times, bytes_per_s=bytes_per_s))

    # What the server does

    def answer(self, asked: Asked) -> Reply:
        """Find the route and answer."""
        bearer = self.rights.of(asked)  # an unknown token is refused everywhere
        if asked.path == "/api/complete_multipart":
            return self.large.complete(self, asked)
        for found, handler in ((_LFS.fullmatch, self._lfs), (_FILE.fullmatch, self._file)):
            if match := found(asked.path):
                return handler(asked, match)
        fixed = {
            ("GET", "/api/whoami-v2"): self._whoami,
            ("POST", "/api/repos/create"): commits.create,
            ("DELETE", "/api/repos/delete"): commits.delete,
            ("POST", "/api/validate-yaml"): _validate,
            ("GET", "/api/spaces/hardware"): self._jobs.hardware,
        }
        if (asked.method, asked.path) in fixed:
            return fixed[asked.method, asked.path](self, asked)
        if asked.path.startswith("/api/jobs/"):
            return self._jobs.answer(asked, bearer)
        if match := _BUCKET.fullmatch(asked.path):
            return self.spaces.bucket(asked, bearer, *match.groups())
        if match := _API.fullmatch(asked.path):
            return self._api(asked, match, bearer)
        raise Refusal(404, f"Not here: {asked.method} {asked.path}")

    def readable(self, asked: Asked, kind: str, name: str) -> Repo:
        """Return a repository that the caller may see. Raises Refusal."""
        return check_read(self.store.repos.get((kind, name)), self.rights.of(asked))

    def _whoami(self, hub: "LocalHub", asked: Asked) -> Reply:
        return Reply(self.rights.needed(asked).whoami())

    def _api(self, asked: Asked, match: re.Match, bearer: Bearer | None) -> Reply:
        kinds, first, second, rest = match.groups()
        rest = rest or ""
        if second in _NO_NAMES and f"{first}/{second}" not in {name for _, name in self.store.repos}:
            second, rest = None, f"/{second}{rest}"
        name = unquote(f"{first}/{second}" if second else first)
        repo = self.readable(asked, kinds[:-1], name)
        routes = [*REPO_ROUTES, *(self.spaces.routes if repo.kind == "space" else ())]
        for method, pattern, need, handler in routes:
            found = re.fullmatch(pattern, rest) if method == asked.method else None
            if not found:
                continue
            if need == "write":
                check_write(repo, bearer)
            if need == "file":
                repos.check_gate(repo, bearer)
            return handler(self, asked, repo, *[unquote(g) for g in found.groups() if g is not None])
        raise Refusal(404, f"Not here: {asked.method} {asked.path}")

    def _file(self, asked: Asked, match: re.Match) -> Reply:
        kinds, name, revision, path = match.groups()
        repo = self.readable(asked, kinds[:-1] if kinds else "model", unquote(name))
        return repos.resolve(self, asked, repo, unquote(revision), unquote(path))

    def _lfs(self, asked: Asked, match: re.Match) -> Reply:
        kinds, name, what = match.groups()
        repo = self.readable(asked, kinds[:-1] if kinds else "model", unquote(name))
        return (self.large.batch if what == "batch" else self.large.verify)(self, asked, repo)


def _validate(hub: LocalHub, asked: Asked) -> Reply:
    wanted = asked.json()
    errors, warnings = check_card(wanted["content"], wanted.get("repoType", "model"))
    said = {"errors": [{"message": e} for e in errors], "warnings": [{"message": w} for w in warnings]}
    return Reply(said, 400 if errors else 200)
