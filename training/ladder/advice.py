"""Fine-tune, retrieve, or both? A recommendation in words, from a ladder on your own data.

    advice = advise(ladder, labels=1000, posts_a_day=50_000, changes_a_month=4, freshness=measured)
    advice.way, advice.sentences          # -> "retrieve", ("Retrieve: nearest-1000 …", …)

Each way is represented by its most accurate step with at most the labels at hand. A way that is not shown to
be worse than the best one is still in the race, and then the cheapest wins; the sentences say so. A subject
that changes costs nothing where an index is extended. What is trained has to be trained anew each time,
unless its model was measured to take up a new word from an index beside it (`training.ladder.freshness`).
"""

from dataclasses import dataclass
from typing import Literal

from inference.common.errors import DataError
from inference.common.wording import dollars, percent
from training.ladder.freshness import Freshness
from training.ladder.results import Ladder, StepResult

Way = Literal["prompt", "retrieve", "fine-tune", "both"]
WAYS: dict[str, Way] = {
    **dict.fromkeys(("retrieval-words", "retrieval-features", "nearest"), "retrieve"),
    **dict.fromkeys(("bag-of-words", "head", "contrastive", "lora", "full"), "fine-tune"),
    "both": "both",
}
"""The way of each rung; the others only ask the base, and `majority` is none."""
DAYS = 30


@dataclass(frozen=True)
class Advice:
    """A recommendation and the figures that it rests on."""

    way: Way
    step: StepResult
    sure: bool
    """Whether its accuracy is shown to be better than that of every other way."""
    usd_a_month: float
    sentences: tuple[str, ...]
    freshness: Freshness | None = None
    """The measurement with new words, None without one."""


def advise(
    ladder: Ladder,
    *,
    labels: int,
    posts_a_day: int,
    changes_a_month: float = 0.0,
    freshness: Freshness | None = None,
) -> Advice:
    """Recommend a way for so many labels, posts a day and changes of the subject a month.

    `freshness`: what a new word did to a model of the same data, where that was measured. Raises DataError
    where the ladder has nothing to choose between.
    """
    best = _best_of_each(ladder, labels)
    if len(best) < 2:
        raise DataError(
            f"The ladder has {len(best)} way(s) with at most {labels:,} labels, so there is no choice. "
            "Measure more rungs, such as zero-shot-batch,nearest,lora,both, or name more labels."
        )

    trainings = 1 + (0.0 if freshness and freshness.taken_up else changes_a_month)

    def month(step: StepResult) -> float:
        serving = step.usd_a_thousand * posts_a_day * DAYS / 1000
        trained = WAYS.get(step.rung) in ("fine-tune", "both")
        training = step.minutes_to_prepare / 60 * ladder.cores * ladder.price
        return serving + (training * trainings if trained else 0.0)

    top = max(best.values(), key=lambda step: step.scores.accuracy.value)
    worse = {way for way, step in best.items() if (pair := ladder.pair(step.name, top.name)) and pair.real}
    race = {way: step for way, step in best.items() if way not in worse}
    way, step = min(race.items(), key=lambda one: (month(one[1]), one[0] == "both"))
    accuracy = percent(step.scores.accuracy)
    sentences = [
        f"{way.capitalize()}: {step.name} is right on {accuracy} % of {step.n:,} test rows with "
        f"{step.labels_used:,} labels, and costs {dollars(month(step))} a month."
    ]
    for other_way, other in race.items():
        if other is not step:
            sentences.append(
                f"Can't tell yet whether {other_way} ({other.name}, {percent(other.scores.accuracy)} %, "
                f"{dollars(month(other))} a month) is better: {_pair(ladder, step, other)}"
            )
    for other_way, other in best.items():
        if other_way not in race:
            sentences.append(f"Not {other_way} ({other.name}): {_pair(ladder, other, top)}")
    sentences += _break_even(ladder, best, trainings)
    sentences += _news(freshness, changes_a_month)
    return Advice(way, step, len(race) == 1, month(step), tuple(sentences), freshness)


def _best_of_each(ladder: Ladder, labels: int) -> dict[Way, StepResult]:
    found: dict[Way, StepResult] = {}
    for step in ladder.ranked[::-1]:  # the most accurate comes last, and stays
        if step.rung != "majority" and step.labels_used <= labels:
            found[WAYS.get(step.rung, "prompt")] = step
    return found


def _pair(ladder: Ladder, one: StepResult, other: StepResult) -> str:
    pair = ladder.pair(one.name, other.name)
    return pair.sentence if pair else "they were not compared."


def _news(found: Freshness | None, changes_a_month: float) -> list[str]:
    """Say what a new word does to a model, and how a change of the subject is counted."""
    n = f"{changes_a_month:g} a month" if changes_a_month else "none is counted"
    each = f"each change of the subject ({n}) counts as a training."
    if found is None:
        return [
            "What a new word does to a fine-tuned model of this data is not measured (`python -m training "
            f"freshness RUN` does that), so {each}"
        ]
    sentence = f"Of {found.asked:,} texts with a new word {found.run} has {percent(found.before)} % right"
    if row := found.taken_up:
        sentence += f", and {percent(row.fresh)} % with {row.labels:,} labelled ones in its index."
        each = f"a change of the subject ({n}) takes labels for the index, and no training."
    else:
        sentence += ", and an index is not shown to mend that."
    trained = [found.sentences()[-1]] if any(row.how == "training" for row in found.rows) else []
    return [sentence, *trained, f"So {each}"]


def _break_even(ladder: Ladder, best: dict[Way, StepResult], trainings: float) -> list[str]:
    """Say from how many posts and labels on fine-tuning pays against retrieval."""
    if not {"retrieve", "fine-tune"} <= best.keys():
        return []
    tuned, index = best["fine-tune"], best["retrieve"]
    saved = (index.usd_a_thousand - tuned.usd_a_thousand) * DAYS / 1000  # a month, for each post a day
    training = tuned.minutes_to_prepare / 60 * ladder.cores * ladder.price * trainings
    less = "less than" if saved or training else "as much as"
    posts = (
        f"{tuned.name} costs less than {index.name} from {training / saved:,.0f} posts a day on."
        if saved > 0
        else f"{index.name} costs {less} {tuned.name} at any number of posts."
    )
    counts = [
        step.labels_used
        for step in ladder.steps
        for other in ladder.steps
        if WAYS.get(step.rung) == "fine-tune" and WAYS.get(other.rung) == "retrieve"
        if step.labels_used == other.labels_used
        if (pair := ladder.pair(step.name, other.name)) and pair.real
        if step.scores.accuracy.value > other.scores.accuracy.value
    ]
    labels = (
        f"Fine-tuning is shown to be better than retrieval with {min(counts):,} labels."
        if counts
        else "Fine-tuning is not shown to be better than retrieval with any measured number of labels."
    )
    return [posts, labels]
