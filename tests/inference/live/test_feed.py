"""The feed: nothing is lost uncounted, a flood is sampled, and nobody watching ends it."""

import random
import threading
import time

import pytest

from inference.common.errors import FeedError, PredictionError
from inference.live.feed import Feed
from inference.live.post import Post
from inference.live.sources import SOURCES, Replay, SourceStatus
from tests.support import wait_for
from tests.support.feeds import LABELS, Clock, Given, balanced, classify, posts


def test_every_post_is_classified_when_the_model_keeps_up():
    feed = Feed(Given(posts(40, label="positive")), classify, labels=LABELS, queue_size=100)
    feed.start()
    wait_for(lambda: feed.snapshot().state == "ended")
    snapshot = feed.snapshot()
    assert (snapshot.received, snapshot.classified, snapshot.dropped, snapshot.pending) == (40, 40, 0, 0)
    assert snapshot.counts == (14, 13, 13)
    assert (snapshot.judged, snapshot.right) == (40, 13)
    assert snapshot.accuracy().value == 0.325 and snapshot.accuracy().low == pytest.approx(0.2008, abs=1e-3)
    assert snapshot.reason == "finished"
    assert [one.post.id for one in snapshot.recent[:3]] == ["39", "38", "37"], "newest first"


def test_a_true_label_that_the_model_does_not_know_is_not_held_against_it():
    feed = Feed(Given(posts(4, label="joy")), classify, labels=LABELS)
    feed.start()
    wait_for(lambda: feed.snapshot().state == "ended")
    assert feed.snapshot().judged == 0 and feed.snapshot().accuracy() is None


def test_a_flood_is_sampled_and_what_was_dropped_is_counted_to_the_post():
    let_go = threading.Event()

    def slow(texts):
        let_go.wait(10)
        return classify(texts)

    source = Given(posts(1000), stay=True)
    feed = Feed(source, slow, labels=LABELS, queue_size=50, batch_size=8, rng=random.Random(0), keep=1000)
    feed.start()
    assert source.handed_over.wait(10)
    snapshot = feed.snapshot()
    assert (
        balanced(snapshot)
        and snapshot.received == 1000
        and snapshot.pending <= 58
        and snapshot.dropped >= 942
    )
    let_go.set()
    wait_for(lambda: feed.snapshot().pending == 0)
    snapshot = feed.snapshot()
    assert balanced(snapshot)
    kept = sorted(int(one.post.id) for one in snapshot.recent)
    assert len(kept) == snapshot.classified
    assert kept[len(kept) // 2] < 990, "a sample of the flood, not just its end"
    feed.stop()
    assert balanced(feed.snapshot()) and feed.snapshot().reason == "stopped"


def at(seconds_a_post):
    def model(texts):
        time.sleep(seconds_a_post * len(texts))
        return classify(texts)

    return model


@pytest.mark.parametrize(("rate_per_s", "hurries"), [(15, False), (95, True)])
def test_a_model_hurries_only_while_posts_pile_up_and_each_such_answer_is_counted(rate_per_s, hurries):
    asked = []

    def hurried(texts):
        asked.extend(texts)
        return at(0.005)(texts)

    feed = Feed(Replay(posts(2_000), rate_per_s=rate_per_s), at(0.015), hurried=hurried, labels=LABELS)
    feed.start()
    wait_for(lambda: feed.snapshot().classified > 4 * rate_per_s)
    dropped = feed.snapshot().dropped
    feed.stop()
    summary = feed.summary()
    assert (summary.hurried > 0) is hurries and dropped <= 0.02 * summary.received
    assert summary.hurried <= len(asked) <= summary.hurried + summary.dropped - dropped
    assert summary.hurried < summary.classified


def test_a_feed_that_waits_for_the_model_never_hurries():
    feed = Feed(
        Given(posts(600)), at(0.0005), hurried=at(0.0001), labels=LABELS, lossless=True, queue_size=100
    )
    feed.start()
    wait_for(lambda: feed.snapshot().state == "ended")
    assert (feed.summary().classified, feed.summary().hurried) == (600, 0)


def test_counts_balance_at_every_moment():
    source = Given(posts(3000), stay=True)
    feed = Feed(source, classify, labels=LABELS, queue_size=20, batch_size=4)
    feed.start()
    while not source.handed_over.is_set():
        assert balanced(feed.snapshot())
    feed.stop()
    assert balanced(feed.snapshot())


def test_a_post_that_cannot_be_classified_is_dropped_alone():
    def picky(texts):
        if "post 3" in texts:
            raise PredictionError("An input can't be classified.")
        return classify(texts)

    feed = Feed(Given(posts(6)), picky, labels=LABELS)
    feed.start()
    wait_for(lambda: feed.snapshot().state == "ended")
    snapshot = feed.snapshot()
    assert (snapshot.received, snapshot.classified, snapshot.dropped) == (6, 5, 1)


def test_nobody_watching_for_a_minute_ends_it():
    clock = Clock()
    feed = Feed(Given(posts(1), stay=True), classify, labels=LABELS, clock=clock)
    feed.start()
    clock.now += 59
    assert feed.snapshot().state == "running"
    clock.now += 59
    time.sleep(0.4)
    assert feed.snapshot(watching=False).state == "running", "it was watched 59 seconds ago"
    clock.now += 2
    wait_for(lambda: feed.snapshot(watching=False).state == "ended")
    assert feed.snapshot().reason == "unwatched"


def test_pause_holds_the_stream_and_the_clock():
    clock = Clock()
    replay = Replay(posts(500), rate_per_s=100)
    feed = Feed(replay, classify, labels=LABELS, clock=clock)
    feed.start()
    wait_for(lambda: feed.snapshot().classified >= 3)
    clock.now += 7
    feed.pause()
    wait_for(lambda: feed.snapshot().pending == 0)
    clock.now += 20
    before = feed.snapshot()
    time.sleep(0.2)
    after = feed.snapshot()
    assert after.state == "paused" and after.received == before.received
    assert after.running_s == pytest.approx(7)
    feed.resume()
    wait_for(lambda: feed.snapshot().received > before.received)
    assert feed.snapshot().running_s == pytest.approx(7)
    feed.stop()


def test_a_paused_feed_that_nobody_reads_ends_too():
    clock = Clock()
    feed = Feed(Given(posts(3), stay=True), classify, labels=LABELS, clock=clock)
    feed.start()
    feed.pause()
    clock.now += 61
    wait_for(lambda: feed.state == "ended")


def test_feeds_that_share_a_model_take_turns():
    lock, inside, most = threading.Lock(), [0], [0]

    def model(texts):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        threading.Event().wait(0.002)
        inside[0] -= 1
        return classify(texts)

    several = [
        Feed(Given(posts(30)), model, labels=LABELS, compute_lock=lock, batch_size=2) for _ in range(3)
    ]
    for feed in several:
        feed.start()
    for feed in several:
        assert feed.wait(20) and feed.snapshot().classified == 30
    assert most == [1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FeedError("The stream of posts is closed."), "The stream of posts is closed."),
        (ZeroDivisionError("of the source"), "The source broke off"),
    ],
)
def test_a_source_that_breaks_ends_the_feed_with_a_sentence(error, message):
    class Broken:
        name = "broken"
        status = SourceStatus()

        def posts(self, stop):
            yield Post("1", "post 1")
            raise error

    feed = Feed(Broken(), classify, labels=LABELS)
    feed.start()
    wait_for(lambda: feed.snapshot().state == "ended")
    feed.stop()
    snapshot = feed.snapshot()
    assert snapshot.reason == "failed" and snapshot.message.startswith(message) and balanced(snapshot)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_model_that_breaks_ends_the_feed_with_a_sentence():
    def broken(texts):
        raise ZeroDivisionError

    feed = Feed(Given(posts(3), stay=True), broken, labels=LABELS)
    feed.start()
    wait_for(lambda: feed.snapshot().state == "ended")
    feed.stop()
    assert feed.snapshot().message.startswith("The model broke off")
    assert balanced(feed.snapshot())


def test_a_feed_starts_once_and_does_not_come_back():
    feed = Feed(Given(posts(1), stay=True), classify, labels=LABELS)
    feed.start()
    with pytest.raises(FeedError, match="running already"):
        feed.start()
    feed.stop()
    with pytest.raises(FeedError, match="Start a new one"):
        feed.resume()


def test_replay_keeps_time_and_hears_a_change_of_rate():
    class Time(Clock):
        def wait(self, stop, seconds):
            self.now += seconds
            return stop.is_set()

    clock = Time()
    replay = Replay(posts(30), rate_per_s=2, clock=clock, wait=clock.wait)
    stream = replay.posts(threading.Event())
    began = clock.now
    for _ in range(10):
        next(stream)
    assert clock.now - began == pytest.approx(5.0)
    replay.set_rate(10)
    began = clock.now
    for _ in range(10):
        next(stream)
    assert clock.now - began == pytest.approx(1.0)
    clock.now += 60  # a pause: what was missed is not made up for in a burst
    began = clock.now
    for _ in range(10):
        next(stream)
    assert clock.now - began > 0.6


def test_replay_shows_each_post_once_in_a_shuffled_order_and_stops_when_asked():
    given = posts(50)
    shown = list(Replay(given, rate_per_s=200, wait=lambda stop, s: time.sleep(s)).posts(threading.Event()))
    assert sorted(shown, key=lambda post: int(post.id)) == given and shown != given
    stop = threading.Event()
    stop.set()
    assert list(Replay(given).posts(stop)) == []


@pytest.mark.parametrize("rate", [0, -1, 1e6, float("nan")])
def test_replay_refuses_a_rate_out_of_reach(rate):
    with pytest.raises(FeedError, match="posts a second can't be replayed"):
        Replay(posts(1), rate_per_s=rate)


def test_replay_refuses_to_replay_nothing():
    with pytest.raises(FeedError, match="nothing to replay"):
        SOURCES["replay"]([])


def test_the_rate_is_of_the_time_that_it_worked_though_it_was_paused():
    def slow(texts):
        time.sleep(0.01 * len(texts))
        return classify(texts)

    feed = Feed(Replay(posts(5000), rate_per_s=None), slow, labels=LABELS, lossless=True)
    began, stood_s = time.monotonic(), 0.0
    feed.start()
    for _ in range(3):
        time.sleep(0.6)
        feed.pause()
        wait_for(lambda: feed.snapshot().pending == 0)
        paused_s = time.monotonic()
        time.sleep(0.2)
        stood_s += time.monotonic() - paused_s
        feed.resume()
    feed.stop()
    worked_s = time.monotonic() - began - stood_s
    snapshot = feed.snapshot()
    assert snapshot.running_s == pytest.approx(worked_s, abs=0.3)
    assert feed.summary().rate_per_s == pytest.approx(snapshot.classified / worked_s, rel=0.15)


def test_what_a_feed_manages_counts_its_listeners_too():
    def listen(classified):
        time.sleep(0.02 * len(classified))

    feed = Feed(Given(posts(40)), classify, labels=LABELS, listeners=[listen], lossless=True)
    feed.start()
    assert feed.wait(10)
    feed.stop()
    assert 40 < feed.snapshot().capacity_per_s < 51
