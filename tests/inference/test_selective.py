"""A threshold keeps what it was chosen for; rows that are as sure are answered together; none may do."""

import json
import os
from dataclasses import asdict

import numpy as np
import pytest

from inference.common.errors import PredictionError
from inference.selective import asked_threshold, coverage_curve, selective, threshold_for


def rows(count, *, seed):
    """Return labels and probabilities of a well calibrated model of two labels."""
    random = np.random.default_rng(seed)
    confidence = random.uniform(0.5, 1, count)
    said = random.integers(0, 2, count)
    truth = np.where(random.random(count) < confidence, said, 1 - said)
    chances = np.where(said[:, None] == np.arange(2), confidence[:, None], 1 - confidence[:, None])
    return truth.tolist(), chances


def test_the_threshold_gives_the_asked_precision_on_other_rows():
    threshold = threshold_for(*rows(4000, seed=1), precision=0.9)
    found = selective(*rows(4000, seed=2), threshold=threshold, precision=0.9)
    assert threshold == pytest.approx(0.8, abs=0.04), "from 0.8 on, confidence is 0.9 on average"
    assert found.right.low < 0.9 < found.right.high
    assert found.answered.value == pytest.approx(0.4, abs=0.08)
    everything = threshold_for(*rows(4000, seed=1), precision=0.01)
    assert selective(*rows(50, seed=1), threshold=everything, precision=0.01).answered.value == 1


def test_where_no_threshold_will_do_nothing_is_answered():
    wrong = [1, 1, 1], [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]
    assert threshold_for(*wrong, precision=0.5) is None
    found = selective(*wrong, threshold=None, precision=0.5)
    assert (found.answered.value, found.right) == (0, None)
    above_all = selective(*wrong, threshold=0.95, precision=0.5)
    assert (above_all.answered.value, above_all.right) == (0, None)


def test_rows_that_are_as_sure_are_answered_together():
    truth, chances = [0, 0, 1, 1], [[0.9, 0.1], [0.8, 0.2], [0.8, 0.2], [0.6, 0.4]]
    assert threshold_for(truth, chances, precision=1.0) == 0.9
    assert threshold_for(truth, chances, precision=0.6) == 0.8
    assert [point.answered.value for point in coverage_curve(truth, chances)] == [0.25, 0.75, 1.0]
    assert [point.right.value for point in coverage_curve(truth, chances)] == pytest.approx([1, 2 / 3, 0.5])
    assert len(coverage_curve(*rows(4000, seed=3))) == 50


def recorded(folder, curve):
    (folder / "evaluation.json").write_text(json.dumps({"chosen_on": [asdict(point) for point in curve]}))
    return folder


def test_a_model_knows_by_its_record_when_to_abstain(tmp_path):
    truth, chances = rows(4000, seed=1)
    folder = recorded(tmp_path, coverage_curve(truth, chances))
    threshold = asked_threshold(folder, precision=0.9)
    exact = threshold_for(truth, chances, precision=0.9)
    assert threshold >= exact and threshold == pytest.approx(exact, abs=0.02), "of 50 points the next one"
    assert asked_threshold(folder) is None
    assert asked_threshold(None, abstain_below=0.7) == 0.7
    recorded(tmp_path, coverage_curve([0], [[0.6, 0.4]]))
    os.utime(tmp_path / "evaluation.json", (1, 1))
    assert asked_threshold(folder, precision=1.0) == 0.6, "another record counts at once"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"precision": 90}, r"precision is 90\. Give a share above 0 and up to 1, such as 0\.9\."),
        ({"precision": float("nan")}, "precision is nan"),
        ({"abstain_below": 0}, "abstain_below is 0"),
        ({"precision": 0.9, "abstain_below": 0.5}, "both say when to abstain. Give one of them"),
        (
            {"precision": 0.95},
            r"No threshold makes 95 % of the model's answers right; the most .* is 50\.0 %",
        ),
    ],
)
def test_an_impossible_request_is_refused_in_one_sentence(asked, said, tmp_path):
    recorded(tmp_path, coverage_curve([0, 1], [[0.9, 0.1], [0.9, 0.1]]))
    with pytest.raises(PredictionError, match=said):
        asked_threshold(tmp_path, **asked)


@pytest.mark.parametrize(
    "record", [None, "{}", "[]", '{"chosen_on": [', '{"chosen_on": [{"threshold": "x"}]}', '{"chosen_on": 7}']
)
def test_a_model_without_a_record_is_refused_with_advice(record, tmp_path):
    if record:
        (tmp_path / "evaluation.json").write_text(record)
    with pytest.raises(PredictionError, match="no threshold is known for a precision"):
        asked_threshold(tmp_path, precision=0.9)
