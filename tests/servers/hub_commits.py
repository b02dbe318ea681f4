"""Writing to repositories of the local Hub: creation, commits, branches, tags, pull requests, settings.

Each function answers one route: (hub, asked, repo, *parts of the path) -> Reply.
"""

import base64
import json
import re
from typing import Any

from tests.servers.hub_cards import check_card
from tests.servers.hub_http import Asked, Refusal, Reply
from tests.servers.hub_repos import TIME, commit_of
from tests.servers.hub_rights import check_write
from tests.servers.hub_store import KINDS, Blob, Commit, Discussion, ParentMovedError, Repo

NAME = re.compile(r"[A-Za-z0-9_][\w.\-]{0,95}")


def create(hub, asked: Asked) -> Reply:
    """Answer create_repo."""
    bearer, wanted = hub.rights.needed(asked), asked.json()
    namespace, name = wanted.get("organization") or bearer.name, str(wanted.get("name", ""))
    kind, full = wanted.get("type") or "model", f"{namespace}/{name}"
    if kind not in KINDS or not NAME.fullmatch(name) or name.endswith((".git", ".", "-")) or ".." in name:
        raise Refusal(400, f"Invalid {kind} name: {name!r}")
    if not bearer.may_create(namespace):
        raise Refusal(403, f'You don\'t have the rights to create a {kind} under the namespace "{namespace}"')
    private = wanted.get("visibility") == "private" or wanted.get("private") is True
    if kind == "space":
        hub.spaces.check_new(wanted, bearer)
    try:
        repo = hub.store.add(kind, full, author=bearer.name, private=private)
    except KeyError:
        url = f"{hub.endpoint}/{hub.store.repos[kind, full].path}"
        raise Refusal(409, f"You already created this {kind} repo", url=url, name=full) from None
    repo.created_by_app = bearer.role == "oauth"
    if kind == "space":
        hub.spaces.made(repo, wanted)
    return Reply({"url": f"{hub.endpoint}/{repo.path}", "name": full, "id": f"{abs(hash(full)):024x}"[:24]})


def delete(hub, asked: Asked) -> Reply:
    """Answer delete_repo."""
    bearer, wanted = hub.rights.needed(asked), asked.json()
    name = f"{wanted.get('organization') or bearer.name}/{wanted['name']}"
    repo = hub.readable(asked, wanted.get("type") or "model", name)
    check_write(repo, bearer)
    del hub.store.repos[repo.kind, repo.name]
    return Reply({})


def settings(hub, asked: Asked, repo: Repo) -> Reply:
    """Answer update_repo_settings."""
    wanted = asked.json()
    if "visibility" in wanted or "private" in wanted:
        repo.private = wanted.get("private", wanted.get("visibility") == "private")
    if "gated" in wanted:
        repo.gated = wanted["gated"]
    return Reply({"private": repo.private, "gated": repo.gated})


def _proposes(asked: Asked) -> bool:
    return asked.query.get("create_pr") == ["1"]


def _own_proposal(repo: Repo, revision: str, bearer) -> bool:
    """Whether a revision is the branch of a pull request that the caller has opened."""
    mine = [one.branch for one in repo.discussions if bearer and one.author == bearer.name]
    return revision in mine


def preupload(hub, asked: Asked, repo: Repo, revision: str) -> Reply:
    """Answer for each file how to send it, and which file of that name there is now."""
    bearer = hub.rights.of(asked)
    check_write(repo, bearer, proposing=_proposes(asked) or _own_proposal(repo, revision, bearer))
    now = commit_of(repo, revision).tree
    files = []
    for file in asked.json()["files"]:
        base64.b64decode(file["sample"], validate=True)
        old = now.get(file["path"])
        large = hub.lfs_over is not None and file["size"] > hub.lfs_over
        files.append(
            {
                "path": file["path"],
                "uploadMode": "lfs" if large else "regular",
                "shouldIgnore": False,
                "oid": old.etag if old else None,
            }
        )
    return Reply({"files": files, "commitOid": commit_of(repo, revision).oid})


def _changes(hub, lines: list[dict], tree: dict[str, Blob]) -> dict[str, Blob | None]:
    """Return what the lines of a commit change. Raises Refusal; then nothing is changed."""
    changes: dict[str, Blob | None] = {}
    for line in lines:
        path = line["value"]["path"]
        if line["key"] == "deletedFolder":
            inside = [known for known in tree if known.startswith(path.rstrip("/") + "/")]
            changes |= dict.fromkeys(inside)
            if not inside:
                raise Refusal(404, f"A folder with this name doesn't exist: {path}", "EntryNotFound")
        elif line["key"] == "deletedFile" and path not in tree:
            raise Refusal(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        else:
            changes[path] = None if line["key"] == "deletedFile" else _blob(hub, line["key"], line["value"])
    return changes


def _blob(hub, key: str, value: dict) -> Blob:
    parts = value["path"].split("/")
    if not parts[0] or {"..", ".", ".git", ""} & set(parts):
        raise Refusal(400, f"Invalid path: {value['path']}")
    if key == "file":
        data = base64.b64decode(value["content"])
        if len(data) > 10_000_000:
            raise Refusal(
                400, f"Your push was rejected because {value['path']} is larger than 10 MiB: use LFS"
            )
        return Blob.of(data)
    if key != "lfsFile":
        raise Refusal(400, f"Unknown operation: {key}")
    blob = hub.large.blob(value["oid"])
    if blob is None:
        raise Refusal(
            400,
            "Your push was rejected because an LFS pointer pointed to a file that does not exist: "
            f"{value['path']}",
        )
    return blob


def commit(hub, asked: Asked, repo: Repo, revision: str) -> Reply:
    """Answer create_commit: all operations or none."""
    proposing = _proposes(asked)
    bearer = hub.rights.of(asked)
    bearer = check_write(repo, bearer, proposing=proposing or _own_proposal(repo, revision, bearer))
    lines: list[dict[str, Any]] = [json.loads(line) for line in asked.read().splitlines() if line]
    if not lines or lines[0].get("key") != "header":
        raise Refusal(400, "The first line has to be the header")
    header, head = lines[0]["value"], commit_of(repo, revision)
    if revision not in repo.refs:
        raise Refusal(400, f"{revision} is no branch: commits go to branches", "RevisionNotFound")
    changes = _changes(hub, lines[1:], head.tree)
    if blob := changes.get("README.md"):
        errors, _ = check_card(blob.content().decode("utf-8", "replace"), repo.kind)
        if errors:
            raise Refusal(400, f"Invalid metadata in README.md: {errors[0]}")
    if not header["summary"].strip() or not changes:
        raise Refusal(400, "A commit needs a summary and a change")
    parent = header.get("parentCommit")
    if parent is not None and (repo.find(parent) or head).oid != head.oid:
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    words = {"title": header["summary"], "description": header.get("description", ""), "author": bearer.name}
    if proposing:
        return _propose(hub, repo, changes, words)
    try:
        made = repo.commit(revision, changes, parent=head.oid if parent else None, **words)
    except ParentMovedError:
        raise Refusal(412, "A commit has happened since. Please refresh and try again.") from None
    if repo.kind == "space" and revision == "main":
        hub.spaces.rebuild(repo)
    return Reply(_committed(hub, repo, made))


def _committed(hub, repo: Repo, made: Commit) -> dict:
    url = f"{hub.endpoint}/{repo.path}/commit/{made.oid}"
    return {"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""}


def _propose(hub, repo: Repo, changes: dict, words: dict) -> Reply:
    opened = repo.discuss(words["title"], words["author"], pull_request=True)
    made = repo.commit(opened.branch, changes, **words)
    url = f"{hub.endpoint}/{repo.path}/discussions/{opened.num}"
    return Reply(_committed(hub, repo, made) | {"pullRequestUrl": url})


def branch(hub, asked: Asked, repo: Repo, name: str) -> Reply:
    """Answer create_branch and delete_branch."""
    if asked.method == "DELETE":
        if name not in repo.refs:
            raise Refusal(404, f"Invalid rev id: {name}", "RevisionNotFound")
        del repo.refs[name]
        return Reply({})
    if name in repo.refs:
        raise Refusal(409, f"Reference already exists: {name}")
    repo.refs[name] = commit_of(repo, asked.json().get("startingPoint") or "main").oid
    return Reply({}, 201)


def tag(hub, asked: Asked, repo: Repo, name: str) -> Reply:
    """Answer create_tag (of a revision, named in the path) and delete_tag."""
    if asked.method == "DELETE":
        if repo.tags.pop(name, None) is None:
            raise Refusal(404, f"Invalid rev id: {name}", "RevisionNotFound")
        return Reply({})
    wanted = asked.json()["tag"]
    if wanted in repo.tags:
        raise Refusal(409, f"Reference already exists: {wanted}")
    repo.tags[wanted] = commit_of(repo, name).oid
    return Reply({}, 201)


def discuss(hub, asked: Asked, repo: Repo) -> Reply:
    """Answer create_discussion and create_pull_request."""
    bearer, wanted = hub.rights.needed(asked), asked.json()
    opened = repo.discuss(
        wanted["title"], bearer.name, pull_request=wanted["pullRequest"], description=wanted["description"]
    )
    opened.status = "draft" if opened.is_pull_request else "open"
    return Reply({"num": opened.num, "pullRequest": opened.is_pull_request})


def _shown(repo: Repo, found: Discussion) -> dict:
    return {
        "title": found.title,
        "num": found.num,
        "status": found.status,
        "author": {"name": found.author},
        "createdAt": found.date.strftime(TIME),
        "isPullRequest": found.is_pull_request,
        "repo": {"name": repo.name, "type": repo.kind},
    }


def discussions(hub, asked: Asked, repo: Repo) -> Reply:
    """Answer get_repo_discussions."""
    found = [_shown(repo, discussion) for discussion in reversed(repo.discussions)]
    return Reply({"discussions": found, "count": len(found), "start": 0})


def _discussion(repo: Repo, num: str) -> Discussion:
    for discussion in repo.discussions:
        if str(discussion.num) == num:
            return discussion
    raise Refusal(404, f"Discussion not found: {num}")


def discussion(hub, asked: Asked, repo: Repo, num: str) -> Reply:
    """Answer get_discussion_details."""
    found = _discussion(repo, num)
    steps = [
        {
            "id": oid,
            "type": "commit",
            "createdAt": commit.date.strftime(TIME),
            "author": {"name": commit.author},
            "data": {"subject": commit.title, "oid": oid},
        }
        for oid, commit in repo.commits.items()
        if found.is_pull_request and commit in repo.history(found.branch) and commit not in repo.history()
    ]
    changes = {"changes": {"base": "refs/heads/main"}, "filesWithConflicts": [], "diff": ""}
    return Reply(_shown(repo, found) | {"events": steps} | (changes if found.is_pull_request else {}))


def act(hub, asked: Asked, repo: Repo, num: str, what: str) -> Reply:
    """Answer merge_pull_request and change_discussion_status."""
    found, wanted = _discussion(repo, num), asked.json()
    if what == "merge":
        made = repo.merge(found, hub.rights.needed(asked).name)
        hub.spaces.rebuild(repo) if repo.kind == "space" else None
        return Reply(_committed(hub, repo, made))
    found.status = wanted["status"]
    event = {
        "id": f"status-{num}",
        "type": "status-change",
        "createdAt": found.date.strftime(TIME),
        "author": {"name": found.author},
        "data": {"status": found.status},
    }
    return Reply({"newStatus": event})
