"""Two classifiers whose lower layers are the same to the bit, asked together: these layers are computed once.

    pair = SideBySide.of(tuned, base)               # None where they have no layer in common
    mine, theirs = pair.predict(["what a day"])     # as each alone, to rounding
    pair.layers                                     # -> 20: of 30, so both cost 1.33 times one of them

A run that trains only the top of its base shares the rest. Only PyTorch's networks can.
"""

import copy
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inference.classifier import Classifier, Prediction, Progress, budgeted_batches, no_progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Logits = NDArray[np.float32]


class SideBySide:
    """Two classifiers and the number of layers that they share. Thread-safe; they may be used meanwhile."""

    def __init__(self, first: Classifier, second: Classifier, layers: int) -> None:
        self.first, self.second, self.layers = first, second, layers
        self._lock = threading.Lock()
        self._models = [_on_same_weights(each.model) for each in (first, second)]

    @classmethod
    def of(cls, first: Classifier, second: Classifier) -> "SideBySide | None":
        """Return the pair, None where nothing is shared. What is equal is held in memory once from now on."""
        if first.model is None or second.model is None:
            return None
        from inference.trunk import same_leading_layers, share_leading_layers  # noqa: PLC0415  (torch, maybe away)

        if not (layers := same_leading_layers(first.model, second.model)):
            return None
        share_leading_layers(first.model, second.model, layers)
        return cls(first, second, layers)

    def logits(
        self, token_ids: Sequence[Sequence[int]], *, progress: Progress = no_progress
    ) -> tuple[Logits, Logits]:
        """Return the logits of both for the same token ids, each of shape (texts, labels)."""
        first, second, _ = self._computed(token_ids, progress)
        return first, second

    def predict(self, texts: Sequence[str]) -> tuple[list[Prediction], list[Prediction]] | None:
        """Return both's predictions; None where they read these texts as different tokens.

        Of a single text the latency is what each alone would have taken, shared layers included.
        """
        encoded, others = self.first.encode(texts), self.second.encode(texts)
        if encoded.token_ids != others.token_ids:
            return None
        *logits, seconds = self._computed(encoded.token_ids)
        latency_ms = [1000 * each if len(texts) == 1 else None for each in seconds]
        sides, read = (self.first, self.second), (encoded, others)
        mine, theirs = (
            [replace(one, latency_ms=ms) for one in each.predictions(found, own)]
            for each, found, own, ms in zip(sides, logits, read, latency_ms, strict=True)
        )
        return mine, theirs

    def _computed(
        self, token_ids: Sequence[Sequence[int]], progress: Progress = no_progress
    ) -> tuple[Logits, Logits, tuple[float, float]]:
        """Return the logits of both, and the seconds that each took with the shared layers."""
        from inference.trunk import top_logits, trunk_batch, trunk_skipped  # noqa: PLC0415

        sides = (self.first, self.second)
        found = [np.zeros((len(token_ids), len(each.labels)), dtype=np.float32) for each in sides]
        seconds, done = [0.0, 0.0], 0
        with self._lock:
            lengths, tokens = [len(ids) for ids in token_ids], self.first.engine.batch_tokens
            for rows in budgeted_batches(lengths, tokens=tokens):
                began = time.perf_counter()
                with self.first.computing():
                    states = trunk_batch(self._models[0], [token_ids[row] for row in rows], self.layers)
                shared_s = time.perf_counter() - began
                for place, model in enumerate(self._models):
                    began = time.perf_counter()
                    with trunk_skipped(model, self.layers), sides[place].computing():
                        found[place][rows] = top_logits(model, states).float().cpu().numpy()
                    seconds[place] += shared_s + time.perf_counter() - began
                done += len(rows)
                progress(done, len(token_ids))
        return found[0], found[1], (seconds[0], seconds[1])


def _on_same_weights(model: "PreTrainedModel") -> "PreTrainedModel":
    """Return a model of modules of its own on the same weights: taking it apart leaves the other whole."""
    weights = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(each): each for each in weights})
