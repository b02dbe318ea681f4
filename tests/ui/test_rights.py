"""Who may train: the owner's settings, who somebody is, and every door of the app, from the outside."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio_client.exceptions import AppError

from inference.common.errors import RunError
from tests.support import REPOSITORY
from tests.support.served import answers, app, recipe_form, wait_for, with_run
from tests.support.space_app import ENVIRONMENT, session, space, visitor
from training.recipes import change, load_recipe
from ui.account import (
    NotAllowed,
    SettingsError,
    SpaceSettings,
    Visitor,
    check_may_train,
    login_offered,
    may_train,
    read_settings,
    settings,
    visitor_of,
)
from ui.train.tab import _refuse_more

ADA, BOB, NOBODY = Visitor("Ada"), Visitor("bob"), Visitor()


# --- settings


def test_without_variables_all_is_open_at_home_and_signed_in_on_a_space():
    assert read_settings({}).trainers == "everyone"
    on_space = read_settings({"SPACE_ID": "ada/x"})
    assert on_space.trainers == "signed-in"
    assert (read_settings({}).texts_per_s, on_space.texts_per_s) == (0, 20)


def test_every_setting_is_read_from_the_variable_of_its_name():
    given = {
        "MODEL_ID": "ada/tweets",
        "BASE": "distilbert/distilgpt2",
        "DATASET": "ada/data",
        "APP_LANGUAGE": "pt-BR",
        "WHO_MAY_TRAIN": " Ada , bob ",
        "MAX_TRAIN_ROWS": "500",
        "MAX_RUN_MINUTES": "30",
        "MAX_UPLOAD_MB": "9",
        "RATE_LIMIT": "5",
    }
    assert sorted(given) == sorted(each.name.upper() for each in settings())
    found = read_settings(given)
    assert (found.model_id, found.base, found.dataset) == ("ada/tweets", "distilbert/distilgpt2", "ada/data")
    assert found.trainers == {"ada", "bob"}
    assert (found.max_train_rows, found.max_run_minutes, found.max_upload_mb) == (500, 30, 9)
    assert (found.texts_per_s, found.app_language) == (5.0, "pt-BR")


@pytest.mark.parametrize("name", ["BASE", "DATASET"])
def test_what_a_space_cant_install_is_not_proposed_there(name):
    read_settings({name: "embedded"})
    with pytest.raises(SettingsError, match=f"^{name} is 'embedded', but a Space can't install its package"):
        read_settings({name: "embedded", "SPACE_ID": "ada/x"})


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("WHO_MAY_TRAIN", "singed-in", "Did you mean signed-in?"),
        ("WHO_MAY_TRAIN", "a b", "names of users"),
        ("WHO_MAY_TRAIN", ",", "Give nobody, signed-in, everyone"),
        ("MAX_TRAIN_ROWS", "lots", "a whole number"),
        ("MAX_UPLOAD_MB", "0", "Give 1 or more"),
        ("RATE_LIMIT", "-2", "Give -1 or more"),
        ("APP_LANGUAGE", "de", "Give en or pt-BR"),
    ],
)
def test_a_value_that_means_nothing_is_one_sentence_that_names_the_variable(variable, value, says):
    with pytest.raises(SettingsError, match=f"^{variable} is .*{re.escape(says)}"):
        read_settings({variable: value})


def test_the_app_does_not_start_with_settings_that_it_does_not_understand():
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=REPOSITORY,
        env={**os.environ, "WHO_MAY_TRAIN": "noboby"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.strip().startswith("WHO_MAY_TRAIN is 'noboby'. Did you mean nobody?")
    assert "Traceback" not in done.stderr


# --- rights


@pytest.mark.parametrize(
    ("who", "allowed"),
    [("everyone", [ADA, BOB, NOBODY]), ("signed-in", [ADA, BOB]), ("ada, carl", [ADA]), ("nobody", [])],
)
def test_who_may_train(who, allowed):
    given = SpaceSettings(who_may_train=who)
    assert [each for each in (ADA, BOB, NOBODY) if may_train(given, each)] == allowed


def test_a_refusal_says_what_to_do(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for who, visitor_, says in [
        ("nobody", ADA, "switched off here.*train in a copy of your own"),
        ("signed-in", NOBODY, "Press Sign in with Hugging Face first"),
        ("carl", BOB, "bob is not among them. Ask the owner"),
    ]:
        with pytest.raises(NotAllowed, match=says):
            check_may_train(SpaceSettings(who_may_train=who), visitor_)
    monkeypatch.delenv("OAUTH_CLIENT_SECRET")
    with pytest.raises(NotAllowed, match=r"has no sign-in\. Its owner can set hf_oauth"):
        check_may_train(SpaceSettings(who_may_train="signed-in"), NOBODY)


@pytest.mark.parametrize("missing", ["SYSTEM", "SPACE_ID", "OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET"])
def test_a_sign_in_is_offered_only_where_it_is_a_real_one(monkeypatch, missing):
    """Without one of these Gradio signs everybody in as the machine's owner, or with a key that all know."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert login_offered()
    monkeypatch.delenv(missing)
    assert not login_offered()


def test_a_name_counts_only_where_a_sign_in_is_offered(monkeypatch):
    profile = gr.OAuthProfile({"name": "Ada", "preferred_username": "ada", "profile": "", "picture": ""})
    assert visitor_of(None, profile).name == ""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert visitor_of(None, profile).name == "ada"


def test_more_rows_than_the_owner_allows_are_refused():
    quick = load_recipe("quick")
    _refuse_more(quick, SpaceSettings())
    _refuse_more(quick, SpaceSettings(max_train_rows=1000))
    with pytest.raises(RunError, match="may have 999 training rows here, and 1,000 were asked for"):
        _refuse_more(quick, SpaceSettings(max_train_rows=999))
    with pytest.raises(RunError, match=r"and all were asked for\. Set Training rows to 999"):
        _refuse_more(load_recipe("lora"), SpaceSettings(max_train_rows=999))


def test_labels_that_are_added_count_as_rows(tmp_path):
    file = tmp_path / "labels.jsonl"
    file.write_text('{"text": "a", "label": "positive"}\n\n{"text": "b", "label": "negative"}\n')
    more = change(load_recipe("quick"), {"more_data": str(file)})
    _refuse_more(more, SpaceSettings(max_train_rows=1002))
    with pytest.raises(
        RunError, match=r"1,000 and 2 labels on top were asked for\. Set Training rows to 999"
    ):
        _refuse_more(more, SpaceSettings(max_train_rows=1001))


OWN = "ada-tweettune.hf.space"


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({}, False),
        ({"origin": f"https://{OWN}"}, False),
        ({"origin": "https://evil.example"}, True),
        ({"origin": f"https://{OWN}.evil.example"}, True),
        ({"origin": f"https://{OWN}:8443"}, True),
        ({"origin": "null"}, True),
        ({"origin": "https://evil.example", "x-forwarded-host": "evil.example"}, True),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "same-site"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "https://ada.example"}, False),
        ({"host": "10.0.0.7:7860", "origin": f"https://{OWN}"}, False),
        ({"host": "10.0.0.7:7860", "origin": "https://own.example"}, False),
    ],
)
def test_a_page_of_another_site_has_no_rights_even_with_its_readers_session(monkeypatch, headers, foreign):
    for name, value in {**ENVIRONMENT, "SPACE_HOST": f"{OWN}, own.example"}.items():
        monkeypatch.setenv(name, value)
    profile = gr.OAuthProfile({"name": "Ada", "preferred_username": "ada", "profile": "", "picture": ""})
    found = visitor_of(SimpleNamespace(headers={"host": OWN, **headers}, client=None), profile)
    assert (found.is_foreign, found.name) == (foreign, "" if foreign else "ada")
    for who in ("everyone", "signed-in", "ada"):
        assert may_train(SpaceSettings(who_may_train=who), found) is not foreign
    if foreign:
        with pytest.raises(NotAllowed, match=r"of another site.*\. Open the app at its own"):
            check_may_train(SpaceSettings(), found)


@pytest.mark.parametrize(
    ("host", "client", "more", "here"),
    [
        ("localhost:7860", "127.0.0.1", {}, True),
        ("127.0.0.1:7860", "127.0.0.1", {}, True),
        ("[::1]:7860", "::1", {}, True),
        ("localhost", "127.0.0.1", {"origin": "http://localhost"}, True),
        ("evil.example:7860", "127.0.0.1", {"origin": "http://evil.example:7860"}, False),
        ("localhost:7860", "10.0.0.7", {}, False),
        ("", "127.0.0.1", {}, False),
        ("localhost:7860", "127.0.0.1", {"origin": "http://localhost:3000"}, False),
        ("localhost:7860", "127.0.0.1", {"x-forwarded-for": "127.0.0.1"}, False),
        ("localhost:7860", "127.0.0.1", {"forwarded": "for=10.0.0.7"}, False),
    ],
)
def test_here_is_who_sits_at_the_machine_and_asked_for_it_by_its_own_name(host, client, more, here):
    request = SimpleNamespace(headers={"host": host, **more}, client=SimpleNamespace(host=client))
    assert visitor_of(request, None).is_here is here


# --- every door, from the outside


@pytest.fixture(scope="module")
def place(tmp_path_factory, trained_gpt2):
    """Return a home with one finished run."""
    return with_run(tmp_path_factory.mktemp("space"), trained_gpt2)


FORM = dict(zip((form := recipe_form("smoke")).fields, form.values(load_recipe("smoke")), strict=True))
START = ["embedded", "", None, "", "", "", "auto", "smoke", *({**FORM, "trunk_layers": "odd"}).values()]
NO_DATA = ["hub", "no id at all", None, "", "", "", "auto", "smoke", *FORM.values()]
PUSH = ["first", "ada/x", False, False, False]
DOORS = {
    "/start_training": (START, "trunk_layers is 'odd'"),
    "/preview": (NO_DATA, "is not the id of a data set"),
    "/run_action": (["resume", "first"], "first is finished"),
    "/publish": (["second", *PUSH[1:]], "There is no run 'second'"),
    "/publish_preview": (["second", *PUSH[1:]], "There is no run 'second'"),
    "/live_train_look": ([], "There is no label to export"),
    "/live_train": ([], "No labels were looked at yet"),
    "/live_publish_look": (["ada/x", False], "There is no label to export"),
    "/live_publish": ([], "Nothing was looked at yet"),
}
"""What each door answers to somebody who may pass, to a question that leads to nothing."""


def knock(client, door):
    with pytest.raises(AppError) as refused:
        client.predict(*DOORS[door][0], api_name=door)
    return str(refused.value)


@pytest.fixture(scope="module")
def url(place):
    """Return the address of a Space whose owner has set nothing."""
    with space(place) as url:
        wait_for(lambda: json.loads(answers(f"{url}/healthz"))["model"] == "ready")
        yield url


def every_door(url, refusals):
    wait_for(lambda: json.loads(answers(f"{url}/healthz"))["model"] == "ready")
    for name, refusal in refusals.items():
        with visitor(url, session(name) if name else "") as client:
            for door, (_, passed) in DOORS.items():
                assert (refusal or passed) in knock(client, door), (name, door)
            assert client.predict(api_name="/runs")[0]["id"] == "first", "all may watch"


def test_every_door_asks_on_the_server(url):
    every_door(url, {"": "Press Sign in", "ada": None, "bob": None})
    assert '"variant":"huggingface"' in answers(f"{url}/config")


def test_every_door_is_open_to_those_whom_the_owner_names(place):
    with space(place, WHO_MAY_TRAIN="ada") as url:
        every_door(url, {"": "Press Sign in", "ada": None, "bob": "bob is not among them"})


def test_no_door_is_open_where_nobody_may_train(place):
    with space(place, WHO_MAY_TRAIN="nobody") as url:
        every_door(url, {"": "switched off", "ada": "switched off"})


def test_the_buttons_of_the_page_ask_too_and_a_token_that_is_sent_along_proves_nothing(url):
    config = json.loads(answers(f"{url}/config"))
    by_id = {each["id"]: each["props"].get("elem_id") for each in config["components"]}
    doors = [
        (each["id"], target)
        for each in config["dependencies"]
        for target, event in each["targets"]
        if event == "select" and by_id.get(target) in ("run-panel", "run-list", "publish-panel")
    ]
    assert len(doors) == 3
    for door, target in doors:
        for action in ("use", "resume", "cancel"):
            said = pressed(url, door, target, {"action": action, "value": "first"})
            assert "signed in" in said or "Nothing of yours" in said, said
    publish = next(each for each in config["dependencies"] if each["api_name"] == "publish")
    said = pressed(url, publish["id"], None, None, data=PUSH, oauth_token="hf_oauth_" + "a" * 34)
    assert "Press Sign in with Hugging Face first" in said


def pressed(url, door, target, event, *, data=("",), **more):
    """Return what the page hears when a button is pressed, by the queue that pages use."""
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
    with space(place, OAUTH_CLIENT_SECRET="") as url:
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
    limits = {"MAX_UPLOAD_MB": "1", "MAX_TRAIN_ROWS": "10"}
    with app(place, BASE="some/base", DATASET="ada/posts", APP_LANGUAGE="pt-BR", **limits) as url:
        assert (uploaded(url, 500_000), uploaded(url, 1_100_000)) == (200, 413)
        config = answers(f"{url}/config")
        assert '"variant":"huggingface"' not in config
        assert '"some/base"' in config and '"ada/posts"' in config
        assert '"Treinar"' in config and '"Train"' not in config
        with visitor(url) as client:
            assert "first is finished" in knock(client, "/run_action")
            with pytest.raises(AppError, match="may have 10 training rows here, and 1,000 were asked for"):
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
