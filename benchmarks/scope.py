"""Does the score behind "I don't know" recognise texts that the model was never meant for?

    python -m benchmarks scope --dataset DATA

Three made sets are out of scope: another language (the app's own Portuguese texts), random characters, and
another subject (sentences of these documents). Three scores separate them from test tweets: the model's
confidence, the share of tokens that training hardly knew (all of a text that falls into more pieces than
tweets do), and the product of both. The figure is the area under the ROC curve, 0.5 for a coin, with a
bootstrap's 95 % interval. "Marked" is the share of texts called out of scope, by the thresholds that the
training has chosen.
"""

import random
import re
import string
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks import results
from benchmarks.freshness import trained
from benchmarks.tables import DOCUMENTS, ROOT
from inference.common.intervals import wilson
from inference.reference import needed
from training.data.load import load_splits
from training.recipes import change, load_recipe

TEXTS, RESAMPLES, SEED = 200, 1000, 42


def main(dataset: str) -> None:
    """Measure with the recipe quick, and write results/scope.json."""
    splits = load_splits(change(load_recipe("quick"), {"dataset": dataset}).data)
    inside = list(splits.test["text"])[:TEXTS]
    with tempfile.TemporaryDirectory() as home:
        classifier = trained(home, dataset)
        above = needed(classifier.scope).above

        def figures(texts: Sequence[str]) -> tuple[list[float], list[float]]:
            found = classifier.predict(texts)
            return [max(one.probabilities) for one in found], [one.unknown_share or 0.0 for one in found]

        mine = figures(inside)
        rows = [
            {
                "name": name,
                **separation(mine, others := figures(texts)),
                "marked": marked(others[1], above),
                "marked_of_tweets": marked(mine[1], above),
            }
            for name, texts in outside().items()
        ]
    results.write(
        "scope",
        data=splits.report.to_json()["source"],
        base={"name": "embedded base, fine-tuned by quick"},
        texts=TEXTS,
        rows=rows,
    )


def outside() -> Mapping[str, list[str]]:
    """Return the made texts out of scope, by kind."""
    rng = random.Random(SEED)
    letters = string.ascii_lowercase + " " * 5 + string.digits
    noise = ["".join(rng.choices(letters, k=rng.randint(20, 120))) for _ in range(TEXTS)]
    texts = tomllib.loads((ROOT / "ui" / "texts" / "pt-BR.toml").read_text(encoding="utf-8"))
    portuguese = [text for part in texts.values() for text in part.values() if len(text) > 25]
    prose = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    prose = re.sub(r"```.*?```|<!--.*?-->|\|[^\n]*", "", prose, flags=re.DOTALL)
    sentences = [each for each in re.split(r"(?<=\.)\s+", prose) if 25 < len(each) < 200]
    return {
        "another language": rng.sample(portuguese, TEXTS),
        "random characters": noise,
        "another subject": rng.sample(sentences, TEXTS),
    }


def marked(unknown: Sequence[float], above: float) -> dict[str, float]:
    """Return the share of texts called out of scope, with its interval."""
    found = wilson(sum(share > above for share in unknown), len(unknown))
    assert found, "there are texts"
    return found.to_json()


def separation(
    inside: tuple[Sequence[float], Sequence[float]],
    others: tuple[Sequence[float], Sequence[float]],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Any]:
    """Return the areas under the ROC curve by confidence, by unknown tokens and by both, with intervals.

    Each side: the confidences and the unknown shares of its texts. The gain over confidence is paired.
    """
    confidence, unknown = (np.concatenate(pair) for pair in zip(inside, others, strict=True))
    is_out = np.repeat([0, 1], [len(side[0]) for side in (inside, others)])
    scores = {"confidence": -confidence, "unknown": unknown, "both": -confidence * (1 - unknown)}
    rng, sides = np.random.default_rng(seed), [np.flatnonzero(is_out == side) for side in (0, 1)]
    drawn = [np.concatenate([rng.choice(rows, len(rows)) for rows in sides]) for _ in range(resamples)]
    areas = {
        name: [roc_auc_score(is_out[rows], score[rows]) for rows in drawn] for name, score in scores.items()
    }
    areas["gain"] = list(np.subtract(areas["both"], areas["confidence"]))
    values = {name: roc_auc_score(is_out, score) for name, score in scores.items()}
    values["gain"] = values["both"] - values["confidence"]
    return {
        name: {
            "value": round(float(values[name]), 4),
            **dict(zip(("low", "high"), np.quantile(found, (0.025, 0.975)).round(4).tolist(), strict=True)),
        }
        for name, found in areas.items()
    }
