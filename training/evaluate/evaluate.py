"""Score a classifier on a split, and base against fine-tuned on the same rows.

    result = evaluate(tuned, base, texts, references, split="test")
    result.scores["accuracy"]            # -> {"value": 0.74, "low": 0.725, "high": 0.755}

Scores through the serving code, so what is measured is what is served. Where base and fine-tuned have lower
layers in common to the bit, those are computed once for both. Knows nothing about training or files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.classifier import Classifier, Progress, like_length_batches, no_progress, softmax
from inference.common.errors import DataError
from inference.trunk import same_leading_layers, share_leading_layers, top_logits, trunk_batch, trunk_skipped
from training.evaluate.metrics import calibration, compare, scores


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found."""

    scores: dict[str, Any]
    """evaluation.json: the fine-tuned model's scores, "base" and "comparison" beside them."""
    disagreements: list[dict[str, Any]] = field(default_factory=list)
    """Rows on which base and fine-tuned disagree, with both predictions."""
    confidences: tuple[float, ...] = ()
    """The fine-tuned model's probability of the label that it gave, by row."""
    shared_layers: int = 0
    """Lower layers that were computed once for both."""


def evaluate(
    tuned: Classifier,
    base: Classifier | None,
    texts: Sequence[str],
    references: Sequence[int],
    *,
    split: str,
    seed: int = 42,
    progress: Progress = no_progress,
    rivals: Mapping[str, NDArray[np.float64]] | None = None,
) -> Evaluation:
    """Score a classifier, and the base beside it when one is given, on labelled texts.

    References are numbers in the classifier's label order. `rivals`: probabilities of others on the same
    texts, shape (texts, labels), by name; they are scored and compared too, under "rivals". Raises DataError
    when there is no text.
    """
    if not texts:
        raise DataError(f"The {split} split has no rows, so there is nothing to evaluate. Give one that has.")
    encoded = tuned.encode(texts)
    record = {"split": split, "labels": list(tuned.labels), "truncated": sum(encoded.truncated)}
    if base is None:
        mine = softmax(tuned.logits(encoded.token_ids, progress=progress))
        record |= _scored(references, mine, tuned.labels, seed, rivals or {})
        return Evaluation(record, confidences=_confidences(mine))
    shared, tuned_logits, base_logits = _both(tuned, base, texts, encoded.token_ids, progress)
    mine, theirs = softmax(tuned_logits), softmax(base_logits)
    record |= _scored(references, mine, tuned.labels, seed, rivals or {})
    record["base"] = {
        "name": base.name_or_path,
        **scores(references, theirs, tuned.labels, seed=seed),
        "calibration": calibration(references, theirs),
    }
    record["comparison"] = compare(references, theirs, mine, seed=seed)
    rows = _disagreements(texts, references, theirs, mine, tuned.labels)
    return Evaluation(record, rows, _confidences(mine), shared)


def _confidences(probabilities: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in probabilities.max(axis=1))


def _scored(
    references: Sequence[int],
    mine: NDArray[np.float64],
    labels: Sequence[str],
    seed: int,
    rivals: Mapping[str, NDArray[np.float64]],
) -> dict[str, Any]:
    record = {**scores(references, mine, labels, seed=seed), "calibration": calibration(references, mine)}
    if rivals:
        record["rivals"] = {
            name: {
                **scores(references, theirs, labels, seed=seed),
                "comparison": compare(
                    references, theirs, mine, names=(f"the {name}", "fine-tuning"), seed=seed
                ),
            }
            for name, theirs in rivals.items()
        }
    return record


def _both(
    tuned: Classifier, base: Classifier, texts: Sequence[str], token_ids: list[list[int]], progress: Progress
) -> tuple[int, NDArray[np.float32], NDArray[np.float32]]:
    base_ids = base.encode(texts).token_ids
    shared = same_leading_layers(tuned.model, base.model) if base_ids == token_ids else 0
    if not shared:
        half = 2 * len(texts)
        mine = tuned.logits(token_ids, progress=lambda done, _: progress(done, half))
        return 0, mine, base.logits(base_ids, progress=lambda done, _: progress(len(texts) + done, half))
    share_leading_layers(tuned.model, base.model, shared)
    logits = {id(c): np.zeros((len(texts), len(tuned.labels)), dtype=np.float32) for c in (tuned, base)}
    done = 0
    for rows in like_length_batches([len(ids) for ids in token_ids], batch_size=32):
        states = trunk_batch(tuned.model, [token_ids[row] for row in rows], shared)
        for classifier in (tuned, base):
            with trunk_skipped(classifier.model, shared):
                logits[id(classifier)][rows] = top_logits(classifier.model, states).cpu().numpy()
        done += len(rows)
        progress(done, len(texts))
    return shared, logits[id(tuned)], logits[id(base)]


def _disagreements(
    texts: Sequence[str],
    references: Sequence[int],
    theirs: NDArray[np.float64],
    mine: NDArray[np.float64],
    labels: Sequence[str],
) -> list[dict[str, Any]]:
    def side(row: NDArray[np.float64]) -> dict[str, Any]:
        return {"label": labels[int(row.argmax())], "probabilities": [round(float(p), 4) for p in row]}

    return [
        {"text": text, "label": labels[reference], "base": side(their), "tuned": side(my)}
        for text, reference, their, my in zip(texts, references, theirs, mine, strict=True)
        if their.argmax() != my.argmax()
    ]
