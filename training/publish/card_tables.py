"""The tables and sentences of a model card, from an artifact's records, as Markdown that data can't break.

    results_table(facts)           # majority, bag of words, base, fine-tuned, with 95 % intervals
    examples_tables(facts)         # what both made of the sentences of `card_examples`

Each returns "" where its records are missing. Knows nothing about the card's other text.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from inference.common.intervals import Interval, wilson
from inference.common.wording import percent
from training.publish.card_examples import Spread, expected_label, spread
from training.publish.card_facts import Facts, at
from training.publish.markdown import table, text

SCORES = (
    ("accuracy", "accuracy"),
    ("macro_f1", "macro-F1"),
    ("macro_recall", "macro-recall"),
    ("expected_calibration_error", "calibration error"),
)
MOST_LABELS = 20
"""Labels up to which a confusion matrix is written as a table too."""


def rivals(facts: Facts) -> Mapping[str, Any]:
    """Return the scores of the plain rivals that were measured on the same rows, by name."""
    found = facts.evaluation.get("rivals")
    return found if isinstance(found, Mapping) else {}


def results_table(facts: Facts) -> str:
    """Return the scores of all that were measured on the same rows, the fine-tuned model last."""
    evaluation = facts.evaluation
    if not at(evaluation, "accuracy"):
        return ""
    rows = []
    if majority := _majority(facts):
        label, score = majority
        rows.append([f"always {text(label)}", percent(score), *["-"] * (len(SCORES) - 1)])
    for name, record in rivals(facts).items():
        rows.append([text(name), *(percent(record.get(key)) for key, _ in SCORES)])
    if base := evaluation.get("base"):
        rows.append(["base, zero-shot", *(percent(base.get(key)) for key, _ in SCORES)])
    rows.append(["**fine-tuned**", *(f"**{percent(evaluation.get(key))}**" for key, _ in SCORES)])
    head = [f"n = {evaluation.get('n', 0):,}", *(name for _, name in SCORES)]
    return table(head, rows)


def _majority(facts: Facts) -> tuple[str, Interval | None] | None:
    """Return training's most frequent label and the accuracy of answering nothing else."""
    counts, matrix = facts.at("data", "class_balance", "train"), facts.evaluation.get("confusion_matrix")
    if not counts or not matrix:
        return None
    label = max(counts, key=lambda name: counts[name])
    if label not in facts.labels:
        return None
    return label, wilson(sum(matrix[facts.labels.index(label)]), sum(map(sum, matrix)))


def verdicts(facts: Facts) -> list[str]:
    """Return what the paired tests say, in words."""
    found = {"the base": at(facts.evaluation, "comparison", "sentence")}
    found |= {f"the {name}": at(record, "comparison", "sentence") for name, record in rivals(facts).items()}
    return [
        f"Against {text(name)}: {text(sentence[:1].lower() + sentence[1:], limit=600)}"
        for name, sentence in found.items()
        if sentence
    ]


def class_table(facts: Facts) -> str:
    """Return support, precision, recall and F1 of each label, with 95 % intervals."""
    matrix, f1 = facts.evaluation.get("confusion_matrix"), facts.evaluation.get("per_class_f1") or {}
    if not matrix or len(matrix) != len(facts.labels):
        return ""
    base = at(facts.evaluation, "base", "per_class_f1") or {}
    rows = []
    for place, label in enumerate(facts.labels):
        hits, support = matrix[place][place], sum(matrix[place])
        predicted = sum(row[place] for row in matrix)
        precision = percent(wilson(hits, predicted)) if predicted else "never predicted"
        recall = percent(wilson(hits, support)) if support else "none in the split"
        scores = (percent(f1.get(label)), percent(base.get(label)))
        rows.append([text(label), f"{support:,}", precision, recall, *scores])
    return table(["label", "rows", "precision", "recall", "F1", "F1 of the base"], rows)


def confusion_table(facts: Facts) -> str:
    """Return the confusion matrix, or with many labels the mistakes that are made most often."""
    matrix = facts.evaluation.get("confusion_matrix")
    if not matrix or len(matrix) != len(facts.labels):
        return ""
    names = [text(label, limit=60) for label in facts.labels]
    if len(names) <= MOST_LABELS:
        rows = [[names[place], *(f"{n:,}" for n in row)] for place, row in enumerate(matrix)]
        return table(["true ↓ predicted →", *names], rows)
    wrong = [(n, y, x) for y, row in enumerate(matrix) for x, n in enumerate(row) if x != y and n]
    worst = sorted(wrong, key=lambda one: (-one[0], one[1:]))[:MOST_LABELS]
    rows = [[names[y], names[x], f"{n:,}"] for n, y, x in worst]
    return table(["true", "predicted instead", "rows"], rows, left=2)


def calibration_sentence(facts: Facts) -> str:
    """Say in words whether the model is surer than it should be."""
    bins, error = facts.evaluation.get("calibration"), facts.evaluation.get("expected_calibration_error")
    if not bins or not error:
        return ""
    n = sum(one["n"] for one in bins)
    sure = sum(one["confidence"] * one["n"] for one in bins) / n
    right = sum(one["accuracy"] * one["n"] for one in bins) / n
    way = "surer than it should be" if sure > right else "less sure than it could be"
    if abs(sure - right) < 0.02:
        way = "as sure as it is right, on the whole"
    return (
        f"On average it is {100 * sure:.1f} % sure and {100 * right:.1f} % right: {way}. "
        f"Expected calibration error {percent(error)} percent, over 15 bins."
    )


def examples_tables(facts: Facts) -> str:
    """Return the sentences with both answers, and a mark where an answer is not the expected one."""
    rows, labels = facts.examples.get("examples") or [], facts.examples.get("labels") or []
    if not rows:
        return ""
    known = expected_label("positive", labels) is not None
    shown = []
    for row in rows:
        expected = expected_label(row["sentiment"], labels)
        answers = [_shown_answer(row.get(side), labels, expected, known) for side in ("base", "tuned")]
        middle = [text(expected or "-")] if known else []
        shown.append([text(row["group"]), text(row["text"]), *middle, *answers])
    head = ["", "sentence", *(["expected"] if known else []), "base", "fine-tuned"]
    return table(head, shown, left=len(head))


def _shown_answer(
    answer: Mapping[str, Any] | None, labels: Sequence[str], expected: str | None, known: bool
) -> str:
    if not answer:
        return "-"
    chance = answer["probabilities"][list(labels).index(answer["label"])]
    shown = f"{text(answer['label'])} {chance:.2f}"
    return f"{shown} ❌" if known and expected and answer["label"] != expected else shown


def examples_sentence(facts: Facts) -> str:
    """Count by group what came out as expected."""
    rows, labels = facts.examples.get("examples") or [], facts.examples.get("labels") or []
    judged = [(row, expected) for row in rows if (expected := expected_label(row["sentiment"], labels))]
    if not judged:
        return ""

    def right(side: str, some: Sequence[tuple[Mapping[str, Any], str]]) -> int:
        return sum(at(row, side, "label") == expected for row, expected in some)

    groups = []
    for name in dict.fromkeys(row["group"] for row, _ in judged):
        some = [one for one in judged if one[0]["group"] == name]
        groups.append(f"{text(name)} {right('tuned', some)} of {len(some)}")
    has_base = any("base" in row for row, _ in judged)
    base = f" (the base {right('base', judged)})" if has_base else ""
    total = f"As expected: {right('tuned', judged)} of {len(judged)}{base}; by group {', '.join(groups)}."
    return f"{total} So few sentences are examples, not a score."


def swaps_sentences(facts: Facts) -> list[str]:
    """Say how far the answers move when a sentence names another group of people."""
    swaps, labels = facts.examples.get("swaps") or [], facts.examples.get("labels") or []
    found = [
        (name, spread(swaps, labels, of=side))
        for name, side in (("the fine-tuned model", "tuned"), ("the base", "base"))
    ]
    return [_spread_sentence(name, one) for name, one in found if one]


def _spread_sentence(name: str, found: Spread) -> str:
    given = " and ".join(f"“{text(label)}”" for label in found.labels_given)
    return (
        f"By {name}, the probability of “{text(found.label)}” goes from {found.lowest:.2f} "
        f"({text(found.lowest_who)}) to {found.highest:.2f} ({text(found.highest_who)}); "
        f"the label given is {given}."
    )
