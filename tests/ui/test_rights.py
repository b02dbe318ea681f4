"""Who may train: the owner's settings, and a visitor's identity. Every endpoint: test_doors."""

import re
from types import SimpleNamespace

import gradio as gr
import pytest

import app
from inference.common.errors import RunError
from tests.support.space_app import ENVIRONMENT
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
        "FIRST_RUN": "quick",
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
    assert found.first_run == "quick"
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


def test_the_app_does_not_start_with_settings_that_it_does_not_understand(monkeypatch):
    monkeypatch.setenv("WHO_MAY_TRAIN", "noboby")
    with pytest.raises(SystemExit, match=r"^WHO_MAY_TRAIN is 'noboby'\. Did you mean nobody\?"):
        app.main()


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


@pytest.mark.parametrize(("n", "named"), [("0", "all"), ("1001", "1,001")])
def test_more_texts_without_labels_than_the_owner_allows_are_refused(n, named):
    many = change(load_recipe("unlabelled"), {"n_unlabelled": n})
    _refuse_more(many, SpaceSettings())
    _refuse_more(change(many, {"n_unlabelled": "1000"}), SpaceSettings(max_train_rows=1000))
    with pytest.raises(RunError, match=f"may have 1,000 texts without labels here, and {named} were asked"):
        _refuse_more(many, SpaceSettings(max_train_rows=1000))


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
