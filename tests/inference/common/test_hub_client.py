"""The one client of the Hub: every request ends, and every failure is a sentence with the next step."""

import threading

import pytest
from huggingface_hub import HfApi, constants, create_repo
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import are_progress_bars_disabled, get_session

from inference.common.errors import RecipeError, TweetTuneError
from inference.common.hub import (
    GatedOnHub,
    HubBusy,
    HubConflict,
    HubError,
    HubRefused,
    HubSilent,
    NotAllowedOnHub,
    NotLoggedIn,
    NotOnHub,
    Timeouts,
    ask,
    hub_session,
    preflight,
    token_of,
)
from tests.support.hub_fixtures import ADA, BOB

REPO = "ada/tweets"
INFO = "GET /api/models/ada/tweets"


@pytest.fixture(autouse=True)
def hasty(online):
    """Two tries, half a second for an answer."""
    with hub_session(Timeouts(answer_s=0.5, connect_s=0.5, tries=2, longest_wait_s=2.0)):
        yield


def read(hub, *, token=ADA, repo=REPO, **options):
    """Ask for a repository, without waiting between two tries."""
    api = HfApi(endpoint=hub.endpoint, token=token)
    return ask(f"read {repo}", lambda: api.repo_info(repo), repo=repo, sleep=lambda seconds: None, **options)


def failure(hub, **options) -> HubError:
    with pytest.raises(HubError) as caught:
        read(hub, **options)
    text = str(caught.value)
    assert "\n" not in text and "hf_" not in text and len(text) < 400
    assert (
        text
        == f"It was not possible to read {caught.value.doing[5:]}: {caught.value.why}. {caught.value.todo}."
    )
    return caught.value


ANSWERS = [
    (
        401,
        None,
        NotLoggedIn,
        "the Hub does not take the token of this login (401: no",
        "Log in with `hf auth",
    ),
    (
        402,
        None,
        NotAllowedOnHub,
        "the Hub wants a paid plan or credit for that (402: no",
        "See huggingface.co/pr",
    ),
    (403, None, NotAllowedOnHub, "the token may not do that (403: no", "Make one that may"),
    (403, "GatedRepo", GatedOnHub, "it is gated", "Accept its terms on the Hub and log in"),
    (
        404,
        "RepoNotFound",
        NotOnHub,
        "there is no ada/tweets on the Hub that this login may see",
        "Check its name",
    ),
    (409, None, HubConflict, "ada/tweets was changed meanwhile (409: no", "Look at it, then try again"),
    (412, None, HubConflict, "ada/tweets was changed meanwhile (412: no", "Look at it, then try again"),
    (418, None, HubRefused, "the Hub refuses it (418: no", "Mend that, then try again"),
    (429, None, HubBusy, "the Hub asks to slow down (429)", "Try again in a few minutes"),
    (500, None, HubBusy, "the Hub has trouble (500)", "Try again in a few minutes"),
]


@pytest.mark.parametrize(("status", "code", "kind", "why", "todo"), ANSWERS)
def test_an_answer_that_is_a_refusal(hub, status, code, kind, why, todo):
    hub.fail(INFO, status=status, code=code, times=None, message="no, or not yet")
    found = failure(hub)
    assert type(found) is kind and isinstance(found, TweetTuneError)
    assert found.why.startswith(why) and found.todo.startswith(todo) and found.status == status
    assert len(hub.requests) == (2 if kind is HubBusy else 1)


def test_what_nobody_may_see_and_what_has_no_name(hub):
    hub.create_repo(REPO, private=True)
    assert failure(hub, token=BOB).why == "there is no ada/tweets on the Hub that this login may see"
    found = failure(hub, token=False)
    assert (found.why, found.todo) == (
        "the Hub has no public ada/tweets",
        "Check its name, or log in with `hf auth login`",
    )
    assert "'a b' can't be a repository's name" in failure(hub, repo="a b").why
    assert read(hub).id == REPO


def test_busy_or_broken_once_is_asked_again_and_what_may_not_be_done_twice_is_not(hub):
    hub.create_repo(REPO)
    hub.fail(INFO, status=503)
    assert read(hub).id == REPO
    hub.cut(INFO, after_bytes=10)
    assert read(hub).id == REPO
    hub.requests.clear()
    hub.fail(INFO, status=503)
    assert isinstance(failure(hub, tries=1), HubBusy)
    assert len(hub.requests) == 1


def test_a_long_pause_is_not_waited_for_and_is_reported(hub):
    for headers in ({"Retry-After": "77"}, {"RateLimit": '"api";r=0;t=77'}):
        hub.requests.clear()
        hub.fail(INFO, status=429, headers=headers)
        found = failure(hub)
        assert (found.todo, found.retry_after_s, len(hub.requests)) == ("Try again in 77 s", 77, 1)


def test_silence_ends_and_so_does_a_hub_that_is_not_there(hub):
    hub.silence(INFO, times=None)
    found = failure(hub)
    assert isinstance(found, HubSilent) and found.why == "the Hub gave no answer in time"
    assert len(hub.requests) == 1
    hub.requests.clear()
    with hub_session(Timeouts(answer_s=0.2, tries=3)):
        assert failure(hub, when_silent=True).why == found.why
    assert len(hub.requests) == 3, "for who would rather wait"
    api = HfApi(endpoint=hub.endpoint, token=ADA)
    with (
        hub_session(Timeouts()),
        pytest.raises(HubSilent, match=r"find it: the Hub gave no answer in 0\.2 s\."),
    ):
        preflight("find it", lambda: api.model_info(REPO, timeout=0.2), seconds=0.2)
    with pytest.raises(HubSilent, match=r"the Hub gave no answer in 0\.1 s"):
        preflight("look a name up", threading.Event().wait, seconds=0.1)  # a call that knows no time-out
    hub.stop()
    assert failure(hub).why == "the Hub can't be reached"


def test_offline_and_nobody_logged_in(hub, monkeypatch):
    with pytest.raises(NotLoggedIn, match="push to ada/x: nobody is logged in to the Hub"):
        token_of(HfApi(), "push to ada/x")
    monkeypatch.setenv("HF_TOKEN", BOB)
    assert (token_of(HfApi(), "push"), token_of(HfApi(token=ADA), "push")) == (BOB, ADA)
    with pytest.raises(NotLoggedIn):
        token_of(HfApi(token=False), "push")  # this machine's login is not taken for somebody else's
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert failure(hub).why == "the Hub is switched off by HF_HUB_OFFLINE"
    assert not hub.requests


def test_every_call_of_the_library_goes_through_the_guard_and_a_session_leaves_it_as_it_was(hub):
    """The functions of the module, too, and a client that an error has renewed."""
    before = constants.HF_HUB_DISABLE_XET, are_progress_bars_disabled()
    client = get_session()
    with hub_session(Timeouts(answer_s=0.2, tries=1)):
        hub.silence("POST /api/repos/create")
        with pytest.raises(HubSilent):
            ask("create it", lambda: create_repo("ada/new", token=ADA))
        assert constants.HF_HUB_DISABLE_XET and are_progress_bars_disabled()
    assert (constants.HF_HUB_DISABLE_XET, are_progress_bars_disabled()) == before
    assert get_session() is client


def test_an_error_of_ours_that_stops_an_upload_is_raised_as_it_is(hub):
    def stop(count):
        raise RecipeError("enough")

    hub.create_repo(REPO)
    hub.lfs_over = 10
    api = HfApi(endpoint=hub.endpoint, token=ADA)
    with hub_session(Timeouts(), sent=stop), pytest.raises(RecipeError):
        ask("upload", lambda: api.upload_file(path_or_fileobj=b"x" * 100, path_in_repo="a.bin", repo_id=REPO))
    assert hub.files(REPO) == {}


def test_an_error_of_the_librarys_own_is_explained_too(hub):
    hub.fail(INFO, status=403, times=None)
    with pytest.raises(HfHubHTTPError):
        HfApi(endpoint=hub.endpoint, token=ADA).repo_info(REPO)
    with pytest.raises(HubError, match=r"^It was not possible to read a\.txt: .*No such file"):
        ask("read a.txt", lambda: open("/nothing/a.txt"))  # noqa: SIM115
