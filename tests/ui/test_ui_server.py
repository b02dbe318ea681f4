"""The app from outside: its server, and each event by its API name, over a real run on a tiny base."""

import json
import urllib.request
from urllib.error import HTTPError

import psutil
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from inference.explain import variants
from tests.support import wait_for
from tests.support.served import answers, app, app_process, recipe_form, with_run
from training.recipes import load_recipe


@pytest.fixture(scope="module")
def place(tmp_path_factory, trained_gpt2):
    """Return a home with one finished run."""
    return with_run(tmp_path_factory.mktemp("served"), trained_gpt2)


@pytest.fixture(scope="module")
def url(place):
    with app(place) as url:
        wait_for(lambda: json.loads(answers(f"{url}/healthz"))["model"] == "ready")
        yield url


@pytest.fixture
def client(url):
    client = Client(url, verbose=False)
    yield client
    client.close()


def test_the_log_tells_the_url(place, url):
    assert f"TweetTune is at {url}" in (place / "app.log").read_text()


@pytest.mark.parametrize("path", ["docs", "redoc", "monitoring/summary", "gradio_api/file=/etc/passwd"])
def test_what_is_nobodys_business_is_not_served(url, path):
    assert "root:" not in answers(f"{url}/{path}") and "paths" not in answers(f"{url}/{path}")


def test_compare_answers_by_its_name_with_base_and_tuned(client):
    wait_for(lambda: "before fine-tuning" in client.predict("I love this sunny day", api_name="/compare"))
    drawn = wait_for(
        lambda: (
            (drawn := client.predict("I love this sunny day", api_name="/compare")).count("ms</span>") == 2
            and drawn
        )
    )
    assert drawn.count("tt-label") == 2 and "first" in drawn and "tiny-gpt2" in drawn


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_an_empty_text_is_one_sentence(client, text):
    with pytest.raises(AppError, match="There is no text to classify"):
        client.predict(text, api_name="/compare")


def test_odd_texts_are_answered_and_a_long_one_is_said_to_be_cut(client):
    assert "only its beginning was classified" in client.predict("so happy " * 11_111, api_name="/compare")
    for text in ("🙂🙂", "مرحبا بالعالم", "a\x00b", "<script>alert(1)</script>"):
        drawn = client.predict(text, api_name="/compare")
        assert "tt-label" in drawn and "<script" not in drawn


def test_a_program_asks_those_that_are_compared(client):
    found = client.predict(["so happy", "so sad"], ["tuned", "few-shot-4"], api_name="/answers")
    assert [each["text"] for each in found] == ["so happy", "so sad"]
    for each in found:
        for key in ("tuned", "few-shot-4"):
            assert each[key]["label"] == max(each[key]["scores"], key=each[key]["scores"].get)
    with pytest.raises(AppError, match="Give from 1 to 64 texts at once"):
        client.predict([], ["tuned"], api_name="/answers")


def test_a_program_asks_which_words_moved_an_answer_and_what_flips_it(client):
    first, second = client.predict("so happy today", ["tuned", "bag-of-words"], api_name="/explain")
    assert (first["model"], second["model"]) == ("tuned", "bag-of-words")
    (answer,) = client.predict(["so happy today"], ["tuned"], api_name="/answers")
    (without,) = client.predict(["so today"], ["tuned"], api_name="/answers")
    label = answer["tuned"]["label"]
    weights = {word["word"]: word["weight"] for word in first["words"]}
    lost = answer["tuned"]["scores"][label] - without["tuned"]["scores"][label]
    assert first["label"] == label and weights["happy"] == pytest.approx(lost, abs=2e-4)
    varied = variants("so happy today")
    found = client.predict(list(varied.values()), ["tuned"], api_name="/answers")
    labels = {name: each["tuned"]["label"] for name, each in zip(varied, found, strict=True)}
    assert first["flips"] == {name: other for name, other in labels.items() if other != label}
    for wrong in ("", " ", None, 5):
        with pytest.raises(AppError, match="There is no text to classify"):
            client.predict(wrong, ["tuned"], api_name="/explain")


def test_the_scoreboard_and_the_filter_work_by_name(client):
    scores, rows, *_ = client.predict("all", api_name="/scoreboard")
    assert "95 % intervals" in scores and "Confusion matrix" in scores and "tt-verdict" in scores
    _, right, *_ = client.predict("tuned", api_name="/scoreboard")
    assert rows.count("<tr") >= right.count("<tr") >= 1


def form_values(**changes):
    form = recipe_form("smoke")
    values = dict(zip(form.fields, form.values(load_recipe("smoke")), strict=True))
    return list({**values, **changes}.values())


def preview_of(client, file):
    """Return the Train tab's preview of an uploaded file."""
    return client.predict(
        "file", "", handle_file(str(file)), "", "", "", "auto", "smoke", *form_values(), api_name="/preview"
    )


def test_every_function_answers_to_nothing_with_a_result_or_one_sentence(client):
    odd = {}
    for name, function in client.view_api(return_format="dict", print_info=False)["named_endpoints"].items():
        try:
            client.submit(*[None] * len(function["parameters"]), api_name=name).result(timeout=60)
        except AppError as error:
            odd[name] = str(error)
    silent = {name: said for name, said in odd.items() if "show_error" in said or not said.endswith(".")}
    assert len(odd) > 10 and not silent
    assert "Reload the page" in odd["/live_rate"], "Gradio itself can't read it"


def test_preview_reads_an_uploaded_file(client, tiny_tweets):
    drawn = preview_of(client, tiny_tweets)
    assert "Class balance" in drawn and "tweets.csv" in drawn


def test_preview_of_a_file_without_labels_is_one_sentence(client, tmp_path):
    file = tmp_path / "odd.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(AppError, match="column"):
        preview_of(client, file)


def test_start_refuses_a_bad_setting_with_the_recipes_own_sentence(client):
    with pytest.raises(AppError, match="“Trunk layers” is 'many'"):
        client.predict(
            "embedded",
            "",
            None,
            "",
            "",
            "",
            "auto",
            "smoke",
            *form_values(trunk_layers="many"),
            api_name="/start_training",
        )


def started(client, base, **changes):
    """Start a training on the embedded tweets."""
    data = ("embedded", "", None, "", "", "")
    client.predict(*data, str(base), "smoke", *form_values(**changes), api_name="/start_training")


def test_a_base_that_is_not_there_is_refused_before_a_run_exists(client, tmp_path):
    before = client.predict(api_name="/runs")
    with pytest.raises(AppError, match="no-base does not exist"):
        started(client, tmp_path / "no-base")
    assert client.predict(api_name="/runs") == before


def test_a_failed_run_tells_why_and_can_be_seen_by_name(client, tiny_gpt2):
    started(client, tiny_gpt2, label_words="good, bad")  # the tweets have three labels
    newest = client.predict(api_name="/runs")[0]
    assert newest["recipe"] == "smoke" and newest["state"] in ("queued", "running", "failed")
    wait_for(lambda: client.predict(api_name="/runs")[0]["state"] == "failed")
    panel = client.predict(api_name="/refresh_runs")[0]
    assert "“Label words” has 2 words for 3 labels" in str(panel)


def test_run_actions_by_name(client):
    with pytest.raises(AppError, match="There is no run 'nope'"):
        client.predict("use", "nope", api_name="/run_action")
    with pytest.raises(AppError, match="is no action"):
        client.predict("destroy", "first", api_name="/run_action")
    assert client.predict("use", "first", api_name="/run_action") == "use: first"


def test_the_feed_streams_pauses_and_stops_by_name(client):
    client.predict("replay", 20, api_name="/live_start")

    def received():
        return client.predict(api_name="/live")[0]

    wait_for(lambda: "running" in str(received()))
    assert "paused" in str(client.predict(api_name="/live_pause")[0])
    client.predict(api_name="/live_pause")
    wait_for(lambda: "running" in str(received()))
    assert "stopped" in str(client.predict(api_name="/live_stop")[0])
    with pytest.raises(AppError, match="less than minimum"):
        client.predict("replay", 0, api_name="/live_start")


def test_a_browser_in_portuguese_is_answered_in_portuguese(url):
    client = Client(url, verbose=False, headers={"accept-language": "pt-BR,pt;q=0.9"})
    try:
        with pytest.raises(AppError, match="Não há texto para classificar"):
            client.predict("", api_name="/compare")
    finally:
        client.close()


def posted(url, body):
    """Return the JSON that a route answers to a JSON body."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_the_servers_routes_stand_beside_the_page(url):
    """The same address answers a browser with the page and an API client with labels."""
    assert "<html" in answers(url)
    wait_for(lambda: json.loads(answers(f"{url}/version"))["models"][1:])  # the base comes after the model
    [[best, *others]] = posted(url, {"inputs": "I love this sunny day"})
    assert {best["label"], *(other["label"] for other in others)} == {"negative", "neutral", "positive"}
    compared = posted(f"{url}/v1/compare", {"inputs": ["I love this sunny day", "awful"]})
    assert compared["models"] == ["fine-tuned", "base"]
    assert compared["results"][0]["predictions"]["fine-tuned"]["label"] == best["label"]
    assert "tweettune_" in answers(f"{url}/metrics")


def test_without_any_run_the_app_says_so_and_its_page_needs_no_pytorch(tmp_path):
    with app_process(tmp_path / "empty", cold=True) as (port, process):
        url = f"http://127.0.0.1:{port}"
        assert "TweetTune" in answers(url)
        assert json.loads(answers(f"{url}/healthz")) == {"status": "ok", "model": "none"}
        loaded = [found.path for found in psutil.Process(process.pid).memory_maps()]
        assert loaded and not [path for path in loaded if "torch" in path]
        with pytest.raises(HTTPError, match="503") as refused:
            posted(url, {"inputs": "hello"})
        assert "No model is loaded" in refused.value.read().decode()
        client = Client(url, verbose=False)
        try:
            with pytest.raises(AppError, match="No model is loaded yet"):
                client.predict("hello", api_name="/compare")
            with pytest.raises(AppError, match="No model is loaded"):
                client.predict("replay", 2, api_name="/live_start")
        finally:
            client.close()


def test_a_model_that_cannot_be_loaded_is_one_sentence_and_the_app_stays_up(tmp_path):
    with app(tmp_path / "home", "--model", str(tmp_path / "nothing")) as url:
        wait_for(lambda: json.loads(answers(f"{url}/healthz"))["model"] == "failed")
        with pytest.raises(HTTPError, match="503") as not_ready:
            urllib.request.urlopen(f"{url}/readyz", timeout=10)
        assert json.load(not_ready.value)["status"] == "empty"
        client = Client(url, verbose=False)
        try:
            with pytest.raises(AppError, match="does not exist"):
                client.predict("hello", api_name="/compare")
        finally:
            client.close()
