"""Live from end to end: the real clients against local servers, by the command and by the app's form."""

import json
import threading

import pytest
from gradio_client import Client

from inference.cli import parser
from inference.live.command import run
from inference.live.sources import Bluesky, Mastodon, XSearch
from tests.servers.jetstream import Jetstream
from tests.servers.mastodon import Mastodon as MastodonServer
from tests.servers.x import X
from tests.support import tweets, wait_for
from tests.support.live_app import live_app

# Gradio's server, which runs in this process here, asks pandas for things by their old names
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def numbers_of(words, sources, model, capsys):
    """Run the command; return its numbers and what it printed."""
    given = parser().parse_args(["live", *words, "--model", str(model), "--json", "--engine", "torch"])
    assert run(given, sources) == 0
    out, said = capsys.readouterr()
    return json.loads(out), said


def test_bluesky_by_the_command(trained_gpt2, capsys):
    with Jetstream() as server:

        def publish():
            wait_for(lambda: server.joined)
            server.identity()
            for text, languages in (("a late train", ["en"]), ("a bus", ["en"]), ("um train", ["pt"])):
                server.post(text, langs=languages)
            server.post("the train came", langs=["en"])

        publisher = threading.Thread(target=publish)
        publisher.start()
        words = ["bluesky", "train", "--languages", "en", "--limit", "2"]
        record, said = numbers_of(
            words, {"bluesky": lambda: Bluesky(hosts=[server.url])}, trained_gpt2.artifact, capsys
        )
        publisher.join()
    assert record["classified"] == 2 and record["filtered"] == 2 and record["received"] == 4
    assert "a late train" in said and "the train came" in said and "a bus" not in said


def test_x_by_the_command(trained_gpt2, capsys, monkeypatch):
    with X() as server:
        for number in range(10):
            server.tweet(f"cat {number}")

        monkeypatch.setenv("X_BEARER_TOKEN", server.token)

        def make(query, **options):
            return XSearch(query, base_url=server.url, **options | {"cap_usd": 0.05})

        record, said = numbers_of(["x", "#cats", "--no-reposts"], {"x": make}, trained_gpt2.artifact, capsys)
        assert server.asked[0].query["query"] == "(#cats) -is:retweet" and server.token not in said
    assert record["classified"] == 10 and "X: $0.05 spent, 10 posts received." in said


@pytest.fixture(scope="module")
def services():
    with Jetstream() as bluesky, MastodonServer() as mastodon:
        yield {"bluesky": bluesky, "mastodon": mastodon}


@pytest.fixture(scope="module")
def app(trained_gpt2, services):
    sources = {
        "bluesky": lambda: Bluesky(hosts=[services["bluesky"].url]),
        "mastodon": lambda instance, **options: Mastodon(
            services["mastodon"].url, allow_loopback=True, **options
        ),
    }
    with live_app(trained_gpt2.artifact, sources=sources) as running:
        yield running


@pytest.fixture
def client(app):
    client = Client(app.url, verbose=False)
    yield client
    client.close()
    app.live.stop_all()


def test_mastodon_by_the_form(client, app, services):
    services["mastodon"].status("<p>so happy about <b>cats</b></p>", tags=["cats"])
    client.predict("mastodon", instance="a.example", query="#cats", api_name="/live_start")
    [session] = app.feeds()
    wait_for(lambda: session.feed.snapshot().classified)
    assert session.feed.snapshot().recent[0].post.text == "so happy about cats" and session.owner == ""


def test_a_duel_with_the_base_on_bluesky_ends_in_the_queue_of_disagreements(client, app, services):
    client.predict("bluesky", second="base", languages="en", api_name="/live_start")
    [session] = app.feeds()
    wait_for(lambda: services["bluesky"].joined)
    texts, model = [text for text, _ in tweets(2000, seed=9)], app.workbench.model
    pairs = zip(texts, model.tuned.predict(texts), model.base.predict(texts), strict=True)
    of_two_minds = [text for text, ours, base in pairs if ours.label != base.label]
    for text in of_two_minds[:20] + texts[:20]:  # fewer than a feed drops before it knows the model's speed
        services["bluesky"].post(text, langs=["en"])
    wait_for(lambda: session.feed.snapshot().disagreed)
    now = session.feed.snapshot()
    assert now.agreed + now.disagreed == now.classified
    store = app.duels.store(app.workbench.model.tuned.labels, owner="")
    wait_for(lambda: store.counts().waiting)
    item = store.take()
    assert item.second_model == session.second_model and item.first_label != item.second_label
    assert client.predict("look", 0, "", api_name="/live_label")["waiting"] == store.counts().waiting
