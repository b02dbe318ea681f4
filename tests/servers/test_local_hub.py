"""The local Hub, driven by the real client: repositories, commits, large files, pull requests, rights.

Other tests push and download through it, so what it refuses, the real Hub must refuse too, in these words.
"""

import os
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.support.hub_fixtures import ADA, BOB

CARD = b"---\nlicense: mit\n---\n# Tweets\n"


@pytest.fixture
def ada(online):
    return HfApi(token=ADA)


@pytest.fixture
def bob(online):
    return HfApi(token=BOB)


@pytest.fixture
def nobody(online):
    return HfApi(token=False)


def add(path: str, content: bytes) -> CommitOperationAdd:
    return CommitOperationAdd(path, content)


def refused(status: int, word: str):
    """Expect a refusal by its status and a part of its words."""
    return pytest.raises(HfHubHTTPError, match=rf"(?s){status}.*{word}")


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_a_repository_is_created_filled_and_downloaded(hub, ada, kind, tmp_path):
    more = {"space_sdk": "gradio"} if kind == "space" else {}
    url = ada.create_repo("ada/tweets", repo_type=kind, private=True, **more)
    assert (url.repo_id, url.repo_type) == ("ada/tweets", kind)
    card = CARD.replace(b"license: mit", b"sdk: gradio") if kind == "space" else CARD
    made = ada.create_commit(
        "ada/tweets", [add("README.md", card), add("data/a.txt", b"a")], commit_message="m", repo_type=kind
    )
    assert hub.files("ada/tweets", kind=kind) == {"README.md": card, "data/a.txt": b"a"}
    assert made.commit_url == f"{url}/commit/{made.oid}"
    info = ada.repo_info("ada/tweets", repo_type=kind, files_metadata=True)
    assert (info.sha, info.private) == (made.oid, True)
    assert {s.rfilename: s.size for s in info.siblings}["data/a.txt"] == 1
    folder = snapshot_download("ada/tweets", repo_type=kind, token=ADA, cache_dir=tmp_path)
    assert (Path(folder) / "data" / "a.txt").read_bytes() == b"a"
    assert Path(folder).name == made.oid


def test_a_name_that_is_taken_or_wrong_or_anothers_is_refused(hub, ada, nobody):
    ada.create_repo("ada/m")
    with refused(409, "already created this model"):
        ada.create_repo("ada/m")
    assert ada.create_repo("ada/m", exist_ok=True).repo_id == "ada/m"
    assert ada.create_repo("crew/m").repo_id == "crew/m"
    with refused(403, 'rights to create a model under the namespace "bob"'):
        ada.create_repo("bob/m")
    with refused(401, "Invalid username"):
        nobody.create_repo("ada/n")
    with refused(402, "PRO subscription"):
        hub.add_user("eve", token="hf_" + "e" * 34, paying=False)
        HfApi(token="hf_" + "e" * 34).create_repo("eve/s", repo_type="space", space_sdk="gradio")


def test_a_commit_is_one_step_on_the_parent_it_was_prepared_for(hub, ada):
    first = hub.create_repo("ada/m", files={"old.txt": b"1"})
    operations = [add("new.txt", b"2"), CommitOperationDelete("old.txt")]
    made = ada.create_commit("ada/m", operations, commit_message="swap", parent_commit=first)
    creation, filled, swapped = hub.commits("ada/m")
    assert (swapped.oid, swapped.parent, swapped.title, swapped.author) == (made.oid, first, "swap", "ada")
    assert swapped.operations == ("add new.txt", "delete old.txt") and filled.parent == creation.oid
    with refused(412, "A commit has happened since"):
        ada.create_commit("ada/m", [add("b", b"b")], commit_message="late", parent_commit=first)
    with pytest.raises(EntryNotFoundError):
        ada.create_commit("ada/m", [add("b", b"b"), CommitOperationDelete("c")], commit_message="half")
    assert hub.files("ada/m") == {"new.txt": b"2"} and len(hub.commits("ada/m")) == 3


def test_what_is_there_already_makes_no_commit(hub, ada):
    hub.lfs_over = 1000
    files = {"README.md": CARD, "model.bin": os.urandom(2000)}
    sha = hub.create_repo("ada/m", files=files)
    again = ada.create_commit("ada/m", [add(p, c) for p, c in files.items()], commit_message="again")
    assert again.oid == sha and len(hub.commits("ada/m")) == 2
    assert not [r for r in hub.requests if r.method == "PUT"]


@pytest.mark.parametrize("part_size", [None, 3000])
def test_a_large_file_goes_to_the_storage_which_never_sees_a_token(hub, ada, part_size, tmp_path):
    hub.lfs_over, hub.part_size = 1000, part_size
    content = os.urandom(10_000)
    hub.create_repo("ada/m", private=True)
    ada.create_commit("ada/m", [add("model.bin", content), add("small.txt", b"s")], commit_message="m")
    assert hub.commits("ada/m")[-1].operations == ("lfs model.bin", "add small.txt")
    puts = [request for request in hub.requests if request.method == "PUT"]
    assert [put.size for put in puts] == ([10_000] if part_size is None else [3000, 3000, 3000, 1000])
    [file] = ada.get_paths_info("ada/m", ["model.bin"])
    assert file.lfs.size == 10_000
    folder = snapshot_download("ada/m", token=ADA, cache_dir=tmp_path)
    assert (Path(folder) / "model.bin").read_bytes() == content
    fetched = [request for request in hub.requests if request.path.startswith("/get/")]
    assert len(fetched) == 1
    assert not [request for request in puts + fetched if "authorization" in request.headers]
    assert not [request for request in hub.requests if ADA in request.path]


def test_a_pointer_to_a_file_that_was_never_uploaded_is_refused(hub, ada):
    hub.lfs_over = 1000
    hub.create_repo("ada/m")
    hub.fail("POST /ada/m.git/info/lfs/objects/batch", status=200, message="")  # the client goes on
    with pytest.raises((HfHubHTTPError, ValueError)):
        ada.create_commit("ada/m", [add("model.bin", b"x" * 2000)], commit_message="m")
    assert hub.files("ada/m") == {}


def test_a_pull_request_leaves_main_alone_until_it_is_merged(hub, ada, bob):
    hub.create_repo("ada/m", files={"a.txt": b"1"})
    with refused(403, "pass `create_pr=1`"):
        bob.create_commit("ada/m", [add("a.txt", b"2")], commit_message="mine")
    made = bob.create_commit("ada/m", [add("a.txt", b"2")], commit_message="mine", create_pr=True)
    assert (made.pr_revision, made.pr_num) == ("refs/pr/1", 1)
    assert hub.files("ada/m") == {"a.txt": b"1"}
    assert hub.files("ada/m", revision="refs/pr/1") == {"a.txt": b"2"}
    assert ada.model_info("ada/m", revision="refs/pr/1").sha == made.oid
    [found] = ada.get_repo_discussions("ada/m")
    assert (found.title, found.author, found.status, found.is_pull_request) == ("mine", "bob", "open", True)
    details = ada.get_discussion_details("ada/m", 1)
    assert [event.oid for event in details.events] == [made.oid]
    assert details.target_branch == "refs/heads/main"
    ada.create_commit("ada/m", [add("b.txt", b"3")], commit_message="more", revision="refs/pr/1")
    ada.merge_pull_request("ada/m", 1)
    assert hub.files("ada/m") == {"a.txt": b"2", "b.txt": b"3"}
    assert ada.get_discussion_details("ada/m", 1).status == "merged"


def test_a_private_repository_is_not_there_for_others(hub, ada, bob, nobody):
    hub.create_repo("ada/m", private=True)
    assert ada.model_info("ada/m").private
    for stranger, status in ((bob, 404), (nobody, 401)):
        with pytest.raises(RepositoryNotFoundError) as error:
            stranger.model_info("ada/m")
        assert error.value.response.status_code == status
        with pytest.raises(RepositoryNotFoundError):
            stranger.hf_hub_download("ada/m", ".gitattributes")
    assert not nobody.repo_exists("ada/nothing") and ada.repo_exists("ada/m")


def test_a_gated_repository_tells_about_itself_but_keeps_its_files(hub, ada, bob, nobody):
    hub.create_repo("ada/m", gated=True, files={"config.json": b"{}"})
    assert nobody.model_info("ada/m").gated == "auto"
    for stranger, status in ((bob, 403), (nobody, 401)):
        with pytest.raises(GatedRepoError) as error:
            stranger.hf_hub_download("ada/m", "config.json")
        assert error.value.response.status_code == status
        with pytest.raises(GatedRepoError):
            stranger.auth_check("ada/m")
    hub.grant("ada/m", "bob")
    assert Path(bob.hf_hub_download("ada/m", "config.json")).read_bytes() == b"{}"


def test_a_token_does_what_its_role_says(hub, ada):
    hub.create_repo("ada/m", private=True)
    hub.create_repo("ada/other", private=True)
    tokens = {name: "hf_" + name[0] * 34 for name in ("read", "narrow", "app", "unknown")}
    hub.add_user("ada", token=tokens["read"], role="read")
    hub.add_user("ada", token=tokens["narrow"], role="fine-grained", scopes={"ada/m": ["repo.write"]})
    hub.add_user("ada", token=tokens["app"], role="oauth", scopes=("contribute-repos",))
    read, narrow, app, unknown = (HfApi(token=token) for token in tokens.values())
    roles = [api.whoami()["auth"].get("accessToken", {}).get("role") for api in (ada, read, narrow, app)]
    assert roles == ["write", "read", "fineGrained", None]
    read.model_info("ada/m")
    with refused(403, "you must use a write token"):
        read.create_commit("ada/m", [add("a", b"a")], commit_message="m")
    narrow.create_commit("ada/m", [add("a", b"a")], commit_message="m")
    with pytest.raises(RepositoryNotFoundError):
        narrow.model_info("ada/other")
    with refused(403, "rights to create"):
        narrow.create_repo("ada/n")
    app.create_repo("ada/by-app", private=True)
    app.create_commit("ada/by-app", [add("a", b"a")], commit_message="m")
    with pytest.raises(RepositoryNotFoundError):
        app.create_commit("ada/m", [add("b", b"b")], commit_message="m")
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        unknown.whoami()


def test_trees_come_in_pages_with_folders(hub, ada):
    hub.page_size = 2
    hub.create_repo("ada/m", files={f"onnx/{n}.txt": b"x" for n in range(4)} | {"a.txt": b"y"})
    entries = list(ada.list_repo_tree("ada/m", recursive=True))
    assert [e.path for e in entries if hasattr(e, "size")][:2] == [".gitattributes", "a.txt"]
    assert len(entries) == 7
    assert [e.path for e in ada.list_repo_tree("ada/m")] == [".gitattributes", "a.txt", "onnx"]
    assert [e.path for e in ada.list_repo_tree("ada/m", "onnx")] == [f"onnx/{n}.txt" for n in range(4)]
    with pytest.raises(EntryNotFoundError):
        list(ada.list_repo_tree("ada/m", "nothing"))


def test_branches_tags_and_history(hub, ada):
    sha = hub.create_repo("ada/m", files={"a": b"1"})
    ada.create_branch("ada/m", branch="try")
    ada.create_commit("ada/m", [add("a", b"2")], commit_message="on try", revision="try")
    ada.create_tag("ada/m", tag="v1")
    refs = ada.list_repo_refs("ada/m")
    assert ({b.name for b in refs.branches}, [t.name for t in refs.tags]) == ({"main", "try"}, ["v1"])
    assert ada.list_repo_commits("ada/m", revision="try")[0].title == "on try"
    assert ada.model_info("ada/m", revision="v1").sha == sha
    assert ada.model_info("ada/m", revision=sha[:8]).sha == sha
    with pytest.raises(RevisionNotFoundError):
        ada.model_info("ada/m", revision="nothing")
    ada.delete_repo("ada/m")
    assert hub.repo("ada/m") is None


@pytest.mark.parametrize(
    ("kind", "front", "why"),
    [
        ("model", "license: [", "YAML"),
        ("model", "model-index:\n- name: a\n  results:\n  - task: {type: t}", "dataset.name"),
        ("model", "base_model: /a/folder", "not valid"),
        ("space", "title: t", '"sdk" must be one of'),
        ("space", "sdk: gradio\nshort_description: " + "x" * 61, "less than or equal to 60"),
        ("space", "sdk: gradio\npython_version: 3.11", "quote it"),
    ],
)
def test_a_card_with_wrong_metadata_is_refused_before_anything_is_sent(hub, ada, kind, front, why):
    hub.create_repo("ada/r", kind=kind)
    with pytest.raises(ValueError, match=why):
        ada.create_commit(
            "ada/r", [add("README.md", f"---\n{front}\n---\n".encode())], commit_message="m", repo_type=kind
        )
    assert hub.files("ada/r", kind=kind) == {}
