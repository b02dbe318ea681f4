"""A threshold keeps what it was chosen for; rows that are as sure are answered together; none may do."""

import numpy as np
import pytest

from training.evaluate.selective import coverage_curve, selective, threshold_for


def rows(count, *, seed):
    """Return labels and probabilities of a well calibrated model of two labels."""
    random = np.random.default_rng(seed)
    confidence = random.uniform(0.5, 1, count)
    said = random.integers(0, 2, count)
    truth = np.where(random.random(count) < confidence, said, 1 - said)
    chances = np.where(said[:, None] == np.arange(2), confidence[:, None], 1 - confidence[:, None])
    return truth.tolist(), chances


def test_the_threshold_gives_the_wanted_precision_on_other_rows():
    threshold = threshold_for(*rows(4000, seed=1), precision=0.9)
    found = selective(*rows(4000, seed=2), threshold=threshold, precision=0.9)
    assert threshold == pytest.approx(0.8, abs=0.04), "from 0.8 on, confidence is 0.9 on average"
    assert found.right.low < 0.9 < found.right.high
    assert found.answered.value == pytest.approx(0.4, abs=0.08)
    everything = threshold_for(*rows(4000, seed=1), precision=0.01)
    assert selective(*rows(50, seed=1), threshold=everything, precision=0.01).answered.value == 1


def test_where_no_threshold_will_do_nothing_is_answered():
    wrong = [1, 1, 1], [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]
    assert threshold_for(*wrong, precision=0.5) is None
    found = selective(*wrong, threshold=None, precision=0.5)
    assert (found.answered.value, found.right) == (0, None)
    above_all = selective(*wrong, threshold=0.95, precision=0.5)
    assert (above_all.answered.value, above_all.right) == (0, None)


def test_rows_that_are_as_sure_are_answered_together():
    truth, chances = [0, 0, 1, 1], [[0.9, 0.1], [0.8, 0.2], [0.8, 0.2], [0.6, 0.4]]
    assert threshold_for(truth, chances, precision=1.0) == 0.9
    assert threshold_for(truth, chances, precision=0.6) == 0.8
    assert [point.answered.value for point in coverage_curve(truth, chances)] == [0.25, 0.75, 1.0]
    assert [point.right.value for point in coverage_curve(truth, chances)] == pytest.approx([1, 2 / 3, 0.5])
    assert len(coverage_curve(*rows(4000, seed=3))) == 50
