"""All statistics of a stream at once: fed by a real feed, read from other threads, bounded, and cheap."""

import math
import shutil
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.artifact import REFERENCE
from inference.classifier import Classifier
from inference.live.feed import Feed
from inference.live.post import ClassifiedPost, Post
from inference.live.sources import Replay
from inference.live.statistics import SPANS_S, LiveStatistics, RollingCounts
from tests.support import tweets, wait_for
from tests.support.feeds import LABELS, Clock


def classified(text, label, number=0, probability=0.9):
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
        lossless=True,
        listeners=[statistics],
    )
    feed.start()
    wait_for(lambda: feed.wait(0.1))
    feed.stop()
    view, snapshot = statistics.view(10.0), feed.snapshot()
    assert view.posts == snapshot.classified == 3_600
    assert statistics.view(300.0).now.counts == snapshot.counts
    assert all(share.low < share.value < share.high for share in statistics.view(300.0).now.shares)
    assert sum(window.n for window in view.line) == 3_600
    assert view.words.keys() == set(LABELS)
    assert {word.word for word in view.words["positive"].words} & {"love", "great", "happy", "best", "sunny"}
    assert view.drift.level in ("alike", "somewhat different")  # a sample of some 100
    assert view.drift.n >= 50 and view.drift_problem == ""


@pytest.mark.parametrize(("size", "looked_at"), [(1, 1), (8, 8), (9, 8), (72, 8), (1_000, 8)])
def test_drift_is_looked_for_in_eight_posts_of_a_batch_at_most(classifier, size, looked_at):
    statistics = LiveStatistics.of(classifier)
    statistics([])
    statistics([classified(f"post {n}", "neutral", n) for n in range(size)])
    assert statistics.view(10.0).drift.n == looked_at


def test_a_shift_is_kept_with_its_time_and_only_the_newest_are_kept():
    statistics = LiveStatistics(LABELS, now=iter(range(100)).__next__)
    for batch in range(8):
        statistics([classified("x", LABELS[batch % 2 * 2], n) for n in range(600)])
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
    batch = [classified("sunny day" if n % 2 else "grey day", LABELS[n % 2 * 2], n) for n in range(200)]
    statistics(batch)
    clock.now += 4.9
    view = statistics.view(10.0)
    assert (view.posts, view.words["positive"].words) == (200, ())
    clock.now += 0.2
    assert [word.word for word in statistics.view(10.0).words["positive"].words] == ["sunny"]
    clock.now -= 4_000
    statistics([classified("sunny beach" if n % 2 else "grey day", LABELS[n % 2 * 2]) for n in range(600)])
    assert {word.word for word in statistics.view(10.0).words["positive"].words} == {"sunny", "beach"}


def test_an_artifact_without_a_reference_and_one_with_a_broken_one(trained_gpt2, tmp_path):
    folder = tmp_path / "artifact"
    shutil.copytree(trained_gpt2.artifact, folder)
    (folder / REFERENCE).write_text("{}", encoding="utf-8")
    broken = LiveStatistics.of(Classifier.load(folder))
    broken([classified("hello", "neutral")])
    view = broken.view(10.0)
    assert (view.posts, view.drift) == (1, None)
    assert "reference.json can't be used" in view.drift_problem and "Train again" in view.drift_problem
    (folder / REFERENCE).unlink()
    view = LiveStatistics.of(Classifier.load(folder)).view(10.0)
    assert (view.drift, view.drift_problem) == (None, "")


def test_views_from_other_threads_see_whole_batches():
    statistics, wrong, stop = LiveStatistics(LABELS), [], threading.Event()

    def read():
        while not stop.is_set():
            view = statistics.view(300.0)
            if view.posts % 30 or view.now.n != view.posts:
                wrong.append(view.posts)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(150):
        statistics([classified(f"post {number}", LABELS[n % 3]) for n in range(30)])
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong and statistics.view(10.0).posts == 4_500


def test_a_post_costs_little_at_any_time(classifier):
    """The bound is three times what was measured on two busy cores."""
    statistics = LiveStatistics.of(classifier)
    posts = [classified(text, LABELS[n % 3], n) for n, (text, _) in enumerate(tweets(6_000, seed=3))]
    costs = []
    for at in range(0, len(posts), 2_000):
        began = time.process_time()
        for batch in range(at, at + 2_000, 32):
            statistics(posts[batch : batch + 32])
        costs.append((time.process_time() - began) / 2_000)
    assert costs[-1] < 200e-6
    assert costs[-1] < 3 * costs[0]


def test_accuracy_over_time_is_that_of_posts_whose_truth_is_known_and_a_word_has_its_own_sentiment():
    clock = Clock()
    statistics = LiveStatistics(LABELS, clock=clock)
    answers = [
        ("monday", "negative", "negative"),
        ("sunny monday", "positive", "negative"),
        ("x", "neutral", None),
    ]
    answers.append(("monday of others", "negative", "angry"))
    for number, (text, label, truth) in enumerate(answers):
        post = Post(id=f"{number}", text=text, label=truth)
        statistics([ClassifiedPost(post, label, 0.9)])
    clock.now += 10
    statistics([ClassifiedPost(Post("9", "monday, held back"), "negative", 0.9, "positive", 0.9)])
    line = statistics.view(10.0).line
    assert (line[-2].right.value, line[-2].n, line[-1].right) == (0.5, 4, None)
    about = statistics.about("monday")
    assert about.those.counts == (3, 0, 1) and about.every.counts == (3, 1, 1)
    assert about.those.net.value == pytest.approx(-0.5)
    assert [text for text, _ in about.newest] == ["monday of others", "sunny monday", "monday"]
    assert statistics.about("never").those.net is None


# Rolling counts


def counting(labels=LABELS, **options):
    clock = Clock()
    return clock, RollingCounts(labels, clock=clock, **options)


def test_windows_forget_what_is_older_than_their_span():
    clock, counts = counting()
    counts.add("positive", 5)
    clock.now += 30
    counts.add("negative", 2)
    ten, minute, five = map(counts.recent, SPANS_S)
    assert (ten.counts, minute.counts, five.counts) == ((2, 0, 0), (2, 0, 5), (2, 0, 5))
    assert minute.n == 7
    assert minute.net.value == pytest.approx(3 / 7)
    assert minute.shares[2].value == pytest.approx(5 / 7)
    clock.now += 290
    assert [counts.recent(span_s).n for span_s in SPANS_S] == [0, 0, 2]
    assert counts.recent(10.0).net is None and counts.recent(10.0).shares == (None, None, None)


def test_the_line_is_of_spans_that_do_not_overlap_and_has_its_gaps():
    clock, counts = counting(keep=4)
    for label in ("positive", "negative", None, "negative"):
        if label:
            counts.add(label)
        clock.now += 10
    line = counts.line(10.0)
    assert [w.counts for w in line] == [(1, 0, 0), (0, 0, 0), (1, 0, 0), (0, 0, 0)]
    assert line[1].net is None


def test_a_clock_that_jumps_back_loses_nothing_and_one_that_jumps_on_costs_nothing():
    clock, counts = counting()
    counts.add("positive")
    clock.now -= 5_000
    counts.add("positive")
    assert counts.recent(10.0).counts == (0, 0, 2)
    clock.now += 2
    assert counts.elapsed_s() == 2
    clock.now = math.nan
    counts.add("negative")
    clock.now = 1e12
    assert [counts.recent(span_s).n for span_s in SPANS_S] == [0, 0, 0]
    assert len(counts.line(10.0)) == 60
    counts.add("neutral")
    assert counts.recent(300.0).counts == (0, 1, 0)


def test_an_unknown_label_is_refused():
    _, counts = counting()
    with pytest.raises(KeyError):
        counts.add("joyful")


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 400), st.sampled_from(LABELS)), max_size=60))
def test_windows_count_as_a_plain_list_would(steps):
    clock, counts = counting()
    seen, now = [], 0.0
    for step, label in steps:
        clock.now += step
        now = counts.elapsed_s()
        counts.add(label)
        seen.append((int(now), label))
    for span_s in SPANS_S:
        recent = [label for second, label in seen if second > int(now) - span_s]
        assert counts.recent(span_s).counts == tuple(recent.count(label) for label in LABELS)
        assert sum(w.n for w in counts.line(span_s)) <= len(seen)


def test_memory_is_bounded_by_bins():
    clock, counts = counting()
    for _ in range(5_000):
        counts.add("neutral", 100)
        clock.now += 0.7
    assert len(counts._fine._bins) <= 300
    assert all(len(ring._bins) <= 60 for ring in counts._lines.values())
