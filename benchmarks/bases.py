"""Does another base help where labels are few? One adapted to the domain, one fine-tuned on other labels.

    python -m benchmarks domain --dataset DATA        # writes results/domain.json, about 25 minutes
    python -m benchmarks transfer --dataset DATA      # writes results/transfer.json, about 20 minutes more

(On two cores at 300 GFLOP/s in float32.) Both measure the ladder's rung `lora` from the untouched base and
from the other one, on the same rows, and compare them with the paired test: one draw of the rows, one seed.
All runs go through the command line, as a user's would. They stay in .cache/bases, so that a stopped
benchmark goes on; `transfer` reuses the untouched base's ladder from `domain`, and takes 8 minutes longer
without it.

`domain`: `adapt` learns some of the train split's texts, without their labels, as a language model.
`transfer`: `quick` learns embedded tweets, of which the leak gate has taken out all that have a duplicate,
exact or near, among the tweets of the two tasks. That run is then the base for these: DATA, and a second task
with other labels, the subject of a tweet. The embedded tweets are six collections, each gathered by words of
its own. A tweet with the words of only one collection has that subject as its label, and these words are
removed from its text, so that they don't give the label away.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import CACHE, results
from benchmarks.ladder import finished, made_from
from inference.common.store import write_jsonl
from inference.common.text import duplicate_key
from training.data.load import Splits, load_splits
from training.data.splits import remove_duplicates
from training.evaluate.metrics import compare
from training.ladder.order import STEPS, Order
from training.recipes import DataSpec
from training.runs.run import Run
from training.studies.adapt_order import Adapted

KEPT = CACHE / "bases"
BASE, SOURCE = "embedded", "embedded"
LABELS, ASKED = (96, 300, 1000), 1000
"""Training labels, and test rows, of each ladder."""
TEXTS = 3_300
"""Texts of the corpus, of which `adapt` holds a tenth out."""
SOURCE_ROWS, SOURCE_CHANGES = 4_500, {"n_train": "3000", "epochs": "2", "n_test": "300", "onnx": "false"}
SUBJECTS = {
    "airlines": "united|us ?airways|american ?air|southwest ?air|jet ?blue|virgin ?america",
    "cars": "driverless|self[- ]?driving|autonomous|google ?car",
    "festival": "coachella",
    "football": "deflat|super ?bowl|patriots|belichick|brady",
    "computers": "apple|aapl|iphone",
    "medicine": "claritin",
}
"""The second task's labels, and the words by which their tweets were gathered, as parts of words."""
_WORDS = {name: re.compile(rf"[@#$]?\w*(?:{words})\w*", re.IGNORECASE) for name, words in SUBJECTS.items()}
SUBJECT_LABELS, SUBJECT_ROWS, SUBJECT_ASKED = 300, 3_000, 500
"""Training labels of the second task, rows that they and the validation rows are drawn from, test rows."""


def domain(dataset: str) -> None:
    """Adapt the base to the train split's texts, measure both, and write results/domain.json."""
    texts = _some(list(_whole(dataset).train["text"]), TEXTS)
    corpus = _table("corpus.jsonl", [{"text": text} for text in texts])
    adapted = results.once(KEPT, "adapt", str(corpus), "--base", BASE, "--dataset", dataset)
    found = Adapted.read(adapted)
    assert found, "the command has ended well"
    pair = _ladders(dataset, adapted, labels=LABELS, limit=ASKED)
    results.write(
        "domain",
        **made_from(*finished([str(pair[0])])[0]),
        rows=_rows(pair, "{:,} labels"),
        bits=[
            {
                "name": "held-out texts of the domain",
                "texts": found.domain.texts,
                **results.bits_of(found.domain),
            },
            {"name": "general text", "texts": found.general.texts, **results.bits_of(found.general)},
        ],
        adapted={name: value for name, value in found.to_json().items() if name != "generations"},
    )


def transfer(dataset: str) -> None:
    """Train on the embedded tweets, then from there on two tasks, and write results/transfer.json."""
    source, subjects, left_out = _apart(dataset)
    changes = {"base": BASE, "dataset": str(source), **SOURCE_CHANGES}
    trained = results.once(KEPT, "train", "quick", **changes)
    pair = _ladders(dataset, trained, labels=LABELS, limit=ASKED)
    other = _ladders(str(subjects), trained, labels=[SUBJECT_LABELS], limit=SUBJECT_ASKED)
    evaluation = Run(trained).evaluation()
    assert evaluation and evaluation.tuned, "the command has ended well"
    about = made_from(*finished([str(pair[0])])[0])
    results.write(
        "transfer",
        **about,
        rows=[
            *_rows(pair, f"{about['data']['name']}, {{:,}} labels"),
            *_rows(other, "the subject of a tweet, {:,} labels"),
        ],
        source={"n": evaluation.n, "accuracy": evaluation.tuned.scores.accuracy.to_json()},
        left_out={
            f"{left_out:,} of {SOURCE_ROWS:,} tweets that the other base would have learnt": "duplicates, "
            "exact or near, of tweets of these tasks."
        },
    )


def _whole(dataset: str) -> Splits:
    return load_splits(DataSpec(dataset=dataset))


def _some(rows: Sequence[Any], count: int) -> list[Any]:
    order = np.random.default_rng(0).permutation(len(rows))[:count].tolist()
    return [rows[row] for row in order]


def _table(name: str, rows: Sequence[dict[str, str]]) -> Path:
    (KEPT / name).parent.mkdir(parents=True, exist_ok=True)
    write_jsonl(KEPT / name, rows)
    return KEPT / name


def _apart(dataset: str) -> tuple[Path, Path, int]:
    """Write the tweets to learn first and those of the second task; count what the leak gate took out."""
    target, embedded = _whole(dataset), _whole(SOURCE)
    once = {
        duplicate_key(text): (text, embedded.labels[label])
        for text, label in zip(embedded.train["text"], embedded.train["label"], strict=True)
    }
    drawn = _some(list(once.values()), len(once))
    first, rest = drawn[:SOURCE_ROWS], [text for text, _ in drawn[SOURCE_ROWS:]]
    subjects = list(_with_subjects(rest, SUBJECT_ROWS + SUBJECT_ASKED))
    known = [*target.train["text"], *target.validation["text"], *target.test["text"]]
    parts = {
        "train": [text for text, _ in first],
        "validation": [text for text, _, _ in subjects],
        "test": known,
    }
    kept = remove_duplicates(parts, mode="near").kept["train"]
    source = _table("source.jsonl", [{"text": first[row][0], "label": first[row][1]} for row in kept])
    rows = [{"text": bare, "label": subject} for _, bare, subject in subjects]
    _table("subjects/test.jsonl", rows[:SUBJECT_ASKED])
    return source, _table("subjects/train.jsonl", rows[SUBJECT_ASKED:]).parent, len(first) - len(kept)


def _with_subjects(texts: Sequence[str], most: int) -> Iterator[tuple[str, str, str]]:
    """Yield tweets with one subject only: the text, the text without the subject's words, the subject."""
    count, seen = 0, set()
    for text in texts:
        named = [name for name, words in _WORDS.items() if words.search(text)]
        bare = " ".join(_WORDS[named[0]].sub(" ", text).split()) if len(named) == 1 else ""
        if bare and count < most and (key := duplicate_key(bare)) not in seen:
            seen.add(key)
            count += 1
            yield text, bare, named[0]


def _ladders(dataset: str, base: Path, *, labels: Sequence[int], limit: int) -> tuple[Path, Path]:
    """Return the ladders from the untouched base and from another one, on the same rows."""
    given = ("--dataset", dataset, "--labels", ",".join(map(str, labels)), "--limit", str(limit))
    untouched, other = (
        results.once(KEPT, "ladder", "--rungs", "lora", "--base", one, *given) for one in (BASE, str(base))
    )
    return untouched, other


def _rows(pair: tuple[Path, Path], title: str) -> list[dict[str, Any]]:
    """Return a row a number of labels: both bases' accuracy, and whether their difference is real."""
    (run, untouched), (_, other) = finished([str(ladder) for ladder in pair])
    order, rows = Order.from_json(run.order), []
    truth = load_splits(order.recipe.data).test["label"]
    for one, instead in zip(untouched.steps, other.steps, strict=True):
        answers = [np.load(ladder / STEPS / f"{one.name}.npy") for ladder in pair]
        compared = compare(truth, *answers, names=("untouched base", "other base"), seed=order.seed)
        rows.append(
            {
                "name": title.format(one.labels_used),
                "n": one.n,
                "untouched": one.scores.accuracy.to_json(),
                "instead": instead.scores.accuracy.to_json(),
                "gain": compared.accuracy_difference.to_json(),
                "shown": compared.real,
            }
        )
    return rows
