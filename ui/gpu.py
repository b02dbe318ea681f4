"""A GPU that is there only for the length of a call: ZeroGPU, and nothing where there is none.

    predictions = predict(classifier, tweets)

On a ZeroGPU Space a network of PyTorch that is large enough to be worth the wait is run by `spaces.GPU`; all
others answer on the CPU in less time than a GPU takes to be lent. The package `spaces` is on such a Space and
nowhere else, so it is in no requirements file. A Space with a GPU of its own needs none of it. A training,
being a process of its own, can't borrow one. Never run on the real service.
"""

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any

LONGEST_S = 30
WORTH_IT = 300_000_000
"""Parameters from which on a CPU takes longer for a tweet than a GPU does to come."""

Predict = Callable[[Any, Sequence[str]], list[Any]]


def is_zero_gpu() -> bool:
    """Whether this is a Space on ZeroGPU."""
    return os.environ.get("SPACES_ZERO_GPU") == "true"


def _here(classifier: Any, texts: Sequence[str]) -> list[Any]:
    return list(classifier.predict(texts, with_latency=True))


def _on_a_gpu(classifier: Any, texts: Sequence[str]) -> list[Any]:
    classifier.model.to("cuda")  # in the process that has the GPU; this one's network stays where it is
    return _here(classifier, texts)


def _lent() -> Predict:
    """Return what asks for a GPU; `spaces` must see it at the app's start, before PyTorch is imported."""
    if not is_zero_gpu():
        return _here
    lent: Predict = importlib.import_module("spaces").GPU(duration=LONGEST_S)(_on_a_gpu)
    return lent


_BORROW = _lent()


def predict(classifier: Any, texts: Sequence[str]) -> list[Any]:
    """Return a timed Prediction of each text, from a borrowed GPU where that pays."""
    return (_BORROW if _pays(classifier) else _here)(classifier, texts)


def _pays(classifier: Any) -> bool:
    model = classifier.model if is_zero_gpu() else None
    return model is not None and sum(each.numel() for each in model.parameters()) >= WORTH_IT
