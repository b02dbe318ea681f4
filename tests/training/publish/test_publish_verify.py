"""A push is verified: downloaded by its commit by another process with an empty cache, compared, stamped."""

import contextlib
import dataclasses
import json
import os
import shutil
from typing import ClassVar

import psutil
import pytest

from inference.common.hub import HubSilent
from tests.support import REPOSITORY
from tests.support.exporting import exported
from tests.support.hub_fixtures import ADA
from tests.support.publishing import REPO, Here, change_json, check_completes, push_to
from training.publish.errors import VerificationFailed
from training.publish.remote import PUSH_TIMEOUTS
from training.publish.verify import PROBES, Answers, compare


@pytest.fixture
def lone_process(monkeypatch, tmp_path):
    """Temporary folders of this test are its own, so that what is left behind can be seen."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_a_push_is_verified_by_new_processes_and_stamped(online, trained_gpt2, tmp_path, lone_process):
    """The token is in no process's environment: whoever shares the machine's user could read it there."""
    online.lfs_over = 50_000
    artifact = exported(trained_gpt2.artifact, tmp_path / "mine" / "artifact")
    steps, environments = [], []

    def inspect(step):
        steps.append(step.phase)
        for child in psutil.Process().children() if step.phase == "verify" else []:
            with contextlib.suppress(psutil.NoSuchProcess):  # another test's child, which has just ended
                if "training.publish.answers" in child.cmdline():
                    environments.append(str(child.environ()))

    done = push_to(online, artifact, private=True, progress=inspect, timeouts=PUSH_TIMEOUTS)
    assert [c.title for c in online.commits(REPO)] == [
        "initial commit",
        "TweetTune: push of mine",
        f"Verified at commit {done.commit[:7]}",
    ]
    assert (done.changed, done.pr_url, done.verified.commit) == (True, None, done.commit)
    assert done.commit_url == f"{online.endpoint}/{REPO}/commit/{done.commit}" and online.repo(REPO).private
    assert done.verified.n_texts == 32 and done.verified.largest_difference <= 1e-4
    assert list(dict.fromkeys(steps)) == ["rights", "compare", "upload", "verify", "stamp", "done"]
    assert len(environments) == 2 and not any(ADA in each for each in environments)
    files = online.files(REPO)
    card = files["README.md"].decode()
    assert f"Verified at commit [`{done.commit}`]" in card and "on 32 stored texts" in card
    record = json.loads(files["verification.json"])
    assert record["texts"] == list(PROBES) and record["labels"] == ["negative", "neutral", "positive"]
    assert all(abs(sum(row) - 1) < 1e-4 for row in record["probabilities"])
    assert 30 <= done.verified.onnx_equal <= 32
    assert f"`onnx/` gives the same label on {done.verified.onnx_equal} of them." in card
    check_nothing_leaked(online, artifact)
    left = [each.name for each in lone_process.iterdir() if not each.name.startswith("exported-")]
    assert left == []  # neither a cache nor a process's folder, but for the export of a fixture
    assert push_to(online, artifact).changed is False  # the stamp tells all of it


def check_nothing_leaked(hub, artifact) -> None:
    everything = b"".join(hub.files(REPO).values())
    for secret in (ADA, str(artifact.parent), str(REPOSITORY), os.path.expanduser("~/")):
        assert secret.encode() not in everything, secret
    assert all(ADA not in request.path for request in hub.requests)
    storage = [r for r in hub.requests if r.path.startswith(("/put/", "/get/", "/part/"))]
    assert storage and not [r for r in storage if "authorization" in r.headers]


def test_an_adapter_alone_loads_and_answers_as_the_merged_model(online, artifact, trained_gpt2):
    base = {path.name: path.read_bytes() for path in trained_gpt2.base.iterdir()}
    commit = online.create_repo("crew/tiny-gpt2", files=base)
    record = json.loads((artifact / "provenance.json").read_text())
    record["base"] |= {"name": "crew/tiny-gpt2", "revision": commit}
    (artifact / "provenance.json").write_text(json.dumps(record))
    done = push_to(online, artifact, adapter_only=True, verifier=Here)
    assert done.verified.largest_difference <= 1e-3
    files = set(online.files(REPO))
    assert {
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer.json",
        "classifier_config.json",
    } <= files
    assert not files & {"config.json", "model.safetensors"}


class Tampering(Here):
    """A verification before which the artifact here becomes another one."""

    def __init__(self, artifact, api, **more):
        other = artifact.parent / "other"
        shutil.copytree(artifact, other)
        change_json(other / "config.json", **self.changes)
        super().__init__(other, api, **more)


def test_other_labels_than_the_artifacts_are_no_success(online, artifact):
    class Renamed(Tampering):
        changes: ClassVar = {"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}

    with pytest.raises(
        VerificationFailed, match="names its labels negative, neutral, positive, but they are a, b, c"
    ):
        push_to(online, artifact, verifier=Renamed)
    assert "verification.json" not in online.files(REPO)
    assert b"Verified at commit" not in online.files(REPO)["README.md"]


def test_probabilities_that_differ_are_reported():
    here = Answers(("a", "b"), ((0.3, 0.7),) * 32)
    there = Answers(("a", "b"), (*((0.3, 0.7),) * 31, (0.3003, 0.6997)))
    assert compare(here, here, where="x", tolerance=1e-4) == 0
    with pytest.raises(
        VerificationFailed, match=r"x answers otherwise .*: a probab.* is off by 0.0003 \(allowed: 0.0001\)"
    ):
        compare(here, there, where="x", tolerance=1e-4)
    broken = Answers(("a", "b"), ((float("nan"), 0.7),) * 32)
    with pytest.raises(VerificationFailed, match="is off by nan"):
        compare(here, broken, where="x", tolerance=1e-4)


class WithNetworks(Here):
    """Asks the exported network too, as a real verification does."""

    networks: ClassVar = True


def test_an_exported_network_that_can_not_be_loaded_is_no_success(online, trained_gpt2, tmp_path):
    artifact = exported(trained_gpt2.artifact, tmp_path / "artifact")
    network = artifact / "onnx" / "packed.onnx"
    network.write_bytes(network.read_bytes()[:-1] + b"?")
    with pytest.raises(
        VerificationFailed, match=r"could not be loaded \(ArtifactError: .*packed.onnx"
    ) as caught:
        push_to(online, artifact, verifier=WithNetworks)
    assert "\n" not in str(caught.value) and "verification.json" not in online.files(REPO)


def test_an_exported_network_that_answers_otherwise_is_reported():
    here, there = (Answers(("a", "b"), ((0.3, 0.7),) * 32, equal) for equal in (None, 30))
    assert compare(here, there, where="x", tolerance=1e-4) == 0
    with pytest.raises(
        VerificationFailed, match=r"x answers otherwise by its onnx/ than by its weights: 29 of 32"
    ):
        compare(here, dataclasses.replace(there, onnx_equal=29), where="x", tolerance=1e-4)


@pytest.mark.usefixtures("warm_starts")
def test_a_hub_that_falls_silent_while_it_is_verified(online, artifact):
    """In the new process too a silent Hub is given up, and no cache stays behind."""
    online.silence("* /ada/tweets/resolve/*", times=None)
    online.silence("GET /api/models/ada/tweets/tree/*/additional_chat_templates*", times=None)
    with pytest.raises((HubSilent, VerificationFailed)) as caught:
        push_to(online, artifact)
    assert "\n" not in str(caught.value)
    assert "verification.json" not in online.files(REPO) and "model.safetensors" in online.files(REPO)
    check_completes(online, artifact)
    assert len(online.commits(REPO)) == 3  # the commit was verified, not made again
