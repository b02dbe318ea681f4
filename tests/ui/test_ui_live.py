"""The Live tab without a browser: requests, shared feeds, recordings and drawings."""

import dataclasses
import threading
from dataclasses import dataclass

import pytest

from inference.common.errors import FeedError, RunError
from inference.live.filter import Filter
from inference.live.post import Post
from inference.live.request import StreamRequest, split_words
from inference.live.review import Disagreement, LabelCounts
from inference.live.sources import Replay, SourceUnauthorised
from inference.live.sources.x import XSearch
from inference.live.statistics import LiveStatistics
from tests.servers.x import X
from tests.support import wait_for
from tests.ui.test_ui_render import LABELS
from ui.live.actions import control, record
from ui.live.feeds import LiveFeeds, Models, Recording, RecordingView
from ui.live.form import FOLLOWING, NAMES, LiveForm, cost_line
from ui.live.review import Duels
from ui.live.view import others
from ui.translations import speaking

TOKEN = "AAAA%2Fmade-up-token"


@dataclass(frozen=True)
class Answer:
    label: str
    probabilities: tuple[float, ...] = (0.9, 0.06, 0.04)
    unknown_share: float | None = None
    truncated: bool = False


def always(label):
    return lambda texts: [Answer(label) for _ in texts]


MODELS = Models("run", LABELS, always("neutral"), lambda: LiveStatistics(LABELS))


def opened(live, request, *, owner="me", models=MODELS, posts=(), listeners=()):
    """Open a feed that replays the posts, slowly enough to inspect it."""
    held_out = [Post(f"{n}", f"text {n}") for n in range(1000)] if not posts else list(posts)
    models = dataclasses.replace(models, listeners=listeners)
    session, _ = live.open(request, models, owner=owner, held_out=lambda: held_out)
    return session


@pytest.fixture
def x_server():
    with X(token=TOKEN) as server:
        yield server


@pytest.fixture
def on_x(x_server):
    """Return feeds whose X is a server on loopback."""
    feeds = LiveFeeds({"x": lambda query, **options: XSearch(query, base_url=x_server.url, **options)})
    yield feeds
    feeds.stop_all()


# What is asked for


def test_a_request_holds_its_token_in_neither_its_words_nor_its_key():
    request = StreamRequest(source="x", query="#cats", token=TOKEN)
    assert TOKEN not in repr(request) and TOKEN not in repr(request.key(model="m", owner="o"))
    assert request.is_private and not request.costs_the_app
    assert StreamRequest(source="x", query="#cats").costs_the_app
    assert not StreamRequest(source="bluesky", token=TOKEN).is_private, (
        "Bluesky needs none: nothing is private"
    )


def test_those_who_ask_for_the_same_have_one_key_and_others_another():
    def key(owner="a", **changes):
        return StreamRequest(**{"source": "bluesky", "query": "cats, dogs", **changes}).key(
            model="m", owner=owner
        )

    assert key() == key(owner="b") == key(query="cats,  dogs") == key(rate_per_s=9.0)
    others = [
        key(query="cats"),
        key(second="base"),
        key(replies=False),
        key(languages=("en",)),
        key(source="x"),
        key(precision=0.9),
    ]
    assert len({key(), *others}) == 7
    assert key(source="x", token="secret-1") != key(source="x", token="secret-1", owner="b")


def test_bluesky_looks_for_the_words_of_its_query_and_of_the_filter():
    request = StreamRequest(
        source="bluesky", query="bus, train", keywords=("late",), languages=("en",), replies=False
    )
    assert request.filter == Filter(("late", "bus", "train"), ("en",), replies=False)
    assert request.title() == "bus, train · late · en"
    assert (
        StreamRequest(source="mastodon", instance="https://a.example/", query="#cats").title()
        == "a.example #cats"
    )
    assert split_words(" a, ,b ") == ("a", "b") and split_words(None) == ()


def test_an_odd_source_and_a_file_that_was_not_given_are_one_sentence_each():
    with pytest.raises(FeedError, match=r"There is no source 'rss'\. Known: replay, file, bluesky, mastodon"):
        StreamRequest(source="rss")
    with pytest.raises(FeedError, match=r"no file was given\. Choose a recording or a file of texts"):
        StreamRequest(source="file")


# Who shares a feed


def test_whoever_asks_for_the_same_shares_a_feed_and_finds_it_again(live):
    first = opened(live, StreamRequest(source="replay"), owner="a")
    second = opened(live, StreamRequest(source="replay", rate_per_s=9.0), owner="b")
    other = opened(live, StreamRequest(source="replay", keywords=("text",)), owner="b")
    assert second is first and other is not first
    assert live.find(first.id, "c") is first and live.find("nothing", "a") is None
    assert live.visible("c") == [other, first]
    control(first, "stop")
    assert live.visible("c") == [other] and live.find(first.id, "a").feed.snapshot().reason == "stopped"
    assert opened(live, StreamRequest(source="replay"), owner="a") is not first


def test_what_the_model_is_not_sure_of_counts_for_no_label_but_for_the_drift(live):
    models = dataclasses.replace(
        MODELS,
        predict=lambda texts: [
            Answer("neutral", (0.9 if "9" in text else 0.5, 0.05), unknown_share=int(text[-1]) / 10)
            for text in texts
        ],
        outside_above=0.6,
        statistics=lambda: LiveStatistics(LABELS, abstain_below=0.8),
        abstain_below=0.8,
    )
    posts = [Post(f"{n}", f"text {n}") for n in range(10)]
    session = opened(live, StreamRequest(rate_per_s=None, precision=0.9), models=models, posts=posts)
    assert session.feed.wait(10)
    now, seen = session.feed.snapshot(), session.statistics.view(10.0)
    assert (now.classified, now.unsure, now.counts) == (10, 9, (0, 1, 0))
    assert now.out_of_scope == session.feed.summary().out_of_scope == 3
    assert seen.now.counts == (0, 1, 0) and seen.posts == 1


def test_one_feed_comes_of_many_starts_at_once(live):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(opened(live, StreamRequest(source="replay"))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(session) for session in found}) == 1 and len(found) == 8


def test_a_feed_on_a_typed_token_is_seen_by_nobody_else(on_x, x_server, caplog):
    caplog.set_level("DEBUG")
    mine = opened(on_x, StreamRequest(source="x", query="#cats", token=TOKEN), owner="me")
    wait_for(lambda: x_server.asked)
    assert x_server.asked[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert on_x.visible("you") == [] and on_x.find(mine.id, "you") is None and on_x.find(mine.id, "") is None
    assert on_x.visible("me") == [mine] and on_x.find(mine.id, "me") is mine
    assert opened(on_x, StreamRequest(source="x", query="#cats", token=TOKEN), owner="me") is mine
    assert opened(on_x, StreamRequest(source="x", query="#cats", token=TOKEN), owner="you") is not mine
    assert TOKEN not in caplog.text and TOKEN not in repr(mine) and TOKEN not in repr(vars(mine.feed))


def test_x_without_any_token_says_what_to_do(on_x, monkeypatch):
    monkeypatch.delenv("X_BEARER_TOKEN", raising=False)
    with pytest.raises(
        SourceUnauthorised, match=r"X needs a bearer token\. Set X_BEARER_TOKEN, or type one in"
    ):
        opened(on_x, StreamRequest(source="x", query="#cats"))


def test_what_all_visitors_spend_on_the_apps_token_has_a_limit(on_x, x_server, monkeypatch):
    monkeypatch.setenv("X_BEARER_TOKEN", TOKEN)
    monkeypatch.setenv("X_BUDGET_USD", "1.5")
    for number in range(3):
        x_server.tweet(f"cat {number}")
    first = opened(on_x, StreamRequest(source="x", query="#cats", cap_usd=1.0), owner="a")
    assert first.owner == "" and on_x.visible("anybody") == [first]
    assert on_x.app_budget_left_usd() == pytest.approx(0.5), "what it may still spend is taken"
    with pytest.raises(FeedError, match=r"\$0\.50 is left of what this app may spend .* cap is \$1\.00"):
        opened(on_x, StreamRequest(source="x", query="#dogs", cap_usd=1.0), owner="b")
    assert opened(on_x, StreamRequest(source="x", query="#dogs", token=TOKEN, cap_usd=9.0), owner="b")
    wait_for(lambda: first.feed.snapshot().source_status.cost_usd)
    control(first, "stop")
    left = on_x.app_budget_left_usd()
    assert left == pytest.approx(1.5 - first.feed.snapshot().source_status.cost_usd) and left < 1.5
    monkeypatch.setenv("X_BUDGET_USD", "much")
    with pytest.raises(FeedError, match=r"X_BUDGET_USD is 'much'\. Set it to a number of dollars"):
        opened(on_x, StreamRequest(source="x", query="#birds", cap_usd=0.1))


def test_too_many_feeds_are_refused_and_ended_ones_are_forgotten_in_time(live):
    first, *others = [opened(live, StreamRequest(source="replay", keywords=(word,))) for word in "abcd"]
    with pytest.raises(FeedError, match="4 feeds run already"):
        opened(live, StreamRequest(source="replay", keywords=("e",)))
    record(first, texts=False)
    for session in (first, *others):
        session.feed.stop()
    assert opened(live, StreamRequest(source="replay", keywords=("e",)))
    assert live.find(first.id, "me").feed.snapshot().reason == "stopped", "its numbers can still be seen"
    others[0].feed.stop()
    live.visible("me")[0].feed.stop()
    opened(live, StreamRequest(source="replay", keywords=("f",)))
    assert live.find(first.id, "me") is None and first.recording.view().state == "recorded"


def test_a_feed_that_cannot_be_opened_leaves_the_others_alone(live):
    kept = opened(live, StreamRequest(source="replay"))
    with pytest.raises(FeedError, match=r"nowhere\.csv can't be replayed"):
        opened(live, StreamRequest(source="file", file="nowhere.csv"))
    assert live.visible("me") == [kept] and kept.feed.state == "running"


# Recording


@pytest.mark.parametrize("texts", [False, True])
def test_a_recording_is_begun_and_ended_while_the_feed_runs_and_can_be_replayed(live, texts):
    session = opened(live, StreamRequest(source="replay", rate_per_s=200.0))
    wait_for(lambda: session.feed.snapshot().classified > 2)
    assert session.recording.view() == RecordingView("none")
    record(session, texts=texts)
    wait_for(lambda: session.recording.view().posts >= 3)
    with pytest.raises(FeedError, match="being recorded already"):
        session.recording.start("replay", texts=texts)
    record(session, texts=texts)
    seen = session.recording.view()
    written = seen.path.read_text()
    assert seen.state == "recorded" and seen.posts == written.count("\n") >= 3
    assert ("text " in written) is texts and '"label": "neutral"' in written
    if texts:
        assert len(StreamRequest(source="file", file=str(seen.path)).open()._posts) == seen.posts
    control(session, "stop")
    with pytest.raises(FeedError, match="has ended, so there is nothing to record"):
        record(session, texts=False)
    with pytest.raises(FeedError, match="has ended, so it can't be paused"):
        control(session, "pause")


def test_old_recordings_are_removed_and_names_stay_inside_the_folder(home):
    for _ in range(15):
        recording = Recording()
        recording.start("../../x-stream", texts=False)
        recording.stop()
    assert len(list((home / ".cache" / "recordings").glob("x-stream-*.jsonl"))) == 12


def test_a_disk_that_fills_up_ends_the_recording_and_not_the_feed(live):
    session = opened(live, StreamRequest(source="replay", rate_per_s=200.0))
    session.recording.start("replay", texts=False)
    session.recording._recorder._file.close()
    session.recording._recorder._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115  (the recorder closes it)
    wait_for(lambda: session.recording.view().state == "recorded")
    assert "can't be written" in session.recording.view().message
    before = session.feed.snapshot().classified
    wait_for(lambda: session.feed.snapshot().classified > before)


# The duel


@dataclass(frozen=True)
class Loaded:
    labels: tuple = LABELS
    name_or_path: str = "tiny"


@dataclass(frozen=True)
class LoadedModel:
    tuned: Loaded = Loaded()
    base: Loaded | None = Loaded()
    base_state: str = "ready"
    base_message: str = ""
    run: object = None
    name: str = "run"


def test_disagreements_of_a_feed_wait_for_a_label_and_agreement_does_not(live):
    store = Duels(lambda source: Loaded()).store(LABELS, owner="")
    models = dataclasses.replace(
        MODELS,
        second_name="base",
        second=lambda texts: [Answer("positive" if text.endswith("1") else "neutral") for text in texts],
    )
    posts = [Post(f"{n}", f"text {n}") for n in range(20)]
    session = opened(
        live,
        StreamRequest(source="replay", rate_per_s=200.0, second="base"),
        models=models,
        posts=posts,
        listeners=[store.listener("run", "base")],
    )
    wait_for(lambda: session.feed.state == "ended")
    assert store.counts() == LabelCounts(waiting=2, labelled=0, skipped=0)
    assert session.feed.snapshot().agreed == 18


def test_a_private_feeds_disagreements_are_in_a_store_of_its_own():
    duels = Duels(lambda source: Loaded())
    shared, mine = duels.store(LABELS, owner=""), duels.store(LABELS, owner="me")
    assert duels.store(LABELS, owner="me") is mine is not shared
    mine.add([Disagreement("1", "secret interest", "a", "positive", "b", "neutral")])
    assert shared.counts().waiting == 0 and shared.path != mine.path


def test_second_models_that_cannot_be_had_are_one_sentence_each():
    duels = Duels(lambda source: Loaded())
    assert duels.second("base", LoadedModel())[0] == "tiny, zero-shot"
    with pytest.raises(FeedError, match=r"The base is still being loaded\. Press Start again"):
        duels.second("base", LoadedModel(base=None, base_state="loading"))
    with pytest.raises(FeedError, match="It is gone"):
        duels.second("base", LoadedModel(base=None, base_state="failed", base_message="It is gone."))
    with pytest.raises(FeedError, match=r"tiny, zero-shot has other labels \(a, b\) than run"):
        duels.second("base", LoadedModel(base=Loaded(("a", "b"))))
    with pytest.raises(RunError, match=r"There is no other finished run '\.\./x' here"):
        duels.second("../x", LoadedModel())


# The form


def test_the_cost_is_shown_before_and_a_cap_must_be_a_number():
    cost = cost_line(1.0)
    assert "$0.005 a post" in cost and "after 200 posts" in cost and "1\u00a0min 40\u00a0s" in cost
    with speaking("pt-BR"):
        assert "US$ 0,005" in cost_line(1.0)
    for odd in (None, 0, -1.0, float("nan"), float("inf")):
        assert "above 0" in cost_line(odd)
        with pytest.raises(FeedError, match="The cap is not a number of dollars above 0"):
            StreamRequest(source="x", query="a", cap_usd=0.0 if odd is None else odd)


def test_the_form_makes_a_request():
    values = dict.fromkeys(NAMES, None) | {"source": "x", "query": "#a", "token": " t0ken ", "cap": 0.5}
    values |= {"keywords": "a, b", "languages": "en", "reposts": False, "replies": True, "precision": 0.9}
    request = LiveForm({}, None, None).request(list(values.values()))
    asked = {"source": "x", "query": "#a", "instance": "", "token": " t0ken ", "cap_usd": 0.5}
    assert request == StreamRequest(
        **asked, keywords=("a", "b"), languages=("en",), reposts=False, precision=0.9
    )
    assert isinstance(StreamRequest(source="replay").open(held_out=lambda: [Post("1", "a")]), Replay)


def test_the_form_shows_what_the_feed_was_asked_for_and_no_token(live):
    asked = StreamRequest(
        source="replay", rate_per_s=None, keywords=("a", "b"), reposts=False, second="base", token=TOKEN
    )
    session = opened(live, asked)
    assert session.request.token == "" and TOKEN not in repr(session)
    form = LiveForm({name: None for name in NAMES}, None, None)
    shown = dict(zip(FOLLOWING, form.followed(session.request), strict=True))
    assert (shown["source"], shown["unpaced"], shown["keywords"]) == ("replay", True, "a, b")
    values = {**dict.fromkeys(NAMES), **shown, "rate": 2.0}
    assert (form.request([values[name] for name in NAMES])) == session.request
    assert len(form.followed(None)) == len(form.following)


def test_feeds_are_told_apart_by_their_duel_and_their_rate(live):
    one = opened(live, StreamRequest(source="replay", rate_per_s=7.0))
    assert "Replay: the data set · 7 /s" in others([one], "")
