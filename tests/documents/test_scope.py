"""Texts out of scope: how well scores separate them, and which texts are made."""

import re
from functools import partial

import pytest

import benchmarks.scope
from benchmarks.scope import TEXTS, outside

separation = partial(benchmarks.scope.separation, resamples=20)


def test_the_areas_are_those_of_the_scores_and_the_gain_is_paired():
    sure, unsure = [0.9, 0.8, 0.7, 0.6], [0.5, 0.4, 0.3, 0.2]
    found = separation((sure, [0.0] * 4), (unsure, [0.0] * 4))
    assert found["confidence"] == {"value": 1.0, "low": 1.0, "high": 1.0} == found["both"]
    assert found["unknown"]["value"] == 0.5 and found["gain"]["value"] == 0
    helped = separation((sure, [0.0] * 4), (sure, [0.5] * 4))
    assert helped["confidence"]["value"] == pytest.approx(0.5)
    assert helped["unknown"]["value"] == helped["both"]["value"] == 1 and helped["gain"]["low"] >= 0
    assert separation((sure, sure), (unsure, unsure)) == separation((sure, sure), (unsure, unsure))


def test_the_made_texts_are_the_same_each_time_and_are_what_they_are_called():
    found = outside()
    assert found == outside() and {len(texts) for texts in found.values()} == {TEXTS}
    assert all(re.fullmatch(r"[a-z0-9 ]{20,120}", text) for text in found["random characters"])
    assert sum(bool(re.search("[ãçéáõêóí]", text)) for text in found["another language"]) > TEXTS / 2
