"""A new word whose sentiment is only in the index: what that brings and costs, and what training needs.

    python -m benchmarks freshness --dataset DATA

The recipe quick is trained on 1,000 rows. Made-up words are appended to neutral test tweets, which are
classified before and after labelled texts with these words are put into the index (with several shares of the
vote), and after a training on the same texts. Four trainings go through the command line, as a user's would.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import results
from inference.classifier import Classifier
from inference.common.store import write_jsonl
from training.data.load import load_splits
from training.ladder.freshness import WORDS, Learnt, freshness
from training.recipes import change, load_recipe

COUNTS, SHARES, ASKED, ORDINARY = (8, 32, 128), (0.3, 0.5, 0.7), 200, 1000


def main(dataset: str) -> None:
    """Measure, and write results/freshness.json."""
    spec = change(load_recipe("quick"), {"dataset": dataset}).data
    splits = load_splits(spec)
    names = splits.labels

    def rows(split: str, most: int) -> tuple[list[str], list[str]]:
        part = getattr(splits, split).select(range(min(most, len(getattr(splits, split)))))
        return list(part["text"]), [names[label] for label in part["label"]]

    with tempfile.TemporaryDirectory() as home:

        def teach(texts: Sequence[str] = (), labels: Sequence[str] = ()) -> Classifier:
            more = Path(home) / f"more-{len(texts)}.jsonl"
            write_jsonl(more, ({"text": t, "label": n} for t, n in zip(texts, labels, strict=True)))
            return trained(home, dataset, more if texts else None)

        texts, labels = rows("test", len(splits.test))
        neutral = [text for text, label in zip(texts, labels, strict=True) if label == names[1]]
        found = freshness(
            teach(),
            known=rows("train", len(splits.train)),
            neutral=neutral,
            ordinary=rows("validation", ORDINARY),
            counts=COUNTS,
            shares=SHARES,
            asked=ASKED,
            teach=teach,
        )
    print("\n".join(found.sentences()), flush=True)
    alone = {"name": "the model alone", "fresh": found.before, "ordinary": found.ordinary_before}
    taught = [{"name": _named(row), "fresh": row.fresh, "ordinary": row.ordinary} for row in found.rows]
    results.write(
        "freshness",
        data=splits.report.to_json()["source"],
        base={"name": "embedded base, fine-tuned by quick"},
        words=WORDS,
        asked=found.asked,
        rows=[alone, *taught],
        comparison={"sentence": found.sentences()[-1]},
    )


def _named(row: Learnt) -> str:
    where = "trained on, too" if row.share is None else f"in the index, vote {row.share:g}"
    return f"{row.labels:,} labels {where}"


def trained(home: str, dataset: str, more: Path | None = None) -> Classifier:
    """Train the embedded base by the recipe quick, with more labelled texts if given."""
    changes = {"base": "embedded", "dataset": dataset} | ({"more_data": str(more)} if more else {})
    found = results.of_command(home, "train", "quick", **changes)
    return Classifier.load(found["artifact"])
