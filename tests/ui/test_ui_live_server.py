"""The Live tab by its API names, over a real tiny model: feeds, records, labels, training on them."""

import json
import re
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from inference.live.review import Disagreement
from tests.support import wait_for
from tests.support.live_app import live_app
from training.runs.run import list_runs

# Gradio's server, which runs in this process here, asks pandas for things by their old names
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.slow]


@pytest.fixture(scope="module")
def app(trained_gpt2):
    with live_app(trained_gpt2.artifact) as running:
        yield running


@pytest.fixture
def client(app):
    client = Client(app.url, verbose=False)
    yield client
    client.close()
    app.live.stop_all()


def numbers(client):
    return str(client.predict(api_name="/live")[0])


def start(client, source, **options):
    return str(client.predict(source, api_name="/live_start", **options))


def posts_file(path, count=400):
    path.write_text("".join(json.dumps({"text": f"so happy {n}"}) + "\n" for n in range(count)))
    return handle_file(str(path))


def test_a_file_streams_pauses_goes_on_and_stops(client, app, tmp_path):
    other = Client(app.url, verbose=False)
    start(client, "file", rate=20, file=posts_file(tmp_path / "my.jsonl"))
    wait_for(lambda: re.search(r"my\.jsonl.*running", numbers(client)), every=0.2)
    assert "Nothing is streaming" in numbers(other), "a file is its owner's alone"
    other.close()
    assert "paused" in str(client.predict(api_name="/live_pause"))
    [session] = app.feeds()
    assert session.feed.state == "paused"
    client.predict(api_name="/live_pause")
    client.predict(50, api_name="/live_rate")
    assert "1\u00a0min" in str(client.predict("60", api_name="/live_span")[1])
    assert session.feed.state == "running" and session.feed.source.rate_per_s == 50
    assert "stopped" in str(client.predict(api_name="/live_stop"))
    with pytest.raises(AppError, match="has ended, so it can't be paused"):
        client.predict(api_name="/live_pause")


def test_a_file_as_fast_as_possible_waits_for_the_model_and_loses_no_post(client, app, tmp_path):
    start(client, "file", rate=1, unpaced=True, file=posts_file(tmp_path / "fast.jsonl"))
    session = app.newest_feed()  # which may have ended by now
    assert session.feed.wait(60)
    summary = session.feed.summary()
    assert (summary.received, summary.classified, summary.dropped) == (400, 400, 0)
    assert summary.rate_per_s > 20, "its rate is the model's, not the slider's"


def test_two_people_share_a_feed_and_a_filter_makes_another(client, app):
    other = Client(app.url, verbose=False)
    try:
        start(client, "replay", rate=1)
        start(other, "replay", rate=2)
        assert len(app.live.visible("")) == 1
        start(other, "replay", keywords="happy", reposts=False)
        assert [session.title for session in app.live.visible("")] == ["happy", ""]
    finally:
        other.close()


@pytest.mark.parametrize(
    ("source", "options", "sentence"),
    [
        ("file", {}, "no file was given"),
        ("mastodon", {"instance": "localhost"}, "is not the address of an instance"),
        ("mastodon", {"query": "two words"}, "is not a tag"),
        ("x", {"query": "#a"}, "X needs a bearer token"),
        ("x-stream", {"token": "a-token-of-mine"}, "X needs something to search for"),
        ("x", {"query": "#a", "token": "bad token"}, "holds characters that no token has"),
        ("x", {"query": "#a", "token": "a-token-of-mine", "cap": 0.02}, "is too low for X's search"),
        ("replay", {"second": "nope"}, "There is no other finished run"),
    ],
)
def test_what_cannot_be_started_is_one_sentence(client, monkeypatch, source, options, sentence):
    monkeypatch.delenv("X_BEARER_TOKEN", raising=False)
    with pytest.raises(AppError, match=sentence) as raised:
        start(client, source, **options)
    assert str(options.get("token", "\0")) not in str(raised.value)


def test_nothing_to_pause_record_or_save_is_one_sentence(client):
    for name in ("/live_pause", "/live_stop", "/live_record"):
        with pytest.raises(AppError, match="No feed is running"):
            client.predict(api_name=name)
    with pytest.raises(AppError, match="There is no recording to save"):
        client.predict(api_name="/live_save")


def test_a_recording_is_saved_and_replayed(client, app, tmp_path):
    start(client, "file", rate=50, file=posts_file(tmp_path / "posts.jsonl"))
    client.predict(True, api_name="/live_record")
    [session] = app.feeds()
    wait_for(lambda: session.recording.view().posts >= 3)
    client.predict(True, api_name="/live_record")
    saved = Path(client.predict(api_name="/live_save"))
    rows = [json.loads(line) for line in saved.read_text().splitlines()]
    assert len(rows) >= 3 and {"id", "at", "label", "probability", "text"} <= set(rows[0])
    client.predict(api_name="/live_stop")
    start(client, "file", rate=50, file=handle_file(str(saved)))
    wait_for(lambda: app.newest_feed().feed.snapshot().classified >= 3)


def waiting(app, *texts):
    store = app.duels.store(app.workbench.model.tuned.labels, owner="")
    store.add([Disagreement(f"{n}", text, "a", "positive", "b", "negative") for n, text in enumerate(texts)])
    return store


def test_labels_are_given_taken_back_exported_and_trained_on(client, app, tmp_path):
    with pytest.raises(AppError, match="There is no label to export"):
        client.predict(api_name="/live_export")
    with pytest.raises(AppError, match="There is no label to export"):
        client.predict(api_name="/live_train_look")
    with pytest.raises(AppError, match="No labels were looked at yet"):
        client.predict(api_name="/live_train")
    store = waiting(app, "a brand new text", "another new text", "a third one")

    def act(action, item=0, label=""):
        return client.predict(action, item, label, api_name="/live_label")

    first = act("look")
    assert first["text"] == "a third one" and "positive" not in str(first)
    second = act("label", first["item"], "positive")
    assert second["text"] == "another new text" and second["labelled"] == 1
    assert act("skip", second["item"])["skipped"] == 1
    assert act("undo")["text"] == "another new text"
    act("label", second["item"], "negative")
    with pytest.raises(AppError, match="There is no label 'joy'"):
        act("label", act("look")["item"], "joy")
    with pytest.raises(AppError, match="'drop' is no action"):
        act("drop")
    assert store.counts().labelled == 2
    exported = Path(client.predict(api_name="/live_export")).read_text()
    assert [json.loads(line) for line in exported.splitlines()] == [
        {"text": "another new text", "label": "negative"},
        {"text": "a third one", "label": "positive"},
    ]
    review = str(client.predict(api_name="/live_train_look"))
    assert "Added to train" in review and "duplicates of validation or test rows" in review
    assert "has started: see Train" in str(client.predict(api_name="/live_train"))
    [run] = list_runs()
    assert Path(run.recipe.more_data).read_text() == exported
    wait_for(lambda: run.status().state in ("finished", "failed"), seconds=240, every=0.2)
    assert run.status().state == "finished", run.status().message
    assert "labels-" in (run.path / "events.jsonl").read_text()


def test_a_twin_of_a_test_row_is_shown_and_never_added(client, app, tiny_tweets):
    rows = tiny_tweets.read_text().splitlines()[1:]
    texts = [post.text for _, posts in app.workbench.replay.values() for post in posts]
    store = waiting(app, *set(texts or [line.rsplit(",", 1)[0] for line in rows]))
    session = store.session("page")
    for _ in range(3):
        session.label(session.view().item.id, "positive")
    drawn = str(client.predict(api_name="/live_train_look"))
    assert "Nothing would be added" in drawn and "which the leak gate keeps out" in drawn
