"""Who may train and publish: every endpoint of the app, called from the outside."""

import json
import urllib.error
import urllib.request

import pytest
from gradio_client.exceptions import AppError

from tests.support import wait_for
from tests.support.served import answers, app, recipe_form, with_run
from tests.support.space_app import ENVIRONMENT, session, space_here, visitor
from training.recipes import load_recipe

# Gradio's server, which runs in this process here, asks pandas for things by their old names
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.slow]


@pytest.fixture(scope="module")
def place(tmp_path_factory, trained_gpt2):
    """Return a home with one finished run."""
    return with_run(tmp_path_factory.mktemp("space"), trained_gpt2)


FORM = dict(zip((form := recipe_form("smoke")).fields, form.values(load_recipe("smoke")), strict=True))
START = ["embedded", "", None, "", "", "", "auto", "smoke", *({**FORM, "trunk_layers": "odd"}).values()]
NO_DATA = ["hub", "no id at all", None, "", "", "", "auto", "smoke", *FORM.values()]
PUSH = ["first", "ada/x", False, False, False]
DOORS = {
    "/start_training": (START, "“Trunk layers” is 'odd'"),
    "/start_tune": (START, "“Trunk layers” is 'odd'"),
    "/start_forecast": (START, "“Trunk layers” is 'odd'"),
    "/start_adapt": ([None, *START], "“Trunk layers” is 'odd'"),
    "/preview": (NO_DATA, "is not the id of a data set"),
    "/run_action": (["resume", "first"], "first is finished"),
    "/add_to_index": (["so zorgle", None, None], "Its label is missing"),
    "/publish": (["second", *PUSH[1:]], "There is no run 'second'"),
    "/publish_preview": (["second", *PUSH[1:]], "There is no run 'second'"),
    "/live_train_look": ([], "There is no label to export"),
    "/live_train": ([], "No labels were looked at yet"),
    "/live_publish_look": (["ada/x", False], "There is no label to export"),
    "/live_publish": ([], "Nothing was looked at yet"),
}
"""Each endpoint's answer, for somebody with the right, to a call without effect."""


def knock(client, door):
    with pytest.raises(AppError) as refused:
        client.predict(*DOORS[door][0], api_name=door)
    return str(refused.value)


@pytest.fixture(autouse=True)
def home(place, monkeypatch):
    """The app is of this process, and so is its home."""
    monkeypatch.setenv("TWEETTUNE_HOME", str(place))


@pytest.fixture(scope="module")
def url(place):
    """Return the address of a Space whose owner has set nothing."""
    with space_here(place) as url:
        yield url


def every_door(url, refusals):
    wait_for(lambda: '"ready"' in answers(f"{url}/healthz"))
    for name, refusal in refusals.items():
        with visitor(url, session(name) if name else "") as client:
            for door, (_, passed) in DOORS.items():
                assert (refusal or passed) in knock(client, door), (name, door)
            assert client.predict(api_name="/runs")[0]["id"] == "first", "all may watch"


def test_every_door_asks_on_the_server(url):
    every_door(url, {"": "Press Sign in", "ada": None, "bob": None})
    assert '"variant":"huggingface"' in answers(f"{url}/config")


def test_every_door_is_open_to_those_whom_the_owner_names(place):
    with space_here(place, WHO_MAY_TRAIN="ada") as url:
        every_door(url, {"": "Press Sign in", "ada": None, "bob": "bob is not among them"})


def test_no_door_is_open_where_nobody_may_train(place):
    with space_here(place, WHO_MAY_TRAIN="nobody") as url:
        every_door(url, {"": "switched off", "ada": "switched off"})


def test_the_buttons_of_the_page_ask_too_and_a_token_that_is_sent_along_proves_nothing(url):
    config = json.loads(answers(f"{url}/config"))
    by_id = {each["id"]: each["props"].get("elem_id") for each in config["components"]}
    doors = [
        (each["id"], target, [""] * len(each["inputs"]), len(each["outputs"]) == 2)
        for each in config["dependencies"]
        for target, event in each["targets"]
        if event == "select" and by_id.get(target) in ("run-panel", "run-list", "publish-panel")
        if each["inputs"] or len(each["outputs"]) == 1  # not what fills the form of the page alone
    ]
    assert len(doors) == 4 and sum(reviews for *_, reviews in doors) == 1
    for door, target, data, reviews in doors:
        for action in ("check",) if reviews else ("use", "resume", "cancel"):
            said = pressed(url, door, target, {"action": action, "value": "first"}, data=data)
            assert "signed in" in said or "Nothing of yours" in said, said
    publish = next(each for each in config["dependencies"] if each["api_name"] == "publish")
    said = pressed(url, publish["id"], None, None, data=PUSH, oauth_token="hf_oauth_" + "a" * 34)
    assert "Press Sign in with Hugging Face first" in said


def pressed(url, door, target, event, *, data=("",), **more):
    """Press a button through the queue that pages use, and return its events."""
    body = {
        "data": list(data),
        "fn_index": door,
        "session_hash": f"s{door}",
        "event_data": event,
        "trigger_id": target,
        **more,
    }
    request = urllib.request.Request(
        f"{url}/gradio_api/queue/join", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30):
        pass
    with urllib.request.urlopen(f"{url}/gradio_api/queue/data?session_hash=s{door}", timeout=30) as stream:
        for line in stream:
            said = json.loads(line[6:]) if line.startswith(b"data: ") else {}
            if said.get("msg") == "process_completed":
                assert said["success"] is False, said
                return said["output"]["error"]
    raise AssertionError("it was never completed")


EVIL = {"Origin": "https://evil.example"}


def test_another_sites_page_opens_no_door_with_its_readers_session(url):
    """A browser sends the session's cookie for such a page, as Gradio allows it, and the page's origin."""
    with visitor(url, session("ada"), **EVIL) as client:
        for door in DOORS:
            assert "came from a page of another site" in knock(client, door), door
        assert client.predict(api_name="/publication") == {}
    with visitor(url, session("ada"), Origin=url) as client:
        assert "first is finished" in knock(client, "/run_action"), "the app's own page"


def test_a_forged_or_old_session_is_nobodys(url):
    for cookie in (
        session("ada", secret="guessed"),
        session("ada", secret=""),
        session("ada", expires_in_s=-5),
    ):
        with visitor(url, cookie) as client:
            assert "Press Sign in" in knock(client, "/run_action")


def test_a_space_without_a_sign_in_is_up_and_says_so(place):
    with space_here(place, OAUTH_CLIENT_SECRET="") as url:
        assert '"variant":"huggingface"' not in answers(f"{url}/config")
        with visitor(url, session("ada", secret="")) as client:
            assert "has no sign-in" in knock(client, "/run_action")
            drawn = str(client.predict(api_name="/refresh_runs"))
    assert "its owner can set hf_oauth" in drawn
    assert 'data-action="use"' not in drawn


def uploaded(url, size):
    """Return the status that a file of so many bytes gets."""
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.csv"\r\n\r\n'
    request = urllib.request.Request(
        f"{url}/gradio_api/upload",
        body + b"a" * size + b"\r\n--x--\r\n",
        {"Content-Type": "multipart/form-data; boundary=x"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_at_home_everybody_may_train_within_the_owners_limits_and_his_proposals_are_in_the_form(place):
    limits = {**dict.fromkeys(ENVIRONMENT, ""), "MAX_UPLOAD_MB": "1", "MAX_TRAIN_ROWS": "10"}
    with app(place, BASE="some/base", DATASET="ada/posts", APP_LANGUAGE="pt-BR", **limits) as url:
        assert (uploaded(url, 500_000), uploaded(url, 1_100_000)) == (200, 413)
        config = answers(f"{url}/config")
        assert '"variant":"huggingface"' not in config
        assert '"some/base"' in config and '"ada/posts"' in config
        assert '"Treinar"' in config and '"Train"' not in config
        with visitor(url) as client:
            assert "O treino first está concluído" in knock(client, "/run_action")
            with pytest.raises(AppError, match=r"pode ter 10 linhas aqui, e foram pedidas 1\.000"):
                start = [*START[:8], *{**FORM, "n_train": 1000}.values()]
                client.predict(*start, api_name="/start_training")
            assert "acurácia" in str(client.predict(api_name="/refresh_runs")).lower()


def test_the_page_says_who_is_signed_in_and_shows_no_buttons_to_others(url):
    with visitor(url, session("ada")) as client:
        drawn = str(client.predict(api_name="/refresh_runs"))
        assert "You are signed in as ada" in drawn
    with visitor(url) as client:
        drawn = str(client.predict(api_name="/refresh_runs"))
        assert "Sign in with Hugging Face to train and publish" in drawn and "data-action" in drawn
        assert 'data-action="use"' not in drawn
