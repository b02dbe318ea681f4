"""Drift: silent on more of the same, awake to the change each figure is for; and the reference on disk."""

import json
import random
import shutil
import tomllib
from collections import Counter

import pytest

from inference import reference as module
from inference.artifact import REFERENCE
from inference.classifier import Classifier
from inference.common.errors import ArtifactError
from inference.live.drift import DriftMeter, distance
from inference.reference import LENGTH_EDGES, length_bin, load_reference, reference_of, save_reference
from tests.inference.test_before import BEFORE
from tests.support import REPOSITORY, WORDS, tweets
from training.data.load import DataSpec, load_splits


def tokens_of(texts, tokenizer):
    return [tokenizer(text)["input_ids"] for text in texts]


@pytest.fixture(scope="module")
def reference(tiny_tokenizer):
    texts = [text for text, _ in tweets(600, seed=1)]
    rng = random.Random(0)
    confidences = [rng.uniform(0.7, 1.0) for _ in range(300)]
    return reference_of(tokens_of(texts, tiny_tokenizer), confidences=confidences)


def verdict(reference, tokenizer, texts, *, confidence=(0.7, 1.0), recent=1_000):
    meter, rng = DriftMeter(reference, recent=recent), random.Random(1)
    for ids in tokens_of(texts, tokenizer):
        meter.add(ids, confidence=rng.uniform(*confidence))
    return meter.verdict()


def levels(drift):
    return {finding.name: finding.level for finding in drift.findings}


def test_more_of_the_same_is_alike(reference, tiny_tokenizer):
    drift = verdict(reference, tiny_tokenizer, [text for text, _ in tweets(500, seed=99)])
    assert (drift.n, drift.level) == (500, "alike")
    assert levels(drift) == {"length": "alike", "tokens": "alike", "confidence": "alike"}


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
    drifts, large = [], 0
    for seed in range(20, 50):
        ids = tokens_of([text for text, _ in tweets(50, seed=seed)], tiny_tokenizer)
        lengths = Counter(length_bin(len(each)) for each in ids)
        large += distance(dict(enumerate(reference.lengths)), lengths)[0] >= 0.10
        drifts.append(verdict(reference, tiny_tokenizer, [text for text, _ in tweets(50, seed=seed)]))
    assert large > 6
    assert sum(drift.level != "alike" for drift in drifts) <= 3


def test_too_few_posts_are_not_judged(reference, tiny_tokenizer):
    drift = verdict(reference, tiny_tokenizer, ["what a day"] * 49)
    assert (drift.n, drift.level, drift.findings) == (49, "unknown", ())


def test_long_posts_are_noticed(reference, tiny_tokenizer):
    drift = verdict(reference, tiny_tokenizer, [f"{a} {a} {a}" for a, _ in tweets(200, seed=5)])
    assert levels(drift) == {"length": "different", "tokens": "alike", "confidence": "alike"}
    assert drift.findings[0].live > 2 * drift.findings[0].reference


def test_another_script_or_language_is_noticed_by_its_tokens(reference, tiny_tokenizer):
    rng = random.Random(3)
    russian = ["это", "был", "очень", "хороший", "день", "спасибо", "всем"]
    texts = tomllib.loads((REPOSITORY / "ui" / "texts" / "pt-BR.toml").read_text(encoding="utf-8"))
    lines = [line for part in texts.values() if isinstance(part, dict) for line in part.values()]
    portuguese = [word for line in lines if isinstance(line, str) for word in line.split() if word.isalpha()]
    for words in (russian, portuguese):
        drift = verdict(reference, tiny_tokenizer, [" ".join(rng.choices(words, k=8)) for _ in range(200)])
        assert levels(drift)["tokens"] == drift.level == "different"


def test_a_model_that_is_less_sure_is_noticed(reference, tiny_tokenizer):
    same = [text for text, _ in tweets(300, seed=98)]
    drift = verdict(reference, tiny_tokenizer, same, confidence=(0.4, 0.8))
    assert [name for name, level in levels(drift).items() if level != "alike"] == ["confidence"]
    assert drift.findings[-1].live == pytest.approx(0.6, abs=0.02)
    assert drift.findings[-1].reference == pytest.approx(0.85, abs=0.02)


def test_only_the_recent_posts_count(reference, tiny_tokenizer):
    texts = ["привет всем"] * 200 + [text for text, _ in tweets(200, seed=97)]
    drift = verdict(reference, tiny_tokenizer, texts, recent=200)
    assert (drift.n, drift.level) == (200, "alike")


def test_without_confidences_the_other_two_are_compared(tiny_tokenizer):
    texts = [text for text, _ in tweets(200)]
    drift = verdict(reference_of(tokens_of(texts, tiny_tokenizer)), tiny_tokenizer, texts)
    assert list(levels(drift)) == ["length", "tokens"]
    with pytest.raises(ValueError, match="at least one training text"):
        reference_of([])


def test_bins_and_distance():
    assert [length_bin(n) for n in (0, 3, 4, 255, 256, 9_999)] == [0, 0, 1, 12, 13, 13]
    assert len(LENGTH_EDGES) == 13
    gap, chance = distance({0: 50, 1: 50}, {0: 100, 1: 0})
    assert gap == 0.5 and chance < 0.15
    assert distance({0: 3, 1: 1}, {0: 300, 1: 100})[0] == 0


# What an artifact keeps of its training texts


def test_every_run_writes_a_reference_and_posts_of_its_data_are_alike(trained_gpt2):
    splits = load_splits(DataSpec(dataset=str(trained_gpt2.data), n_train=200))
    found = load_reference(trained_gpt2.artifact)
    assert found.n == len(splits.train) == 200
    assert found.confidence_n == trained_gpt2.run.evaluation().n
    classifier = Classifier.load(trained_gpt2.artifact)
    lengths = classifier.encode(splits.train["text"]).lengths
    assert found.mean_length == pytest.approx(sum(lengths) / 200)
    meter, texts = DriftMeter(found), [text for text, _ in tweets(360)]
    for ids, answer in zip(classifier.encode(texts).token_ids, classifier.predict(texts), strict=True):
        meter.add(ids, confidence=max(answer.probabilities))
    assert meter.verdict().level == "alike"


def test_a_reference_of_an_older_version_is_read(tmp_path):
    shutil.copy(BEFORE / "run" / "artifact" / REFERENCE, tmp_path)
    assert {"scripts", "letters"} <= json.loads((tmp_path / REFERENCE).read_text()).keys()
    found = load_reference(tmp_path)
    assert found.n == 200 and found.known_ids()
    save_reference(found, tmp_path)
    assert load_reference(tmp_path) == found


def test_the_file_of_a_run_is_small_and_holds_no_word_of_its_texts(trained_gpt2):
    content = (trained_gpt2.artifact / REFERENCE).read_text(encoding="utf-8")
    assert len(content) < 12_000
    words = {word for row in WORDS.values() for word in row} | {"friend", "really", "today"}
    assert not [word for word in words if word in content]


def test_what_two_texts_have_leaves_no_trace():
    """A secret said once or twice can't be told from one that was never said; said three times it can."""
    ids = [list(text.encode()) for text, _ in tweets(300)]
    for times in (1, 2, 3):
        assert (7 in reference_of([*ids, *([[7]] * times)]).known_ids()) == (times == 3)


def test_of_many_texts_a_sample_is_counted(monkeypatch):
    monkeypatch.setattr(module, "MOST_TEXTS", 50)
    ids = [list(text.encode()) for text, _ in tweets(300)]
    found, again, other = (reference_of(ids, seed=seed) for seed in (0, 0, 1))
    assert found.n == sum(found.lengths) == 50
    assert found == again != other


def test_an_artifact_may_have_none(tmp_path):
    assert load_reference(tmp_path) is None


BROKEN = [
    {"n": 0},
    {"n": "300"},
    {"n": True},
    {"lengths": [300]},
    {"lengths": None},
    {"lengths": [1.5] * 14},
    {"lengths": [-1] * 14},
    {"lengths": [10**400] * 14},
    {"mean_length": "x"},
    {"mean_length": float("nan")},
    {"mean_length": 10**400},
    {"known_tokens": "é"},
    {"known_tokens": "abc"},
    {"known_tokens": 5},
    {"known_tokens": "A" * 10**5},
    {"confidence": "high"},
    {"unknown_share": None},
    {"more": 1},
    {"out_of_scope_above": "0.5"},
    {"out_of_scope_n": -1},
]


@pytest.mark.parametrize("change", BROKEN, ids=lambda change: str(change)[:40])
def test_a_strangers_file_is_sound_or_refused(reference, tmp_path, change):
    (tmp_path / REFERENCE).write_text(json.dumps(reference.model_dump() | change), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"reference\.json can't be used \(.*\)\. Train again"):
        load_reference(tmp_path)


def test_a_missing_figure_and_a_torn_file_are_refused(reference, tmp_path):
    record = reference.model_dump()
    del record["lengths"]
    (tmp_path / REFERENCE).write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"can't be used \(lengths: "):
        load_reference(tmp_path)
    (tmp_path / REFERENCE).write_text('{"n": 3', encoding="utf-8")
    with pytest.raises(ArtifactError, match="can't be read"):
        load_reference(tmp_path)


def test_hostile_posts_are_taken(reference, tiny_tokenizer):
    hostile = ["", "\u202e\u202e", "a" * 10_000, "\u0301" * 500, "\U0001f600" * 50, "\x00\x1b[31m"] * 10
    meter = DriftMeter(reference)
    for ids in tokens_of(hostile, tiny_tokenizer):
        meter.add([*ids, 10**7], confidence=0.5)
    meter.add([], confidence=0.5)
    assert meter.verdict().level == "different"
