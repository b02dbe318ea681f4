"""The right to write, asked before a training and before a push: every answer leads to a next step."""

import pytest

from tests.support.hub_fixtures import ADA, BOB
from training.publish import (
    HubBusy,
    HubSilent,
    NotAllowed,
    NotLoggedIn,
    Patience,
    PublishError,
    RepoConflict,
    check_rights,
)

OTHER = "hf_" + "other" * 6 + "abcd"
HASTY = Patience(timeout_s=0.5, connect_s=0.5, tries=2, longest_wait_s=2.0)


def rights(hub, repo_id, token=ADA, **options):
    return check_rights(repo_id, token=token, endpoint=hub.endpoint, patience=HASTY, **options)


@pytest.fixture(autouse=True)
def network(online):
    """The Hub is there for these tests."""


def test_a_new_repository_of_ones_own_or_of_an_organization(hub):
    for repo_id in ("ada/tweets", "crew/tweets"):
        found = rights(hub, repo_id)
        assert (found.user, found.exists, found.private, found.head) == ("ada", False, False, None)
    assert {request.method for request in hub.requests} == {"GET"}  # asking creates nothing
    assert hub.repo("ada/tweets") is None


def test_an_existing_repository_says_what_it_is(hub):
    head = hub.create_repo("ada/tweets", private=True)
    found = rights(hub, "ada/tweets")
    assert (found.exists, found.private, found.head, found.ours) == (True, True, head, True)
    hub.create_repo("crew/rows", kind="dataset")
    assert rights(hub, "crew/rows", kind="dataset").exists
    assert not rights(hub, "crew/rows").exists  # a data set is no model


def test_nobody_is_logged_in(hub):
    for token in (None, ""):
        with pytest.raises(
            NotLoggedIn, match=r"^Nobody is logged in to the Hub. Log in with `hf auth login`, or"
        ):
            rights(hub, "ada/tweets", token)
    assert not hub.requests


def test_a_token_that_nobody_has(hub):
    with pytest.raises(
        NotLoggedIn, match=r"^The Hub does not take the token \(401\). Log in again with"
    ) as caught:
        rights(hub, "ada/tweets", OTHER)
    assert OTHER not in str(caught.value)


ROLES = {
    "a token that reads": ({"role": "read"}, "ada/new", "^The token may only read, so ada/new can't be"),
    "a token that reads, and a repository": ({"role": "read"}, "ada/old", "^The token may only read"),
    "fine-grained for another": (
        {"role": "fine-grained", "scopes": {"ada/x": ["repo.write"]}},
        "ada/new",
        "^The fine-grained token may not create repositories for ada. Give it write access",
    ),
    "fine-grained without write": (
        {"role": "fine-grained", "scopes": {"ada": ["repo.content.read"]}},
        "ada/old",
        "^ada may not write to ada/old with this token. Take a token that may",
    ),
    "somebody else's name": (
        {},
        "bob/new",
        r"^ada may not create repositories for bob \(but for ada, crew\)",
    ),
    "somebody else's repository": ({}, "bob/old", "^ada may not write to bob/old with this token."),
}


@pytest.mark.parametrize("name", ROLES)
def test_a_role_that_does_not_suffice(hub, name):
    options, repo_id, words = ROLES[name]
    hub.create_repo("ada/old")
    hub.create_repo("bob/old")
    hub.add_user("ada", token=OTHER, orgs=("crew",), **options)
    with pytest.raises(NotAllowed, match=words):
        rights(hub, repo_id, OTHER)


def test_a_fine_grained_token_that_suffices(hub):
    hub.create_repo("ada/old")
    hub.add_user("ada", token=OTHER, role="fine-grained", scopes={"ada": ["repo.write", "repo.content.read"]})
    assert rights(hub, "ada/old", OTHER).ours
    assert rights(hub, "ada/new", OTHER).user == "ada"


def test_signed_in_on_a_space_one_may_create(hub):
    hub.add_user("ada", token=OTHER, role="oauth", scopes=("contribute-repos",))
    assert not rights(hub, "ada/new", OTHER).exists


def test_a_pull_request_needs_a_repository_and_no_right_to_write(hub):
    hub.create_repo("bob/old")
    assert not rights(hub, "bob/old", pr=True).ours
    assert rights(hub, "bob/old", BOB, pr=True).ours
    with pytest.raises(
        RepoConflict, match=r"^There is no bob/new to open a pull request for. Leave out --pr"
    ):
        rights(hub, "bob/new", pr=True)


ANSWERS = {
    403: (NotAllowed, r"^The token may not read who you are \(403"),
    404: (NotAllowed, r"^The Hub knows no ada/tweets that this token may see"),
    429: (HubBusy, r"^The Hub asks to slow down \(429\). Start the same push again in"),
    500: (HubBusy, r"^The Hub has trouble of its own \(500\). Start the same push again in a few minutes"),
    503: (HubBusy, r"^The Hub has trouble of its own \(503\)"),
    418: (PublishError, r"^The Hub refuses to read who you are \(418"),
}


@pytest.mark.parametrize("status", ANSWERS)
def test_an_answer_that_is_a_refusal(hub, status):
    kind, words = ANSWERS[status]
    hub.fail("GET /api/whoami-v2", status=status, times=None, message="no, or not yet")
    with pytest.raises(kind, match=words):
        rights(hub, "ada/tweets")


def test_a_hub_that_is_busy_once_is_asked_again(hub):
    hub.fail("GET /api/whoami-v2", status=503)
    hub.fail("GET /api/models/*", status=429, headers={"Retry-After": "0"})
    assert rights(hub, "ada/tweets").user == "ada"


def test_when_to_come_back_is_told(hub):
    hub.fail("GET /api/whoami-v2", status=429, times=None, headers={"Retry-After": "77"})
    with pytest.raises(HubBusy, match=r"Start the same push again in 77 s; what has arrived") as caught:
        rights(hub, "ada/tweets")
    assert caught.value.retry_after_s == 77
    assert len(hub.requests) == 1  # 77 s are not waited for


def test_a_silent_hub_is_given_up(hub):
    hub.silence("GET /api/whoami-v2", times=None)
    with pytest.raises(
        HubSilent, match=r"^The Hub does not answer, so it was not possible to read who you are. Check"
    ):
        rights(hub, "ada/tweets")
    assert len(hub.requests) == 1


def test_a_connection_that_breaks_is_tried_once_more(hub):
    hub.cut("GET /api/whoami-v2", after_bytes=10)
    assert rights(hub, "ada/tweets").user == "ada"
    hub.cut("GET /api/whoami-v2", after_bytes=10, times=None)
    with pytest.raises(
        HubSilent, match=r"^The connection to the Hub broke, so it was not possible to read who"
    ):
        rights(hub, "ada/tweets")


def test_a_hub_that_is_not_there(hub):
    hub.stop()
    with pytest.raises(
        HubSilent, match=r"^The Hub can't be reached, so it was not possible to read who you are"
    ):
        rights(hub, "ada/tweets")


def test_something_else_at_the_hubs_address(hub):
    with pytest.raises(NotAllowed, match="The Hub knows no ada/tweets"):
        check_rights("ada/tweets", token=ADA, endpoint=hub.endpoint + "/elsewhere", patience=HASTY)


def test_offline_is_said(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        HubSilent, match=r"^The Hub is switched off by HF_HUB_OFFLINE. Unset it, then push again.$"
    ):
        rights(hub, "ada/tweets")


def test_the_token_goes_into_a_header_and_nowhere_else(hub):
    rights(hub, "ada/tweets")
    assert all(ADA not in request.path for request in hub.requests)
    assert {request.headers["authorization"] for request in hub.requests} == {f"Bearer {ADA}"}
