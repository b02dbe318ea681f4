"""What the local Hub keeps: repositories with their commits, files small (in memory) and large (on disk).

    store = Store(folder)
    repo = store.add("model", "ada/tweets", author="ada", files={"README.md": b"…"})
    repo.tree("main")["README.md"].content()          # -> b"…"
    repo.commit("main", {"a.txt": blob, "b.txt": None}, title="…", author="ada")   # None deletes

A commit is one step: all of its files or none. Knows nothing about HTTP, users or rights.
"""

import hashlib
import itertools
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

KINDS = {"model": "models", "dataset": "datasets", "space": "spaces"}
PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}
_numbers = itertools.count()


def git_oid(content: bytes) -> str:
    """Return the name that git gives to a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass(frozen=True)
class Blob:
    """A file's content: in memory, or at a place on disk when it went through LFS."""

    size: int
    oid: str
    data: bytes = b""
    path: Path | None = None
    sha256: str | None = None

    @classmethod
    def of(cls, data: bytes) -> "Blob":
        """Return the blob of a regular file."""
        return cls(len(data), git_oid(data), data)

    @classmethod
    def large(cls, path: Path, sha256: str) -> "Blob":
        """Return the blob of a file in the large storage; git has its pointer only."""
        size = path.stat().st_size
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        return cls(size, git_oid(pointer), path=path, sha256=sha256)

    @property
    def etag(self) -> str:
        """What the client compares to know whether it has the file."""
        return self.sha256 or self.oid

    def content(self) -> bytes:
        """Return all of it."""
        return self.path.read_bytes() if self.path else self.data


@dataclass(frozen=True)
class Commit:
    """One step of a repository's history."""

    oid: str
    title: str
    parent: str | None
    operations: tuple[str, ...]
    """What it did, as "add README.md", "lfs model.safetensors", "delete old.bin"."""
    author: str
    description: str = ""
    date: datetime = field(default_factory=lambda: datetime.now(UTC))
    tree: dict[str, Blob] = field(default_factory=dict, repr=False)


@dataclass
class Discussion:
    """A discussion, or a pull request with a branch of its own, refs/pr/NUM."""

    num: int
    title: str
    author: str
    is_pull_request: bool
    description: str = ""
    status: str = "open"
    date: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def branch(self) -> str:
        """The branch that its commits are on."""
        return f"refs/pr/{self.num}"


class ParentMovedError(Exception):
    """The commit was prepared for a parent that is not the newest any more."""


class Repo:
    """A repository: branches that name commits, and settings."""

    def __init__(self, kind: str, name: str, *, private: bool, gated: str | bool):
        self.kind, self.name, self.private, self.gated = kind, name, private, gated
        self.allowed: set[str] = set()  # users that a gated repository has let in
        self.created_by_app = False
        self.sdk: str | None = None
        self.created = datetime.now(UTC)
        self.commits: dict[str, Commit] = {}
        self.refs: dict[str, str] = {}  # branches, by name
        self.tags: dict[str, str] = {}
        self.discussions: list[Discussion] = []
        self._lock = threading.RLock()

    @property
    def owner(self) -> str:
        """The user or organization it belongs to."""
        return self.name.split("/")[0]

    @property
    def path(self) -> str:
        """Its place in the Hub's URLs."""
        return PREFIXES[self.kind] + self.name

    def find(self, revision: str) -> Commit | None:
        """Return the commit of a branch, a tag or an oid (its first 7 characters or more)."""
        oid = self.refs.get(revision) or self.tags.get(revision) or revision
        if oid in self.commits:
            return self.commits[oid]
        short = [known for known in self.commits if len(oid) >= 7 and known.startswith(oid)]
        return self.commits[short[0]] if len(short) == 1 else None

    def tree(self, revision: str = "main") -> dict[str, Blob]:
        """Return the files of a revision by path."""
        commit = self.find(revision)
        return dict(sorted(commit.tree.items())) if commit else {}

    def commit(
        self,
        branch: str,
        changes: dict[str, Blob | None],
        *,
        title: str,
        author: str,
        description: str = "",
        parent: str | None = None,
    ) -> Commit:
        """Add a commit to a branch, at once; None as a file's blob deletes it. Raises ParentMovedError."""
        with self._lock:
            head = self.refs.get(branch)
            if parent is not None and parent != head:
                raise ParentMovedError(head)
            tree = dict(self.commits[head].tree) if head else {}
            for path, blob in changes.items():
                tree.pop(path, None)
                if blob is not None:
                    tree[path] = blob
            oid = hashlib.sha1(f"{self.path} {head} {title} {next(_numbers)}".encode()).hexdigest()
            operations = tuple(_operation(path, blob) for path, blob in changes.items())
            made = Commit(oid, title, head, operations, author, description, tree=tree)
            self.commits[oid] = made
            self.refs[branch] = oid
            return made

    def history(self, revision: str = "main") -> list[Commit]:
        """Return a revision's commits, the newest first."""
        commit, found = self.find(revision), []
        while commit:
            found.append(commit)
            commit = self.commits.get(commit.parent or "")
        return found

    def discuss(self, title: str, author: str, *, pull_request: bool, description: str = "") -> Discussion:
        """Open a discussion or a pull request."""
        with self._lock:
            opened = Discussion(len(self.discussions) + 1, title, author, pull_request, description)
            self.discussions.append(opened)
            if pull_request:
                self.refs[opened.branch] = self.refs["main"]
            return opened

    def merge(self, discussion: Discussion, author: str) -> Commit:
        """Bring a pull request's files into main."""
        with self._lock:
            base, theirs = self.tree(), self.tree(discussion.branch)
            changes: dict[str, Blob | None] = {p: b for p, b in theirs.items() if base.get(p) != b}
            changes |= dict.fromkeys(set(base) - set(theirs))
            discussion.status = "merged"
            title = f"{discussion.title} (#{discussion.num})"
            return self.commit("main", changes, title=title, author=author)


def _operation(path: str, blob: Blob | None) -> str:
    return f"delete {path}" if blob is None else f"{'lfs' if blob.sha256 else 'add'} {path}"


class Store:
    """All repositories, and the large files, which repositories share."""

    def __init__(self, folder: Path):
        self.large, self.parts = folder / "large", folder / "parts"
        self.repos: dict[tuple[str, str], Repo] = {}
        self._lock = threading.Lock()
        for place in (self.large, self.parts):
            place.mkdir(parents=True)

    def add(self, kind: str, name: str, *, author: str, private=False, gated=False, files=None) -> Repo:
        """Create a repository with a first commit. Raises KeyError when the name is taken."""
        with self._lock:
            if (kind, name) in self.repos:
                raise KeyError(name)
            repo = Repo(kind, name, private=private, gated="auto" if gated is True else gated)
            first = {".gitattributes": Blob.of(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n")}
            blobs = first | {path: self.blob(content) for path, content in (files or {}).items()}
            repo.commit("main", blobs, title="initial commit", author=author)
            self.repos[kind, name] = repo
            return repo

    def blob(self, content: bytes | Path, *, lfs: bool = False) -> Blob:
        """Return the blob of a file's content; what is given as a path is kept as a large file."""
        if isinstance(content, bytes) and not lfs:
            return Blob.of(content)
        data = content if isinstance(content, bytes) else content.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        place = self.large / sha256
        place.write_bytes(data)
        return Blob.large(place, sha256)
