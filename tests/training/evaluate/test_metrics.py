"""Metrics: equal to scikit-learn's and SciPy's, honest about what is not shown, and quick."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn import metrics as sk

from inference.common.errors import DataError, PredictionError
from inference.common.intervals import Interval
from training.evaluate.metrics import (
    ClassificationMetric,
    _confusion_scores,
    _resamples,
    calibration,
    compare,
    expected_calibration_error,
    mcnemar_p,
    scores,
)
from training.evaluate.scores import SINGLE_SCORES

LABELS = ("negative", "neutral", "positive")


def sample(n, *, skill, seed=0, classes=3):
    """Return references (n,) and probabilities (n, classes) of a classifier of some skill."""
    random = np.random.default_rng(seed)
    truth = random.integers(classes, size=n)
    logits = random.normal(size=(n, classes))
    logits[np.arange(n), truth] += skill
    chances = np.exp(logits)
    return truth, chances / chances.sum(axis=1, keepdims=True)


def test_values_are_scikit_learns():
    truth, chances = sample(500, skill=1)
    predicted = chances.argmax(axis=1)
    result = scores(truth, chances, LABELS)
    assert list(result.per_class_f1) == list(LABELS)
    assert result.accuracy.value == sk.accuracy_score(truth, predicted)
    assert result.macro_f1.value == pytest.approx(sk.f1_score(truth, predicted, average="macro"))
    assert result.macro_recall.value == pytest.approx(sk.balanced_accuracy_score(truth, predicted))
    assert np.array_equal(result.confusion_matrix, sk.confusion_matrix(truth, predicted))
    f1 = [result.per_class_f1[label].value for label in LABELS]
    assert f1 == pytest.approx(sk.f1_score(truth, predicted, average=None))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_the_vectorised_scores_are_the_plain_ones(pairs):
    truth, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    vectorised = _confusion_scores(sk.confusion_matrix(truth, predicted, labels=range(4))[None])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that are only predicted
        recall = sk.balanced_accuracy_score(truth, predicted)
    assert vectorised["accuracy"][0] == pytest.approx(sk.accuracy_score(truth, predicted))
    assert vectorised["macro_f1"][0] == pytest.approx(
        sk.f1_score(truth, predicted, average="macro", zero_division=0)
    )
    assert vectorised["macro_recall"][0] == pytest.approx(recall)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(0, 99))
def test_every_score_lies_in_order_and_between_0_and_1(n, seed):
    truth, chances = sample(n, skill=1, seed=seed)
    result = scores(truth, chances, LABELS, resamples=50)
    single = [getattr(result, name) for name in SINGLE_SCORES]
    for score in [*single, *result.per_class_f1.values()]:
        assert 0 <= score.low <= score.high <= 1 and 0 <= score.value <= 1
    assert np.sum(result.confusion_matrix) == n


def test_the_interval_has_the_width_that_theory_says_and_covers():
    truth, chances = sample(1_000, skill=1)
    accuracy = scores(truth, chances, LABELS, resamples=2_000).accuracy
    p = accuracy.value
    width = 2 * 1.96 * np.sqrt(p * (1 - p) / 1_000)
    assert accuracy.high - accuracy.low == pytest.approx(width, rel=0.08)
    covered = 0
    for seed in range(100):
        truth, chances = sample(200, skill=1, seed=seed)
        score = scores(truth, chances, LABELS, resamples=200).accuracy
        covered += score.low <= 0.6335 <= score.high  # the accuracy of this skill, from ten million rows
    assert covered >= 88


def test_the_seed_decides():
    truth, chances = sample(100, skill=1)
    assert scores(truth, chances, LABELS, seed=3) == scores(truth, chances, LABELS, seed=3)
    assert scores(truth, chances, LABELS, seed=3) != scores(truth, chances, LABELS, seed=4)


def test_calibration_error_by_hand():
    truth = np.array([0, 0, 1, 1])
    sure = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.3, 0.7]])
    # one bin holds the three at 0.9 (2 of 3 right), one the one at 0.7 (right)
    assert expected_calibration_error(truth, sure) == pytest.approx((abs(2 - 2.7) + abs(1 - 0.7)) / 4)
    assert expected_calibration_error(np.array([0, 1]), np.eye(2)) == 0


@given(st.integers(1, 80), st.integers(0, 99))
def test_calibration_error_is_that_of_15_bins_counted_one_by_one(n, seed):
    truth, chances = sample(n, skill=1, seed=seed)
    total = 0.0
    for i in range(15):
        top = chances.max(axis=1)
        inside = (top > i / 15) & (top <= (i + 1) / 15)
        if inside.any():
            accuracy = (chances.argmax(axis=1) == truth)[inside].mean()
            total += inside.sum() / n * abs(accuracy - top[inside].mean())
    assert expected_calibration_error(truth, chances) == pytest.approx(total)


def test_calibration_error_of_a_calibrated_classifier_is_small():
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1, size=20_000)
    truth = (random.uniform(size=20_000) > confidence).astype(int)
    chances = np.stack([confidence, 1 - confidence], axis=1)
    assert expected_calibration_error(truth, chances) < 0.015
    assert expected_calibration_error(truth, np.clip(chances * [1.3, 0.7], 0, 1)) > 0.1


def test_the_bins_give_the_calibration_error():
    truth, chances = sample(700, skill=1, classes=4)
    bins = calibration(truth, chances)
    assert sum(one.n for one in bins) == 700
    error = sum(one.n * abs(one.accuracy - one.confidence) for one in bins) / 700
    assert error == pytest.approx(expected_calibration_error(truth, chances))
    assert all(one.low < one.confidence <= one.high for one in bins)


def test_one_class_in_the_references():
    result = scores([1, 1, 1, 1], [[0.1, 0.8, 0.1]] * 3 + [[0.8, 0.1, 0.1]], LABELS)
    assert result.accuracy.value == result.macro_recall.value == 0.75
    assert result.per_class_f1["positive"] == Interval(0.0, 0.0, 0.0)
    assert result.macro_f1.value == pytest.approx(0.857 / 2, abs=1e-3)


def test_resamples_are_drawn_in_few_pieces_of_bounded_size():
    pieces = list(_resamples(3_534, seed=0, resamples=1_000))
    assert sum(len(rows) for rows in pieces) == 1_000
    assert len(pieces) == 2 and all(rows.size <= 2_000_000 for rows in pieces)


@pytest.mark.parametrize(
    ("references", "probabilities", "error", "message"),
    [
        ([], np.zeros((0, 3)), DataError, "There is nothing to score: 0 rows; give at least one"),
        (
            [0],
            [[np.nan, 0.5, 0.5]],
            PredictionError,
            r"1 of 1 rows have probabilities that are NaN .* row 0 \(\[nan",
        ),
        ([0], [[3.0, -1.0, 0.5]], PredictionError, "outside 0 to 1"),
        ([0], [[0.5, 0.5]], PredictionError, r"have the shape \(1, 2\), where \(1, 3\) is needed"),
        ([0, 1], [[0.5, 0.25, 0.25]], PredictionError, r"where \(2, 3\) is needed"),
        ([3], [[0.5, 0.25, 0.25]], DataError, r"class ids from 0 to 2 \(found 3 to 3\)"),
        ([-1], [[0.5, 0.25, 0.25]], DataError, r"found -1 to -1"),
    ],
)
def test_what_cannot_be_scored(references, probabilities, error, message):
    with pytest.raises(error, match=message):
        scores(references, probabilities, LABELS)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(b, c):
    expected = min(1.0, 2 * binom.cdf(min(b, c), b + c, 0.5)) if b + c else 1.0
    assert mcnemar_p(b, c) == pytest.approx(expected)
    assert mcnemar_p(b, c) == mcnemar_p(c, b)


def pairs(both, only_base, only_tuned, neither):
    """Return references and the probabilities of two classifiers that are right on so many rows."""
    right, wrong = [0.9, 0.1], [0.1, 0.9]
    base = [right] * (both + only_base) + [wrong] * (only_tuned + neither)
    tuned = [right] * both + [wrong] * only_base + [right] * only_tuned + [wrong] * neither
    return [0] * len(base), base, tuned


def test_a_real_gain():
    result = compare(*pairs(500, 40, 210, 250))
    assert (result.n, result.only_first_right, result.only_second_right) == (1_000, 40, 210)
    assert result.real and result.mcnemar_p == pytest.approx(mcnemar_p(40, 210)) and result.mcnemar_p < 1e-9
    difference = result.accuracy_difference
    assert difference.value == pytest.approx(0.17)
    assert difference.low < 0.17 < difference.high
    width = 2 * 1.96 * np.sqrt((250 / 1_000 - 0.17**2) / 1_000)  # of a paired difference
    assert difference.high - difference.low == pytest.approx(width, rel=0.1)
    low, high = 100 * difference.low, 100 * difference.high
    assert result.sentence == (
        "Fine-tuning is better: 210 tweets only it gets right against 40 (+17.0 points, 95 % interval "
        f"{low:.1f} to {high:.1f}; McNemar p < 0.001)."
    )


def test_a_real_loss_and_other_names():
    result = compare(*pairs(500, 90, 40, 370), names=("first", "second"))
    assert result.real
    assert result.sentence.startswith(
        "The second is worse: 40 tweets only it gets right against 90 (-5.0 points"
    )


def test_no_difference_shown():
    result = compare(*pairs(500, 18, 21, 461))
    assert not result.real
    assert result.sentence.startswith(
        "No difference shown: 21 tweets only fine-tuning gets right, 18 only the base (+0.3 points, 95 % "
        "interval -"
    )
    assert result.sentence.endswith("; McNemar p = 0.75).")
    same = compare(*pairs(5, 0, 0, 5))
    assert same.sentence == "No difference shown: both get the same tweets right (n = 10)."
    assert same.mcnemar_p == 1.0 and not same.real


def test_noise_is_called_real_one_time_in_twenty_at_most():
    random = np.random.default_rng(1)
    real = 0
    for _ in range(300):
        only = random.binomial(100, 0.5)
        real += compare(*pairs(300, 100 - only, only, 100), resamples=300).real
    assert real / 300 < 0.08


def test_the_metric_of_evaluate_agrees_and_can_be_filled_in_batches():
    truth, chances = sample(50, skill=1)
    predicted = chances.argmax(axis=1)
    metric = ClassificationMetric()
    whole = metric.compute(
        predictions=predicted.tolist(), references=truth.tolist(), probabilities=chances.tolist()
    )
    for rows in (slice(0, 20), slice(20, 50)):
        metric.add_batch(predictions=predicted[rows], references=truth[rows], probabilities=chances[rows])
    assert metric.compute() == whole
    expected = scores(truth, chances, LABELS)
    assert whole["macro_f1"] == pytest.approx(expected.macro_f1.value)
    assert whole["expected_calibration_error"] == pytest.approx(expected.expected_calibration_error.value)
    assert np.array_equal(whole["confusion_matrix"], expected.confusion_matrix)


def test_the_metric_refuses_what_cannot_be_scored():
    with pytest.raises(PredictionError, match="NaN"):
        ClassificationMetric().compute(predictions=[0], references=[0], probabilities=[[float("nan"), 1.0]])
    with pytest.raises(PredictionError, match=r"class ids below 2 \(found 5\)"):
        ClassificationMetric().compute(predictions=[5], references=[0], probabilities=[[0.4, 0.6]])


def test_the_metric_makes_no_folder(tmp_path):
    metric = ClassificationMetric(cache_dir=str(tmp_path / "metrics"))
    metric.compute(predictions=[0], references=[0], probabilities=[[0.9, 0.1]])
    assert list(tmp_path.iterdir()) == []
