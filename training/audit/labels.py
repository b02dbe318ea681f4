"""Probable label errors: rows whose label a cross-validated model on frozen features considers wrong.

    findings, flags = label_errors(texts, labels, names, features)
    features = base_features(lm, texts, names, max_length=128)       # -> shape (texts, hidden)

Confident learning (Northcutt, Jiang and Chuang 2021, arXiv 1911.00068) by cleanlab. The probabilities are out
of sample: equal texts are in one fold, and a row is judged by a model that has not seen it. With a model that
is right on three rows of four, most flags are hard rows and not wrong ones: they are a queue to review, and
nothing is changed automatically.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from inference.classifier import Progress, budgeted_batches, cutting, encode, no_progress
from inference.common.text import duplicate_key
from inference.engine.pytorch import TorchEngine
from inference.prompt import Prompt
from inference.trunk import pad_ids
from training.audit.findings import Finding, Flag
from training.model.classifier import LanguageModel, build_classifier, final_states, prompted_tokenizer

FOLDS = 5


def base_features(
    lm: LanguageModel,
    texts: Sequence[str],
    names: Sequence[str],
    *,
    max_length: int,
    progress: Progress = no_progress,
) -> NDArray[np.float32]:
    """Return the untouched base's final state of each text in the prompt, shape (texts, hidden)."""
    tokenizer = prompted_tokenizer(lm, Prompt(), max_length=max_length)
    classifier = build_classifier(lm, tuple(names), tokenizer, seed=0)
    pad = tokenizer.pad_token_id
    limit = tokenizer.model_max_length
    token_ids = encode(cutting(tokenizer.backend_tokenizer, limit), texts, pad_id=pad).token_ids
    found = torch.zeros(len(texts), int(classifier.config.hidden_size))
    done = 0
    for batch in budgeted_batches([len(ids) for ids in token_ids], tokens=TorchEngine.batch_tokens):
        found[batch] = (
            final_states(classifier, [pad_ids([token_ids[row] for row in batch], pad)]).float().cpu()
        )
        done += len(batch)
        progress(done, len(texts))
    return found.numpy()


def label_errors(
    texts: Sequence[str], labels: Sequence[int], names: Sequence[str], features: NDArray[np.float32]
) -> tuple[list[Finding], list[Flag]]:
    """Find rows whose label is probably wrong, the most probable first. None where a class has one text."""
    from cleanlab.filter import find_label_issues  # noqa: PLC0415  (seconds)

    keys = [duplicate_key(text) for text in texts]
    present = sorted(set(labels))
    places = np.array([present.index(label) for label in labels])
    folds = min(
        FOLDS, *Counter(labels[row] for row in {key: i for i, key in enumerate(keys)}.values()).values()
    )
    if folds < 2 or len(present) < 2:
        return [
            Finding("label_errors", 0, "Label errors can't be looked for: a class has one text only.")
        ], []
    chances = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)),
        features,
        places,
        groups=keys,
        cv=StratifiedGroupKFold(folds, shuffle=True, random_state=42),
        method="predict_proba",
    )
    rows = find_label_issues(
        places, chances, filter_by="confident_learning", return_indices_ranked_by="self_confidence", n_jobs=1
    )
    right = float((chances.argmax(axis=1) == places).mean())
    if not len(rows):
        return [], []
    flags = [
        Flag(
            texts[row],
            names[labels[row]],
            names[present[int(chances[row].argmax())]],
            f"probable label error: {100 * chances[row][places[row]]:.0f} % for its label, "
            f"{100 * chances[row].max():.0f} % for the other",
            "train",
        )
        for row in map(int, rows)
    ]
    sentence = (
        f"Labels of train that are probably wrong, by a model that has not seen them and is right on "
        f"{100 * right:.0f} %: {len(flags):,} of {len(texts):,}. Many will be hard and not wrong, so look "
        "at each."
    )
    return [Finding("label_errors", len(flags), sentence, tuple(flag.text for flag in flags[:3]))], flags
