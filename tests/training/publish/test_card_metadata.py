"""The metadata of a card is what the Hub's specification asks for, by its own client and by a schema."""

import re

import jsonschema
import pytest
import yaml
from huggingface_hub import EvalResultEntry, HfApi, ModelCard, parse_eval_result_entries
from huggingface_hub.repocard_data import model_index_to_eval_results
from huggingface_hub.utils import validate_repo_id

from tests.support import REPOSITORY
from tests.support.cards import EVIL, artifact, changed, provenance, write
from training.data.load import HUB_DATASET
from training.evaluate.scores import read_evaluation
from training.model.bases import EMBEDDED_NAME, GPT2
from training.publish.card import render_card
from training.publish.card.metadata import ENGLISH_DATA

SENTIMENT = ("negative", "neutral", "positive")
BEFORE = REPOSITORY / "tests" / "fixtures" / "2026-11" / "run"
TEXT = {"type": "string", "minLength": 1}
METRIC = {
    "type": "object",
    "required": ["type", "value"],
    "additionalProperties": False,
    "properties": {
        "type": TEXT,
        "name": TEXT,
        "value": {"type": "number", "minimum": 0, "maximum": 1},
        "args": {"type": "object"},
    },
}
RESULT = {
    "type": "object",
    "required": ["task", "dataset", "metrics"],
    "additionalProperties": False,
    "properties": {
        "task": {
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"const": "text-classification"}},
        },
        "dataset": {
            "type": "object",
            "required": ["type", "name"],
            "additionalProperties": False,
            "properties": dict.fromkeys(("type", "name", "config", "split", "revision"), TEXT),
        },
        "metrics": {"type": "array", "minItems": 1, "items": METRIC},
    },
}
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["library_name", "pipeline_tag", "tags", "widget"],
    "properties": {
        "language": {"type": "string", "pattern": "^[a-z]{2,3}$"},
        "license": {"enum": ["mit", "apache-2.0"]},
        "library_name": {"enum": ["transformers", "peft"]},
        "pipeline_tag": {"const": "text-classification"},
        "base_model": {"type": "string", "pattern": r"^[\w.-]+/[\w.-]+$"},
        "base_model_relation": {"enum": ["finetune", "adapter"]},
        "datasets": {"type": "array", "items": {"type": "string", "pattern": r"^[\w.-]+(/[\w.-]+)?$"}},
        "metrics": {"type": "array", "items": {"enum": ["accuracy", "f1", "recall"]}},
        "tags": {"type": "array", "items": TEXT, "uniqueItems": True},
        "widget": {
            "type": "array",
            "minItems": 3,
            "items": {
                "type": "object",
                "required": ["text", "example_title"],
                "additionalProperties": False,
                "properties": {"text": TEXT, "example_title": TEXT},
            },
        },
        "model-index": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "results"],
                "additionalProperties": False,
                "properties": {"name": TEXT, "results": {"type": "array", "minItems": 1, "items": RESULT}},
            },
        },
    },
    "dependentRequired": {"base_model_relation": ["base_model"]},
}
"""By hub-docs: modelcard.md, and docs/hub for widgets and base models."""
ENTRY = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["dataset", "value"],
        "additionalProperties": False,
        "properties": {
            "dataset": {
                "type": "object",
                "required": ["id", "task_id"],
                "additionalProperties": False,
                "properties": {"id": TEXT, "task_id": TEXT, "revision": TEXT},
            },
            "value": {"type": "number"},
            "verifyToken": TEXT,
            "date": TEXT,
            "notes": TEXT,
            "source": {
                "type": "object",
                "required": ["url"],
                "additionalProperties": False,
                "properties": dict.fromkeys(("url", "name", "user", "org"), TEXT),
            },
        },
    },
}
"""By hub-docs: eval_results.yaml and docs/hub/eval-results.md."""


def metadata(text: str) -> dict:
    found = yaml.safe_load(text.split("\n---\n", 1)[0].removeprefix("---\n"))
    jsonschema.validate(found, SCHEMA)
    return found


def with_base(folder, name: str, revision: str = "c" * 40):
    return changed(folder, "provenance.json", base={"name": name, "revision": revision})


@pytest.fixture
def folder(tmp_path):
    return artifact(tmp_path / "model", SENTIMENT)


def test_a_real_runs_metadata_is_valid_and_holds_its_scores(online):
    text = render_card(BEFORE / "artifact", repo_id="ada/tweets").text
    found = metadata(text)
    card = ModelCard(text)  # the Hub's own parser; it raises for a model-index that it can't read
    card.validate()  # by the Hub
    assert card.data.to_dict()["model-index"] == found["model-index"]
    name, results = model_index_to_eval_results(found["model-index"])
    assert name == "tweets"
    scores = read_evaluation(BEFORE / "artifact").tuned.scores
    assert {result.metric_type: result.metric_value for result in results} == {
        "accuracy": round(scores.accuracy.value, 4),
        "f1": round(scores.macro_f1.value, 4),
        "recall": round(scores.macro_recall.value, 4),
    }
    assert {result.dataset_split for result in results} == {"test"}
    assert "base_model" not in found and "datasets" not in found, "neither is on the Hub"
    assert {"tweettune", "lora", "onnx", "sentiment-analysis"} <= set(found["tags"])


@pytest.mark.parametrize(
    ("base", "licence"),
    [
        (GPT2, "mit"),
        ("openai-community/gpt2-medium", "mit"),
        (EMBEDDED_NAME, "apache-2.0"),
        ("ada/other", None),
    ],
)
def test_base_relation_and_licence(folder, base, licence):
    found = metadata(render_card(with_base(folder, base), repo_id="ada/x").text)
    assert (found["base_model"], found["base_model_relation"]) == (base, "finetune")
    validate_repo_id(found["base_model"])
    assert found.get("license") == licence
    assert found["library_name"] == "transformers"
    alone = metadata(render_card(folder, repo_id="ada/x", adapter_only=True).text)
    assert (alone["base_model_relation"], alone["library_name"]) == ("adapter", "peft")


@pytest.mark.parametrize("name", ["tiny-gpt2", "", *EVIL, "a/b/c", "/abs/path", "../up"])
def test_a_base_that_is_no_hub_id_is_not_named_as_one(folder, name):
    found = metadata(render_card(with_base(folder, name, "local")).text)
    assert "base_model" not in found and "license" not in found


def test_data_of_the_hub_is_named_with_language_and_revision(tmp_path):
    folder = artifact(
        tmp_path / "m", SENTIMENT, name=HUB_DATASET, kind="hub", location=HUB_DATASET, revision="d" * 40
    )
    found = metadata(render_card(folder, repo_id="ada/x").text)
    assert found["datasets"] == [HUB_DATASET]
    assert found["language"] == "en"
    dataset = found["model-index"][0]["results"][0]["dataset"]
    assert (dataset["type"], dataset["revision"]) == (HUB_DATASET, "d" * 40)
    assert HUB_DATASET in ENGLISH_DATA


def test_a_language_is_never_guessed(folder, tmp_path):
    card = render_card(folder)
    assert "language" not in metadata(card.text)
    assert "The language of its data was not recorded." in card.text
    embedded = artifact(tmp_path / "e", SENTIMENT, name="embedded tweets", kind="embedded", licence="MIT")
    card = render_card(embedded)
    assert metadata(card.text)["language"] == "en"
    assert "| licence | MIT |" in card.text


def test_other_labels_are_not_called_sentiment(tmp_path):
    found = metadata(render_card(artifact(tmp_path / "m", ("spam", "ham"))).text)
    assert "sentiment-analysis" not in found["tags"]


def test_eval_results_of_a_hub_data_set(tmp_path):
    folder = artifact(
        tmp_path / "m",
        SENTIMENT,
        name="cardiffnlp/tweet_eval",
        kind="hub",
        revision="d" * 40,
        location="cardiffnlp/tweet_eval:sentiment",
    )
    files = render_card(folder, repo_id="ada/x").files
    [path] = [name for name in files if name.startswith(".eval_results/")]
    assert re.fullmatch(r"\.eval_results/[\w.-]+\.yaml", path)
    entries = yaml.safe_load(files[path])
    jsonschema.validate(entries, ENTRY)
    [entry] = parse_eval_result_entries(entries)
    assert isinstance(entry, EvalResultEntry)
    assert (entry.dataset_id, entry.task_id) == ("cardiffnlp/tweet_eval", "sentiment")
    assert entry.dataset_revision == "d" * 40
    assert entry.source_url == "https://huggingface.co/ada/x/blob/main/evaluation.json"
    assert re.fullmatch(
        r"accuracy on 300 rows of the test split, 95 % interval [\d.]+ to [\d.]+ percent", entry.notes
    )
    index = metadata(render_card(folder, repo_id="ada/x").text)["model-index"][0]["results"][0]
    assert index["metrics"][0]["value"] == entry.value
    assert index["dataset"]["config"] == "sentiment"


def test_data_of_other_places_has_no_eval_results(folder):
    assert not [name for name in render_card(folder, repo_id="ada/x").files if name.startswith(".eval")]


def test_the_hubs_client_shows_them_again(tmp_path, online):
    """What a model's page would be made of, asked for as a user's client asks."""
    folder = artifact(tmp_path / "m", SENTIMENT, name="ada/posts", kind="hub", location="ada/posts")
    card = render_card(folder, repo_id="ada/x")
    online.create_repo("ada/x", files={"README.md": card.text.encode(), **card.files})
    online_names = {sibling.rfilename for sibling in HfApi().model_info("ada/x").siblings}
    assert {"README.md", ".eval_results/ada--posts.yaml", "assets/confusion.png"} <= online_names
    loaded = ModelCard.load("ada/x")
    assert loaded.data.base_model == GPT2
    assert [result.metric_type for result in loaded.data.eval_results] == ["accuracy", "f1", "recall"]


def test_hostile_names_do_not_change_the_metadata(tmp_path):
    folder = artifact(tmp_path / "evil", EVIL)
    for evil in EVIL:
        record = provenance(EVIL, name=evil)
        record["recipe"]["name"] = evil
        record["machine"]["processor"] = evil
        write(folder, "provenance.json", record)
        text = render_card(folder).text
        found = metadata(text)
        assert "license" not in found or found["license"] == "mit"
        assert ModelCard(text).data.pipeline_tag == "text-classification"
        assert "\n" not in found["model-index"][0]["name"]
