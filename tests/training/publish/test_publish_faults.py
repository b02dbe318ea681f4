"""A push meets trouble in its middle: what has arrived is not sent twice, and nobody's work is overwritten.

The verification runs in this process, see `publishing.Here`; in a new process: test_publish_verify.
"""

import re

import pytest

from inference.common.hub import HubBusy, HubSilent, NotAllowedOnHub, Timeouts
from tests.support.publishing import REPO, STEPS, check_completes, check_one_sentence_and_a_step, pushed
from training.publish.errors import RepoConflict


def test_short_trouble_is_not_even_seen(large, artifact):
    for step in ("preupload", "large files", "a part", "the parts"):
        large.fail(STEPS[step], status=503)
    large.cut("PUT /part/*", after_bytes=20)
    assert pushed(large, artifact, timeouts=Timeouts(answer_s=5.0, tries=4)).changed
    assert not large.faults.waiting


def test_what_has_arrived_is_not_sent_twice(large, artifact):
    """The last large file fails; the next push sends that one alone."""
    large.part_size = None
    weights = [artifact / "model.safetensors"]
    (artifact / "onnx").mkdir()
    for name in ("packed.onnx", "packed_int8.onnx"):
        (artifact / "onnx" / name).write_bytes(b"\x08" + name.encode() * 8_000)
        weights.append(artifact / "onnx" / name)
    (artifact / "onnx" / "parity.json").write_text("{}")
    large.fail("POST /api/models/*/commit/main", status=500)
    with pytest.raises(HubBusy):
        pushed(large, artifact)
    sent = [request for request in large.requests if request.method == "PUT"]
    assert sorted(r.size for r in sent) == sorted(path.stat().st_size for path in weights)
    large.requests.clear()
    assert pushed(large, artifact).changed
    assert not [request for request in large.requests if request.method == "PUT"]


def test_an_answer_that_is_lost_after_the_commit(large, artifact):
    """The commit is made, but nobody hears of it: the next push verifies it and makes no other."""
    large.lose(STEPS["commit"])
    with pytest.raises(HubSilent, match="the connection to the Hub broke"):
        pushed(large, artifact)
    assert [c.title for c in large.commits(REPO)] == ["initial commit", "TweetTune: push of mine"]
    check_completes(large, artifact)
    titles = [commit.title for commit in large.commits(REPO)]
    assert titles[:2] == ["initial commit", "TweetTune: push of mine"] and titles[2].startswith("Verified at")
    assert len(titles) == 3


DONE = r"The model is in ada/tweets, verified at commit [0-9a-f]{7}, but the repository has changed since"


@pytest.mark.parametrize(
    "refused",
    [
        (503, r"It was not possible to write to ada/tweets: the Hub has trouble \(503\)"),
        (412, DONE),
        (409, DONE),
    ],
)
def test_trouble_at_the_stamp(large, artifact, refused):
    status, words = refused

    def at_the_stamp(step):
        if step.phase == "stamp":
            large.fail(STEPS["commit"], status=status, times=None)

    with pytest.raises(RepoConflict if status in (409, 412) else HubBusy) as caught:
        pushed(large, artifact, progress=at_the_stamp)
    check_one_sentence_and_a_step(str(caught.value))
    assert re.match(words, str(caught.value)) and "nothing of this push" not in str(caught.value)
    assert "verification.json" not in large.files(REPO) and "model.safetensors" in large.files(REPO)
    check_completes(large, artifact)
    assert len(large.commits(REPO)) == 3


def test_somebody_else_commits_meanwhile(large, artifact):
    def meanwhile(step):
        if step.phase == "upload" and step.done == 0:
            large.commit(REPO, {"notes.txt": b"mine"}, title="somebody else's")

    with pytest.raises(RepoConflict, match=r"^ada/tweets has changed while this push was under way \(412\)"):
        pushed(large, artifact, progress=meanwhile)
    assert set(large.files(REPO)) == {"notes.txt"}
    check_completes(large, artifact)
    assert large.files(REPO)["notes.txt"] == b"mine"  # what is not ours stays


def test_the_client_is_left_as_it_was(large, artifact):
    from huggingface_hub import constants  # noqa: PLC0415
    from huggingface_hub.utils import are_progress_bars_disabled, get_session  # noqa: PLC0415

    before = get_session().timeout, constants.HF_HUB_DISABLE_XET, are_progress_bars_disabled()
    large.fail(STEPS["preupload"], status=403)
    with pytest.raises(NotAllowedOnHub):
        pushed(large, artifact)
    assert (get_session().timeout, constants.HF_HUB_DISABLE_XET, are_progress_bars_disabled()) == before
