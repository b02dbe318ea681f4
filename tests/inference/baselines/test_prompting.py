"""Zero- and few-shot: whole label words are scored, the prefix is computed once, calibration evens out."""

import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from inference.baselines import Average, Example
from inference.baselines.kept import hash_of, keep, load_kept
from inference.baselines.prompting import PROMPTS, Prompted, balanced
from inference.common.errors import ArtifactError, PredictionError
from tests.support import WORDS, tweets

LABELS = tuple(WORDS)
TEXTS = [text for text, _ in tweets(12, seed=5)]
ROWS = tweets(60, seed=6)
EXAMPLES = balanced(
    [text for text, _ in ROWS], [LABELS.index(label) for _, label in ROWS], LABELS, k=2, seed=1
)


@pytest.fixture
def base(tiny_base):
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(tiny_base)


def probabilities(predictor, texts=TEXTS):
    return np.array([prediction.probabilities for prediction in predictor.predict(texts)])


def plainly(model, tokenizer, prompt, word):
    """Return the mean log-probability of a word's tokens after a prompt's tokens, computed the long way."""
    ids = tokenizer.encode(f" {word}", add_special_tokens=False)
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *ids]])).logits[0].log_softmax(-1)
    return sum(float(logits[len(prompt) - 1 + at, token]) for at, token in enumerate(ids)) / len(ids)


def test_the_prefix_is_computed_once_and_answers_are_those_of_the_whole_prompt(base):
    model, tokenizer = base
    words = ("bad", "the worst of all", "the best of all")  # several tokens; two share their first ones
    few = Prompted.build(model, tokenizer, LABELS, words=words, examples=EXAMPLES)
    found = probabilities(few)
    engine = few.engine
    ids = few.encode(TEXTS).token_ids
    rests = sum(len(one) - len(engine.head) for one in ids)
    once = len(engine.prefix) + len(engine.head)
    more = sum(len(word) - 1 for word in engine.word_ids) * len(TEXTS)
    assert engine.tokens_computed == once + rests + more, "the examples went through the network once"
    assert once > 5 * rests / len(TEXTS), "or there is nothing to be saved"
    for row in (0, 7):
        scores = [plainly(model, tokenizer, [*engine.prefix, *ids[row]], word) for word in words]
        expected = np.exp(scores) / np.exp(scores).sum()
        assert found[row] == pytest.approx(expected, abs=1e-4)
    before = engine.tokens_computed
    assert probabilities(few, TEXTS[:1])[0] == pytest.approx(found[0], abs=1e-4), "batching changes nothing"
    assert engine.tokens_computed - before < once, "nor are they computed for the next request"
    engine.cached_tokens = 1
    assert probabilities(few) == pytest.approx(found, abs=1e-4), "nor does how much is held at once"


def test_words_that_share_their_first_token_are_distinguished(base):
    model, tokenizer = base
    words = ("worst thanks", "worst terrible")
    first = [tokenizer.encode(f" {word}", add_special_tokens=False)[0] for word in words]
    assert first[0] == first[1]
    found = probabilities(Prompted.build(model, tokenizer, ("a", "b"), words=words))
    assert np.abs(found[:, 0] - 0.5).min() > 1e-4


@pytest.mark.parametrize("how", ["contextual", "batch"])
def test_calibration_evens_out_what_the_prompt_alone_makes_likely(base, how):
    model, tokenizer = base
    plain = Prompted.build(model, tokenizer, LABELS)
    before = probabilities(plain)
    found = plain.calibrated([text for text, _ in ROWS], how=how)
    assert how in found.about
    assert (probabilities(plain) == before).all(), "the plain one stays plain"
    ratio = probabilities(found) / before
    ratio /= ratio[:, :1]
    assert ratio == pytest.approx(np.tile(ratio[0], (len(TEXTS), 1)), rel=1e-3), "one factor for each label"
    seen = [text for text, _ in ROWS] if how == "batch" else ["N/A", "[MASK]", ""]
    prior = probabilities(plain, seen).mean(0)
    assert ratio[0] == pytest.approx(prior[0] / prior, rel=1e-3)
    if how == "batch":
        with pytest.raises(ValueError, match="no text to calibrate over"):
            plain.calibrated([])


def test_examples_that_do_not_fit_are_dropped_counted_and_shown(base):
    model, tokenizer = base
    many = EXAMPLES * 12
    found = Prompted.build(model, tokenizer, LABELS, examples=many, max_length=64)
    context = model.config.max_position_embeddings
    longest = max(len(word) for word in found.engine.word_ids)
    assert 0 < found.dropped == len(many) - len(found.examples)
    assert list(found.examples) == many[found.dropped :]
    assert len(found.engine.prefix) + 64 + longest <= context < len(found.engine.prefix) + 64 + longest + 40
    assert f"{found.dropped} more did not fit" in found.about
    assert found.predict(["day " * 500])[0].truncated, "and the longest text still fits"


def test_balanced_examples_are_nested_seeded_and_counted_for_rare_labels():
    texts = [f"text {number}" for number in range(40)]
    labels = [0] * 20 + [1] * 17 + [2] * 3
    found = {k: balanced(texts, labels, LABELS, k=k, seed=3) for k in (1, 4, 8)}
    assert found[1] == found[4][:3] and found[4] == found[8][: len(found[4])]
    assert (
        found[4]
        == balanced(texts, labels, LABELS, k=4, seed=3)
        != balanced(texts, labels, LABELS, k=4, seed=4)
    )
    counts = {k: [sum(one.label == label for one in found[k]) for label in LABELS] for k in found}
    assert counts == {1: [1, 1, 1], 4: [4, 4, 3], 8: [8, 8, 3]}


def test_several_prompts_are_averaged_and_other_labels_refused(base):
    model, tokenizer = base
    each = [Prompted.build(model, tokenizer, LABELS, prompt=prompt) for prompt in PROMPTS]
    assert 3 <= len(each) <= 5
    found = probabilities(Average(each, about="all"))
    assert found == pytest.approx(np.mean([probabilities(one) for one in each], axis=0))
    assert probabilities(Average(each[:2], about="first", weights=(1.0, 0.0))) == pytest.approx(
        probabilities(each[0])
    )
    other = Prompted.build(model, tokenizer, ("yes", "no"))
    with pytest.raises(ValueError, match="same labels"):
        Average([each[0], other], about="")


def test_strange_texts_are_answered_and_what_is_no_text_is_refused(base):
    model, tokenizer = base
    zero = Prompted.build(model, tokenizer, LABELS, examples=[Example("so sad", "negative")])
    found = probabilities(zero, ["", "  ", "\ud800", "💔" * 400, "a"])
    assert found.sum(1) == pytest.approx(np.ones(5)) and np.isfinite(found).all()
    with pytest.raises(PredictionError, match="Item 1 is int"):
        zero.predict(["a", 3])
    assert zero.predict([]) == []


def test_labels_whose_words_would_be_the_same_are_distinguished(base):
    model, tokenizer = base
    for labels in (("-1", "0", "1"), ("not_sure", "not sure", "sure"), ("😀 day", "😀 DAY!", "day")):
        made = Prompted.build(model, tokenizer, labels)
        assert len({tuple(ids) for ids in made.engine.word_ids}) == 3, labels
    assert Prompted.build(model, tokenizer, ("not_sure", "Sure")).words == ("not sure", "sure")


def test_a_base_with_a_torn_tokenizer_is_one_sentence(base, tiny_base, tmp_path):
    place = shutil.copytree(tiny_base, tmp_path / "base")
    made = Prompted.build(*base, LABELS)
    keep(made, tmp_path / "rung", base={"name": "b", "path": str(place), "sha256": hash_of(base[0])})
    assert load_kept(tmp_path / "rung")[0].predict(TEXTS[:2]) == made.predict(TEXTS[:2])
    (place / "tokenizer.json").write_text("{")
    with pytest.raises(ArtifactError, match="rung can't be read") as found:
        load_kept(tmp_path / "rung")
    assert "\n" not in str(found.value)
