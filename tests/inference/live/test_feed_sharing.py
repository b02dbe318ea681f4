"""One feed for everybody who looks at the same: made once, found again, ended when nobody looks."""

import threading

import pytest

from inference.common.errors import FeedError
from inference.live.feed import Feed
from inference.live.registry import Feeds
from tests.inference.live.test_feed import LABELS, Clock, Given, classify, posts, wait_for


class Maker:
    """Makes feeds that stay, and counts them."""

    def __init__(self, *, clock=None, count=3):
        self.clock, self.count, self.made = clock or Clock(), count, []

    def __call__(self):
        feed = Feed(Given(posts(self.count), stay=True), classify, labels=LABELS, clock=self.clock)
        self.made.append(feed)
        return feed


def test_viewers_who_come_at_the_same_moment_share_one_feed():
    feeds, maker, found = Feeds(), Maker(), []
    together = threading.Barrier(16)

    def look():
        together.wait(10)
        found.append(feeds.open(("bluesky", "train"), maker))

    viewers = [threading.Thread(target=look) for _ in range(16)]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join(10)
    assert len(found) == 16 and len(maker.made) == 1 and set(found) == set(maker.made)
    assert feeds.open(("bluesky", "bus"), maker) is not found[0]
    assert feeds.running() == (("bluesky", "train"), ("bluesky", "bus"))
    feeds.stop_all()
    assert feeds.running() == () and {feed.state for feed in maker.made} == {"ended"}


def test_a_page_that_was_reloaded_finds_its_feed_by_its_key():
    feeds, maker = Feeds(), Maker()
    feed = feeds.open("key", maker)
    wait_for(lambda: feed.snapshot().classified == 3)
    assert feeds.find("key") is feed and feeds.find("another") is None
    feed.stop()
    assert feeds.find("key").snapshot().classified == 3, "its numbers can be seen when it has ended"
    assert feeds.open("key", maker) is not feed and len(maker.made) == 2
    feeds.stop_all()


def test_it_lives_while_one_viewer_looks_and_ends_a_minute_after_the_last():
    clock = Clock()
    feeds, maker = Feeds(), Maker(clock=clock)
    feed = feeds.open("key", maker)
    for _ in range(4):
        clock.now += 40
        assert feeds.open("key", maker) is feed, "a second viewer keeps it alive too"
    clock.now += 61
    wait_for(lambda: feed.state == "ended")
    assert feed.snapshot().reason == "unwatched" and feed.snapshot().pending == 0
    assert feeds.open("key", maker) is not feed
    feeds.stop_all()


def test_a_paused_feed_that_nobody_looks_at_ends_too():
    clock = Clock()
    feeds = Feeds()
    feed = feeds.open("key", Maker(clock=clock))
    feed.pause()
    clock.now += 61
    wait_for(lambda: feed.state == "ended")


def test_only_so_many_run_and_the_ended_ones_are_forgotten_in_time():
    feeds, maker = Feeds(most=2), Maker()
    for key in ("a", "b"):
        feeds.open(key, maker)
    with pytest.raises(FeedError) as refused:
        feeds.open("c", maker)
    assert str(refused.value) == "2 feeds run already, which is the most. Stop one of them first."
    for key in "bcdefgh":
        feeds.find("a").stop() if key == "c" else None
        feeds.open(key, maker)
        feeds.find(key).stop()
    assert [key for key in "abcdefgh" if feeds.find(key)] == ["f", "g", "h"]


def test_a_feed_that_cannot_be_made_leaves_the_others_alone():
    feeds = Feeds()

    def broken():
        raise FeedError("There is nothing to replay.")

    with pytest.raises(FeedError, match="nothing to replay"):
        feeds.open("key", broken)
    assert feeds.find("key") is None
    feed = feeds.open("key", Maker())
    feed.stop()


def test_feeds_that_share_a_model_take_turns():
    turn, inside, most = threading.Lock(), [0], [0]

    def model(texts):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        threading.Event().wait(0.002)
        inside[0] -= 1
        return classify(texts)

    several = [Feed(Given(posts(30)), model, labels=LABELS, turn=turn, batch_size=2) for _ in range(3)]
    for feed in several:
        feed.start()
    for feed in several:
        assert feed.wait(20) and feed.snapshot().classified == 30
    assert most == [1]
