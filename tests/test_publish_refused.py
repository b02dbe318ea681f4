"""The Hub refuses a step of a push: one sentence with the next step, all or none, a re-run that completes.

Small files are regular ones, large ones go through LFS in parts.
"""

import pytest
from publishing import (
    STEPS,
    check_completes,
    check_nothing_or_all,
    check_one_sentence_and_a_step,
    copy_of,
    pushed,
)

from training.publish import HubBusy, NotAllowed, NotLoggedIn, RepoConflict


@pytest.fixture
def artifact(trained_gpt2, tmp_path):
    return copy_of(trained_gpt2.artifact, tmp_path)


STATUS = {
    401: (NotLoggedIn, "The Hub does not take the token (401). Log in again"),
    403: (NotAllowed, "(403"),
    404: (NotAllowed, "The Hub knows no ada/tweets that this token may see"),
    412: (RepoConflict, "ada/tweets has changed while this push was under way (412). Look at its history"),
    429: (HubBusy, "The Hub asks to slow down (429). Start the same push again in 9 s"),
    503: (HubBusy, "The Hub has trouble of its own (503). Start the same push again"),
}


@pytest.mark.parametrize("status", STATUS)
@pytest.mark.parametrize("step", ["create", "preupload", "large files", "commit"])
def test_a_refusal_at_a_step(large, artifact, step, status):
    kind, words = STATUS[status]
    headers = {"Retry-After": "9"} if status == 429 else {}
    large.fail(STEPS[step], status=status, times=None, headers=headers)
    with pytest.raises(kind) as caught:
        pushed(large, artifact)
    assert words in str(caught.value)
    check_one_sentence_and_a_step(str(caught.value))
    check_nothing_or_all(large)
    if step == "commit" or (step, status) == (
        "large files",
        503,
    ):  # the same for the others, and each takes seconds
        check_completes(large, artifact)
