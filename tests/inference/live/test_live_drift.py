"""Drift: silent on more of the same, and each figure awake to the change that it is for."""

import json
import random
import tomllib
from collections import Counter

import pytest

from inference.live.drift import DriftMeter, Reference, distance
from inference.live.reference import LENGTH_EDGES, length_bin, main_script, reference_of
from tests.support import REPOSITORY, WORDS, tweets


def tokens_of(texts, tokenizer):
    return [tokenizer(text)["input_ids"] for text in texts]


@pytest.fixture(scope="module")
def reference(tiny_tokenizer):
    texts = [text for text, _ in tweets(600, seed=1)]
    rng = random.Random(0)
    confidences = [rng.uniform(0.7, 1.0) for _ in range(300)]
    return reference_of(texts, tokens_of(texts, tiny_tokenizer), confidences=confidences)


def verdict(reference, tokenizer, texts, *, confidence=(0.7, 1.0), recent=1_000):
    meter, rng = DriftMeter(reference, recent=recent), random.Random(1)
    for text, ids in zip(texts, tokens_of(texts, tokenizer), strict=True):
        meter.add(text, token_ids=ids, confidence=rng.uniform(*confidence))
    return meter.verdict()


def levels(drift):
    return {finding.name: finding.level for finding in drift.findings}


def test_more_of_the_same_is_alike(reference, tiny_tokenizer):
    drift = verdict(reference, tiny_tokenizer, [text for text, _ in tweets(500, seed=99)])
    assert drift.level == "alike", drift.sentences()
    assert set(levels(drift).values()) == {"alike"}
    assert drift.sentences()[0] == "Posts look like the training texts (n = 500)."
    assert len(drift.sentences()) == 6


@pytest.mark.parametrize("weights", [(1, 1), (1, 9), (3, 4, 3), (1, 4, 3, 2), (1,) * 12])
@pytest.mark.parametrize("n", [60, 600])
def test_chance_passes_its_limit_in_one_case_of_twenty_at_most(weights, n):
    """And not never: the limit is no larger than it need be."""
    rng, bins, passed, high = random.Random(n), range(len(weights)), 0, 0
    for _ in range(1_000):
        then, now = (Counter(rng.choices(bins, weights, k=k)) for k in (600, n))
        gap, chance = distance(then, now)
        passed += gap > chance
        high += gap > chance / 2
    assert passed <= 65
    assert high > 100


def test_a_gap_that_chance_makes_is_no_drift(reference, tiny_tokenizer):
    """Of 50 posts a tenth and more may be of another length than in training by chance alone."""
    drifts = [verdict(reference, tiny_tokenizer, [t for t, _ in tweets(50, seed=n)]) for n in range(20, 50)]
    assert sum(drift.findings[0].gap >= 0.10 for drift in drifts) > 6
    assert sum(drift.level != "alike" for drift in drifts) <= 3


def test_too_few_posts_are_not_judged(reference, tiny_tokenizer):
    drift = verdict(reference, tiny_tokenizer, ["what a day"] * 49)
    assert drift.level == "unknown"
    assert drift.sentences() == ("Too few posts to tell: 49 of the 50 that it takes.",)


def test_long_posts_are_told(reference, tiny_tokenizer):
    drift = verdict(reference, tiny_tokenizer, [f"{a} {a} {a}" for a, _ in tweets(200, seed=5)])
    assert levels(drift)["length"] == "different"
    assert levels(drift)["script"] == levels(drift)["letters"] == "alike"
    [length] = [finding for finding in drift.findings if finding.name == "length"]
    assert length.live > 2 * length.reference
    assert "tokens long on average" in length.sentence


def test_another_script_is_told(reference, tiny_tokenizer):
    rng = random.Random(2)
    words = ["это", "был", "очень", "хороший", "день", "спасибо", "всем"]
    russian = [" ".join(rng.choices(words, k=6)) for _ in range(100)]
    drift = verdict(reference, tiny_tokenizer, russian)
    assert levels(drift)["script"] == levels(drift)["letters"] == "different"
    assert levels(drift)["tokens"] == "different"
    [script] = [finding for finding in drift.findings if finding.name == "script"]
    assert script.sentence == (
        "0% of the posts are in Latin script, against 100% in training; others: Cyrillic 100%."
    )
    assert drift.sentences()[0].startswith(
        "Posts differ from the training texts, so check some answers by eye"
    )


def test_another_language_of_the_same_script_is_told_by_its_letters(reference, tiny_tokenizer):
    rng = random.Random(3)
    texts = tomllib.loads((REPOSITORY / "ui" / "texts" / "pt-BR.toml").read_text(encoding="utf-8"))
    lines = [line for part in texts.values() if isinstance(part, dict) for line in part.values()]
    words = [word for line in lines if isinstance(line, str) for word in line.split() if word.isalpha()]
    drift = verdict(reference, tiny_tokenizer, [" ".join(rng.choices(words, k=8)) for _ in range(200)])
    assert levels(drift)["script"] == "alike"
    assert levels(drift)["letters"] == "different"


def test_a_model_that_is_less_sure_is_told(reference, tiny_tokenizer):
    same = [text for text, _ in tweets(300, seed=98)]
    drift = verdict(reference, tiny_tokenizer, same, confidence=(0.4, 0.8))
    assert [name for name, level in levels(drift).items() if level != "alike"] == ["confidence"]
    assert drift.findings[-1].sentence == (
        "The model is 60% sure of its answers on average, against 85% on held-out texts."
    )


def test_only_the_recent_posts_count(reference, tiny_tokenizer):
    texts = ["привет всем"] * 200 + [text for text, _ in tweets(200, seed=97)]
    drift = verdict(reference, tiny_tokenizer, texts, recent=200)
    assert (drift.n, drift.level) == (200, "alike")


def test_hostile_posts_are_taken(reference, tiny_tokenizer):
    hostile = ["", "\u202e\u202e", "a" * 100_000, "\u0301" * 5_000, "\U0001f600" * 50, "\x00\x1b[31m"] * 10
    meter = DriftMeter(reference)
    for text in hostile:
        meter.add(text, token_ids=[0, 10**7], confidence=0.5)
    meter.add("lone \ud800 half", token_ids=[], confidence=0.5)
    assert meter.verdict().level == "different"


def test_the_reference_survives_json_is_small_and_holds_no_text(reference, tiny_tokenizer):
    record = json.dumps(reference.to_json())
    assert len(record) < 40_000
    words = {word for row in WORDS.values() for word in row} | {"friend", "really", "today"}
    assert not [word for word in words if word in record]
    again = Reference.from_json(json.loads(record))
    assert again == reference
    texts = ["love this #life"] * 60
    assert verdict(again, tiny_tokenizer, texts) == verdict(reference, tiny_tokenizer, texts)


def test_a_reference_without_confidences_compares_the_other_four(tiny_tokenizer):
    texts = [text for text, _ in tweets(200)]
    small = reference_of(texts, tokens_of(texts, tiny_tokenizer))
    drift = verdict(small, tiny_tokenizer, texts)
    assert [finding.name for finding in drift.findings] == ["length", "script", "letters", "tokens"]
    with pytest.raises(ValueError, match="at least one training text"):
        reference_of([], [])


def test_bins_scripts_and_distance():
    assert [length_bin(n) for n in (0, 3, 4, 255, 256, 9_999)] == [0, 0, 1, 12, 13, 13]
    assert len(LENGTH_EDGES) == 13
    assert main_script("hello мир привет") == "CYRILLIC"
    assert main_script("東京タワー 京都") == "CJK"
    assert main_script("123 😍") == "none"
    assert main_script("𝓱𝓮𝓵𝓵𝓸 ｆｕｌｌ") == "LATIN"
    gap, chance = distance({"a": 50, "b": 50}, {"a": 100, "b": 0})
    assert gap == 0.5 and chance < 0.15
    assert distance({"a": 3, "b": 1}, {"a": 300, "b": 100})[0] == 0
