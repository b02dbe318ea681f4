"""Estimate what a training takes on this machine, before a run exists and without loading anything.

    found = beforehand(load_recipe("quick"))      # -> Beforehand(low_s=210.0, high_s=840.0, layers=30, …)

From the base's shape and one matrix product, for tweets of usual length: right within a factor of two or so.
A run measures more precisely, once its base is loaded. Importing this loads nothing heavy.
"""

import time
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from training.fit.phases import Pace, Sizes, phases
from training.recipes import Recipe
from training.runs.process import PARAMETERS, need_of

_LAYERS = {
    "auto": (30, 3_538_944),  # the slower one of the two that it may be
    "embedded": (30, 3_538_944),
    "openai-community/gpt2": (12, 7_077_888),
    "gpt2": (12, 7_077_888),
    "distilbert/distilgpt2": (6, 7_077_888),
    "openai-community/gpt2-medium": (24, 12_582_912),
    "openai-community/gpt2-large": (36, 19_660_800),
}
"""Layers, and the weights of one."""
_TOKENS = 28
"""Tokens of a tweet with its prompt, as padded in batches of like length."""
_TIMES_OFF = 2.0


@dataclass(frozen=True)
class Beforehand:
    """What a training takes, and what it trains."""

    low_s: float
    high_s: float
    """The time lies between them, most likely; both 0 where the number of rows is not known."""
    memory_bytes: int
    """At the least."""
    trained: int
    layers: int
    """Layers in all, of which `trained` are trained."""


def beforehand(recipe: Recipe) -> Beforehand | None:
    """Return what a training takes; None for a base whose shape is not known in advance."""
    if recipe.base not in _LAYERS:
        return None
    layers, weights = _LAYERS[recipe.base]
    depth = min(recipe.depth or layers, layers)
    trunk = min(recipe.trunk_of(depth), depth - 1)
    parameters = PARAMETERS[recipe.base]
    memory = need_of(recipe, parameters).memory_bytes
    if not recipe.n_train or recipe.unlabelled:
        return Beforehand(0.0, 0.0, memory, depth - trunk, depth)
    tokens = recipe.max_length if recipe.padding == "max" else min(_TOKENS, recipe.max_length)
    sizes = Sizes(
        train_tokens=recipe.n_train * tokens,
        validation_tokens=(recipe.n_validation or recipe.n_train) * tokens,
        test_tokens=(recipe.n_test or recipe.n_train) * tokens,
        train_rows=recipe.n_train,
        depth=depth,
        base_depth=layers,
        trunk=trunk,
        parameters=parameters,
    )
    rate = _gflops()
    seconds = sum(phases(Pace(2 * weights / (rate * 1e9), rate), recipe, sizes).values())
    return Beforehand(seconds / _TIMES_OFF, _TIMES_OFF * seconds, memory, depth - trunk, depth)


@lru_cache(maxsize=1)
def _gflops() -> float:
    """Return this machine's rate in 10⁹ operations a second, from some float32 matrix products, once."""
    size, found = 1024, []
    matrix = np.ones((size, size), dtype=np.float32)
    for _ in range(4):
        start = time.perf_counter()
        matrix @ matrix
        found.append(time.perf_counter() - start)
    return 2 * size**3 / min(found) / 1e9
