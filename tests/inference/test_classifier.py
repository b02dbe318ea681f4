"""The Classifier answers anything that is a text, in order, and the batch changes no answer."""

import dataclasses
import math
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from inference import Classifier, Prediction
from inference.classifier import budgeted_batches
from inference.common.errors import PredictionError
from tests.support import tweets
from training.fit.prepare import prompt_of
from training.model.bases import resolve_base
from training.model.classifier import (
    build_classifier,
    load_language_model,
    prompted_tokenizer,
    torch_classifier,
)
from training.recipes import Recipe

ODD = [
    "",
    " \n\t ",
    "nul \x00 inside",
    "lone \ud800 surrogate \udfff",
    "😀" * 9,
    "שלום עולם",
    "مرحبا بالعالم",
    "\u202ebackwards",
]


@pytest.fixture(scope="module")
def classifier(trained_gpt2):
    return Classifier.load(trained_gpt2.artifact)


@pytest.fixture(scope="module")
def llama(trained_llama):
    return Classifier.load(trained_llama.artifact)


def alike(one, other):
    pairs = zip(one, other, strict=True)
    return all(
        a.label == b.label and a.probabilities == pytest.approx(b.probabilities, abs=1e-5) for a, b in pairs
    )


def test_what_it_knows_of_itself(classifier, trained_gpt2):
    assert classifier.labels == ("negative", "neutral", "positive")
    assert classifier.name_or_path == str(trained_gpt2.artifact)
    assert classifier.max_length == 128


def test_it_has_learnt(llama):
    rows = tweets(90, seed=99)
    found = llama.predict([text for text, _ in rows])
    right = sum(p.label == label for p, (_, label) in zip(found, rows, strict=True))
    assert right > 75


def test_answers_come_in_the_order_of_the_texts(llama):
    texts = [text for text, _ in tweets(40, seed=5)] + ODD
    answers = dict(zip(texts, llama.predict(texts), strict=True))
    assert len({answer.label for answer in answers.values()}) == 3
    random.Random(0).shuffle(texts)
    assert alike(llama.predict(texts), [answers[text] for text in texts])


@pytest.mark.parametrize("batch_tokens", [1, 100, 100_000])
def test_the_batch_size_changes_no_answer(classifier, monkeypatch, batch_tokens):
    texts = [text for text, _ in tweets(20, seed=6)] + ODD + ["sunny " * 300]
    expected = classifier.predict(texts)
    monkeypatch.setattr(classifier.engine, "batch_tokens", batch_tokens)
    assert alike(classifier.predict(texts), expected)


def test_latency_is_filled_only_where_it_is_asked_for(classifier):
    texts = ["what a day", "", "sunny " * 300]
    timed = classifier.predict(texts, with_latency=True)
    assert all(prediction.latency_ms > 0 for prediction in timed)
    untimed = classifier.predict(texts)
    assert all(prediction.latency_ms is None for prediction in untimed)
    assert alike(timed, untimed)
    assert [p.truncated for p in timed] == [p.truncated for p in untimed] == [False, False, True]


def test_a_text_of_100000_characters_is_cut_and_says_so(classifier):
    [prediction] = classifier.predict(["love " * 20_000])
    assert prediction.truncated
    assert math.isclose(sum(prediction.probabilities), 1)
    assert classifier.encode(["love " * 20_000]).lengths == [128]


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_are_answered(classifier, llama, text):
    for one in (classifier, llama):
        [prediction] = one.predict([text])
        assert prediction.label in one.labels
        assert prediction.label == one.labels[prediction.probabilities.index(max(prediction.probabilities))]
        assert not prediction.truncated


@pytest.mark.parametrize("most", [1000, 128, 20, 9])
def test_a_lower_limit_cuts_as_transformers_tokenizer_does(trained_gpt2, classifier, most):
    reference = AutoTokenizer.from_pretrained(trained_gpt2.artifact)
    texts = ["", "a day", "the train is late again and it is so awful " * 20]
    encoded = classifier.encode(texts, max_length=most)
    most = min(most, classifier.max_length)
    assert list(encoded.token_ids) == reference(texts, truncation=True, max_length=most)["input_ids"]
    assert encoded.truncated == [len(ids) > most for ids in reference(texts)["input_ids"]]


def test_a_limit_without_room_for_a_text_is_refused(classifier):
    with pytest.raises(
        PredictionError, match=r"max_length is 2, and the prompt alone has \d+ tokens\. Give more"
    ):
        classifier.encode(["a day"], max_length=2)


def test_white_space_around_a_text_changes_nothing(classifier):
    assert alike(classifier.predict(["  sunny day\n"]), classifier.predict(["sunny day"]))


def test_no_text_no_answer(classifier):
    assert classifier.predict([]) == []
    assert classifier.predict([], with_latency=True) == []


@pytest.mark.parametrize("with_latency", [False, True])
@pytest.mark.parametrize(
    ("item", "kind"), [(None, "NoneType"), (3, "int"), (b"bytes", "bytes"), (float("nan"), "float")]
)
def test_an_item_that_is_no_text_is_named(classifier, item, kind, with_latency):
    with pytest.raises(PredictionError) as caught:
        classifier.predict(["fine", item, "fine"], with_latency=with_latency)
    assert str(caught.value) == f"Item 1 is {kind}, not a text. Leave it out or turn it into a text."


@pytest.mark.parametrize("with_latency", [False, True])
def test_one_text_instead_of_a_list(classifier, with_latency):
    with pytest.raises(PredictionError) as caught:
        classifier.predict("what a day", with_latency=with_latency)
    assert str(caught.value) == "One text was given where a list of texts is expected. Write [text]."


def test_a_prediction_cant_be_changed(classifier):
    [prediction] = classifier.predict(["what a day"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        prediction.label = "better"


def test_without_a_prompt_an_empty_text_is_answered_too(tiny_base):
    lm = load_language_model(resolve_base(str(tiny_base)))
    recipe = Recipe(prompt_prefix="", prompt_suffix="")
    tokenizer = prompted_tokenizer(lm, prompt_of(recipe), max_length=recipe.max_length)
    model = build_classifier(lm, ("a", "b"), tokenizer)
    bare = torch_classifier(model, tokenizer, name_or_path="test")
    found = bare.predict(["", "love", "  "])
    assert all(isinstance(prediction, Prediction) for prediction in found)
    assert alike(found[:1], bare.predict([""]))


anything = st.text(st.characters(codec=None, exclude_categories=()), max_size=300)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(anything, max_size=6))
def test_any_texts_get_probabilities(classifier, texts):
    found = classifier.predict(texts)
    assert len(found) == len(texts)
    for prediction in found:
        assert all(math.isfinite(p) and 0 <= p <= 1 for p in prediction.probabilities)
        assert math.isclose(sum(prediction.probabilities), 1, abs_tol=1e-6)
        assert prediction.label in classifier.labels


def test_batches_keep_to_their_budget_and_hold_every_row_once():
    lengths = [5, 90, 3, 30, 30, 30, 2000]
    batches = list(budgeted_batches(lengths, tokens=100))
    assert sorted(row for batch in batches for row in batch) == list(range(7))
    assert batches[0] == [6]  # too long for any budget: alone
    assert all(len(batch) * max(lengths[row] for row in batch) <= 100 for batch in batches[1:])
    assert list(budgeted_batches([], tokens=100)) == []


def test_few_pads_are_computed_though_texts_differ_in_length():
    lengths = [*range(5, 69), 400]
    batches = list(budgeted_batches(lengths, tokens=1024))
    padded = sum(len(batch) * lengths[batch[0]] for batch in batches)
    assert padded < 1.25 * sum(lengths)
    assert len(batches) < 10, "each batch costs something, too"
