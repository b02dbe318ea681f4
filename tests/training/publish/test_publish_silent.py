"""The Hub falls silent, or the connection breaks, at any step: it ends soon, and the next push completes."""

from dataclasses import replace

import pytest

from inference.common.hub import HubSilent
from tests.support.publishing import (
    HASTY,
    REPO,
    STEPS,
    check_completes,
    check_nothing_or_all,
    check_one_sentence_and_a_step,
    pushed,
)

SILENT = replace(HASTY, answer_s=0.5)


@pytest.mark.parametrize("step", ["read", "check the card", "large files", "a part", "the parts", "commit"])
def test_a_hub_that_falls_silent(large, artifact, step):
    large.silence(STEPS[step], times=None)
    with pytest.raises(HubSilent, match="the Hub gave no answer in time") as caught:
        pushed(large, artifact, timeouts=SILENT)
    check_one_sentence_and_a_step(str(caught.value))
    check_nothing_or_all(large)
    if step in ("a part", "commit"):
        check_completes(large, artifact)


@pytest.mark.parametrize("step", ["preupload", "a part", "commit"])
def test_a_connection_that_is_cut(large, artifact, step):
    large.cut(STEPS[step], after_bytes=20, times=None)
    with pytest.raises(HubSilent, match=r"the connection to the Hub broke\. Check .* sent twice") as caught:
        pushed(large, artifact)
    check_one_sentence_and_a_step(str(caught.value))
    check_nothing_or_all(large)
    check_completes(large, artifact)


def test_a_cut_in_the_middle_of_a_regular_upload(online, artifact):
    online.lfs_over = None
    online.cut(STEPS["commit"], after_bytes=60_000)
    with pytest.raises(HubSilent, match="the connection to the Hub broke"):
        pushed(online, artifact)
    assert online.files(REPO) == {}
    check_completes(online, artifact)
