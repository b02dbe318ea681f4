"""The content of a repository on the Hub, and how a push differs from it.

remote = read_remote(api, "ada/tweets", revision="main")
changes = compare(plan.files, remote)
changes.add, changes.remove, changes.foreign
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_url
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import get_session, hf_raise_for_status

from inference.artifact import PROVENANCE
from inference.common.hub import HubConflict, Timeouts, ask
from inference.common.store import JsonObject
from training.publish.card import is_untouched
from training.publish.errors import RepoConflict
from training.publish.files import CARD, PUSHED, VERIFICATION, Outgoing, allowed, is_metadata
from training.publish.verify import Verified

PUSH_TIMEOUTS = Timeouts(answer_s=60.0, connect_s=10.0, tries=3)
_OF_THE_HUB = (".gitattributes", CARD, "LICENSE", ".gitignore")
_WEIGHTS = re.compile(
    r"\.(safetensors|bin|gguf|ggml|onnx|h5|keras|pt|pth|ckpt|msgpack|pkl|pickle|joblib|npz|pb|tflite|mlmodel"
    r"|ot|nemo|pte)$",
    re.IGNORECASE,
)
"""File endings of models, of any library."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on the Hub."""

    git_sha1: str
    size: int
    sha256: str | None
    """The hash of a large file; None for one that is in git itself."""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """One revision of a repository."""

    repo_id: str
    head: str
    files: Mapping[str, RemoteFile] = field(default_factory=dict)
    stamp: JsonObject | None = None
    """The content of verification.json, None without one."""
    provenance: JsonObject | None = None
    """The content of provenance.json, None without one."""
    card: str = ""
    """README.md, "" where there is none."""

    @property
    def ours(self) -> frozenset[str] | None:
        """The files that earlier pushes wrote; None for a repository that TweetTune has not pushed to."""
        if not self.provenance or not {"recipe", PUSHED} & self.provenance.keys():
            return None
        named = self.provenance.get(PUSHED)
        return frozenset({PROVENANCE, VERIFICATION, *map(str, named if isinstance(named, list) else ())})

    @property
    def verified(self) -> Verified | None:
        names = [one.name for one in dataclasses.fields(Verified)]
        found = (self.stamp or {}).get("verified")
        if not isinstance(found, dict) or sorted(found) != sorted(names):
            return None
        return Verified(**found)

    def same(self, file: Outgoing) -> bool:
        there = self.files.get(file.path_in_repo)
        if there is None or there.size != file.size:
            return False
        return there.sha256 == file.sha256 if there.sha256 else there.git_sha1 == file.git_sha1


@dataclass(frozen=True)
class Changes:
    """The changes of one commit."""

    add: tuple[Outgoing, ...]
    """Files that are new or different."""
    remove: tuple[str, ...]
    """Files of an earlier push that this one does not have."""
    foreign: tuple[str, ...]
    """Files that no push of ours has written; they stay."""

    def __bool__(self) -> bool:
        return bool(self.add or self.remove)

    @property
    def of_the_model(self) -> bool:
        """Whether the model may answer differently afterwards: more than metadata changes."""
        return any(
            not is_metadata(name) for name in (*(file.path_in_repo for file in self.add), *self.remove)
        )


def read_remote(api: HfApi, repo_id: str, *, revision: str, kind: str = "model") -> Remote:
    """Read a revision's files, and of a model its records and card. Raises HubError."""
    return ask(f"read {repo_id}", lambda: _read(api, repo_id, revision, kind), repo=repo_id)


def _read(api: HfApi, repo_id: str, revision: str, kind: str) -> Remote:
    head = str(api.repo_info(repo_id, repo_type=kind, revision=revision).sha)
    tree = api.list_repo_tree(repo_id, repo_type=kind, revision=head, recursive=True)
    files = {
        entry.path: RemoteFile(entry.blob_id, entry.size, entry.lfs.sha256 if entry.lfs else None)
        for entry in tree
        if isinstance(entry, RepoFile)
    }
    remote = Remote(repo_id=repo_id, head=head, files=files)
    if kind != "model":
        return remote
    return dataclasses.replace(
        remote,
        stamp=_record(api, remote, VERIFICATION),
        provenance=_record(api, remote, PROVENANCE),
        card=_content(api, remote, CARD, kind).decode("utf-8", "replace") if CARD in files else "",
    )


def read_content(api: HfApi, remote: Remote, name: str) -> bytes:
    """Return a small file of a data set. Raises HubError."""
    doing = f"read {name} of {remote.repo_id}"
    return ask(doing, lambda: _content(api, remote, name, "dataset"), repo=remote.repo_id)


def _content(api: HfApi, remote: Remote, name: str, kind: str) -> bytes:
    url = hf_hub_url(remote.repo_id, name, repo_type=kind, revision=remote.head, endpoint=api.endpoint)
    response = get_session().get(url, headers=build_hf_headers(token=api.token))
    hf_raise_for_status(response)
    return response.content


def create(api: HfApi, repo_id: str, *, kind: str = "model", private: bool) -> None:
    """Create a repository, unless somebody just has. Raises HubError."""
    ask(
        f"create {repo_id}",
        lambda: api.create_repo(repo_id, repo_type=kind, private=private, exist_ok=True),
        repo=repo_id,
    )


def send(
    api: HfApi,
    repo_id: str,
    operations: Sequence[CommitOperationAdd | CommitOperationDelete],
    *,
    parent_commit: str,
    **more: Any,
) -> CommitInfo:
    """Make one commit, once: one whose answer was lost would be refused the second time.

    `more`: what `create_commit` takes. Raises RepoConflict where somebody else has committed meanwhile, or
    HubError.
    """
    try:
        made: CommitInfo = ask(
            f"write to {repo_id}",
            lambda: api.create_commit(repo_id, operations, parent_commit=parent_commit, **more),
            repo=repo_id,
            tries=1,
        )
        return made
    except HubConflict as error:
        raise RepoConflict(
            f"{repo_id} has changed while this push was under way ({error.status}). "
            "Look at its history, then push again; nothing of this push is in it."
        ) from error


def _record(api: HfApi, remote: Remote, name: str) -> JsonObject | None:
    try:
        found = json.loads(_content(api, remote, name, "model")) if name in remote.files else None
    except ValueError:
        return None  # somebody has edited it: it is written anew
    return found if isinstance(found, dict) else None


def compare(files: Iterable[Outgoing], remote: Remote) -> Changes:
    """Return what has to change. Raises RepoConflict where that would touch what somebody else has put there.

    Only files of earlier pushes are removed, and none where provenance.json does not list them.
    """
    planned = {file.path_in_repo: file for file in files}
    ours = remote.ours
    if ours is None:
        _refuse_others(remote)
    elif taken := sorted(
        n
        for n in planned
        if PUSHED in (remote.provenance or {})
        and n in remote.files
        and n not in ours
        and not remote.same(planned[n])
    ):
        raise RepoConflict(
            f"{remote.repo_id} holds {taken[0]}, which no push of TweetTune's has written, and this one "
            "would take its place. Rename it there, or give another name, then push again."
        )
    return Changes(
        add=tuple(file for file in planned.values() if not remote.same(file)),
        remove=tuple(
            name
            for name in remote.files
            if name not in planned and name in (ours or ()) and allowed(name) and name != VERIFICATION
        ),
        foreign=tuple(
            name
            for name in remote.files
            if name not in planned and name not in (ours or ()) and name not in _OF_THE_HUB
        ),
    )


def _refuse_others(remote: Remote) -> None:
    """Raise RepoConflict for a repository with a model, or with files that a push would write or remove."""
    weights = [name for name in remote.files if _WEIGHTS.search(name)]
    if weights:
        raise RepoConflict(
            f"{remote.repo_id} holds a model that TweetTune has not pushed ({', '.join(weights[:4])}), "
            "and a push would take its place. Give another name."
        )
    taken = sorted(name for name in remote.files if allowed(name) and name not in _OF_THE_HUB)
    if taken:
        raise RepoConflict(
            f"{remote.repo_id} holds files that TweetTune has not pushed ({', '.join(taken[:4])}), "
            "and a push would take their place. Give another name."
        )


def check_card(remote: Remote) -> None:
    """Raise RepoConflict for a card that somebody has written or edited: a push would take its place.

    A card of metadata alone, as the Hub makes one with a new repository, may go.
    """
    body = re.sub(r"\A\s*---\s*\n.*?\n---\s*(?:\n|\Z)", "", remote.card, flags=re.DOTALL).strip()
    if not body or is_untouched(remote.card):
        return
    raise RepoConflict(
        f"The {CARD} of {remote.repo_id} was written or edited by somebody, and a push would take its place. "
        f"Delete it there, its history keeps it, then push again; or propose the change with --pr."
    )
