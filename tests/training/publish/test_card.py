"""The model card tells what was measured, all of it, and no more than the records hold."""

import html
import io
import re
import shutil
from dataclasses import replace

import jinja2.meta
import pytest
from PIL import Image, ImageDraw

from inference.artifact import read_record
from inference.classifier import Classifier
from inference.common.errors import ArtifactError
from inference.common.intervals import wilson
from inference.common.wording import percent
from tests.support.cards import artifact, changed
from training.model.classifier import load_base_classifier
from training.publish import card_energy
from training.publish.card import TEMPLATES, Stamp, read_stamp, render_card, write_card
from training.publish.card_examples import EXAMPLES, SWAPPED, SWAPS
from training.publish.card_facts import read_facts
from training.publish.drawing import drawable

SENTIMENT = ("negative", "neutral", "positive")


@pytest.fixture
def copy(trained_gpt2, tmp_path):
    """Return a copy of a finished run's folder, to be changed."""
    return shutil.copytree(trained_gpt2.run.path, tmp_path / "run") / "artifact"


def table_row(text: str, start: str) -> list[str]:
    """Return the cells of the row that starts so."""
    [row] = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip().strip("*") for cell in row.strip("|").split("|")]


# --- what it says of a real run


def test_the_results_are_those_of_the_evaluation(trained):
    text = (trained.artifact / "README.md").read_text()
    evaluation = trained.run.evaluation().flat()
    keys = ("accuracy", "macro_f1", "macro_recall", "expected_calibration_error")
    rows = {
        "base, zero-shot": evaluation["base"],
        "**fine-tuned**": evaluation,
        "bag of words": evaluation["rivals"]["bag of words"],
    }
    for start, record in rows.items():
        assert table_row(text, start)[1:] == [percent(record[key]) for key in keys]
    n = evaluation["n"]
    assert f"| n = {n} |" in text and f"on {n} rows of the locked test split" in text
    always = provenance_of(trained)["data"]["class_balance"]["train"]
    most = max(always, key=always.get)
    hits = sum(evaluation["confusion_matrix"][evaluation["labels"].index(most)])
    assert table_row(text, f"always {most}")[1] == percent(wilson(hits, n))


def provenance_of(trained) -> dict:
    return read_record(trained.artifact, "provenance.json")


def test_the_verdicts_are_in_words_and_name_whom_they_are_against(trained):
    text = (trained.artifact / "README.md").read_text()
    evaluation = trained.run.evaluation().flat()
    compared = {
        "base": evaluation["comparison"],
        "bag of words": evaluation["rivals"]["bag of words"]["comparison"],
    }
    for name, found in compared.items():
        sentence = found["sentence"][:1].lower() + found["sentence"][1:]
        assert f"- Against the {name}: {sentence}" in html.unescape(text)
        assert "McNemar" in sentence or "get the same" in sentence
    assert "logistic regression on the same 200 training texts" in text


def test_each_label_has_its_figures_with_intervals(trained):
    text = (trained.artifact / "README.md").read_text()
    evaluation = trained.run.evaluation().flat()
    matrix = evaluation["confusion_matrix"]
    for place, label in enumerate(evaluation["labels"]):
        rows = [line for line in text.splitlines() if line.startswith(f"| {label} |")]
        figures, counts = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows)
        assert figures[1] == str(sum(matrix[place]))
        assert figures[3] == percent(wilson(matrix[place][place], sum(matrix[place])))
        assert figures[4] == percent(evaluation["per_class_f1"][label])
        assert counts[1:] == [str(n) for n in matrix[place]]


def test_data_leaks_recipe_time_and_energy(trained):
    text = (trained.artifact / "README.md").read_text()
    record = provenance_of(trained)
    assert record["data"]["source"]["sha256"] in text
    assert "Leak gate, before training: 0 training rows with a twin in test; " in text
    assert "200 used, of " in text
    assert "LoRA, rank 8 on the upper 1 of 3 layers" in text
    assert re.search(r"\| time \| \d+ s \(prepare .*evaluate", text)
    machine = record["machine"]
    energy = card_energy.estimate(
        seconds=sum(record["duration_s"].values()), cores=machine["cores"], memory_gb=machine["memory_gb"]
    )
    assert energy.sentence in text
    assert "no measurement" in energy.sentence and "3.5 W a core" in energy.sentence
    assert "learning_rate = 0.005\n" in text
    assert record["versions"]["torch"] in text
    checks = [event for event in trained.run.events("validation")]
    best = max(checks, key=lambda check: check["macro_f1"])
    assert f"best of {len(checks)} checks on the validation split, after epoch {best['epoch']:g}" in text


def test_no_path_of_this_machine_is_told(trained):
    card = render_card(trained.artifact, repo_id="ada/tweets")
    for place in (trained.run.path.parent, trained.base.parent, trained.data.parent):
        assert str(place) not in card.text
        assert not [name for name, content in card.files.items() if str(place).encode() in content]


def test_the_sentences_were_answered_by_this_very_model_and_its_base(trained):
    record = read_record(trained.artifact, "examples.json")
    tuned = Classifier.load(trained.artifact, engine="torch")
    base = load_base_classifier(trained.artifact)
    texts = [example.text for example in EXAMPLES] + [SWAPS.format(who) for who in SWAPPED]
    rows = [*record["examples"], *record["swaps"]]
    for side, classifier in (("tuned", tuned), ("base", base)):
        for row, prediction in zip(rows, classifier.predict(texts), strict=True):
            assert row[side]["label"] == prediction.label
            assert row[side]["probabilities"] == pytest.approx(prediction.probabilities, abs=2e-4)
    text = (trained.artifact / "README.md").read_text()
    wrong = 0
    for row in record["examples"]:
        for side in ("tuned", "base"):
            wrong += row[side]["label"] != row["sentiment"]
    assert text.count(" ❌ |") == wrong > 0, "mistakes are shown"
    right = sum(row["tuned"]["label"] == row["sentiment"] for row in record["examples"])
    assert f"As expected: {right} of {len(EXAMPLES)} (the base " in text
    assert "By the fine-tuned model, the probability of “" in text


def test_the_sentences_are_ours_and_cover_what_the_card_promises():
    groups = {example.group for example in EXAMPLES}
    assert {"negation", "irony", "emoji", "dialect", "other languages"} <= groups
    assert len({example.text for example in EXAMPLES}) == len(EXAMPLES)
    assert {example.sentiment for example in EXAMPLES} == set(SENTIMENT)


# --- pictures


def colours_of(png: bytes) -> set:
    image = Image.open(io.BytesIO(png)).convert("RGB")
    assert image.width >= 400
    return set(image.get_flattened_data())


def test_the_pictures_are_small_and_show_something(trained):
    card = render_card(trained.artifact)
    assert set(card.files) == {"assets/confusion.png", "assets/calibration.png", "assets/curves.png"}
    for name, content in card.files.items():
        width = Image.open(io.BytesIO(content)).width // 2
        assert re.search(rf'<img src="{name}" width="{width}" alt="[^"]+">', card.text)
        assert (trained.artifact / name).read_bytes() == content
        assert len(content) < 60_000
        assert len(colours_of(content)) > 20


def test_a_confusion_matrix_is_bluest_where_most_rows_are(tmp_path):
    folder = artifact(tmp_path / "a", SENTIMENT)
    changed(folder, "evaluation.json", confusion_matrix=[[100, 0, 0], [0, 100, 0], [0, 0, 100]])
    png = render_card(folder).files["assets/confusion.png"]
    image = Image.open(io.BytesIO(png)).convert("RGB")
    size = image.size
    changed(folder, "evaluation.json", confusion_matrix=[[0, 0, 100], [0, 0, 100], [0, 0, 100]])
    other = Image.open(io.BytesIO(render_card(folder).files["assets/confusion.png"])).convert("RGB")
    assert other.size == size
    corner = (300 + 20, 120 + 20)  # inside the first cell, away from its words
    assert image.getpixel(corner)[2] > image.getpixel(corner)[0] + 100
    assert min(other.getpixel(corner)) > 230


def test_labels_that_the_font_cannot_write_get_their_number():
    assert drawable("négatif", instead="#1") == "negatif"
    assert drawable("否定", instead="#2") == "#2"
    assert drawable("😀", instead="#3") == "#3"
    assert len(drawable("a" * 99, instead="#4")) <= 16


# --- stamp, repository


def test_a_stamp_is_told_and_read_again(trained):
    stamp = Stamp(commit="0123456789abcdef" * 2 + "01234567", n_texts=32, largest_difference=3.1e-7)
    plain = render_card(trained.artifact, repo_id="ada/tweets")
    stamped = render_card(trained.artifact, repo_id="ada/tweets", verified=stamp)
    assert read_stamp(plain.text) is None
    assert read_stamp(stamped.text) == stamp
    assert (
        f"Verified at commit [`{stamp.commit}`](https://huggingface.co/ada/tweets/tree/{stamp.commit})"
        in stamped.text
    )
    assert stamped.files == plain.files
    exact = replace(stamp, largest_difference=0.0)
    assert read_stamp(render_card(trained.artifact, repo_id="ada/tweets", verified=exact).text) == exact


def test_the_same_artifact_gives_the_same_card(trained):
    assert render_card(trained.artifact, repo_id="ada/t") == render_card(trained.artifact, repo_id="ada/t")


@pytest.mark.parametrize(
    "name", ["", "a b", "../x", "a/b/c", "ada/" + "x" * 120, "ada/<script>", "ada/x\n---"]
)
def test_an_impossible_name_is_refused(trained_gpt2, name):
    with pytest.raises(
        ArtifactError, match=r"can't be a repository's name .*\. Give OWNER/NAME\.$"
    ) as caught:
        render_card(trained_gpt2.artifact, repo_id=name)
    assert "\n" not in str(caught.value)


def test_no_model_and_a_torn_record_are_refused(tmp_path, copy):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ArtifactError, match=r"no config\.json that names the labels\. Give the folder of a finished run"
    ):
        render_card(tmp_path / "empty")
    (copy / "evaluation.json").write_text('{"n": ')
    with pytest.raises(ArtifactError, match="Write it again by training again"):
        render_card(copy)


def test_the_template_asks_for_nothing_that_is_not_given(trained_gpt2):
    template = (TEMPLATES / "model_card.md").read_text()
    asked = jinja2.meta.find_undeclared_variables(jinja2.Environment(autoescape=True).parse(template))
    from training.publish.card import _values  # noqa: PLC0415

    given = _values(read_facts(trained_gpt2.artifact), {}, repo_id=None, adapter_only=False)
    assert asked <= given.keys() | {"card_data", "name", "stamp", "repo_id"}


def test_writing_a_card_again_changes_nothing(copy):
    before = {p: p.read_bytes() for p in [copy / "README.md", *(copy / "assets").iterdir()]}
    write_card(copy)
    assert before == {p: p.read_bytes() for p in before}


def test_the_font_is_there():
    """Pillow without FreeType has a bitmap font that ignores the size."""
    draw = ImageDraw.Draw(Image.new("L", (10, 10)))
    from training.publish.drawing import _font  # noqa: PLC0415

    assert draw.textlength("word", _font(20)) > 1.5 * draw.textlength("word", _font(10))
