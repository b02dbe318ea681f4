"""Pairs are corrected for each other, and each says what it could have shown."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from inference.common.intervals import Interval
from training.evaluate.metrics import scores
from training.ladder.pictures import cost_of, cost_picture, intervals_picture, pareto_front
from training.ladder.results import Ladder, StepResult, pairs_of, smallest_difference, to_csv

LABELS = ("a", "b")
TRUTH = [0, 1] * 200


def answers(*, wrong):
    """Return probabilities that are right but for these rows."""
    found = np.array([[0.9, 0.1] if label == 0 else [0.1, 0.9] for label in TRUTH])
    found[list(wrong)] = found[list(wrong)][:, ::-1]
    return found


SYSTEMS = {
    "poor": answers(wrong=range(200)),
    "good": answers(wrong=range(40)),
    "as good": answers(wrong=range(5, 44)),
    "same": answers(wrong=range(40)),
}


def result(name, accuracy, *, ms=1.0, labels=0, minutes=0.0):
    return StepResult(
        name=name,
        rung=name,
        about="",
        labels_used=labels,
        n=400,
        scores=scores(TRUTH, answers(wrong=range(round(400 * (1 - accuracy)))), LABELS),
        calibration_error_after=Interval(0.01, 0.0, 0.02),
        temperature=1.1,
        minutes_to_prepare=minutes,
        ms_a_tweet=ms,
        usd_a_thousand=ms / 1e6,
        peak_memory_mb=None,
        truncated=0,
        dropped=0,
        weights_sha256="0" * 64,
    )


def test_holm_corrects_all_pairs_and_each_has_one_plain_sentence():
    pairs = pairs_of(list(SYSTEMS), TRUTH, SYSTEMS, seed=1)
    found = {(pair.comparison.first, pair.comparison.second): pair for pair in pairs}
    assert len(found) == 6
    p = sorted(pair.comparison.mcnemar_p for pair in pairs)
    assert pairs[0].holm_p == pytest.approx(min(1, 6 * p[0])), "the smallest is multiplied by all"
    assert all(pair.holm_p >= pair.comparison.mcnemar_p for pair in pairs)
    assert found["poor", "good"].real
    assert found["poor", "good"].sentence.startswith("The good is better: 160 tweets only it gets right")
    assert "McNemar p < 0.001 by Holm for 6 pairs" in found["poor", "good"].sentence
    close = found["good", "as good"]
    assert not close.real and close.sentence.startswith("No difference shown")
    assert "points is the least that this test could have shown" in close.sentence or (
        "too few rows" in close.sentence
    )
    assert found["good", "same"].smallest_difference is None
    assert "too few rows" in found["good", "same"].sentence


@pytest.mark.parametrize("disagreeing", [7, 30, 211])
def test_the_smallest_difference_is_found_in_four_of_five_cases(disagreeing):
    n, level = 1000, 0.05
    found = smallest_difference(disagreeing, n, level=level)
    share = (found * n / disagreeing + 1) / 2
    wins = np.arange(disagreeing + 1)
    shown = [w for w in wins if w > disagreeing / 2 and binomtest(int(w), disagreeing).pvalue < level]
    assert sum(binom.pmf(shown, disagreeing, share)) == pytest.approx(0.8, abs=1e-6)
    assert found <= disagreeing / n
    stricter = smallest_difference(disagreeing, n, level=level / 10)
    assert stricter is None or stricter > found


def test_too_few_rows_can_show_nothing():
    assert smallest_difference(0, 400, level=0.05) is None
    assert smallest_difference(5, 400, level=0.05) is None
    assert smallest_difference(6, 400, level=0.05) is not None


def made(**more):
    steps = (
        result("majority", 0.4, ms=0.01),
        result("zero-shot", 0.6, ms=50),
        result("few", 0.55, ms=80, labels=12),
        result("lora", 0.75, ms=60, labels=1000, minutes=4),
    )
    return Ladder(labels=LABELS, n=400, n_validation=100, steps=steps, **more)


def test_a_ladder_is_the_same_after_json_and_has_a_line_a_step_in_csv():
    ladder = made(left_out={"full": "no room"}, base={"name": "b", "sha256": "1"})
    assert Ladder._known(json.loads(json.dumps(ladder.to_json()))) == ladder
    assert [step.name for step in ladder.ranked] == ["lora", "zero-shot", "few", "majority"]
    lines = to_csv(ladder).splitlines()
    assert len(lines) == 5 and "accuracy_low" in lines[0]


def test_the_front_holds_what_no_other_beats_in_both():
    ladder = made()
    assert [step.name for step in pareto_front(ladder, "ms")] == ["majority", "zero-shot", "lora"]
    assert [step.name for step in pareto_front(ladder, "labels")] == ["zero-shot", "lora"]
    assert cost_of(ladder.steps[3], "minutes") == 4


def test_pictures_are_the_same_bytes_from_the_same_numbers():
    ladder = made()
    assert intervals_picture(ladder) == intervals_picture(ladder)
    for cost in ("ms", "labels", "minutes", "money"):
        assert cost_picture(ladder, cost).startswith(b"\x89PNG")
    alone = Ladder(labels=LABELS, n=400, n_validation=0, steps=ladder.steps[:1])
    assert intervals_picture(alone) and cost_picture(alone, "labels")
    assert "nothing to compare" in alone.headline
    two = {name: SYSTEMS[name] for name in ("good", "same")}
    pairs = pairs_of(list(two), TRUTH, two, seed=1)
    steps = tuple(result(name, 0.9) for name in two)
    named = Ladder(labels=LABELS, n=400, n_validation=0, steps=steps, pairs=pairs)
    assert named.headline.startswith("good and same: no difference shown: both get the same tweets right")


def test_the_headline_says_whether_labels_were_worth_it():
    names = ("poor", "same", "good")
    pairs = pairs_of(list(names), TRUTH, {name: SYSTEMS[name] for name in names}, seed=1)
    steps = [result(name, value) for name, value in zip(names, (0.5, 0.8, 0.9), strict=True)]

    def headline(*labels):
        own = tuple(replace(step, labels_used=n) for step, n in zip(steps, labels, strict=True))
        return Ladder(labels=LABELS, n=400, n_validation=0, steps=own, pairs=pairs).headline

    next_one = headline(100, 100, 100)
    assert next_one.startswith("good and same: ") and "poor" not in next_one
    assert headline(0, 100, 100).startswith(
        f"{next_one} good and poor, the best without labels: the good is better: "
    )
    assert headline(0, 0, 100).startswith("good and same, the best without labels: "), "once, not twice"
    assert headline(0, 100, 0) == next_one, "the best has no labels itself"


def test_the_nearest_examples_are_compared_with_as_many_drawn_ones():
    names = ("few-shot-4", "retrieval-words-1000", "retrieval-features-1000")
    answered = dict(zip(names, (SYSTEMS["good"], SYSTEMS["poor"], SYSTEMS["as good"]), strict=True))
    pairs = pairs_of(names, TRUTH, answered, seed=1)

    def ladder(k):
        steps = [
            replace(result("few-shot-4", 0.9, labels=12), about="12 examples"),
            replace(result(names[1], 0.5, labels=1000), about=f"the {k} nearest of 1,000 labelled texts"),
            replace(result(names[2], 0.8, labels=1000), about=f"the {k} nearest of 1,000 labelled texts"),
        ]
        steps = [replace(step, rung=step.name.removesuffix("-1000")) for step in steps]
        return Ladder(labels=LABELS, n=400, n_validation=0, steps=tuple(steps), pairs=pairs)

    said = ladder(12).sentences()[1]
    assert said.startswith("12 examples in the prompt, the nearest (retrieval-features-1000) or drawn ones")
    assert "(few-shot-4): no difference shown" in said and "least that this test could have shown" in said
    assert ladder(8).sentences() == [ladder(8).headline], "another number is another question"
    assert made().nearest_or_drawn == ""
