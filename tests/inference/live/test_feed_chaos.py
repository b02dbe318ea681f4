"""The feed on a bad day: a Jetstream that breaks, stalls, repeats itself and floods; and the lag."""

import random
import threading
import time

import pytest

from inference.live.feed import Feed
from inference.live.filter import Filter
from inference.live.post import Post
from inference.live.sources import SourceStatus
from inference.live.sources.base import World
from inference.live.sources.bluesky import Bluesky
from tests.servers import Waits
from tests.servers.jetstream import Jetstream
from tests.support import wait_for
from tests.support.feeds import LABELS, Answer, balanced


class Chaos:
    """Ten minutes of posts, at 10 a second with a burst of 500 a second in each minute, and what they are."""

    def __init__(self, server, seed):
        self.server, self.rng = server, random.Random(seed)
        self.matching, self.filtered, self.repeated = [], 0, 0

    def minute(self):
        for posts, step_us in ((295, 100_000), (500, 2_000), (295, 100_000)):
            self.server.step_us = step_us
            for _ in range(posts):
                self.one()

    def one(self):
        kind = self.rng.random()
        if kind < 0.15:
            self.server.post("outra língua", langs=["pt"])
            self.filtered += 1
        elif kind < 0.25:
            self.server.post("  ")
            self.filtered += 1
        elif kind < 0.30 and self.matching:  # the same post once more, as another event
            self.server.post("again", rkey=self.rng.choice(self.matching[-2000:]))
            self.repeated += 1
        else:
            self.matching.append(self.server.post(f"post {len(self.matching)}"))
        if kind > 0.98:
            self.server.frame(self.rng.choice(["{nonsense", "[]", b"\xff"]))
        elif kind > 0.96:
            self.rng.choice([self.server.identity, self.server.account])()

    @property
    def published(self):
        return len(self.matching) + self.filtered + self.repeated


def test_ten_minutes_of_chaos_balance_to_the_post():
    """In compressed time: what the service sent in ten minutes comes as fast as it can be read."""
    jump_s, classified = [0.0], []

    def model(texts):
        time.sleep(0.002 * len(texts))
        return [Answer("neutral")] * len(texts)

    with Jetstream() as server:
        world = World(clock=lambda: server.now_us / 1e6 + jump_s[0], wait=Waits())
        source = Bluesky(hosts=[server.url], world=world, stall_s=0.3, rewind_s=0.5, catch_up_s=1e6)
        feed = Feed(
            source,
            model,
            labels=LABELS,
            filter=Filter(languages=("en",)),
            queue_size=100,
            listeners=[classified.extend],
            now=world.clock,
            rng=random.Random(1),
        )
        feed.start()
        wait_for(lambda: server.joined)
        chaos = Chaos(server, seed=3)
        chaos.matching.append(server.post("post 0"))
        wait_for(lambda: feed.snapshot().received == 1)  # else a break has no place to go back to
        breaks = [server.drop, lambda: server.close(1012), server.stall, feed.pause, server.drop] * 2
        for minute, accident in enumerate(breaks):
            publisher = threading.Thread(target=chaos.minute)
            publisher.start()
            time.sleep(0.02)
            wait_for(lambda: server.connections)
            accident()
            jump_s[0] = chaos.rng.choice([-86_400.0, -2.0, 0.0, 3600.0, 86_400.0])
            while publisher.is_alive():
                snapshot = feed.snapshot()
                assert balanced(snapshot) and snapshot.pending <= 100 + 256
                time.sleep(0.01)
            if accident == server.stall:
                joined = server.joined
                wait_for(lambda joined=joined: server.joined > joined)
                server.go_on()
            feed.resume()
            server.drop() if minute == 6 else None
        wait_for(lambda: _unique(feed, chaos) == chaos.published, 60)
        wait_for(lambda: feed.snapshot().pending == 0)
        feed.stop()
        snapshot, summary = feed.snapshot(), feed.summary()
    found = snapshot.source_status.passed_over
    assert (
        snapshot.source_status.gaps == 0 and snapshot.source_status.reconnects >= 5 and found["garbage"] > 0
    )
    assert snapshot.pending == 0 and balanced(snapshot) and "unread at the end" not in found
    assert summary.received == summary.classified + summary.filtered + summary.duplicates + summary.dropped
    assert summary.received == chaos.published + found["duplicate"] and found["duplicate"] > 0
    assert summary.filtered == chaos.filtered and snapshot.filtered.keys() == {"language", "no text"}
    assert summary.duplicates == chaos.repeated + found["duplicate"]
    assert summary.classified + summary.dropped == len(chaos.matching)
    ids = [one.post.id.rpartition("/")[2] for one in classified]
    assert len(set(ids)) == len(ids) == summary.classified > 500 and set(ids) <= set(chaos.matching)
    assert summary.dropped > 500, "it was a flood"


def _unique(feed, chaos):
    """Return how many of the events that were published have come, each counted once."""
    snapshot = feed.snapshot()
    return snapshot.received - snapshot.source_status.passed_over.get("duplicate", 0)


class VirtualTime:
    """A source and a model in a time of their own, which passes when both are ready: no machine is too slow.

    Posts come at random moments, `per_s` of them on average; the model takes `cost_s(texts)`.
    """

    name = "virtual"
    status = SourceStatus()

    def __init__(self, per_s, cost_s, *, seconds=4.0, text_of="post {}".format):
        self.per_s, self.cost_s, self.seconds, self.text_of = per_s, cost_s, seconds, text_of
        self.now = self.due = 0.0
        self.feed = Feed(self, self.model, labels=LABELS, clock=lambda: self.now, listeners=[self.listen])
        self.early = None

    def posts(self, stop):
        rng, number = random.Random(5), 0
        try:
            while self.due < self.seconds:
                self.due += rng.expovariate(self.per_s)
                while self.now < self.due and not stop.is_set():
                    if self.feed.snapshot().pending:
                        time.sleep(0.0002)
                    else:
                        self.now = self.due  # nobody is at work
                number += 1
                yield Post(str(number), self.text_of(number))
        finally:
            self.due = float("inf")

    def model(self, texts):
        until = self.now + self.cost_s(texts)
        while self.now < until:
            self.now = min(until, self.now + 0.005)
            while self.due <= self.now:
                time.sleep(0)  # what comes meanwhile comes first
        return [Answer("neutral")] * len(texts)

    def listen(self, batch):
        if self.early is None and self.now > self.seconds / 2:
            self.early = self.feed.snapshot().lag

    def run(self):
        self.feed.start()
        assert self.feed.wait(60)
        return self.feed.summary()


def slow(texts):
    """About 100 posts a second in large batches, and fewer in small ones."""
    return 0.02 + 0.01 * len(texts)


def test_the_lag_stays_short_at_part_load_and_nothing_is_dropped():
    summary = VirtualTime(75, slow).run()
    assert summary.lag_p95_s < 1.5 and summary.dropped <= 0.02 * summary.received
    assert summary.received == summary.classified + summary.dropped > 200


def test_the_lag_does_not_grow_however_many_posts_come():
    world = VirtualTime(1500, slow)
    summary = world.run()
    assert world.early.p95_s < 2 and world.feed.snapshot().lag.p95_s < 2 and summary.lag_p95_s < 2
    assert summary.dropped > 3000 and summary.classified > 200
    assert world.feed.snapshot().capacity_per_s == pytest.approx(95, rel=0.1)


def test_a_few_long_posts_do_not_make_the_others_wait():
    """Ten thousand characters take the model a hundred times as long as a hundred do."""
    summary = VirtualTime(
        300,
        lambda texts: sum(map(len, texts)) / 20_000,
        text_of=lambda number: "x" * (4_000 if number % 25 == 0 else 60),
    ).run()
    assert summary.lag_p95_s < 2 and summary.dropped > 100
