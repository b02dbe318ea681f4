"""Answers on ZeroGPU, which lends a GPU for the length of a call; on the CPU everywhere else.

    predictions = predict(model.tuned, tweets, load=load_tuned, source=folder)

On a ZeroGPU Space `spaces.GPU` runs PyTorch networks that are large enough to be worth the wait. It does so
in a forked process, which loads the artifact itself: sending a network for each answer would take too long,
and the fork's copy of this process's memory goes stale. Smaller networks answer on the CPU in less time than
it takes to get a GPU. Only such a Space has the package `spaces`, so no requirements file names it.
A Space with a GPU of its own needs none of this, and a training, which has its own process, can't borrow one.
Never run on the real service.
"""

import importlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from inference.classifier import Classifier, Prediction
from inference.common.errors import TweetTuneError
from inference.common.machine import is_zero_gpu

DEVICE = "cuda"
LONGEST_S = 60
"""The longest that a call may take; the first one in a process also loads the network."""
WORTH_IT = 300_000_000
"""Parameters from which on the CPU takes longer for a tweet than getting a GPU does."""

S = TypeVar("S", str, Path)


def _answer(classifier: Classifier, texts: Sequence[str]) -> list[Prediction]:
    return classifier.predict(texts, with_latency=True)


@lru_cache(maxsize=2)
def _on_device(load: Callable[[S], Classifier], source: S) -> Classifier:
    classifier = load(source)
    classifier.model.to(DEVICE)
    return classifier


def _on_a_gpu(load: Callable[[S], Classifier], source: S, texts: Sequence[str]) -> list[Prediction]:
    """Load an artifact and answer, in the process that has the GPU."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)  # OpenMP's threads do not outlive a fork: whoever waits for them waits for ever
    return _answer(_on_device(load, source), texts)


def _lent() -> Callable[..., list[Prediction]] | None:
    """Return the function that runs on a borrowed GPU, None outside ZeroGPU; made before the app is up."""
    return importlib.import_module("spaces").GPU(duration=LONGEST_S)(_on_a_gpu) if is_zero_gpu() else None


_BORROW = _lent()


def announce() -> None:
    """Tell ZeroGPU that the app is starting: else it ends the Space. Raises TweetTuneError.

    `spaces` does so in `Blocks.launch()`, which is not called for an app that is mounted on a server.
    """
    if not is_zero_gpu():
        return
    startup = getattr(importlib.import_module("spaces.zero"), "startup", None)
    if startup is None:
        raise TweetTuneError(
            "The package `spaces` here has no spaces.zero.startup, so ZeroGPU would end this app. "
            "Choose other hardware in the Space's settings."
        )
    startup()


def predict(
    classifier: Classifier, texts: Sequence[str], *, load: Callable[[S], Classifier], source: S
) -> list[Prediction]:
    """Return a timed Prediction of each text, from a borrowed GPU where that pays.

    `load(source)` loads the classifier again in the GPU's process, so it must be a function of a module.
    """
    if _BORROW is not None and borrows(classifier):
        return _BORROW(load, source, texts)
    return _answer(classifier, texts)


def borrows(classifier: Classifier) -> bool:
    """Whether a classifier answers on a borrowed GPU: one is lent, and the network is large enough."""
    model = classifier.model
    if _BORROW is None or model is None:
        return False
    return bool(sum(each.numel() for each in model.parameters()) >= WORTH_IT)
