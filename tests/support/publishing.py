"""Shared by the tests of publishing: artifacts to break at will, and a quick verification."""

import json
import re
import shutil
from pathlib import Path
from typing import ClassVar

from huggingface_hub import HfApi

from inference.common.errors import TweetTuneError
from inference.common.hub import CLIENT_ERRORS, Timeouts
from tests.support.hub_fixtures import ADA
from training.publish.answers import loader, refusal
from training.publish.plan import prepare
from training.publish.pushing import push
from training.publish.verify import PROBES, Verifier, _answers

HASTY = Timeouts(answer_s=2.0, connect_s=2.0, tries=2, longest_wait_s=3.0)
"""For a Hub that is silent or busy on purpose."""


def copy_of(artifact: Path, folder: Path) -> Path:
    """Return a copy of a run's artifact, with the texts that the run has stored."""
    target = folder / "mine" / "artifact"
    shutil.copytree(artifact, target)
    for name in ("validation.jsonl", "disagreements.jsonl", "events.jsonl"):
        shutil.copy(artifact.parent / name, target.parent / name)
    return target


def change_json(path: Path, **changes) -> None:
    """Change keys of a JSON object on disk."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


class Here(Verifier):
    """Verifies in this process: the same loading, download and comparison, without two processes' start.

    The test has to ask for `online`, so that this process takes the local Hub for the Hub.
    """

    networks: ClassVar = False  # most tests push mere bytes as an exported network

    def __init__(self, artifact, api, *, timeout_s=60.0):
        self.artifact, self.timeout_s, self._token = artifact, timeout_s, ADA
        self._here, self._there = Answering(self.networks), Answering(self.networks)
        self._here.order({"model": str(artifact), "revision": None, "adapter": False})


class Answering:
    """Stands in for a process of `answers`."""

    def __init__(self, networks):
        self.networks = networks

    def order(self, order):
        self.ordered = {**order, "texts": PROBES, "onnx": self.networks and order.get("onnx")}

    def answer(self, what):
        try:
            return _answers(loader()(self.ordered), what)
        except (*CLIENT_ERRORS, TweetTuneError) as error:
            return _answers(refusal(error), what)

    def end(self):
        pass


def push_to(hub, artifact, repo_id="ada/tweets", *, token=ADA, **options):
    """Push an artifact to the local Hub with short time-outs; takes the options of `prepare` and `push`."""
    of_plan = {key: options.pop(key) for key in ("private", "pr", "adapter_only") if key in options}
    plan = prepare(artifact, repo_id, **of_plan)
    return push(plan, HfApi(endpoint=hub.endpoint, token=token), **{"timeouts": HASTY, **options})


REPO = "ada/tweets"


def pushed(hub, artifact, **options):
    """Push to REPO, verified in this process."""
    return push_to(hub, artifact, REPO, verifier=Here, **options)


def check_nothing_or_all(hub) -> None:
    """The repository is empty, or holds a whole push."""
    if hub.repo(REPO) is None:
        return
    there = set(hub.files(REPO))
    assert not there or {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= there


def check_completes(hub, artifact, *, again: bool = True) -> None:
    """The same push again does the rest, and a third one (`again`) has nothing left to do."""
    hub.faults.clear()
    done = pushed(hub, artifact)
    assert f"Verified at commit [`{done.commit}`]" in hub.files(REPO)["README.md"].decode()
    assert "verification.json" in hub.files(REPO)
    if not again:
        return
    before = len(hub.commits(REPO))
    third = pushed(hub, artifact)
    assert (third.changed, third.commit, len(hub.commits(REPO))) == (False, done.commit, before)


STEPS = {
    "create": "POST /api/repos/create",
    "read": "GET /api/models/ada/tweets/tree/*",
    "check the card": "POST /api/validate-yaml",
    "preupload": "POST /api/models/*/preupload/*",
    "large files": "POST /*/info/lfs/objects/batch",
    "a part": "PUT /part/*",
    "the parts": "POST /api/complete_multipart",
    "commit": "POST /api/models/*/commit/main",
}


def check_one_sentence_and_a_step(text: str) -> None:
    """An error is one line that says what to do, and repeats no token."""
    assert "\n" not in text and "Traceback" not in text and len(text) < 420, text
    assert re.search(r"push again|Log in|[Tt]ry again|Make one|Check its name|Give another|again later", text)
    assert "hf_" not in text
