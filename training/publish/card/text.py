"""The tables and sentences of a model card, from an artifact's facts, as Markdown that data can't break.

    results_table(facts)           # majority, bag of words, base, fine-tuned, with 95 % intervals
    data_table(facts); training_table(facts)

The prose around them is in .huggingface/model_card.md, which calls these functions. Each returns "" or an
empty list where its records are missing. No path of the machine that trained leaves: a base and a data set
are named, never located.
"""

import json
from collections.abc import Sequence

from inference.common.intervals import Interval, wilson
from inference.common.wording import in_words, percent
from training.data.report import NEAR
from training.evaluate.scores import BAG_OF_WORDS, BASE, MAJORITY, TUNED, Answer, System
from training.publish.card.examples import AnsweredExample, expected_label, spread
from training.publish.card.facts import CALIBRATION, CURVES, CardFacts
from training.publish.card.markdown import code, escape, table

MOST_LABELS = 20
"""Labels up to which a confusion matrix is written as a table too."""
_MOST_NAMED = 8
_SCORES = (
    ("accuracy", "accuracy"),
    ("macro_f1", "macro-F1"),
    ("macro_recall", "macro-recall"),
    ("expected_calibration_error", "calibration error"),
)
_ROWS = {"used": "used", "kept": "after cleaning and leak gate", "read": "in the source"}
_LEAKS = (
    ("train/test", "training", "test"),
    ("train/validation", "training", "validation"),
    ("validation/test", "validation", "test"),
)
_IN_WORDS = {MAJORITY: "the most frequent label", BASE: "the base"}


# --- what it is


def summary(facts: CardFacts) -> str:
    """Return one sentence on what the model does, and one on where it comes from."""
    names = [f"**{escape(label)}**" for label in facts.labels]
    if len(names) > _MOST_NAMED:
        shown = f"{', '.join(names[:_MOST_NAMED])} or one of {len(names) - _MOST_NAMED} more labels"
    else:
        shown = " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
    does = f"Classifies short posts as {shown}."
    if not facts.base.name:
        return does
    how = {"lora": "by LoRA", "full": "in full"}.get(facts.recipe.method, "")
    size = facts.sizes.get("train")
    on = f"on {size:,} labelled texts of {data_link(facts)}" if size else ""
    time = f"in {in_words(facts.seconds)}" if facts.seconds else ""
    parts = (f"Fine-tuned from {base_link(facts)}", how, on, time)
    return f"{does} {' '.join(filter(None, parts))}."


def headline(facts: CardFacts) -> str:
    """Return the main result: accuracy with interval and n, the base's, and whether that is a difference."""
    scores, evaluation = facts.tuned_scores, facts.evaluation
    if not scores or not evaluation or not evaluation.n:
        return ""
    base = facts.base_scores
    against = f"; the untouched base has {_percent(base.accuracy)}" if base else ""
    real = " ".join(verdict for name, verdict in verdicts(facts).items() if name != MAJORITY)
    return (
        f"Accuracy {_percent(scores.accuracy, '95 % interval ')} on {evaluation.n:,} rows of the locked "
        f"{escape(evaluation.split)} split{against}. {real}"
    )


def _percent(score: Interval, name: str = "") -> str:
    return f"{100 * score.value:.1f} % ({name}{100 * score.low:.1f} to {100 * score.high:.1f})"


def base_link(facts: CardFacts) -> str:
    """Return the base's name, as a link where the Hub has it."""
    name, hub_id = escape(facts.base.name), facts.base.hub_id
    return f"[{name}](https://huggingface.co/{hub_id})" if hub_id else name


def data_link(facts: CardFacts) -> str:
    """Return the data set's name, as a link where the Hub has it."""
    source = facts.data.source
    name = escape(source.name or "an unnamed data set")
    return f"[{name}](https://huggingface.co/datasets/{source.hub_id})" if source.hub_id else name


# --- results


def results_table(facts: CardFacts) -> str:
    """Return the scores of all systems that answered the same rows, the fine-tuned model last."""
    if not facts.evaluation or not facts.evaluation.tuned:
        return ""
    head = [f"n = {facts.evaluation.n:,}", *(name for _, name in _SCORES)]
    return table(head, [_system_row(system) for system in facts.evaluation.systems])


def _system_row(system: System) -> list[str]:
    name = {
        MAJORITY: escape(system.about.split(",")[0] or MAJORITY),
        BASE: "base, zero-shot",
        TUNED: "fine-tuned",
    }.get(system.name, escape(system.name))
    row = [name, *(percent(getattr(system.scores, key)) for key, _ in _SCORES)]
    return [f"**{cell}**" for cell in row] if system.name == TUNED else row


def verdicts(facts: CardFacts) -> dict[str, str]:
    """Return what the paired tests say, in words, by the name of the system that was compared."""
    found = facts.evaluation.comparisons if facts.evaluation else ()
    return {
        one.first: f"Against {_IN_WORDS.get(one.first, f'the {escape(one.first)}')}: "
        f"{escape(one.sentence[:1].lower() + one.sentence[1:], limit=600)}"
        for one in sorted(found, key=lambda one: one.first != BASE)
        if one.second == TUNED and one.sentence
    }


def bag_sentence(facts: CardFacts) -> str:
    """Say what the bag of words is, or why there is none."""
    evaluation = facts.evaluation
    if evaluation and (bag := evaluation.system(BAG_OF_WORDS)) and bag.about:
        return f"“Bag of words” is {escape(bag.about)}; it took {in_words(bag.seconds or 0)}."
    if evaluation and (why := evaluation.left_out.get(BAG_OF_WORDS)):
        return f"There is no bag of words: {escape(why)}."
    return ""


def matrix_of(facts: CardFacts) -> Sequence[Sequence[int]]:
    """Return the fine-tuned model's confusion matrix, empty where it does not fit the labels."""
    matrix = facts.tuned_scores.confusion_matrix if facts.tuned_scores else ()
    return matrix if len(matrix) == len(facts.labels) else ()


def class_table(facts: CardFacts) -> str:
    """Return support, precision, recall and F1 of each label, with 95 % intervals."""
    matrix, scores, base = matrix_of(facts), facts.tuned_scores, facts.base_scores
    if not matrix or not scores:
        return ""
    rows = []
    for place, label in enumerate(facts.labels):
        hits, support = matrix[place][place], sum(matrix[place])
        predicted = sum(row[place] for row in matrix)
        precision = percent(wilson(hits, predicted)) if predicted else "never predicted"
        recall = percent(wilson(hits, support)) if support else "none in the split"
        f1 = (percent(one.per_class_f1.get(label) if one else None) for one in (scores, base))
        rows.append([escape(label), f"{support:,}", precision, recall, *f1])
    return table(["label", "rows", "precision", "recall", "F1", "F1 of the base"], rows)


def confusion_table(facts: CardFacts) -> str:
    """Return the confusion matrix, or with many labels the mistakes that are made most often."""
    matrix = matrix_of(facts)
    names = [escape(label, limit=60) for label in facts.labels]
    if not matrix:
        return ""
    if len(names) <= MOST_LABELS:
        rows = [[names[place], *(f"{n:,}" for n in row)] for place, row in enumerate(matrix)]
        return table(["true ↓ predicted →", *names], rows)
    wrong = [(n, y, x) for y, row in enumerate(matrix) for x, n in enumerate(row) if x != y and n]
    worst = sorted(wrong, key=lambda one: (-one[0], one[1:]))[:MOST_LABELS]
    return table(
        ["true", "predicted instead", "rows"], [[names[y], names[x], f"{n:,}"] for n, y, x in worst], left=2
    )


def calibration_sentence(facts: CardFacts) -> str:
    """Say in words whether the model is surer than it should be."""
    if not facts.tuned_scores or not (bins := facts.tuned_scores.calibration):
        return ""
    n = sum(one.n for one in bins)
    sure, right = (
        sum(one.confidence * one.n for one in bins) / n,
        sum(one.accuracy * one.n for one in bins) / n,
    )
    way = "surer than it should be" if sure > right else "less sure than it could be"
    if abs(sure - right) < 0.02:
        way = "as sure as it is right, on the whole"
    return (
        f"On average it is {100 * sure:.1f} % sure and {100 * right:.1f} % right: {way}. Expected "
        f"calibration error {percent(facts.tuned_scores.expected_calibration_error)} percent, over 15 bins."
    )


# --- data and training


def data_table(facts: CardFacts) -> str:
    """Return what the data is and how many rows of it were used, by split and label."""
    source = facts.data.source
    if not source.name and not source.kind:
        return ""
    rows = [
        ["data set", data_link(facts)],
        ["licence", escape(source.licence or "not stated by the data")],
        *([["revision", code(source.revision)]] if source.revision else []),
        *([["SHA-256", code(source.sha256)]] if source.sha256 else []),
    ]
    for split, counts in facts.data.rows.items():
        numbers = [f"{n:,} {words}" for key, words in _ROWS.items() if (n := getattr(counts, key))]
        balance = list(facts.data.class_balance.get(split, {}).items())[:20]
        labels = ", ".join(f"{escape(label)} {n:,}" for label, n in balance)
        rows.append([escape(split), ", of ".join(numbers) + (f" ({labels})" if labels else "")])
    return table(["", ""], rows, left=2)


def data_sentences(facts: CardFacts) -> list[str]:
    """Return what was dropped, mended or held out, in words, without what the table and the leak gate say."""
    elsewhere = ("Data:", "Rows used:")
    leaks = (" duplicate in ", "with an exact twin in")  # the second: runs of older versions
    return [
        escape(sentence)
        for sentence in facts.data.sentences
        if not sentence.startswith(elsewhere) and not any(words in sentence for words in leaks)
    ]


def leak_paragraph(facts: CardFacts) -> str:
    """Return how many rows the leak gate took out, or let through, by pair of splits."""
    kinds = (("a duplicate", facts.data.twins_removed), ("a near duplicate", facts.data.near_removed))
    counts = [
        f"{removed[k]:,} {of} rows with {kind} in {other}"
        for kind, removed in kinds
        for k, of, other in _LEAKS
        if k in removed
    ]
    if not counts:
        return ""
    became = "stayed, since the gate was off" if facts.data.leak_gate == "off" else "were removed"
    near = "near duplicates stayed"
    if facts.data.leak_gate == "near":
        near = f"a near duplicate has nearly the same letters (a cosine of {NEAR} or more)"
    return (
        f"Leak gate, before training: {'; '.join(counts)} {became}. A duplicate is the same text after "
        f"normalising case, user names, links and spaces; {near}."
    )


def training_table(facts: CardFacts) -> str:
    """Return how it was trained and what that took."""
    recipe, machine = facts.recipe, facts.machine
    batch = recipe.batch_size * recipe.gradient_accumulation_steps
    schedule = f"{recipe.epochs:g}, {recipe.learning_rate:g}" + (f", batches of {batch}" if batch else "")
    cut = {**facts.truncated, **({"test": facts.evaluation.truncated} if facts.evaluation else {})}
    counts = ", ".join(f"{n:,} {escape(name)}" for name, n in cut.items())
    starts = facts.history.starts if facts.history else 1
    again = f"; of the last of {starts} starts, since the run was interrupted" if starts > 1 else ""
    phases = ", ".join(f"{escape(name)} {in_words(s)}" for name, s in facts.duration_s.items())
    memory = f", {machine.memory_gb:g} GB" if machine.memory_gb else ""
    gpu = f", {escape(machine.gpu)}" if machine.gpu else ""
    processor = escape(machine.processor or machine.platform)
    rows = (
        ("recipe", escape(recipe.name or "unnamed"), facts.settings),
        ("method", _method(facts), recipe.method),
        ("epochs, learning rate", schedule, recipe.epochs and recipe.learning_rate),
        (
            "texts cut at their end",
            f"{counts} (longer than {recipe.max_length} tokens)",
            counts and recipe.max_length,
        ),
        ("seed", f"{facts.seed}", facts.seed is not None),
        ("time", f"{in_words(facts.seconds)} ({phases}{again})", facts.seconds),
        ("machine", f"{machine.cores} cores of {processor}{memory}{gpu}", machine.cores),
        ("base revision", code(facts.base.revision), facts.base.revision),
        (
            "versions",
            ", ".join(f"{escape(k)} {escape(v)}" for k, v in facts.versions.items()),
            facts.versions,
        ),
    )
    shown = [[name, words] for name, words, known in rows if known]
    return table(["", ""], shown, left=2) if shown else ""


def _method(facts: CardFacts) -> str:
    recipe, trunk, depth = facts.recipe, facts.trunk_layers, facts.depth
    rank = f", rank {recipe.lora_r}" if recipe.lora_r else ""
    how = f"LoRA{rank}" if recipe.method == "lora" else "all weights"
    if not depth:
        return how
    return (
        f"{how} on the upper {depth - trunk} of {depth} layers" if trunk else f"{how} on all {depth} layers"
    )


def curve_sentence(facts: CardFacts) -> str:
    """Say which check on validation was the best, since its weights are kept, and what the last one gave."""
    curve = facts.history.validation.get("macro-F1") if facts.history else None
    if not curve:
        return ""
    epoch, best = max(curve, key=lambda point: (point[1], -point[0]))
    return (
        f"Kept are the weights of the best of {len(curve)} checks on the validation split, after epoch "
        f"{epoch:g} (macro-F1 {100 * best:.1f}); the last check gave {100 * curve[-1][1]:.1f}."
    )


def recipe_block(facts: CardFacts) -> str:
    """Return the recipe's settings as TOML; base and data set as they were taken, unless they were paths."""
    source = facts.data.source
    data = f"{source.hub_id}:{source.config}" if source.config else source.hub_id
    taken = {
        "base": "embedded" if facts.base.quantised else facts.base.hub_id,
        "dataset": "embedded" if source.kind == "embedded" else data,
    }
    settings = {k: taken.get(k, v) for k, v in facts.settings.items() if k not in ("name", "description")}
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in settings.items() if value is not None)


# --- examples


def examples_table(facts: CardFacts) -> str:
    """Return the sentences with both answers, and a mark where an answer is not the expected one."""
    labels = facts.examples.labels
    if not facts.examples.examples:
        return ""
    judged = expected_label("positive", labels) is not None

    def shown(answer: Answer | None, expected: str | None) -> str:
        if not answer:
            return "-"
        chance = answer.probabilities[labels.index(answer.label)]
        wrong = expected is not None and answer.label != expected
        return f"{escape(answer.label)} {chance:.2f}{' ❌' if wrong else ''}"

    rows = []
    for one in facts.examples.examples:
        expected = expected_label(one.sentiment, labels)
        middle = [escape(expected or "-")] if judged else []
        answers = (shown(one.base, expected), shown(one.tuned, expected))
        rows.append([escape(one.group), escape(one.text), *middle, *answers])
    head = ["", "sentence", *(["expected"] if judged else []), "base", "fine-tuned"]
    return table(head, rows, left=len(head))


def examples_sentence(facts: CardFacts) -> str:
    """Count by group what came out as expected."""
    labels = facts.examples.labels
    judged = [one for one in facts.examples.examples if expected_label(one.sentiment, labels)]
    if not judged:
        return ""

    def right(side: str, some: Sequence[AnsweredExample]) -> int:
        answers = ((getattr(one, side), expected_label(one.sentiment, labels)) for one in some)
        return sum(answer is not None and answer.label == expected for answer, expected in answers)

    groups = []
    for name in dict.fromkeys(one.group for one in judged):
        some = [one for one in judged if one.group == name]
        groups.append(f"{escape(name)} {right('tuned', some)} of {len(some)}")
    base = f" (the base {right('base', judged)})" if any(one.base for one in judged) else ""
    total = f"As expected: {right('tuned', judged)} of {len(judged)}{base}; by group {', '.join(groups)}."
    return f"{total} So few sentences are examples, not a score."


def swaps_sentences(facts: CardFacts) -> list[str]:
    """Say how far the answers move when a sentence names another group of people."""
    sentences = []
    for name, side in (("the fine-tuned model", "tuned"), ("the base", "base")):
        answers = [(swap.who, answer) for swap in facts.examples.swaps if (answer := getattr(swap, side))]
        if found := spread(answers, facts.examples.labels):
            given = " and ".join(f"“{escape(label)}”" for label in found.labels_given)
            sentences.append(
                f"By {name}, the probability of “{escape(found.label)}” goes from {found.lowest:.2f} "
                f"({escape(found.lowest_who)}) to {found.highest:.2f} ({escape(found.highest_who)}); "
                f"the label given is {given}."
            )
    return sentences


def missing(facts: CardFacts, pictures: Sequence[str]) -> list[str]:
    """Name what this card can't tell, since the version that trained the model did not record it."""
    recorded = {
        "scores": facts.evaluation,
        "a bag of words on the same rows": bag_sentence(facts),
        "the calibration's bins": CALIBRATION in pictures,
        "the learning curves": CURVES in pictures,
        "answers to the sentences that show limits": facts.examples.examples,
        "recipe, data and machine": facts.settings,
    }
    return [name for name, there in recorded.items() if not there]
