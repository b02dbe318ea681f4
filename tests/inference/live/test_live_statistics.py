"""All statistics of a stream at once: fed by a real feed, read from other threads, bounded, and cheap."""

import shutil
import threading
import time

import pytest

from inference.artifact import REFERENCE
from inference.classifier import Classifier
from inference.live.feed import Feed
from inference.live.numbers import ClassifiedPost
from inference.live.post import Post
from inference.live.sources import Replay
from inference.live.statistics import LiveStatistics
from tests.support import tweets, wait_for

LABELS = ("negative", "neutral", "positive")


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def told(text, label, number=0, probability=0.9):
    return ClassifiedPost(Post(id=f"{number}", text=text), label, probability)


@pytest.fixture(scope="module")
def classifier(trained_gpt2):
    return Classifier.load(trained_gpt2.artifact)


def test_a_feed_fills_them(classifier):
    statistics = LiveStatistics.of(classifier)
    posts = [Post(id=str(n), text=text) for n, (text, _) in enumerate(tweets(360) * 10)]
    feed = Feed(
        Replay(posts, rate_per_s=None),
        classifier.predict,
        labels=classifier.labels,
        patient=True,
        listeners=[statistics.add_batch],
    )
    feed.start()
    wait_for(lambda: feed.wait(0.1))
    feed.stop()
    view, shot = statistics.view(10.0), feed.snapshot()
    assert view.posts == shot.classified == 3_600
    assert [window.span_s for window in view.windows] == [10.0, 60.0, 300.0]
    assert view.windows[2].counts == shot.counts
    assert sum(window.n for window in view.line) == 3_600
    assert view.words.keys() == set(LABELS)
    assert {word.word for word in view.words["positive"].words} & {"love", "great", "happy", "best", "sunny"}
    assert view.drift.level in ("alike", "somewhat different"), view.drift.sentences()  # a sample of some 100
    assert view.drift.n >= 50 and view.drift_problem == ""


@pytest.mark.parametrize(("size", "looked_at"), [(1, 1), (8, 8), (9, 8), (72, 8), (1_000, 8)])
def test_drift_is_looked_for_in_eight_posts_of_a_batch_at_most(classifier, size, looked_at):
    statistics = LiveStatistics.of(classifier)
    statistics.add_batch([])
    statistics.add_batch([told(f"post {n}", "neutral", n) for n in range(size)])
    assert statistics.view(10.0).drift.n == looked_at


def test_a_shift_is_told_with_its_time_and_only_the_newest_are_kept():
    statistics = LiveStatistics(LABELS, now=iter(range(100)).__next__)
    for turn in range(8):
        statistics.add_batch([told("x", LABELS[turn % 2 * 2], n) for n in range(600)])
    view = statistics.view(60.0)
    assert [at_s for at_s, _ in view.shifts] == [6, 5, 4, 3, 2]
    assert [shift.rises for _, shift in view.shifts] == [True, False, True, False, True]
    assert view.drift is None and view.drift_problem == ""
    with pytest.raises(KeyError):
        statistics.view(7.0)


def test_words_and_drift_are_summed_up_every_five_seconds_even_if_the_clock_jumps_back():
    clock = Clock()
    statistics = LiveStatistics(LABELS, clock=clock)
    assert statistics.view(10.0).words["positive"].words == ()
    batch = [told("sunny day" if n % 2 else "grey day", LABELS[n % 2 * 2], n) for n in range(200)]
    statistics.add_batch(batch)
    clock.now += 4.9
    view = statistics.view(10.0)
    assert (view.posts, view.words["positive"].words) == (200, ())
    clock.now += 0.2
    assert [word.word for word in statistics.view(10.0).words["positive"].words] == ["sunny"]
    clock.now -= 4_000
    statistics.add_batch(
        [told("sunny beach" if n % 2 else "grey day", LABELS[n % 2 * 2]) for n in range(600)]
    )
    assert {word.word for word in statistics.view(10.0).words["positive"].words} == {"sunny", "beach"}


def test_an_artifact_without_a_reference_and_one_with_a_broken_one(trained_gpt2, tmp_path):
    folder = tmp_path / "artifact"
    shutil.copytree(trained_gpt2.artifact, folder)
    (folder / REFERENCE).write_text("{}", encoding="utf-8")
    broken = LiveStatistics.of(Classifier.load(folder))
    broken.add_batch([told("hello", "neutral")])
    view = broken.view(10.0)
    assert (view.posts, view.drift) == (1, None)
    assert "reference.json can't be used" in view.drift_problem and "Train again" in view.drift_problem
    (folder / REFERENCE).unlink()
    view = LiveStatistics.of(Classifier.load(folder)).view(10.0)
    assert (view.drift, view.drift_problem) == (None, "")


def test_views_from_other_threads_see_whole_batches():
    statistics, wrong, stop = LiveStatistics(LABELS), [], threading.Event()

    def look():
        while not stop.is_set():
            view = statistics.view(10.0)
            if view.posts % 30 or view.windows[2].n != view.posts:
                wrong.append(view.posts)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(150):
        statistics.add_batch([told(f"post {number}", LABELS[n % 3]) for n in range(30)])
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong and statistics.view(10.0).posts == 4_500


def test_a_post_costs_little_at_any_time(classifier):
    """The bound is three times what was measured on two busy cores."""
    statistics = LiveStatistics.of(classifier)
    posts = [told(text, LABELS[n % 3], n) for n, (text, _) in enumerate(tweets(6_000, seed=3))]
    costs = []
    for at in range(0, len(posts), 2_000):
        began = time.process_time()
        for batch in range(at, at + 2_000, 32):
            statistics.add_batch(posts[batch : batch + 32])
        costs.append((time.process_time() - began) / 2_000)
    assert costs[-1] < 200e-6
    assert costs[-1] < 3 * costs[0]
