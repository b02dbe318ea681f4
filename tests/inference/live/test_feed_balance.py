"""The feed's counts: every post is in one place, whatever happens in whatever order; and what it measures."""

import random
import threading
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.common.errors import FeedError, PredictionError
from inference.live.counts import Lag, Lags, Meter, Speed
from inference.live.feed import LONGEST_TEXT, Entry, Feed, Waiting
from inference.live.filter import Filter
from inference.live.post import Post
from inference.live.recording import Recorder
from inference.live.sources import Replay, SourceUnavailable
from inference.live.sources.base import LiveSource, World
from inference.live.sources.replay import posts_of_file
from tests.support import wait_for
from tests.support.feeds import LABELS, Answer, Clock, Given, balanced, classify, posts


class Scripted(LiveSource):
    """A live source, with its threads and its box, whose one connection plays what a test has written."""

    name = "scripted"

    def __init__(self, script):
        super().__init__(world=World(wait=lambda event, seconds: event.wait(0.001)))
        self.script = iter(script)
        self.sent = 0

    def _session(self, halt):
        self._alive()
        for what in self.script:
            if halt.is_set():
                return
            if what == "break":
                raise SourceUnavailable("It broke.")
            if what == "duplicate":
                self.sent += 1
                self._pass_over("duplicate")
            elif what == "garbage":
                self._pass_over("garbage")
            else:
                self.sent += 1
                yield what


def post_of(number, kind):
    return {
        "plain": Post(str(number), f"post {number}"),
        "again": Post(str(max(0, number - 3)), f"post {number}"),
        "empty": Post(str(number), " \n"),
        "unwanted": Post(str(number), f"post {number}", is_repost=True),
        "refused": Post(str(number), f"refused {number}"),
    }.get(kind, kind)


KINDS = ["plain"] * 4 + ["again", "empty", "unwanted", "refused", "duplicate", "garbage", "break"]


def picky(texts):
    if any("refused" in text for text in texts):
        raise PredictionError("An input can't be classified.")
    return classify(texts)


@settings(max_examples=80, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(KINDS), max_size=80),
    actions=st.lists(st.sampled_from(["pause", "resume", "look", "let one batch go"]), max_size=12),
    queue_size=st.integers(1, 40),
    batch_size=st.integers(1, 20),
    lossless=st.booleans(),
    limit=st.none() | st.integers(1, 30),
    early=st.booleans(),
)
def test_received_is_the_sum_whatever_happens(kinds, actions, queue_size, batch_size, lossless, limit, early):
    """Pauses, breaks, a model of any pace, a stop at any moment."""
    pace, source = threading.Semaphore(0), Scripted(post_of(n, kind) for n, kind in enumerate(kinds))
    seen = []

    def model(texts):
        pace.acquire(timeout=0.002)
        return picky(texts)

    feed = Feed(
        source,
        model,
        labels=LABELS,
        second=classify,
        filter=Filter(reposts=False),
        limit=limit,
        lossless=lossless,
        queue_size=queue_size,
        batch_size=batch_size,
        rng=random.Random(0),
        listeners=[seen.extend],
    )
    feed.start()
    for action in actions:
        if action == "let one batch go":
            pace.release()
        elif action == "look":
            assert balanced(feed.snapshot())
        else:
            try_to(feed, action)
    if not early:
        try_to(feed, "resume")
        assert feed.wait(20)
    feed.stop()
    snapshot = feed.snapshot()
    assert balanced(snapshot) and snapshot.pending == 0
    assert snapshot.received <= source.sent if early or limit else snapshot.received == source.sent
    assert len({one.post.id for one in seen}) == len(seen) == snapshot.classified == sum(snapshot.counts)
    assert snapshot.agreed + snapshot.disagreed == snapshot.classified
    if not early and not limit:
        assert sum(snapshot.filtered.values()) == sum(kind in ("empty", "unwanted") for kind in kinds)


def try_to(feed, action):
    try:
        getattr(feed, action)()
    except FeedError:
        assert feed.state == "ended"


def test_what_the_source_counts_is_part_of_the_sum():
    script = [Post("1", "post 1"), "duplicate", "garbage", Post("1", "post 1"), Post("2", "post 2")]
    feed = Feed(Scripted(script), classify, labels=LABELS)
    feed.start()
    assert feed.wait(10)
    feed.stop()
    summary = feed.summary()
    assert (summary.received, summary.classified, summary.duplicates, summary.dropped) == (4, 2, 2, 0)


def test_posts_that_wait_in_the_source_at_a_stop_are_counted():
    asked, gate = threading.Event(), threading.Event()

    def stuck(texts):
        asked.set()
        gate.wait(10)
        return classify(texts)

    source = Scripted(posts(300))
    feed = Feed(source, stuck, labels=LABELS, lossless=True, queue_size=5, batch_size=2)
    feed.start()
    wait_for(lambda: source.sent >= 100 and asked.is_set())
    threading.Thread(target=lambda: feed.wait(10) and gate.set()).start()
    feed.stop()
    snapshot = feed.snapshot()
    assert balanced(snapshot) and snapshot.pending == 0 and snapshot.received == source.sent
    assert snapshot.classified == 2, "the batch that was in hand is answered"
    assert snapshot.source_status.passed_over["unread at the end"] > 50


def test_a_summary_balances_even_when_the_model_does_not_come_back_in_time():
    gate = threading.Event()

    def stuck(texts):
        gate.wait(10)
        return classify(texts)

    feed = Feed(Given(posts(30), stay=True), stuck, labels=LABELS)
    feed.start()
    wait_for(lambda: feed.snapshot().pending == 30)
    feed.stop(timeout_s=0.1)
    assert (feed.summary().received, feed.summary().classified, feed.summary().dropped) == (30, 0, 30)
    in_hand = feed.snapshot().pending
    gate.set()
    feed.stop()
    assert in_hand > 0 and balanced(feed.snapshot()) and feed.summary().classified == in_hand
    assert feed.summary().dropped == 30 - in_hand, "it came after all"


def test_it_is_known_why_a_post_was_let_go():
    given = [
        Post("1", "the bus is late", languages=("en",)),
        Post("2", "o ônibus", languages=("pt",)),
        Post("3", "a bus?", languages=("en",), is_reply=True),
        Post("4", "a tram", languages=("en",)),
        Post("5", "  ", languages=("en",)),
        Post("1", "the bus is late", languages=("en",)),
    ]
    asked = Filter(keywords=("bus",), languages=("en",), replies=False)
    feed = Feed(Given(given), lambda texts: [Answer("neutral")] * len(texts), labels=LABELS, filter=asked)
    feed.start()
    assert feed.wait(10)
    snapshot = feed.snapshot()
    assert snapshot.filtered == {"language": 1, "reply": 1, "keyword": 2} and snapshot.duplicates == 1
    assert balanced(snapshot) and snapshot.classified == 1


def test_a_huge_or_broken_text_reaches_the_model_short_and_whole():
    texts = []

    def listen(given):
        texts.extend(given)
        return [Answer("neutral")] * len(given)

    huge, half = Post("1", "z" * 100_000), Post("2", " half \ud83d ")
    feed = Feed(Given([huge, half, Post("3", "x\n")]), listen, labels=LABELS)
    feed.start()
    assert feed.wait(10)
    assert [len(text) for text in texts] == [LONGEST_TEXT, 6, 1] and texts[1] == "half \ufffd"
    assert feed.snapshot().recent[2].post.text == texts[0], "nor does the feed keep it whole"
    assert feed.snapshot().truncated == feed.summary().truncated == 1


def test_a_lossless_feed_drops_nothing_and_keeps_the_queue_short():
    most = 0

    def slow(texts):
        nonlocal most
        most = max(most, feed.snapshot().pending)
        return classify(texts)

    feed = Feed(
        Replay(posts(2000), rate_per_s=None), slow, labels=LABELS, lossless=True, queue_size=50, batch_size=20
    )
    feed.start()
    assert feed.wait(20)
    feed.stop()
    summary = feed.summary()
    assert (summary.received, summary.classified, summary.dropped) == (2000, 2000, 0) and most <= 70


@pytest.mark.parametrize("lossless", [True, False])
def test_a_limit_ends_it_and_what_waits_is_classified_first(lossless):
    given = [Post(f"{n}", f"post {n}", is_repost=n % 2 == 1) for n in range(100)]
    feed = Feed(
        Scripted(given), classify, labels=LABELS, limit=10, filter=Filter(reposts=False), lossless=lossless
    )
    feed.start()
    assert feed.wait(10)
    assert feed.source.status.state == "ended", "what it leaves unread is counted by now"
    feed.stop()
    snapshot = feed.snapshot()
    assert snapshot.reason == "finished" and balanced(snapshot) and snapshot.classified == 10
    assert snapshot.filtered == {"repost": 9}


def test_two_models_are_asked_about_the_same_posts(tmp_path):
    def other(texts):
        return [Answer(LABELS[2]) for _ in texts]

    with Recorder(tmp_path / "duel.jsonl") as recorder:
        feed = Feed(Given(posts(30)), classify, second=other, labels=LABELS, keep=5, listeners=[recorder])
        feed.start()
        assert feed.wait(10)
    snapshot = feed.snapshot()
    assert (snapshot.agreed, snapshot.disagreed) == (10, 20)
    assert snapshot.counts == (10, 10, 10)
    assert snapshot.agreement().value == pytest.approx(1 / 3) and snapshot.agreement().high == pytest.approx(
        0.512, abs=1e-3
    )
    assert '"second_label": "positive"' in (tmp_path / "duel.jsonl").read_text()
    [late, *_, early] = feed.snapshot().recent
    assert (late.post.id, late.label, late.second_label, late.disagrees) == (
        "29",
        "positive",
        "positive",
        False,
    )
    assert (early.post.id, early.label, early.disagrees) == ("25", "neutral", True)


def test_listeners_and_a_recording_get_every_post(tmp_path):
    seen = []
    with Recorder(tmp_path / "feed.jsonl", texts=True) as recorder:
        feed = Feed(Given(posts(40)), classify, labels=LABELS, listeners=[seen.extend, recorder])
        feed.start()
        assert feed.wait(10)
        feed.stop()
    written = posts_of_file(tmp_path / "feed.jsonl")[0]
    assert [post.text for post in written] == [one.post.text for one in seen] and len(seen) == 40


def test_a_listener_that_fails_ends_the_feed_with_its_sentence():
    def broken(classified):
        raise FeedError("The output can't be written.")

    feed = Feed(Given(posts(40), stay=True), classify, labels=LABELS, listeners=[broken])
    feed.start()
    assert feed.wait(10)
    feed.stop()
    snapshot = feed.snapshot()
    assert (snapshot.reason, snapshot.message) == ("failed", "The output can't be written.")
    assert balanced(snapshot) and snapshot.pending == 0 and snapshot.classified > 0


def test_lag_is_measured_from_arrival_and_age_from_when_it_was_written():
    clock, wall = Clock(), datetime(2026, 11, 22, tzinfo=UTC).timestamp()

    def model(texts):
        clock.now += 3.0
        return classify(texts)

    def written(ago_s, number):
        return Post(str(number), f"post {number}", created=datetime.fromtimestamp(wall - ago_s, UTC))

    given = [written(8, 1), written(-60, 2), written(1e6, 3), Post("4", "post 4")]
    feed = Feed(Given(given), model, labels=LABELS, clock=clock, now=lambda: wall, batch_size=4)
    feed.start()
    assert feed.wait(10)
    snapshot = feed.snapshot()
    assert 3 <= snapshot.lag.p50_s <= snapshot.lag.p95_s <= 12
    assert snapshot.age == Lag(8.0, 8.0), (
        "an hour ago is a replay, and a post of the future has another clock"
    )
    assert snapshot.age and feed.summary().lag_p95_s == snapshot.lag.p95_s


def test_a_meter_forgets_and_speed_follows():
    meter = Meter()
    for second in range(100):
        meter.add(second + 0.5, 7)
    assert meter.per_s(99.99) == pytest.approx(7, rel=0.01) and meter.per_s(200) == 0
    speed = Speed()
    assert speed.posts_per_s == speed.cost_per_s == 0
    for posts_each, expected in ((10, 20), (2, 4)):
        for _ in range(60):
            speed.add(posts_each, posts_each * 50, 0.5)
        assert speed.posts_per_s == pytest.approx(expected, rel=0.01)
        assert speed.cost_per_s == pytest.approx(expected * 50, rel=0.01)


def test_lags_keep_a_fair_sample_of_everything_and_the_newest():
    lags = Lags(random.Random(1))
    assert lags.newest() is None and lags.overall() is None
    for number in range(50_000):
        lags.add(number / 1000)
    assert lags.newest() == Lag(49.499, 49.949)
    assert lags.overall().p50_s == pytest.approx(25, abs=1.5)
    assert lags.overall().p95_s == pytest.approx(47.5, abs=1.0)


def test_the_queue_is_as_long_as_the_model_needs_its_seconds_for():
    waiting = Waiting(queue_s=1.0, rng=random.Random(0))
    for number in range(1000):
        waiting.add(Entry(Post(str(number), "x" * 60), 0.0))
    assert len(waiting) == 64, "until the model's speed is known"
    assert len(waiting.take()) == 16
    assert waiting.pace(2000.0) == 28 and len(waiting) == 20, "20 posts of 100 characters a second"
    assert len(waiting.take()) == 8, "0.4 s"
    assert waiting.add(Entry(Post("long", "x" * 1960), 0.0)) > 0
    waiting.pace(1.0)
    assert len(waiting) == 8, "however slow it is, some may wait"
    waiting.pace(1e9)
    assert sum(waiting.add(Entry(Post(str(number), "x"), 0.0)) for number in range(2000)) == 984
    assert len(waiting.take()) == 256


def test_who_gives_way_is_a_matter_of_chance():
    kept = [0] * 10
    for seed in range(100):
        waiting = Waiting(queue_size=50, rng=random.Random(seed))
        dropped = sum(waiting.add(Entry(Post(str(number), "x"), 0.0)) for number in range(500))
        assert dropped == 450
        for entry in waiting.take() + waiting.take() + waiting.take() + waiting.take():
            kept[int(entry.post.id) // 50] += 1
    assert sum(kept) == 100 * 50
    assert kept[9] > kept[5] > kept[3], "the newer, the likelier: what waited long has had more chances to go"
