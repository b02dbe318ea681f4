"""Curves are found again from noisy points, and a curve that tells nothing is refused."""

import numpy as np
import pytest

from training.studies.learning_curve import fit_curves, labels_for, misbehaves, mmf4, pow3, pow4, predict

SIZES = np.array([32, 53, 88, 146, 242, 400])


def resampled(accuracies, errors):
    return np.random.default_rng(0).normal(accuracies, errors, (200, len(accuracies)))


@pytest.mark.parametrize(
    "truth",
    [
        lambda n: pow3(n, 0.8, 1.5, 0.5),
        lambda n: pow4(n, 0.82, 6.0, 0.6, 40.0),
        lambda n: mmf4(n, 0.35, 60.0, 0.85, 0.8),
    ],
)
def test_each_kind_of_curve_is_found_again_far_from_its_points(truth):
    fits = fit_curves(SIZES, truth(SIZES.astype(float)), np.full(6, 0.002))
    assert sum(fit.weight for fit in fits) == pytest.approx(1)
    assert predict(fits, SIZES) == pytest.approx(truth(SIZES.astype(float)), abs=0.01)
    assert predict(fits, [2000])[0] == pytest.approx(float(truth(np.array(2000.0))), abs=0.03)
    errors = np.full(6, 0.002)
    assert misbehaves(SIZES, resampled(truth(SIZES.astype(float)), errors), errors, fits) == ""


def test_the_points_weigh_by_their_errors():
    y = pow3(SIZES.astype(float), 0.8, 1.5, 0.5)
    y[0] -= 0.2
    errors = np.where(np.arange(6) == 0, 0.5, 0.002)
    assert predict(fit_curves(SIZES, y, errors), [400])[0] == pytest.approx(y[-1], abs=0.005)


@pytest.mark.parametrize(
    "y", [[0.6] * 6, [0.7, 0.68, 0.66, 0.64, 0.62, 0.6], [0.6, 0.61, 0.6, 0.61, 0.6, 0.61]]
)
def test_a_curve_that_does_not_rise_is_refused(y):
    errors = np.full(6, 0.02)
    why = misbehaves(SIZES, resampled(y, errors), errors, fit_curves(SIZES, y, errors))
    assert why == "accuracy does not rise with the labels by more than chance"


def test_a_curve_of_jumps_is_refused():
    y, errors = [0.3, 0.9, 0.35, 0.9, 0.6, 0.9], np.full(6, 0.01)
    why = misbehaves(SIZES, resampled(y, errors), errors, fit_curves(SIZES, y, errors))
    assert why == "no curve fits the points"


def test_what_the_next_point_costs_is_read_off_the_curve():
    fits = fit_curves(SIZES, pow3(SIZES.astype(float), 0.8, 1.5, 0.5), np.full(6, 0.002))
    target = float(predict(fits, [1000])[0]) + 0.01
    more = labels_for(fits, target, above=1000, most=100_000)
    assert predict(fits, [more])[0] >= target > predict(fits, [0.97 * more])[0]
    assert labels_for(fits, 0.99, above=1000, most=100_000) is None
