"""Pushing for real: uploaded, downloaded by another process with an empty cache, compared, stamped."""

import json

import pytest

from inference.common.hub import NotAllowedOnHub
from tests.support.hub_fixtures import BOB
from tests.support.publishing import REPO, Here, change_json, push_to
from training.publish.errors import NotPublishable, RepoConflict, VerificationFailed
from training.publish.plan import prepare


def test_pushed_again_unchanged_nothing_is_sent_and_changed_the_change_alone(online, artifact):
    first = push_to(online, artifact, verifier=Here)
    before = online.files(REPO)
    online.requests.clear()
    again = push_to(online, artifact, verifier=Here)
    assert (again.changed, again.commit) == (False, first.commit) and again.verified == first.verified
    assert online.files(REPO) == before
    assert {request.method for request in online.requests} == {"GET"}

    change_json(artifact / "evaluation.json", note="measured again")
    changed = push_to(online, artifact, verifier=Here)
    commits = online.commits(REPO)
    assert changed.changed and len(commits) == 5
    assert {"add evaluation.json", "add README.md"} >= set(commits[3].operations)
    assert json.loads(online.files(REPO)["verification.json"])["verified"]["commit"] == changed.commit


def test_other_weights_of_the_same_size_are_sent(online, artifact):
    online.lfs_over = 50_000
    push_to(online, artifact, verifier=Here)
    weights = artifact / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(
        content[:-64] + content[-60:] + content[-64:-60]
    )  # the last tensor's numbers, turned round
    assert push_to(online, artifact, verifier=Here).changed
    assert online.files(REPO)["model.safetensors"] == weights.read_bytes() != content


def test_the_token_that_pushes_is_looked_for_whatever_it_looks_like(online, artifact):
    online.add_user("ada", token="no-prefix-at-all-1234")
    change_json(artifact / "evaluation.json", note="no-prefix-at-all-1234")
    with pytest.raises(
        NotPublishable, match=r"^evaluation.json holds a secret of this machine, so nothing was"
    ):
        push_to(online, artifact, token="no-prefix-at-all-1234", verifier=Here)
    assert online.repo(REPO) is None


def test_a_file_that_the_model_no_longer_has_is_removed_and_others_stay(online, artifact):
    (artifact / "special_tokens_map.json").write_text("{}")
    push_to(online, artifact, verifier=Here)
    assert "special_tokens_map.json" in online.files(REPO)
    online.commit(REPO, {"notes/mine.txt": b"keep me"})
    (artifact / "special_tokens_map.json").unlink()
    done = push_to(online, artifact, verifier=Here)
    files = online.files(REPO)
    assert "special_tokens_map.json" not in files and files["notes/mine.txt"] == b"keep me"
    assert any("1 files of ada/tweets are not ours and stay as they are." in note for note in done.notes)


def test_a_model_of_somebody_else_is_not_overwritten(online, artifact):
    online.create_repo(REPO, files={"model.safetensors": b"theirs", "config.json": b"{}"})
    with pytest.raises(
        RepoConflict, match=r"holds a model that TweetTune has not pushed \(model.safetensors\)"
    ):
        push_to(online, artifact, verifier=Here)
    assert online.files(REPO)["model.safetensors"] == b"theirs"


@pytest.mark.parametrize("name", ["tf_model.h5", "weights.pt", "flax_model.msgpack", "model.pkl"])
def test_a_model_of_any_library_is_somebody_elses(online, artifact, name):
    online.create_repo(REPO, files={name: b"theirs"})
    with pytest.raises(RepoConflict, match=rf"holds a model that TweetTune has not pushed \({name}\)"):
        push_to(online, artifact, verifier=Here)
    assert online.files(REPO) == {name: b"theirs"}


@pytest.mark.parametrize("name", ["assets/fig.png", "vocab.json", "config.json"])
def test_files_that_a_push_would_write_or_remove_are_somebody_elses(online, artifact, name):
    online.create_repo(REPO, files={name: b"theirs"})
    with pytest.raises(RepoConflict, match=rf"holds files that TweetTune has not pushed \({name}\)"):
        push_to(online, artifact, verifier=Here)
    assert online.files(REPO) == {name: b"theirs"}


def test_what_somebody_adds_to_our_repository_stays(online, artifact):
    push_to(online, artifact, verifier=Here)
    online.commit(REPO, {"assets/fig.png": b"theirs", "onnx/packed.onnx": b"theirs"})
    change_json(artifact / "evaluation.json", note="measured again")
    done = push_to(online, artifact, verifier=Here)
    files = online.files(REPO)
    assert files["assets/fig.png"] == files["onnx/packed.onnx"] == b"theirs"
    assert any("2 files of ada/tweets are not ours and stay" in note for note in done.notes)
    (artifact / "onnx").mkdir()
    (artifact / "onnx" / "packed.onnx").write_bytes(b"\x08 a network")
    with pytest.raises(
        RepoConflict, match=r"holds onnx/packed.onnx, which no push of TweetTune's has written"
    ):
        push_to(online, artifact, verifier=Here)
    assert online.files(REPO) == files


def test_a_card_that_somebody_has_edited_is_not_overwritten(online, artifact):
    push_to(online, artifact, verifier=Here)
    mine = (
        online.files(REPO)["README.md"].replace(b"language: en", b"language: en\nlicense: mit")
        + b"My words.\n"
    )
    online.commit(REPO, {"README.md": mine})
    with pytest.raises(RepoConflict, match=r"^The README.md of ada/tweets was written or edited by somebody"):
        push_to(online, artifact, verifier=Here)
    assert online.files(REPO)["README.md"] == mine
    proposed = push_to(online, artifact, pr=True, verifier=Here)
    assert proposed.pr_url and online.files(REPO)["README.md"] == mine


def test_a_new_repository_may_have_a_card_of_metadata_but_no_more(online, artifact):
    online.create_repo(REPO, files={"README.md": b"---\nlicense: mit\n---\n", ".gitattributes": b"*.bin\n"})
    assert push_to(online, artifact, verifier=Here).changed
    online.create_repo("ada/written", files={"README.md": b"---\nlicense: mit\n---\nA plan.\n"})
    with pytest.raises(
        RepoConflict, match=r"^The README.md of ada/written was written or edited by somebody"
    ):
        push_to(online, artifact, "ada/written", verifier=Here)


class Failing(Here):
    """A verification that finds something else than was pushed."""

    def verify(self, repo_id, commit, *, adapter_only):
        raise VerificationFailed("It answers otherwise. Push again.")


def test_a_verification_goes_with_the_model_that_it_was_about(online, artifact):
    push_to(online, artifact, verifier=Here)
    weights = artifact / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-64] + content[-60:] + content[-64:-60])
    with pytest.raises(VerificationFailed):
        push_to(online, artifact, verifier=Failing)
    files = online.files(REPO)
    assert files["model.safetensors"] == weights.read_bytes()
    assert "verification.json" not in files and b"Verified at commit" not in files["README.md"]
    done = push_to(online, artifact, verifier=Here)
    assert json.loads(online.files(REPO)["verification.json"])["verified"]["commit"] == done.commit


def test_private_and_public(online, artifact):
    online.create_repo("ada/open")
    with pytest.raises(
        RepoConflict, match=r"^ada/open is public, but --private was asked for. Make it private"
    ):
        push_to(online, artifact, "ada/open", private=True, verifier=Here)
    online.create_repo("ada/shut", private=True)
    with pytest.raises(NotAllowedOnHub):
        push_to(online, artifact, "ada/shut", token=BOB, verifier=Here)
    assert online.files("ada/shut") == {}


def test_a_pull_request_is_opened_once_and_gone_on_with(online, artifact):
    online.create_repo("bob/tweets", files={"README.md": b"# Bob's\n"})
    main = online.commits("bob/tweets")
    first = push_to(online, artifact, "bob/tweets", pr=True, verifier=Here)
    assert first.pr_url == f"{online.endpoint}/bob/tweets/discussions/1"
    assert online.commits("bob/tweets") == main  # nothing is in main before it is merged
    proposed = online.files("bob/tweets", revision="refs/pr/1")
    assert b"Verified at commit" in proposed["README.md"] and "model.safetensors" in proposed
    again = push_to(online, artifact, "bob/tweets", pr=True, verifier=Here)
    assert (again.changed, again.pr_url) == (False, first.pr_url)
    change_json(artifact / "evaluation.json", note="measured again")
    more = push_to(online, artifact, "bob/tweets", pr=True, verifier=Here)
    assert (more.changed, more.pr_url) == (True, first.pr_url)
    assert len(online.repo("bob/tweets").discussions) == 1


def test_no_process_but_the_pushing_one_is_needed_for_a_plan(artifact):
    """A plan names what it will do without a Hub: HF_HUB_OFFLINE is set in these tests."""
    assert prepare(artifact, REPO).destination.repo_id == REPO
