"""Rolling counts, their intervals and the net-sentiment line; clocks that jump."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.live.windows import RollingCounts

LABELS = ("negative", "neutral", "positive")


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def counting(labels=LABELS, **options):
    clock = Clock()
    return clock, RollingCounts(labels, clock=clock, **options)


def test_windows_forget_what_is_older_than_their_span():
    clock, counts = counting()
    counts.add("positive", 5)
    clock.now += 30
    counts.add("negative", 2)
    ten, minute, five = counts.windows()
    assert (ten.counts, minute.counts, five.counts) == ((2, 0, 0), (2, 0, 5), (2, 0, 5))
    assert minute.n == 7
    assert minute.net.value == pytest.approx(3 / 7)
    assert minute.shares[2].value == pytest.approx(5 / 7)
    clock.now += 290
    assert [w.n for w in counts.windows()] == [0, 0, 2]
    assert counts.windows()[0].net is None and counts.windows()[0].shares == (None, None, None)


def test_the_line_is_of_spans_that_do_not_overlap_and_has_its_gaps():
    clock, counts = counting(keep=4)
    for label in ("positive", "negative", None, "negative"):
        if label:
            counts.add(label)
        clock.now += 10
    line = counts.line(10.0)
    assert [w.counts for w in line] == [(1, 0, 0), (0, 0, 0), (1, 0, 0), (0, 0, 0)]
    assert [w.ends_s for w in line] == [20.0, 30.0, 40.0, 50.0]
    assert line[1].net is None


def test_a_clock_that_jumps_back_loses_nothing_and_one_that_jumps_on_costs_nothing():
    clock, counts = counting()
    counts.add("positive")
    clock.now -= 5_000
    counts.add("positive")
    assert counts.windows()[0].counts == (0, 0, 2)
    clock.now += 2
    assert counts.elapsed_s() == 2
    clock.now = math.nan
    counts.add("negative")
    clock.now = 1e12
    assert [w.n for w in counts.windows()] == [0, 0, 0]
    assert len(counts.line(10.0)) == 60
    counts.add("neutral")
    assert counts.windows()[2].counts == (0, 1, 0)


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
    for window in counts.windows():
        recent = [label for second, label in seen if second > int(now) - window.span_s]
        assert window.counts == tuple(recent.count(label) for label in LABELS)
    for span_s in counts.spans_s:
        assert sum(w.n for w in counts.line(span_s)) <= len(seen)


def test_memory_is_bounded_by_bins():
    clock, counts = counting()
    for _ in range(5_000):
        counts.add("neutral", 100)
        clock.now += 0.7
    assert len(counts._fine._bins) <= 300
    assert all(len(ring._bins) <= 60 for ring in counts._lines.values())
