"""Addresses of the Hub, pasted where a name is wanted, are read as one; others are refused in a sentence."""

import pytest

from inference.common.errors import RecipeError, TweetTuneError
from inference.common.names import read_id
from training.recipes import DataSpec, change, load_recipe

HUB = "https://huggingface.co"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (f"{HUB}/ada/tweets", "ada/tweets"),
        (f" {HUB}/ada/tweets/ ", "ada/tweets"),
        (f"{HUB}/ada/tweets/tree/main", "ada/tweets"),
        (f"{HUB}/ada/tweets/tree/main/onnx?show=all#files", "ada/tweets"),
        (f"{HUB}/ada/tweets/resolve/main/model.safetensors?download=true", "ada/tweets"),
        (f"{HUB}/ada/tweets/blob/main/README.md", "ada/tweets"),
        (f"{HUB}/ada/tweets/discussions/3", "ada/tweets"),
        (f"{HUB}/models/ada/tweets", "ada/tweets"),
        (f"{HUB}/gpt2", "gpt2"),
        (f"{HUB}/gpt2/tree/main", "gpt2"),
        ("http://www.huggingface.co/ada/tweets", "ada/tweets"),
        ("HTTPS://HuggingFace.co/Ada/Tweets", "Ada/Tweets"),
        ("https://hf.co/ada/tweets", "ada/tweets"),
        ("huggingface.co/ada/tweets", "ada/tweets"),
        ("hf.co/ada/tweets", "ada/tweets"),
        ("https:/huggingface.co/ada/tweets", "ada/tweets"),  # as a path it lost a slash
        ("hf://ada/tweets", "ada/tweets"),
        (f"{HUB}/ada/tweets%2Dgpt2", "ada/tweets-gpt2"),
        *(
            (name, name)
            for name in ("ada/tweets", "gpt2", "runs/demo", "./a", "C:/a/b", "huggingface.company/x", "")
        ),
    ],
)
def test_a_models_address_is_its_id(given, expected):
    assert read_id(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (f"{HUB}/datasets/ada/posts", "ada/posts"),
        (f"{HUB}/datasets/ada/posts/viewer", "ada/posts"),
        (f"{HUB}/datasets/ada/posts/viewer/default/train", "ada/posts"),
        (f"{HUB}/datasets/ada/posts/viewer/english/train?row=3", "ada/posts:english"),
        (f"{HUB}/datasets/imdb", "imdb"),
        ("hf://datasets/ada/posts/tree/main", "ada/posts"),
    ],
)
def test_a_data_sets_address_is_its_id(given, expected):
    assert read_id(given, "dataset") == expected
    assert DataSpec(dataset=given).dataset == expected
    assert change(load_recipe("smoke"), {"dataset": given}).dataset == expected


@pytest.mark.parametrize(
    ("given", "kind", "why"),
    [
        (f"{HUB}/datasets/ada/posts", "model", "it is the page of a data set. Give the id of a model"),
        (f"{HUB}/spaces/ada/app", "model", "it is the page of a Space"),
        (f"{HUB}/spaces/ada/app", "dataset", "it is the page of a Space"),
        (f"{HUB}/ada/tweets", "dataset", "it is the page of a model. Give the id of a data set"),
        (f"{HUB}/ada/tweets/tree/v2", "model", "it names v2, and only main is taken"),
        (f"{HUB}/ada/tweets/resolve/refs%2Fpr%2F1/config.json", "model", "only main is taken"),
        (f"{HUB}/docs/transformers", "model", "it is no page of a model"),
        (HUB, "model", "it is no page of a model"),
        (f"{HUB}/datasets", "dataset", "it is no page of a data set"),
        ("https://github.com/ada/tweets", "model", "it is no page of the Hub"),
        ("https://example.com/tweets.csv", "dataset", "it is no page of the Hub"),
        ("https://huggingface.co.example.com/ada/tweets", "model", "it is no page of the Hub"),
        ("s3://bucket/ada", "dataset", "it is no page of the Hub"),
        ("file:///etc/passwd", "dataset", "it is no page of the Hub"),
    ],
)
def test_another_address_is_refused_in_a_sentence(given, kind, why):
    with pytest.raises(TweetTuneError) as caught:
        read_id(given, kind)
    assert why in str(caught.value) and given in str(caught.value)


def test_a_mirror_of_the_hub_is_the_hub(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:8080")
    assert read_id("http://127.0.0.1:8080/ada/tweets/tree/main") == "ada/tweets"


def test_a_recipe_takes_addresses_and_refuses_others():
    smoke = load_recipe("smoke")
    assert change(smoke, {"base": f"{HUB}/openai-community/gpt2"}).base == "openai-community/gpt2"
    with pytest.raises(RecipeError, match="it is the page of a Space"):
        change(smoke, {"base": f"{HUB}/spaces/ada/app"})
