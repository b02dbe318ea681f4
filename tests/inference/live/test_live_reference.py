"""What an artifact keeps of its training texts: written by every run, counts alone, sound or refused."""

import dataclasses
import json
import random

import pytest

from inference.artifact import REFERENCE
from inference.classifier import Classifier
from inference.common.errors import ArtifactError
from inference.live import reference as module
from inference.live.drift import DriftMeter, load_reference
from inference.live.reference import Reference, letter_patterns, reference_of, save_reference
from tests.support import WORDS, tweets
from training.data.load import DataSpec, load_splits


def tokens_of(texts):
    """Return the bytes of texts as token ids."""
    return [list(text.encode()) for text in texts]


@pytest.fixture(scope="module")
def small():
    texts = [text for text, _ in tweets(300)]
    return reference_of(texts, tokens_of(texts), confidences=[0.7, 0.9])


def test_every_run_writes_a_reference_and_posts_of_its_data_are_alike(trained_gpt2):
    splits = load_splits(DataSpec(dataset=str(trained_gpt2.data), n_train=200))
    found = load_reference(trained_gpt2.artifact)
    assert found.n == len(splits.train) == 200
    assert found.confidence_n == trained_gpt2.run.evaluation().n
    assert found.scripts == {"LATIN": 200}
    classifier = Classifier.load(trained_gpt2.artifact)
    assert classifier.folder == trained_gpt2.artifact
    lengths = classifier.encode(splits.train["text"]).lengths
    assert found.mean_length == pytest.approx(sum(lengths) / 200)
    meter, texts = DriftMeter(found), [text for text, _ in tweets(360)]
    predictions = classifier.predict(texts)
    for text, ids, said in zip(texts, classifier.encode(texts).token_ids, predictions, strict=True):
        meter.add(text, token_ids=ids, confidence=max(said.probabilities))
    assert meter.verdict().level == "alike", meter.verdict().sentences()


def test_the_file_of_a_run_holds_no_word_of_its_texts(trained_gpt2):
    content = (trained_gpt2.artifact / REFERENCE).read_text(encoding="utf-8")
    assert len(content) < 40_000
    assert not [word for row in WORDS.values() for word in row if word in content]


def test_what_two_texts_have_leaves_no_trace(small):
    """A secret said once or twice can't be told from one that was never said; said three times it can."""
    texts = [text for text, _ in tweets(300)]
    new = set(letter_patterns("zyxquw")) - {p for text in texts for p in letter_patterns(text)}
    assert new
    for times in (1, 2, 3):
        with_secret = [*texts, *(["zyxquw \x07"] * times)]
        found = reference_of(with_secret, tokens_of(with_secret))
        assert (7 in found.known) == (times == 3)
        assert any(found.letters[p] for p in new) == (times == 3)


def test_of_many_texts_a_sample_is_counted(monkeypatch):
    monkeypatch.setattr(module, "MOST_TEXTS", 50)
    texts = [text for text, _ in tweets(300)]
    found, again, other = (reference_of(texts, tokens_of(texts), seed=seed) for seed in (0, 0, 1))
    assert found.n == sum(found.lengths) == 50
    assert found == again != other


def test_it_is_saved_and_loaded_and_may_be_missing(small, tmp_path):
    assert load_reference(tmp_path) is None
    save_reference(small, tmp_path)
    assert load_reference(tmp_path) == small


BROKEN = [
    {"n": 0},
    {"n": "300"},
    {"n": True},
    {"lengths": [300]},
    {"lengths": None},
    {"letters": [1] * 7},
    {"letters": [-1] * 4096},
    {"letters": [1.5] * 4096},
    {"letters_limit": float("nan")},
    {"mean_length": "x"},
    {"known_tokens": "é"},
    {"known_tokens": "abc"},
    {"known_tokens": 5},
    {"known_tokens": "A" * 10**5},
    {"scripts": {}},
    {"scripts": []},
    {"scripts": {"LATIN": 7}},
    {"confidence": "high"},
    {"more": 1},
    {"unknown_share": None},
    {"letters": [10**400] * 4096},
    {"mean_length": 10**400},
]


@pytest.mark.parametrize("change", BROKEN, ids=lambda change: str(change)[:40])
def test_a_strangers_file_is_sound_or_refused(small, tmp_path, change):
    record = small.to_json() | change
    (tmp_path / REFERENCE).write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(
        ArtifactError, match=r"reference\.json can't be used \(it is no reference.*Train again"
    ):
        load_reference(tmp_path)


def test_a_missing_figure_and_a_torn_file_are_refused(small, tmp_path):
    record = small.to_json()
    del record["letters"]
    (tmp_path / REFERENCE).write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ArtifactError, match="can't be used"):
        load_reference(tmp_path)
    (tmp_path / REFERENCE).write_text('{"n": 3', encoding="utf-8")
    with pytest.raises(ArtifactError, match="can't be read"):
        load_reference(tmp_path)


def test_what_is_taken_as_sound_never_breaks_the_meter(small):
    rng = random.Random(0)
    for _ in range(20):
        letters = tuple(rng.choice((0, 1, 10**9)) for _ in small.letters)
        odd = dataclasses.replace(small, letters=letters, letters_limit=rng.uniform(0, 30))
        meter = DriftMeter(Reference.from_json(odd.to_json()))
        for text in ["", "what a day", "день"] * 20:
            meter.add(text, token_ids=[1, 2], confidence=1.0)
        assert meter.verdict().sentences()
