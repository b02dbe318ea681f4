"""The right to write, asked before a training and before a push: every answer leads to a next step."""

import pytest
from huggingface_hub import HfApi

from inference.common.hub import (
    HubBusy,
    HubRefused,
    HubSilent,
    NotAllowedOnHub,
    NotLoggedIn,
    Timeouts,
    hub_session,
)
from tests.support.hub_fixtures import ADA, BOB
from training.publish.errors import RepoConflict
from training.publish.rights import check_rights

OTHER = "hf_" + "other" * 6 + "abcd"


def rights(hub, repo_id, token=ADA, **options):
    return check_rights(repo_id, HfApi(endpoint=hub.endpoint, token=token), **options)


@pytest.fixture(autouse=True)
def network(online):
    """The Hub is there for these tests, and is not waited for."""
    with hub_session(Timeouts(answer_s=0.5, connect_s=0.5, tries=2, longest_wait_s=2.0)):
        yield


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
    for token in (None, False):
        with pytest.raises(
            NotLoggedIn, match=r"push to ada/tweets: nobody is logged in to the Hub. Log in with"
        ):
            rights(hub, "ada/tweets", token)
    assert not hub.requests


def test_a_token_that_nobody_has(hub):
    with pytest.raises(NotLoggedIn, match=r"does not take the token of this login \(401") as caught:
        rights(hub, "ada/tweets", OTHER)
    assert OTHER not in str(caught.value)


ROLES = {
    "a token that reads": (
        {"role": "read"},
        "ada/new",
        "push to ada/new: the token may only read. Make one that",
    ),
    "a token that reads, and a repository": ({"role": "read"}, "ada/old", "the token may only read"),
    "fine-grained for another": (
        {"role": "fine-grained", "scopes": {"ada/x": ["repo.write"]}},
        "ada/new",
        "create ada/new: the fine-grained token may not create repositories for ada. Give it write access",
    ),
    "fine-grained without write": (
        {"role": "fine-grained", "scopes": {"ada": ["repo.content.read"]}},
        "ada/old",
        r"push to ada/old: ada may not write there with this token \(403\). Take a token that may",
    ),
    "somebody else's name": (
        {},
        "bob/new",
        r"create bob/new: ada may not create repositories for bob \(but for ada, crew\)",
    ),
    "somebody else's repository": ({}, "bob/old", "push to bob/old: ada may not write there with this token"),
}


@pytest.mark.parametrize("name", ROLES)
def test_a_role_that_does_not_suffice(hub, name):
    options, repo_id, words = ROLES[name]
    hub.create_repo("ada/old")
    hub.create_repo("bob/old")
    hub.add_user("ada", token=OTHER, orgs=("crew",), **options)
    with pytest.raises(NotAllowedOnHub, match=words):
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


@pytest.mark.parametrize(
    ("status", "kind"), [(403, NotAllowedOnHub), (404, HubRefused), (429, HubBusy), (500, HubBusy)]
)
def test_an_answer_that_is_a_refusal(hub, status, kind):
    hub.fail("GET /api/whoami-v2", status=status, times=None, message="no, or not yet")
    with pytest.raises(kind, match=rf"^It was not possible to read who you are: .* \({status}") as caught:
        rights(hub, "ada/tweets")
    assert caught.value.status == status


def test_a_hub_that_is_busy_once_is_asked_again(hub):
    hub.fail("GET /api/whoami-v2", status=503)
    hub.fail("GET /api/models/*", status=429, headers={"Retry-After": "0"})
    assert rights(hub, "ada/tweets").user == "ada"


def test_when_to_come_back_is_reported(hub):
    hub.fail("GET /api/whoami-v2", status=429, times=None, headers={"Retry-After": "77"})
    with pytest.raises(HubBusy, match=r"\(429\). Try again in 77 s.$") as caught:
        rights(hub, "ada/tweets")
    assert caught.value.retry_after_s == 77
    assert len(hub.requests) == 1  # 77 s are not waited for


def test_a_silent_hub_is_given_up(hub):
    hub.silence("GET /api/whoami-v2", times=None)
    with pytest.raises(HubSilent, match=r"read who you are: the Hub gave no answer in time\. Check"):
        rights(hub, "ada/tweets")
    assert len(hub.requests) == 1


def test_a_connection_that_breaks_is_tried_once_more(hub):
    hub.cut("GET /api/whoami-v2", after_bytes=10)
    assert rights(hub, "ada/tweets").user == "ada"
    hub.cut("GET /api/whoami-v2", after_bytes=10, times=None)
    with pytest.raises(HubSilent, match="read who you are: the connection to the Hub broke"):
        rights(hub, "ada/tweets")


def test_a_hub_that_is_not_there(hub):
    hub.stop()
    with pytest.raises(HubSilent, match="read who you are: the Hub can't be reached"):
        rights(hub, "ada/tweets")


def test_something_else_at_the_hubs_address(hub):
    with pytest.raises(HubRefused, match=r"read who you are: the Hub refuses it \(404"):
        check_rights("ada/tweets", HfApi(endpoint=hub.endpoint + "/elsewhere", token=ADA))


def test_offline_is_said(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubSilent, match=r"the Hub is switched off by HF_HUB_OFFLINE. Unset that, then"):
        rights(hub, "ada/tweets")


def test_the_token_goes_into_a_header_and_nowhere_else(hub):
    rights(hub, "ada/tweets")
    assert all(ADA not in request.path for request in hub.requests)
    assert {request.headers["authorization"] for request in hub.requests} == {f"Bearer {ADA}"}
