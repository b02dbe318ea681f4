"""Reading repositories of the local Hub: information, trees, history, and the files themselves.

Each function answers one route: (hub, asked, repo, *parts of the path) -> Reply.
"""

from urllib.parse import parse_qs

import yaml

from tests.servers.hub_http import Asked, Refusal, Reply
from tests.servers.hub_rights import check_gate
from tests.servers.hub_store import Blob, Commit, Repo

TIME = "%Y-%m-%dT%H:%M:%S.000Z"


def commit_of(repo: Repo, revision: str) -> Commit:
    """Return a revision's commit. Raises Refusal."""
    commit = repo.find(revision)
    if commit is None:
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit


def front_matter(readme: str) -> dict | None:
    """Return a card's metadata, None without; raises yaml.YAMLError."""
    if not readme.startswith("---\n") or "\n---" not in readme[4:]:
        return None
    found = yaml.safe_load(readme[4:].split("\n---", 1)[0])
    return found if isinstance(found, dict) else {}


def _card(commit: Commit) -> dict | None:
    readme = commit.tree.get("README.md")
    try:
        return front_matter(readme.content().decode("utf-8", "replace")) if readme else None
    except yaml.YAMLError:
        return None


def info(hub, asked: Asked, repo: Repo, revision: str = "main") -> Reply:
    """Answer model_info, dataset_info and space_info."""
    commit = commit_of(repo, revision)
    card = _card(commit)
    siblings = [
        {"rfilename": path} | (_metadata(blob) if "blobs" in asked.query else {})
        for path, blob in sorted(commit.tree.items())
    ]
    said = {
        "_id": f"{abs(hash(repo.path)):024x}"[:24],
        "id": repo.name,
        "author": repo.owner,
        "sha": commit.oid,
        "lastModified": commit.date.strftime(TIME),
        "createdAt": repo.created.strftime(TIME),
        "private": repo.private,
        "gated": repo.gated or False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": (card or {}).get("tags", []),
        "cardData": card,
        "siblings": siblings,
        "usedStorage": sum(blob.size for blob in commit.tree.values()),
    }
    if repo.kind == "model":
        said |= {
            "modelId": repo.name,
            "pipeline_tag": (card or {}).get("pipeline_tag"),
            "spaces": [],
            "library_name": (card or {}).get("library_name"),
            "config": {},
        }
        said |= {"model-index": card["model-index"]} if card and "model-index" in card else {}
    if repo.kind == "space":
        said |= hub.spaces.shown(repo)
    if "expand" in asked.query or "expand[]" in asked.query:
        fields = {*asked.query.get("expand", []), *asked.query.get("expand[]", []), "_id", "id"}
        said = {key: value for key, value in said.items() if key in fields}
    return Reply(said)


def _metadata(blob: Blob) -> dict:
    lfs = {"sha256": blob.sha256, "size": blob.size, "pointerSize": 130}
    return {"size": blob.size, "blobId": blob.oid} | ({"lfs": lfs} if blob.sha256 else {})


def _entry(path: str, blob: Blob, commit: Commit | None) -> dict:
    entry = {"type": "file", "oid": blob.oid, "size": blob.size, "path": path}
    if blob.sha256:
        entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": 130}
    if commit:
        entry["lastCommit"] = {"id": commit.oid, "title": commit.title, "date": commit.date.strftime(TIME)}
    return entry


def _folder(path: str, commit: Commit | None) -> dict:
    folder = {"type": "directory", "oid": "0" * 40, "size": 0, "path": path}
    if commit:
        folder["lastCommit"] = {"id": commit.oid, "title": commit.title, "date": commit.date.strftime(TIME)}
    return folder


def tree(hub, asked: Asked, repo: Repo, revision: str, folder: str | None = None) -> Reply:
    """Answer list_repo_tree, in pages."""
    commit = commit_of(repo, revision)
    shown = commit if asked.query.get("expand", ["false"])[0].lower() == "true" else None
    recursive = asked.query.get("recursive", ["false"])[0].lower() == "true"
    prefix, entries = f"{folder.strip('/')}/" if folder else "", {}
    for path, blob in sorted(commit.tree.items()):
        if not path.startswith(prefix):
            continue
        parts = path.removeprefix(prefix).split("/")
        for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
            inner = prefix + "/".join(parts[:depth])
            entries.setdefault(inner, _folder(inner, shown))
        if recursive or len(parts) == 1:
            entries[path] = _entry(path, blob, shown)
    if folder and not entries:
        raise Refusal(404, f"{folder} does not exist on {revision!r}", "EntryNotFound")
    return _page(hub, asked, list(entries.values()))


def _page(hub, asked: Asked, items: list) -> Reply:
    start = int(asked.query.get("cursor", ["0"])[0])
    end = start + hub.page_size
    if end >= len(items):
        return Reply(items[start:])
    query = "&".join(f"{key}={values[0]}" for key, values in asked.query.items() if key != "cursor")
    link = f'<{hub.endpoint}{asked.path}?{query}&cursor={end}>; rel="next"'
    return Reply(items[start:end], headers={"Link": link})


def paths_info(hub, asked: Asked, repo: Repo, revision: str) -> Reply:
    """Answer get_paths_info; missing paths are left out."""
    commit = commit_of(repo, revision)
    body = asked.read()
    if asked.headers.get("content-type", "").startswith("application/json"):
        hub.refuse(400, "paths-info takes a form")
    paths, found = parse_qs(body.decode()).get("paths", []), []
    for path in (path.strip("/") for path in paths):
        if path in commit.tree:
            found.append(_entry(path, commit.tree[path], commit))
        elif any(known.startswith(f"{path}/") for known in commit.tree):
            found.append(_folder(path, commit))
    return Reply(found)


def refs(hub, asked: Asked, repo: Repo) -> Reply:
    """Answer list_repo_refs."""
    branches, proposals = [], []
    for name, oid in repo.refs.items():
        proposal = name.startswith("refs/pr/")
        place = name if proposal else f"refs/heads/{name}"
        (proposals if proposal else branches).append({"name": name, "ref": place, "targetCommit": oid})
    tags = [
        {"name": name, "ref": f"refs/tags/{name}", "targetCommit": oid} for name, oid in repo.tags.items()
    ]
    pull_requests = {"pullRequests": proposals} if "include_prs" in asked.query else {}
    return Reply({"branches": branches, "converts": [], "tags": tags, **pull_requests})


def commits(hub, asked: Asked, repo: Repo, revision: str) -> Reply:
    """Answer list_repo_commits, the newest first."""
    commit_of(repo, revision)
    return _page(
        hub,
        asked,
        [
            {
                "id": commit.oid,
                "title": commit.title,
                "message": commit.description,
                "authors": [{"user": commit.author}],
                "date": commit.date.strftime(TIME),
            }
            for commit in repo.history(revision)
        ],
    )


def resolve(hub, asked: Asked, repo: Repo, revision: str, path: str) -> Reply:
    """Answer a download. A large file is sent by the storage, another host with a signed address."""
    check_gate(repo, hub.rights.of(asked))
    commit = commit_of(repo, revision)
    headers = {"X-Repo-Commit": commit.oid}
    blob = commit.tree.get(path)
    if blob is None:
        refusal = Refusal(404, f"Entry not found: {path}", "EntryNotFound").reply()
        return Reply(refusal.body, 404, refusal.headers | headers)
    if blob.path is None:
        return Reply(blob.data, headers=headers | {"ETag": f'"{blob.oid}"'})
    linked = {"X-Linked-ETag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
    return Reply(b"", 302, headers | linked | {"Location": hub.large.download_url(blob.sha256)})
