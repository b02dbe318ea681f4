"""A GPU that is there only for the length of a call: ZeroGPU, and nothing where there is none.

    predictions = predict(model.tuned, tweets, load=load_tuned, source=folder)

On a ZeroGPU Space a network of PyTorch that is large enough to be worth the wait is run by `spaces.GPU`, in a
forked process that loads the artifact itself: a network is too large to be sent there for each answer, and
what a fork has of this process's memory grows old. All others answer on the CPU in less time than a GPU takes
to be lent. The package `spaces` is on such a Space and nowhere else, so it is in no requirements file of the
app. A Space with a GPU of its own needs none of it. A training, being a process of its own, can't borrow one.
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
"""Of a call: the first one in a process loads the network too."""
WORTH_IT = 300_000_000
"""Parameters from which on a CPU takes longer for a tweet than a GPU does to come."""

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
    """Return what asks for a GPU, None where none is lent; `spaces` must see it before the app is up."""
    return importlib.import_module("spaces").GPU(duration=LONGEST_S)(_on_a_gpu) if is_zero_gpu() else None


_BORROW = _lent()


def announce() -> None:
    """Tell ZeroGPU that the app comes up, or it ends the Space. Raises TweetTuneError.

    `spaces` itself does so in `Blocks.launch()`, which an app that is mounted on a server does not call.
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

    `load(source)` makes the classifier anew: a function of a module and what it is given.
    """
    if _BORROW is not None and borrows(classifier):
        return _BORROW(load, source, texts)
    return _answer(classifier, texts)


def borrows(classifier: Classifier) -> bool:
    """Whether a GPU is borrowed for a classifier's answers: one is lent, and it pays."""
    model = classifier.model
    if _BORROW is None or model is None:
        return False
    return bool(sum(each.numel() for each in model.parameters()) >= WORTH_IT)
