"""Does the audit find labels that are wrong, and what share of its flags are?

    python -m benchmarks audit --dataset DATA     # about 5 minutes

What share of a real data set's labels is wrong nobody knows, so labels are made wrong on purpose: of 2,000
training rows, drawn by three seeds, a part gets another label at random. The base reads each draw's texts
once. The rows without a made error show how many flags the data itself has: hard rows, and errors that were
there before.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import results
from training.audit.labels import base_features, label_errors
from training.data.load import load_splits
from training.model.bases import resolve_base
from training.model.classifier import load_language_model
from training.recipes import change, load_recipe

BASE, ROWS, SEEDS = "embedded", 2_000, (1, 2, 3)
MADE_WRONG = (0.0, 0.02, 0.05, 0.1, 0.2)
"""Shares of the labels that are made wrong."""
Draw = tuple[list[str], NDArray[np.int64], NDArray[np.float32]]
"""Texts, their labels, and what the base makes of them, shape (rows, hidden)."""
FIRST = 20
"""The flags that are looked at first: the most probable errors."""


def main(dataset: str) -> None:
    """Measure, and write results/audit.json."""
    recipe = change(load_recipe("quick"), {"dataset": dataset, "n_train": "0"})
    splits, base = load_splits(recipe.data), resolve_base(BASE)
    lm = load_language_model(base)
    texts, labels = list(splits.train["text"]), np.array(splits.train["label"])
    draws: list[Draw] = []
    for seed in SEEDS:
        rows = np.random.default_rng(seed).permutation(len(texts))[:ROWS]
        drawn = [texts[row] for row in rows]
        features = base_features(lm, drawn, splits.labels, max_length=recipe.max_length)
        draws.append((drawn, labels[rows], features))
        print(f"seed {seed}: {len(drawn):,} texts read", flush=True)
    results.write(
        "audit",
        base={"name": base.name},
        data=splits.report.to_json()["source"],
        training_rows=ROWS,
        draws=len(SEEDS),
        rows=[
            _row(
                share,
                [flagged(draw, splits.labels, share, seed) for seed, draw in zip(SEEDS, draws, strict=True)],
            )
            for share in MADE_WRONG
        ],
    )


def flagged(draw: Draw, names: Sequence[str], share: float, seed: int) -> tuple[int, list[bool]]:
    """Return how many labels were made wrong, and whether each flag, the most probable first, is of these."""
    texts, labels, features = draw
    rng = np.random.default_rng(seed)
    wrong = rng.permutation(len(texts))[: round(share * len(texts))]
    given = labels.copy()
    given[wrong] = (given[wrong] + rng.integers(1, len(names), len(wrong))) % len(names)
    _, flags = label_errors(texts, given.tolist(), names, features)
    made = {texts[row] for row in wrong}
    return len(wrong), [flag.text in made for flag in flags]


def _row(share: float, found: Sequence[tuple[int, list[bool]]]) -> dict[str, Any]:
    made, flags = sum(n for n, _ in found), [hit for _, each in found for hit in each]
    first = [hit for _, each in found for hit in each[:FIRST]]
    return {
        "name": f"{100 * share:g} % made wrong",
        "flags_a_draw": round(len(flags) / len(found)),
        "made_errors_found": results.share(sum(flags), made),
        "flags_that_are_made_errors": results.share(sum(flags), len(flags)) if made else None,
        f"of_the_first_{FIRST}": results.share(sum(first), len(first)) if made else None,
    }
