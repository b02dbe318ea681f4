"""95 % intervals, and numbers as people read them."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.common.intervals import Interval, net, percentile, poles, wilson
from inference.common.wording import dollars, in_words, listed, percent, size


def test_wilsons_interval_is_the_published_one():
    """Newcombe 1998, table I: 81 of 263 and 0 of 20."""
    assert wilson(81, 263).to_json() == pytest.approx(
        {"value": 0.30798, "low": 0.2553, "high": 0.3662}, abs=1e-4
    )
    assert wilson(0, 20).to_json() == pytest.approx({"value": 0.0, "low": 0.0, "high": 0.1611}, abs=1e-4)


def test_the_percentile_interval_leaves_out_a_fortieth_at_either_end():
    found = percentile(0.5, [n / 1000 for n in range(1001)])
    assert found == Interval(0.5, pytest.approx(0.025), pytest.approx(0.975))
    assert Interval.from_json({**found.to_json(), "n": 3}) == found


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_an_interval_holds_its_value_and_stays_in_range(ups, downs, others):
    n = ups + downs + others
    found = net(positive=ups, negative=downs, n=n)
    part = wilson(ups, n)
    if n == 0:
        assert found is None and part is None
        return
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert 0 <= part.low <= part.value <= part.high <= 1
    mirrored = net(positive=downs, negative=ups, n=n)
    assert mirrored.low == pytest.approx(-found.high)


@pytest.mark.parametrize(("n", "up", "down"), [(10, 0.3, 0.4), (40, 0.1, 0.05), (200, 0.5, 0.2)])
def test_the_net_interval_holds_the_truth_19_times_of_20(n, up, down):
    rng, covered = random.Random(n), 0
    for _ in range(3_000):
        drawn = rng.choices((1, -1, 0), weights=(up, down, 1 - up - down), k=n)
        found = net(positive=drawn.count(1), negative=drawn.count(-1), n=n)
        covered += found.low <= up - down <= found.high
    assert 0.935 < covered / 3_000 < 0.99


def test_the_poles_are_negative_and_positive_or_else_first_and_last():
    assert poles(("neutral", "Positive", "Negative")) == ("Negative", "Positive")
    assert poles(("bad", "so-so", "good")) == ("bad", "good")
    with pytest.raises(ValueError, match="two labels or more"):
        poles(("one",))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (630, "10 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_in_words(seconds, words):
    assert in_words(seconds) == words


def test_sizes_amounts_and_scores():
    assert [size(n) for n in (0, 450, 18_400, 99_999, 400_000, 328e6, 2_512_000_000)] == [
        "0 bytes",
        "0.5 kB",
        "18.4 kB",
        "100.0 kB",
        "0.4 MB",
        "328.0 MB",
        "2.5 GB",
    ]
    assert [dollars(usd) for usd in (0, 0.004, 0.08, 1234.5)] == [
        "$0.00",
        "under $0.01",
        "$0.08",
        "$1,234.50",
    ]
    assert percent(Interval(0.745, 0.731, 0.759)) == "74.5 (73.1 to 75.9)"
    assert percent({"value": 0.745, "low": 0.731, "high": 0.759}) == "74.5 (73.1 to 75.9)"
    assert percent(None) == "-"


def test_of_many_words_the_rest_is_counted():
    assert listed(["a", "b"], most=2) == "a, b" and listed(["a", "b", "c"], most=2) == "a, b and 1 more"
