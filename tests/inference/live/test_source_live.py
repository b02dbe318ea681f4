"""What live sources share: the tree of errors, waits that grow, a stop that is heard, a status in words."""

import random
import re
import threading
import time

import pytest

from inference.common.errors import FeedError, TweetTuneError
from inference.live import errors as tree
from inference.live.post import Post
from inference.live.request import SOURCE_NAMES
from inference.live.sources import SOURCES, SourceStatus
from inference.live.sources.base import Backoff, LiveSource, Seen, World
from tests.servers import Listener, Waits
from tests.support import wait_for


def test_the_tree_of_errors_is_the_one_that_is_drawn():
    drawn = re.findall(r"[├└]── (\w+)", tree.__doc__)
    real = [tree.RecordingError, tree.SourceError, *tree.SourceError.__subclasses__()]
    assert drawn == [kind.__name__ for kind in real] and len(real) == 6
    assert all(issubclass(kind, FeedError) for kind in real) and issubclass(FeedError, TweetTuneError)
    assert tree.SourceRateLimited("Wait.", retry_after_s=3.5).retry_after_s == 3.5


def test_every_source_is_registered_under_its_name():
    assert tuple(SOURCES) == SOURCE_NAMES
    assert all(SOURCES[name].name == name for name in SOURCES if name != "file")


def test_waits_grow_as_they_are_documented_with_jitter_on_top():
    rng = random.Random(0)
    doubling, steps = Backoff(first_s=5, max_s=320), Backoff(first_s=0.25, factor=1, step_s=0.25, max_s=16)
    for failures, base in enumerate((5, 10, 20, 40, 80, 160, 320, 320), 1):
        waits = [doubling.wait_s(failures, rng) for _ in range(200)]
        assert base <= min(waits) < base * 1.02 and base * 1.23 < max(waits) <= base * 1.25
    first, *later = [steps.wait_s(failures, random.Random(0)) for failures in (1, 2, 64, 99)]
    assert [round(wait / first) for wait in later] == [2, 64, 64]
    assert doubling.wait_s(10**6, rng) <= 400


def test_only_the_last_keys_are_remembered():
    seen = Seen(size=3)
    assert [seen.is_new(key) for key in "abcabcd"] == [True] * 3 + [False] * 3 + [True]
    assert seen.is_new("a") and not seen.is_new("d")


class Scripted(LiveSource):
    """A source whose sessions are given: each a list of posts, ended by an error or by its end."""

    name, title = "scripted", "The script"

    def __init__(self, *sessions, **options):
        super().__init__(**options)
        self.sessions, self.closed = list(sessions), 0

    def _session(self, halt):
        for step in self.sessions.pop(0):
            if isinstance(step, Exception):
                raise step
            self._alive()
            yield Post(str(step), str(step))

    def _close(self):
        self.closed += 1


def test_a_source_goes_on_after_failures_and_counts_only_those_in_a_row():
    waits = Waits()
    broken, limit = tree.SourceUnavailable("Gone."), tree.SourceRateLimited("Wait.", retry_after_s=30)
    source = Scripted([1, broken], [broken], [2, limit], [broken], [3], world=World(wait=waits), attempts=3)
    with Listener(source) as heard:
        assert heard.ended() is None
    assert heard.texts == ["1", "2", "3"] and source.closed == 1
    expected = [1, 2, 30, 2]
    assert all(low <= got <= low * 1.25 + 1 for low, got in zip(expected, waits.seconds, strict=True))
    assert source.status == SourceStatus("ended", read=3, reconnects=3)


def test_too_many_failures_in_a_row_or_too_long_a_limit_end_it():
    broken = tree.SourceUnavailable("Gone.", answered=True)
    with Listener(Scripted([broken], [broken], [broken], world=World(wait=Waits()), attempts=3)) as heard:
        error = heard.ended()
    assert str(error).startswith("Gone. It was tried 3 times.") and error.answered
    limit = tree.SourceRateLimited("Wait.", retry_after_s=901)
    with Listener(Scripted([limit], world=World(wait=Waits()))) as heard:
        assert heard.ended() is limit
    short = tree.SourceRateLimited("Wait.", retry_after_s=0)
    waits = Waits()
    with Listener(Scripted(*[[short]] * 5, world=World(wait=waits), attempts=5)) as heard:
        assert heard.ended() is short
    assert all(seconds >= 1 for seconds in waits.seconds), "never a storm"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_mistake_of_our_own_is_not_swallowed():
    with Listener(Scripted([1, ZeroDivisionError("ours")])) as heard:
        error = heard.ended()
    assert str(error) == "The script broke off: see the log for the reason, then start a new feed."
    assert heard.texts == ["1"] and heard.source.closed == 1


def test_a_stop_does_not_wait_for_a_session_that_hears_nothing():
    class Deaf(Scripted):
        def _session(self, halt):
            time.sleep(3)
            yield Post("1", "late")

    with Listener(Deaf()) as heard:
        time.sleep(0.1)
        assert heard.stop() < 2


def test_whoever_stops_reading_ends_the_source():
    source = Scripted(range(100_000))
    stream = source.posts(threading.Event())
    next(stream)
    stream.close()
    wait_for(lambda: source.closed)
    assert source.status.state == "ended" and source.status.read == 1


def test_a_status_in_words():
    assert SourceStatus().sentence(0) == "Ready."
    assert SourceStatus("connected").sentence(0) == "Connected."
    assert SourceStatus("reconnecting", "Gone.", until=104.2).sentence(100) == "Reconnecting in 5 s: Gone."
    assert SourceStatus("reconnecting", "Gone.", until=99).sentence(100) == "Reconnecting in 0 s: Gone."
    assert SourceStatus("rate limited", until=3661).sentence(0) == "Rate limited until 01:01:01 UTC."
    assert SourceStatus("ended", "The cap is reached.").sentence(0) == "Ended: The cap is reached."
