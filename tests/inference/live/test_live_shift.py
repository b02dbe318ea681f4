"""The shift alert: silent by chance, awake when sentiment moves."""

import json
import random

import pytest

from inference.live.shift import FALSE_ALARMS_PER_MILLION, WARM_UP, ShiftDetector
from tests.support import REPOSITORY

LABELS = ("negative", "neutral", "positive")
BEFORE = (0.4, 0.3, 0.3)


def posts(weights, n, *, seed):
    return random.Random(seed).choices(LABELS, weights=weights, k=n)


def alarms(detector, labels):
    return [shift for label in labels if (shift := detector.add(label))]


def test_posts_in_random_order_raise_hardly_an_alarm():
    found = sum(len(alarms(ShiftDetector(LABELS), posts(BEFORE, 20_000, seed=seed))) for seed in range(10))
    assert found <= 2


def test_a_lower_threshold_would_cry_wolf():
    """The counterpart of the test above: the threshold is what keeps it silent."""
    eager = ShiftDetector(LABELS, threshold=10)
    assert len(alarms(eager, posts(BEFORE, 20_000, seed=1))) > 5


@pytest.mark.parametrize(("after", "rises"), [((0.3, 0.3, 0.4), True), ((0.5, 0.3, 0.2), False)])
def test_a_shift_of_20_points_is_noticed_once_with_its_numbers(after, rises):
    detector = ShiftDetector(LABELS)
    assert not alarms(detector, posts(BEFORE, 4_000, seed=2))
    [shift] = alarms(detector, posts(after, 4_000, seed=3))
    assert shift.rises is rises
    assert 4_050 < shift.post < 5_500
    assert abs(shift.since - 4_000) < 400
    assert shift.before == pytest.approx(-0.1, abs=0.04)
    assert abs(shift.after.value - (after[2] - after[0])) < 0.12


def test_one_shift_raises_one_alarm_however_the_posts_fall():
    """With the posts that raised it as the new reference, one stream in 25 reported the same shift twice."""
    found = []
    for seed in range(60):
        detector = ShiftDetector(LABELS)
        assert not alarms(detector, posts((0.3, 0.4, 0.3), 2_000, seed=seed))
        found.append(len(alarms(detector, posts((0.5, 0.3, 0.2), 4_000, seed=1000 + seed))))
    assert found == [1] * 60


def test_a_larger_shift_is_noticed_sooner():
    delays = []
    for points in (0.1, 0.4):
        detector = ShiftDetector(LABELS)
        alarms(detector, posts(BEFORE, 6_000, seed=4))
        moved = (0.4 - points / 2, 0.3, 0.3 + points / 2)
        delays.append(alarms(detector, posts(moved, 6_000, seed=5))[0].post - 6_000)
    assert delays[1] < delays[0] / 3


def test_no_alarm_comes_before_the_warm_up_is_over():
    detector = ShiftDetector(LABELS)
    assert not alarms(detector, ["negative"] * (WARM_UP // 2) + ["positive"] * (WARM_UP // 2))


def test_one_post_of_another_kind_does_not_end_a_calm():
    detector = ShiftDetector(LABELS)
    assert not alarms(detector, ["neutral"] * 5_000 + ["positive"] + ["neutral"] * 100)
    assert alarms(detector, ["positive"] * 100)


def test_labels_without_sentiment_go_from_first_to_last():
    detector = ShiftDetector(("bad", "good"))
    rng = random.Random(0)
    assert not alarms(detector, rng.choices(("bad", "good"), k=2_000))
    [shift] = alarms(detector, ["good"] * 200)
    assert shift.rises
    with pytest.raises(KeyError):
        detector.add("positive")


def test_the_false_alarms_that_the_page_states_are_the_measured_ones():
    rows = json.loads((REPOSITORY / "benchmarks/results/shift.json").read_text())["rows"]
    assert tuple(row["per_million_posts"]["value"] for row in rows) == FALSE_ALARMS_PER_MILLION
