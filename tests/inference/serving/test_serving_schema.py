"""The JSON that goes in and out: what is read, what is refused and in which words, what is answered."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.classifier import EncodedTexts
from inference.common.errors import PredictionError
from inference.serving import schema
from inference.serving.errors import BadRequest, BodyTooLarge
from inference.serving.routes import schema_of
from inference.serving.schema import (
    Classified,
    ClassifyArguments,
    CompareArguments,
    CompareRequest,
    HubRequest,
    PredictRequest,
    models_to_compare,
    read,
)

LABELS = ("negative", "neutral", "positive")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


def classified(*rows, model="demo", labels=LABELS):
    logits = np.array(rows, dtype=np.float32).reshape(len(rows), len(labels))
    return Classified(model, labels, logits, EncodedTexts([[1, 2]] * len(rows), [False] * len(rows)))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", r"The body is not JSON \(Expecting value"),
        (b"{", r"The body is not JSON"),
        (b'{"inputs": NaN}', r"The body is not JSON \(NaN is no number of JSON\)\."),
        (b'{"inputs": -Infinity}', r"-Infinity is no number of JSON"),
        (b'{"inputs": "a", "inputs": "b"}', r"The body is not JSON \('inputs' stands in it twice\)\."),
        (b'{"inputs": ' + b"9" * 5000 + b"}", r"The body is not JSON"),
        (b"[" * 100_000, r"The body is nested too deeply"),
        (b'{"a":' * 100_000, r"The body is nested too deeply"),
        (b'{"inputs": "\xff"}', r"The body is not UTF-8"),
        ('{"inputs": "a"}'.encode("utf-16"), r"The body is not UTF-8"),
        (b'\xef\xbb\xbf{"inputs": "a"}', r"The body is not JSON"),
        (b'"text"', r"The body is a text, not an object\. Send {\"inputs\": \"…\"}\."),
        (b"[1]", r"The body is a list, not an object"),
        (b"null", r"The body is null, not an object"),
        (b"7", r"The body is a number, not an object"),
    ],
)
def test_what_is_no_json_object_is_refused_in_a_sentence(body, sentence):
    with pytest.raises(BadRequest, match=sentence):
        schema.decode(body)


def test_a_key_that_stands_twice_among_many_is_found():
    keys = [f'"{number}": 1' for number in range(50_000)]
    with pytest.raises(BadRequest, match="'49999' stands in it twice"):
        schema.decode(("{" + ",".join([*keys, keys[-1]]) + "}").encode())


@given(json_values)
def test_any_json_is_read_or_refused_but_never_breaks(value):
    content = json.dumps({"inputs": value, "parameters": value, "models": value, "truncate": value}).encode()
    for kind in (HubRequest, PredictRequest, CompareRequest, ClassifyArguments, CompareArguments):
        try:
            request = read(kind, schema.decode(content), max_texts=2, models=["a", "b"])
            texts = request.inputs.texts if kind is PredictRequest else request.inputs
        except (BadRequest, BodyTooLarge) as error:
            assert str(error).endswith((".", '"}.')) and "\n" not in str(error)
        else:
            assert all(isinstance(text, str) for text in texts) and len(texts) <= 2


@given(st.binary(max_size=30))
def test_any_bytes_are_read_or_refused(content):
    try:
        schema.decode(content)
    except BadRequest:
        return


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, r"inputs is missing\. Give a text, or a list of texts"),
        ({"inputs": 7}, r"inputs is a number\. Give a text, or a list of texts\."),
        ({"inputs": None}, r"inputs is null\."),
        ({"inputs": {"text": "a"}}, r"inputs is an object\."),
        ({"inputs": ["a", 1.5]}, r"Item 1 of inputs is a number, not a text\."),
        ({"inputs": ["a", ["b"]]}, r"Item 1 of inputs is a list, not a text\."),
        ({"inputs": "a", "parameters": [1]}, r"parameters is a list, not an object\."),
        ({"inputs": "a", "parameters": {"topk": 1}}, r"has no 'topk'\. Known: top_k, function_to_apply, "),
        ({"inputs": "a", "parameters": {"top_k": 0}}, r"top_k is 0\. Give a whole number from 1 to 1000\."),
        ({"inputs": "a", "parameters": {"top_k": -1}}, r"top_k is -1\."),
        ({"inputs": "a", "parameters": {"top_k": 10**9}}, r"top_k is 1000000000\."),
        ({"inputs": "a", "parameters": {"top_k": "x"}}, r'top_k is "x"\.'),
        ({"inputs": "a", "parameters": {"top_k": True}}, r"top_k is true\."),
        ({"inputs": "a", "parameters": {"top_k": 1.0}}, r"top_k is 1\.0\."),
        ({"inputs": "a", "parameters": {"top_k": [[1]]}}, r"top_k is a list\."),
        (
            {"inputs": "a", "parameters": {"function_to_apply": "tanh"}},
            r'function_to_apply is "tanh"\. Give softmax, sigmoid or none\.',
        ),
        ({"inputs": "a", "parameters": {"function_to_apply": ["none"]}}, r"function_to_apply is a list\."),
        (
            {"inputs": "a", "parameters": {"truncation": "only_second"}},
            r'truncation is "only_second"\. Give true, false, longest_first or only_first',
        ),
        ({"inputs": "a", "parameters": {"truncation": 1}}, r"truncation is 1\."),
        ({"inputs": "a", "parameters": {"padding": {}}}, r"padding is an object\. Give true, false, longest"),
        (
            {"inputs": "a", "parameters": {"max_length": 0}},
            r"max_length is 0\. Give a whole number of tokens",
        ),
        ({"inputs": "a", "parameters": {"batch_size": "8"}}, r'batch_size is "8"\. Give a whole number'),
        ({"inputs": "a", "parameters": {"return_all_scores": 1}}, r"return_all_scores is 1\. Give true or"),
        ({"inputs": "a", "top_k": 1}, r"A request has no 'top_k'\. Known: inputs, parameters, options\."),
        ({"inputs": "a", "options": 3}, r"options is 3\. Give an object"),
    ],
)
def test_a_hub_request_that_is_wrong_is_refused_in_a_sentence(body, sentence):
    with pytest.raises(BadRequest, match=sentence):
        read(HubRequest, body, max_texts=9)


@pytest.mark.parametrize("kind", [HubRequest, PredictRequest, CompareRequest, ClassifyArguments])
def test_more_texts_than_allowed_are_too_large(kind):
    sentence = r"3 texts are more than the 2 one request may hold\. Send them in parts\."
    with pytest.raises(BodyTooLarge, match=sentence):
        read(kind, {"inputs": [["a"], ["b"], ["c"]]}, max_texts=2)


def test_a_hub_answer_is_a_list_for_each_text_best_first():
    request = read(HubRequest, {"inputs": ["a", "b"], "options": {"use_cache": False}}, max_texts=9)
    answer = schema.hub_answer(classified([0, 1, 2], [3, 0, 0]), request)
    assert [[found["label"] for found in row] for row in answer] == [
        ["positive", "neutral", "negative"],
        ["negative", "neutral", "positive"],
    ]
    assert [sum(found["score"] for found in row) for row in answer] == pytest.approx([1, 1])


def test_top_k_and_the_function_are_applied():
    def first(**parameters):
        request = read(HubRequest, {"inputs": "a", "parameters": parameters}, max_texts=9)
        return schema.hub_answer(classified([0, 1, 2]), request)[0]

    assert first(function_to_apply="none", top_k=2) == [
        {"label": "positive", "score": 2.0},
        {"label": "neutral", "score": 1.0},
    ]
    assert first(function_to_apply="sigmoid", top_k=1)[0]["score"] == pytest.approx(1 / (1 + np.exp(-2)))
    assert first(function_to_apply=None, top_k=None) == first(function_to_apply="softmax", top_k=1000)


def test_what_came_before_top_k_is_understood():
    def count(**parameters):
        request = read(HubRequest, {"inputs": "a", "parameters": parameters}, max_texts=9)
        return len(schema.hub_answer(classified([0, 1, 2]), request)[0])

    assert count(return_all_scores=True) == count(return_all_scores=None) == 3
    assert count(return_all_scores=False) == 1
    assert count(return_all_scores=False, top_k=2) == 2 and count(return_all_scores=False, top_k=None) == 3
    assert count(function_to_apply="SOFTMAX") == 3


def test_predict_takes_the_hubs_parameters_wherever_they_stand():
    for more in ({"top_k": 1}, {"parameters": {"top_k": 1}}, {"top_k": 2, "parameters": {"top_k": 1}}):
        request = read(PredictRequest, {"inputs": "a", "raw_scores": True, **more}, max_texts=9)
        assert schema.predict_answer(classified([0, 1, 2]), request) == [{"label": "positive", "score": 2.0}]
    for more in (
        {"truncate": False},
        {"truncation": False},
        {"parameters": {"truncation": "do_not_truncate"}},
    ):
        assert not read(PredictRequest, {"inputs": "a", **more}, max_texts=9).asked.cuts
    assert read(PredictRequest, {"inputs": "a", "truncation_direction": "Right"}, max_texts=9).asked.cuts


def test_sigmoid_of_huge_logits_stays_a_number():
    request = read(HubRequest, {"inputs": "a", "parameters": {"function_to_apply": "sigmoid"}}, max_texts=9)
    [row] = schema.hub_answer(classified([-1e9, 0, 1e9]), request)
    assert [found["score"] for found in row] == pytest.approx([1, 0.5, 0])


@pytest.mark.parametrize(
    ("inputs", "texts", "single"),
    [("a", ["a"], True), (["a"], ["a"], True), ([["a"]], ["a"], False), ([["a"], ["b"]], ["a", "b"], False)],
)
def test_predict_takes_a_text_or_a_batch_as_text_embeddings_inference(inputs, texts, single):
    request = read(PredictRequest, {"inputs": inputs}, max_texts=9)
    assert (request.inputs.texts, request.inputs.single, request.truncate) == (texts, single, True)
    answer = schema.predict_answer(classified(*[[0, 1, 2]] * len(texts)), request)
    rows = [answer] if single else answer
    assert [row[0]["label"] for row in rows] == ["positive"] * len(texts)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, r"inputs is missing\. Give a text, or a batch of texts"),
        ({"inputs": []}, r"inputs is missing"),
        ({"inputs": ["a", "b"]}, r"Item 0 of inputs is no single text.*can't classify pairs of texts\."),
        ({"inputs": [["a", "b"]]}, r"Item 0 of inputs is no single text"),
        ({"inputs": [["a"], "b"]}, r"Item 1 of inputs is no single text"),
        ({"inputs": [["a"], []]}, r"Item 1 of inputs is no single text"),
        ({"inputs": [[1]]}, r"Item 0 of inputs is no single text"),
        ({"inputs": "a", "truncate": "yes"}, r'truncate is "yes"\. Give true or false\.'),
        ({"inputs": "a", "raw_scores": 1}, r"raw_scores is 1\."),
        (
            {"inputs": "a", "truncation_direction": "Left"},
            r"truncation_direction is .*a long text loses its end",
        ),
        ({"inputs": "a", "truncation": "x"}, r'truncation is "x"\. Give true, false,'),
        ({"inputs": "a", "parameters": {"truncate": True}}, r"parameters has no 'truncate'\. Known: top_k"),
        ({"inputs": "a", "raw_score": True}, r"A request has no 'raw_score'\. Known: .*raw_scores"),
    ],
)
def test_a_predict_request_that_is_wrong_is_refused_in_a_sentence(body, sentence):
    with pytest.raises(BadRequest, match=sentence):
        read(PredictRequest, body, max_texts=9)


def test_an_unknown_key_of_a_comparison_is_refused():
    with pytest.raises(BadRequest, match=r"A request has no 'model'\. Known: inputs, models\."):
        read(CompareRequest, {"inputs": "a", "model": ["a", "b"]}, max_texts=9)


def test_compare_tells_what_each_model_says_and_whether_they_agree():
    request = read(CompareRequest, {"inputs": ["x", "y"]}, max_texts=9)
    assert models_to_compare(request, ["a", "b"]) == ["a", "b"]
    one = classified([0, 0, 9], [9, 0, 0], model="a")
    other = classified([9, 0], [9, 0], model="b", labels=("negative", "positive"))
    answer = schema.compare_answer([one, other])
    assert answer["models"] == ["a", "b"] and answer["agreement"] == 0.5
    assert [row["agree"] for row in answer["results"]] == [False, True]
    said = answer["results"][0]["predictions"]
    assert (said["a"]["label"], said["b"]["label"]) == ("positive", "negative")
    assert said["a"]["score"] == max(said["a"]["scores"].values()) > 0.99
    assert answer["common_labels"] == ["negative", "positive"]


def test_models_with_other_labels_have_none_in_common_and_case_is_ignored():
    one = classified([0, 0, 9], model="a")
    loud = classified([9, 0, 0], model="b", labels=("POSITIVE", "Neutral", "Negative"))
    answer = schema.compare_answer([one, loud])
    assert (answer["common_labels"], answer["agreement"]) == (["negative", "neutral", "positive"], 1.0)
    other = classified([9, 0], model="b", labels=("joy", "anger"))
    answer = schema.compare_answer([one, other])
    assert (answer["common_labels"], answer["agreement"]) == ([], None)
    assert [row["agree"] for row in answer["results"]] == [False]


@pytest.mark.parametrize(
    ("body", "names", "sentence"),
    [
        ({}, ["a"], r"Comparing needs two models or more; this server has one \(a\)\."),
        ({"models": ["a"]}, ["a", "b"], r"models must name two models or more, each once\. Known: a, b\."),
        ({"models": ["a", "a"]}, ["a", "b"], r"models must name two models or more, each once"),
        ({"models": "ab"}, ["a", "b"], r"models is not a list of names\."),
        ({"models": ["a", 1]}, ["a", "b"], r"models is not a list of names\."),
    ],
)
def test_a_comparison_needs_two_models(body, names, sentence):
    with pytest.raises(BadRequest, match=sentence):
        models_to_compare(read(CompareRequest, {"inputs": "x", **body}, max_texts=9), names)


def test_nothing_to_classify_is_answered_with_nothing():
    assert schema.hub_answer(classified(), read(HubRequest, {"inputs": []}, max_texts=9)) == []
    assert schema.compare_answer([classified(), classified(model="b")])["agreement"] is None


def test_a_body_with_very_many_faults_costs_no_more_than_its_first():
    """pydantic lists each unknown key and each item of a wrong type, unless it is stopped at the first."""
    many = {f"key{n}": n for n in range(50_000)}
    for body, sentence in (
        ({"inputs": "a", "parameters": many}, "parameters has no 'key0'"),
        ({"inputs": list(range(50_000))}, "Item 0 of inputs is a number"),
        ({"inputs": "a", "models": list(range(50_000))}, "models is not a list of names"),
    ):
        kind = CompareRequest if "models" in body else HubRequest
        with pytest.raises(BadRequest, match=sentence) as caught:
            read(kind, body, max_texts=50_000)
        faults = caught.value.__cause__
        assert faults is None or faults.error_count() == 1


@pytest.mark.parametrize("kind", [HubRequest, PredictRequest, ClassifyArguments])
def test_answers_say_whether_they_are_sure_where_it_is_asked(kind):
    two = classified([3, 0, 0], [0.1, 0, 0])
    asked = {"abstain_below": 0.6}
    body = {"inputs": ["a", "b"] if kind is not PredictRequest else [["a"], ["b"]]}
    request = read(kind, body | ({"parameters": asked} if kind is HubRequest else asked), max_texts=2)
    asked = request if kind is ClassifyArguments else request.asked
    for function in ("softmax", "none", "sigmoid"):
        found = schema.ranked(two, function, asked=asked)
        assert [{one["sure"] for one in row} for row in found] == [{True}, {False}], "confidence is a softmax"
    assert "sure" not in schema.ranked(two)[0][0]
    assert {"precision", "abstain_below", "out_of_scope", "rests_on"} <= set(str(schema_of(kind)).split("'"))
    with pytest.raises(PredictionError, match=r"no text can be called out of scope\. Train"):
        schema.ranked(two, asked=asked.model_copy(update={"out_of_scope": True}))


@pytest.mark.parametrize("share", [0, 90, True, "0.9", float("inf")])
def test_what_is_no_share_is_refused(share):
    for name in ("precision", "abstain_below"):
        with pytest.raises(BadRequest, match=f"{name} is .* Give a share above 0 and up to 1, such as 0.9"):
            read(HubRequest, {"inputs": "a", "parameters": {name: share}}, max_texts=1)
