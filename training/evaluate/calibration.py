"""Temperature scaling: probabilities that are as sure as they are right.

    temperature = best_temperature(validation_probabilities, validation_labels)
    scaled(test_probabilities, temperature)         # which label is the largest stays

Guo et al. 2017, arXiv 1706.04599. The temperature divides the logits: above 1 softens.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

Floats = NDArray[np.float64]


def best_temperature(probabilities: Floats, labels: list[int]) -> float:
    """Return the temperature with the least loss on labelled rows."""

    def loss(log_temperature: float) -> float:
        chances = scaled(probabilities, float(np.exp(log_temperature)))[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(chances, 1e-12)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def scaled(probabilities: Floats, temperature: float) -> Floats:
    """Return probabilities at another temperature, shape (rows, labels); the order of labels stays."""
    logits = np.log(np.maximum(probabilities, 1e-12)) / temperature
    found: Floats = np.exp(logits - logits.max(1, keepdims=True))
    found /= found.sum(1, keepdims=True)
    return found
