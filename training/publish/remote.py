"""What a repository on the Hub holds now, and how a push differs from it.

    remote = read_remote(api, "ada/tweets", revision="main", token=token)
    changes = compare(plan_files, remote)
    changes.add, changes.remove, changes.foreign

Knows nothing about how changes are sent.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import get_session, hf_raise_for_status

from inference.artifact import PROVENANCE
from training.publish.errors import RepoConflict
from training.publish.files import VERIFICATION, Outgoing, allowed
from training.publish.verify import Verified

_OF_THE_HUB = (".gitattributes", "README.md", "LICENSE", ".gitignore")


@dataclass(frozen=True)
class RemoteFile:
    """A file on the Hub."""

    git_sha1: str
    size: int
    sha256: str | None
    """Of a large file; None for one that is in git itself."""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """One revision of a repository."""

    repo_id: str
    head: str
    files: Mapping[str, RemoteFile] = field(default_factory=dict)
    stamp: Mapping[str, Any] | None = None
    """What verification.json says, None where there is none."""

    @property
    def verified(self) -> Verified | None:
        """The verification that the stamp records."""
        names = [one.name for one in dataclasses.fields(Verified)]
        found = (self.stamp or {}).get("verified")
        if not isinstance(found, dict) or sorted(found) != sorted(names):
            return None
        return Verified(**found)

    def same(self, file: Outgoing) -> bool:
        """Whether the Hub has this file as it is."""
        there = self.files.get(file.path_in_repo)
        if there is None or there.size != file.size:
            return False
        return there.sha256 == file.sha256 if there.sha256 else there.git_sha1 == file.git_sha1


@dataclass(frozen=True)
class Changes:
    """What one commit will do."""

    add: tuple[Outgoing, ...]
    """Files that are new or different."""
    remove: tuple[str, ...]
    """Files of an earlier push that this one does not have."""
    foreign: tuple[str, ...]
    """Files that no push of ours writes; they stay."""

    def __bool__(self) -> bool:
        return bool(self.add or self.remove)


def read_remote(api: HfApi, repo_id: str, *, revision: str, kind: str = "model") -> Remote:
    """Read a revision's files and stamp. Raises what the Hub's client raises."""
    head = str(api.repo_info(repo_id, repo_type=kind, revision=revision).sha)
    tree = api.list_repo_tree(repo_id, repo_type=kind, revision=head, recursive=True)
    files = {
        entry.path: RemoteFile(entry.blob_id, entry.size, entry.lfs.sha256 if entry.lfs else None)
        for entry in tree
        if isinstance(entry, RepoFile)
    }
    stamp = _stamp(api, repo_id, head) if VERIFICATION in files and kind == "model" else None
    return Remote(repo_id=repo_id, head=head, files=files, stamp=stamp)


def _stamp(api: HfApi, repo_id: str, head: str) -> Mapping[str, Any] | None:
    url = hf_hub_url(repo_id, VERIFICATION, revision=head, endpoint=api.endpoint)
    response = get_session().get(url, headers=build_hf_headers(token=api.token))
    hf_raise_for_status(response)
    try:
        found = json.loads(response.content)
    except ValueError:
        return None  # somebody has edited it: it is written anew
    return found if isinstance(found, dict) else None


def compare(files: Iterable[Outgoing], remote: Remote) -> Changes:
    """Say what has to change. Raises RepoConflict when the repository holds somebody else's model."""
    wanted = {file.path_in_repo: file for file in files}
    weights = [name for name in remote.files if name.endswith((".safetensors", ".bin", ".gguf", ".onnx"))]
    if PROVENANCE not in remote.files and weights:
        raise RepoConflict(
            f"{remote.repo_id} holds a model that TweetTune has not pushed ({', '.join(weights[:4])}), "
            "and a push would take its place. Give another name."
        )
    return Changes(
        add=tuple(file for file in wanted.values() if not remote.same(file)),
        remove=tuple(
            name
            for name in remote.files
            if name not in wanted and allowed(name) and name not in (VERIFICATION, *_OF_THE_HUB)
        ),
        foreign=tuple(n for n in remote.files if n not in wanted and not allowed(n) and n not in _OF_THE_HUB),
    )
