"""Private data in the Live tab, and what must not be lost or leak: files, money, labels."""

import dataclasses
import json
import os
import time

import pytest

from inference.common.mend import mend
from inference.common.text import duplicate_key
from inference.live import review
from inference.live.post import Post
from inference.live.request import StreamRequest
from inference.live.review import Disagreement
from inference.live.sources.x import XSearch
from tests.servers.x import X
from tests.support import tweets, wait_for, write_csv
from tests.ui.test_ui_live import LABELS, MODELS, TOKEN, Answer, Loaded, opened
from training.data.load import LEAST_LEFT_OVER, load_splits, spec_of, unlearnt_texts
from training.recipes import DataSpec
from ui import Workbench
from ui.live.actions import replay_posts
from ui.live.feeds import LiveFeeds
from ui.live.review import Duels
from ui.live.view import card
from ui.state import export_folder

MODELS_OF_TWO = dataclasses.replace(
    MODELS, second_name="base", second=lambda texts: [Answer("positive") for _ in texts]
)


def disagreements(*numbers, text="post {}"):
    return [Disagreement(f"{n}", text.format(n), "a", "positive", "b", "neutral") for n in numbers]


def test_a_feed_of_a_file_and_its_disagreements_are_seen_by_nobody_else(live, tmp_path):
    (tmp_path / "diary.txt").write_text("\n".join(f"secret diary {n}" for n in range(200)))
    request, duels = (
        StreamRequest(source="file", file=str(tmp_path / "diary.txt"), second="base"),
        Duels(lambda s: Loaded()),
    )
    assert request.is_private and not request.costs_the_app
    listener = duels.listener(LABELS, owner="me", models=("run", "base"))
    mine = opened(live, request, owner="me", models=MODELS_OF_TWO, listeners=[listener])
    assert live.visible("you") == [] and live.find(mine.id, "you") is None and live.visible("me") == [mine]
    assert opened(live, request, owner="you", models=MODELS_OF_TWO) is not mine
    wait_for(lambda: duels.store(LABELS, owner="me").counts().waiting)
    assert duels.store(LABELS, owner="").counts().waiting == 0


def test_what_a_request_under_way_may_cost_is_kept_back_until_it_is_answered(monkeypatch):
    class SlowX(X):
        def _search(self, request):
            time.sleep(1.2)
            return super()._search(request)

    monkeypatch.setenv("X_BUDGET_USD", "1.0")
    monkeypatch.setenv("X_BEARER_TOKEN", TOKEN)
    with SlowX(token=TOKEN) as server:
        for number in range(10):
            server.tweet(f"cat {number}")
        feeds = LiveFeeds({"x": lambda query, **options: XSearch(query, base_url=server.url, **options)})
        session = opened(feeds, StreamRequest(source="x", query="#cats", cap_usd=1.0))
        wait_for(lambda: server.asked)
        session.feed.stop()
        assert session.feed.state == "ended" and feeds.app_budget_left_usd() == 0
        wait_for(lambda: not session.feed.source.is_busy)
        assert feeds.app_budget_left_usd() == pytest.approx(1 - session.feed.source.status.cost_usd)
        feeds.stop_all()


def test_a_label_that_came_too_late_is_reported_for_what_it_is():
    store = Duels(lambda source: Loaded()).store(LABELS, owner="")
    store.add(disagreements(1))
    session = store.session("page")
    item = session.view().item
    store.clear()
    late = session.label(item.id, "positive")
    assert late.gone and not late.taken and "is not kept any more" in card(late, LABELS)


def test_a_full_or_locked_label_disk_is_told_on_the_card_and_the_feed_goes_on(live, monkeypatch):
    monkeypatch.setattr(review, "_RETRY_S", 0.5)
    duels = Duels(lambda source: Loaded())
    store = duels.store(LABELS, owner="")
    store._file.execute("PRAGMA max_page_count=1")
    posts = [Post(f"{n}", f"text {n} " + "x" * 300) for n in range(2000)]
    session = opened(
        live,
        StreamRequest(source="replay", rate_per_s=100.0, second="base"),
        models=MODELS_OF_TWO,
        posts=posts,
        listeners=[duels.listener(LABELS, owner="", models=("run", "base"))],
    )
    wait_for(lambda: store.problem)
    assert "can't be written (database or disk is full)" in store.problem
    before = session.feed.snapshot().classified
    wait_for(lambda: session.feed.snapshot().classified > before + 50)
    assert session.feed.state == "running"
    store._file.execute("PRAGMA max_page_count=100000")  # there is room again
    wait_for(lambda: not store.problem and store.counts().waiting)


def test_stores_of_persons_who_left_are_closed_and_what_holds_no_label_is_deleted(home):
    duels = Duels(lambda source: Loaded())
    folder, before = home / "labels", len(os.listdir("/proc/self/fd"))
    kept = duels.store(LABELS, owner="labels a lot")
    kept.add(disagreements(1))
    kept.label(kept.take().id, "positive")
    duels.store(LABELS, owner="").add(disagreements(2))
    for n in range(60):
        duels.store(LABELS, owner=f"o{n}").add(disagreements(3))
    assert len(os.listdir("/proc/self/fd")) - before <= 3 * 17
    assert len(list(folder.glob("*.sqlite"))) == 16 + 2
    assert duels.store(LABELS, owner="labels a lot").counts().labelled == 1
    assert duels.store(LABELS, owner="").counts().waiting == 1, "everybody's is never deleted"
    old = next(folder.glob("own-*.sqlite"))
    os.utime(old, (0, 0))
    Duels(lambda source: Loaded())
    assert not old.exists()


def test_a_store_is_opened_when_a_disagreement_comes_and_not_before(live, home):
    listener = Duels(lambda source: Loaded()).listener(LABELS, owner="me", models=("run", "base"))
    session = opened(live, StreamRequest(source="replay", rate_per_s=200.0), listeners=[listener])
    wait_for(lambda: session.feed.snapshot().classified > 2)
    assert not list(home.glob("labels/*"))


def test_exports_are_few_and_closed_to_others(home):
    for _ in range(20):
        folder = export_folder()
        folder.mkdir()
    assert len(list(folder.parent.iterdir())) == 8 and folder.parent.stat().st_mode & 0o077 == 0


def loaded(folder, **source):
    """Return a workbench whose model came without a run, as from the Hub, with this provenance."""
    folder.mkdir()
    record = {"recipe": {"dataset": "auto", "seed": 7, "label_names": []}, "data": {"source": source}}
    (folder / "provenance.json").write_text(json.dumps(record))
    return Workbench(model=str(folder))


def test_a_model_without_a_run_replays_the_test_split_that_its_provenance_names(tmp_path):
    posts = replay_posts(loaded(tmp_path / "a", kind="embedded", location="tweets"))
    split, rows = unlearnt_texts(DataSpec(dataset="embedded", seed=7, rules=1))
    assert split == "test"
    expected = [(row.text, row.label) for row in rows if not mend(row.text).damaged]
    assert [(post.text, post.label) for post in posts] == expected and 3000 < len(expected) < len(rows)


def test_where_it_names_none_that_can_be_had_it_is_the_default(tmp_path):
    bench = loaded(tmp_path / "a", kind="hub", location="nobody/has-this-one")
    assert len(replay_posts(bench)) > 1000 and list(bench.replay) == [DataSpec()]


def test_a_model_of_a_part_of_the_training_rows_replays_the_others_whose_labels_can_be_learnt(tmp_path):
    bench = loaded(tmp_path / "a", kind="embedded", location="tweets")
    file = tmp_path / "a" / "provenance.json"
    record = json.loads(file.read_text())
    record["recipe"]["n_train"] = 1000
    file.write_text(json.dumps(record))
    posts = replay_posts(bench)
    [(spec, (split, kept))] = bench.replay.items()
    learnt = {duplicate_key(text) for text in load_splits(spec).train["text"]}
    assert split == "train" and spec.n_train == 1000 and posts is kept and replay_posts(bench) is kept
    assert (
        len(learnt) > 990
        and len(posts) > 20_000
        and not learnt & {duplicate_key(post.text) for post in posts}
    )
    whole = load_splits(spec.whole())
    assert {post.text for post in posts} <= set(whole.train["text"])
    record["recipe"]["unlabelled"] = "train"
    file.write_text(json.dumps(record))
    replay_posts(bench)
    assert [split for split, _ in bench.replay.values()] == ["test"], "it has learnt from the others, too"


def test_few_rows_left_over_are_no_replay(tmp_path):
    rows = [(f"{text} {n}", label) for n, (text, label) in enumerate(tweets(1000, seed=3))]
    data = str(write_csv(tmp_path / "own.csv", rows))
    spec = DataSpec(dataset=data, n_validation=40, n_test=40, leak_gate="off")
    learnt = len(load_splits(spec.whole()).train)
    for n, split in ((learnt - LEAST_LEFT_OVER, "train"), (learnt - LEAST_LEFT_OVER + 1, "test")):
        assert unlearnt_texts(dataclasses.replace(spec, n_train=n))[0] == split


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "hub", "location": "own/posts.csv"},
        {"kind": "hub", "location": "../../etc/passwd"},
        {"kind": "hub", "location": "/etc/passwd"},
        {"kind": "file", "location": "own/posts.csv"},
        {},
        None,
    ],
)
def test_a_strangers_record_names_no_file_of_this_machine(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "posts.csv").write_text("text,label\na secret,positive\n")
    assert spec_of({"recipe": {}, "data": {"source": source}}, paths=False) is None
    hub = {"kind": "hub", "location": "owner/name:config"}
    assert spec_of({"recipe": {}, "data": {"source": hub}}, paths=False).dataset == "owner/name:config"
