"""The Hub refuses a step of a push: one sentence with the next step, all or none, a re-run that completes.

Small files are regular ones, large ones go through LFS in parts.
"""

import pytest

from inference.common.hub import HubBusy, HubConflict, HubError, NotAllowedOnHub, NotLoggedIn, NotOnHub
from tests.support.publishing import (
    STEPS,
    Here,
    check_completes,
    check_nothing_or_all,
    check_one_sentence_and_a_step,
    push_to,
    pushed,
)
from training.publish.errors import RepoConflict

CHANGED = "ada/tweets has changed while this push was under way ({}). Look at its history"
STATUS = {
    401: (NotLoggedIn, "the Hub does not take the token of this login (401"),
    403: (NotAllowedOnHub, "(403"),
    404: (NotOnHub, "there is no ada/tweets on the Hub that this login may see"),
    409: (RepoConflict, CHANGED.format(409)),
    412: (RepoConflict, CHANGED.format(412)),
    429: (HubBusy, "the Hub asks to slow down (429). Try again in 9 s; what has arrived is not sent twice"),
    500: (HubBusy, "the Hub has trouble (500). Try again in a few minutes; what has arrived is not sent"),
    503: (HubBusy, "the Hub has trouble (503). Try again in a few minutes"),
}


STEPS_REFUSED = ("create", "preupload", "large files", "commit")
SAME = [(step, status) for step in STEPS_REFUSED for status in STATUS if (step, status) != ("create", 409)]
"""All of them; a 409 to a creation says that the repository is there."""


@pytest.mark.parametrize(("step", "status"), SAME)
def test_a_refusal_at_a_step(large, artifact, step, status):
    kind, words = STATUS[status]
    if step == "create" and status == 412:
        kind, words = HubConflict, "ada/tweets was changed meanwhile (412"
    headers = {"Retry-After": "9"} if status == 429 else {}
    large.fail(STEPS[step], status=status, times=None, headers=headers)
    with pytest.raises(kind) as caught:
        pushed(large, artifact)
    assert words in str(caught.value)
    check_one_sentence_and_a_step(str(caught.value))
    check_nothing_or_all(large)
    # What is there before the commit is the same for all statuses of a step, and each takes seconds.
    if step == "commit" or status in (409, 500) or (step, status) == ("large files", 503):
        check_completes(large, artifact, again=step == "commit" or status == 503)


@pytest.mark.parametrize("status", [503, 412])
@pytest.mark.parametrize("at_the_stamp", [False, True])
def test_a_refused_pull_request_is_gone_on_with(large, artifact, status, at_the_stamp):
    large.create_repo("bob/tweets", files={"README.md": b"# Bob's\n"})
    main = large.commits("bob/tweets")

    def refuse(step):
        if step.phase == ("stamp" if at_the_stamp else "compare"):
            large.fail("POST /api/models/bob/tweets/commit/*", status=status, times=None)

    with pytest.raises(RepoConflict if status == 412 else HubBusy) as caught:
        push_to(large, artifact, "bob/tweets", pr=True, verifier=Here, progress=refuse)
    check_one_sentence_and_a_step(str(caught.value))
    assert len(large.repo("bob/tweets").discussions) == at_the_stamp
    large.faults.clear()
    done = push_to(large, artifact, "bob/tweets", pr=True, verifier=Here)
    assert done.pr_url == f"{large.endpoint}/bob/tweets/discussions/1" and large.commits("bob/tweets") == main
    proposed = large.files("bob/tweets", revision="refs/pr/1")
    assert b"Verified at commit" in proposed["README.md"] and "verification.json" in proposed
    assert len(large.repo("bob/tweets").discussions) == 1


def test_a_creation_that_says_it_is_there_and_is_not(large, artifact):
    large.fail(STEPS["create"], status=409, times=None)
    with pytest.raises(HubError, match=r"^It was not possible to create ada/tweets") as caught:
        pushed(large, artifact)
    check_one_sentence_and_a_step(str(caught.value))
    check_completes(large, artifact, again=False)
