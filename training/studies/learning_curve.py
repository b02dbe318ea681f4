"""Fit learning curves, and say how sure they are: accuracy against the number of labels.

    fits = fit_curves(sizes, accuracies, errors)        # POW3, POW4 and MMF4, by weighted least squares
    predict(fits, [10_000])                             # their mean, weighted by fit

Forms and names are those of Mohr et al. 2022 (LCDB): POW3 a − b·n^−c, POW4 a − b·(n + d)^−c, MMF4
(a·b + c·n^d) / (b + n^d). A fit weighs exp(−AIC / 2), so a parameter more has to pay. Knows no training.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import OptimizeWarning, curve_fit

Floats = NDArray[np.float64]
CHANCE = 0.025
"""The share of resamples in which accuracy may fail to rise with the logarithm of the labels."""
WORST_FIT = 4.0
"""The most that the squared misfit of a point may be, on average, in squared standard errors."""


def pow3(n: Floats, a: float, b: float, c: float) -> Floats:
    """Return a − b·n^−c."""
    return np.asarray(a - b * n**-c)


def pow4(n: Floats, a: float, b: float, c: float, d: float) -> Floats:
    """Return a − b·(n + d)^−c."""
    return np.asarray(a - b * (n + d) ** -c)


def mmf4(n: Floats, a: float, b: float, c: float, d: float) -> Floats:
    """Return (a·b + c·n^d) / (b + n^d)."""
    return np.asarray((a * b + c * n**d) / (b + n**d))


Curve = Callable[..., Floats]
# Each with the least, the greatest and some first values of its parameters; n is 1 at the largest run.
_CURVES: dict[str, tuple[Curve, list[float], list[float], list[list[float]]]] = {
    "POW3": (pow3, [0, 0, 0.01], [1, 2, 2], [[0.8, 0.1, 0.5], [0.95, 0.3, 0.2]]),
    "POW4": (pow4, [0, 0, 0.01, 0], [1, 2, 2, 2], [[0.8, 0.1, 0.5, 0.05], [0.95, 0.3, 0.3, 0.01]]),
    "MMF4": (mmf4, [0, 1e-3, 0, 0.05], [1, 50, 1, 2.5], [[0.3, 0.2, 0.8, 0.7], [0.4, 1.0, 0.95, 0.5]]),
}


@dataclass(frozen=True)
class Fit:
    """A curve that was fitted."""

    name: str
    parameters: tuple[float, ...]
    weight: float
    """Its share in the mean."""
    misfit: float
    """The sum of the squared misfits, in squared standard errors."""
    scale: float
    """Labels of the largest run, by which numbers of labels are divided."""


def fit_curves(
    sizes: ArrayLike, accuracies: ArrayLike, errors: ArrayLike, *, start: Sequence[Fit] = ()
) -> tuple[Fit, ...]:
    """Fit all curves; arguments of shape (sizes,), errors are standard errors. () where none can be fitted.

    `start`: earlier fits whose parameters are begun from.
    """
    x, y, s = (np.asarray(each, dtype=np.float64) for each in (sizes, accuracies, errors))
    scale, before = float(x.max()), {fit.name: fit.parameters for fit in start}
    found: list[tuple[str, tuple[float, ...], float]] = []
    for name, (curve, low, high, firsts) in _CURVES.items():
        if start and name not in before:
            continue
        tries = []
        for first in [list(before[name])] if start else firsts:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter(
                        "ignore", OptimizeWarning
                    )  # of the covariance, which nobody asks for
                    values, _ = curve_fit(
                        curve, x / scale, y, p0=first, sigma=s, bounds=(low, high), maxfev=2000
                    )
            except RuntimeError:  # it does not settle
                continue
            misfit = float((((curve(x / scale, *values) - y) / s) ** 2).sum())
            tries.append((misfit, tuple(map(float, values))))
        if tries:
            misfit, parameters = min(tries)
            found.append((name, parameters, misfit))
    if not found:
        return ()
    aic = np.array([misfit + 2 * len(parameters) for _, parameters, misfit in found])
    weights = np.exp(-(aic - aic.min()) / 2)
    weights /= weights.sum()
    return tuple(
        Fit(name, parameters, float(weight), misfit, scale)
        for (name, parameters, misfit), weight in zip(found, weights, strict=True)
    )


def predict(fits: Sequence[Fit], sizes: ArrayLike) -> Floats:
    """Return the curves' mean accuracy at numbers of labels, shape (sizes,)."""
    x = np.asarray(sizes, dtype=np.float64)
    found = [fit.weight * _CURVES[fit.name][0](x / fit.scale, *fit.parameters) for fit in fits]
    return np.asarray(np.sum(found, axis=0))


def misbehaves(sizes: ArrayLike, resampled: Floats, errors: ArrayLike, fits: Sequence[Fit]) -> str:
    """Say why nothing can be forecast from a curve, "" where it can.

    `resampled`: accuracies, shape (resamples, sizes); all sizes of a resample have the same rows.
    """
    x, weights = np.log(sizes), np.asarray(errors, dtype=np.float64) ** -2.0
    slopes = resampled @ (weights * (x - np.average(x, weights=weights)))
    if (slopes <= 0).mean() > CHANCE:
        return "accuracy does not rise with the labels by more than chance"
    free = max(len(x) - 3, 1)
    if not fits or min(fit.misfit for fit in fits) / free > WORST_FIT:
        return "no curve fits the points"
    return ""


def labels_for(fits: Sequence[Fit], accuracy: float, *, above: int, most: int) -> int | None:
    """Return the least number of labels with an accuracy, from `above` to `most`; None where none has it."""
    sizes = np.unique(np.geomspace(max(above, 1), max(most, 2), 2000).round().astype(int))
    enough = np.flatnonzero(predict(fits, sizes) >= accuracy)
    return int(sizes[enough[0]]) if len(enough) else None
