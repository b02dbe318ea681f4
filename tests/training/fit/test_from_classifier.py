"""Training goes on from a classifier: the first step starts from its weights, head and prompt."""

import pytest
import torch

from inference import Classifier
from training.fit.prepare import Silent, prepare
from training.fit.run import _export
from training.fit.trainer import train
from training.model.classifier import load_base_classifier, torch_classifier
from training.recipes import Recipe, change
from training.runs.provenance import write_provenance


class Recorded(Silent):
    """A Report that remembers its notes and the losses."""

    def __init__(self):
        self.notes, self.losses = [], []

    def note(self, text):
        self.notes.append(text)

    def event(self, kind, **content):
        if kind == "step":
            self.losses.append(content["loss"])


@pytest.fixture(scope="module")
def recipe(tiny_gpt2, tiny_tweets):
    return Recipe(
        base=str(tiny_gpt2),
        dataset=str(tiny_tweets),
        n_train=48,
        n_validation=40,
        batch_size=8,
        epochs=16.0,
        learning_rate=1e-2,
    )


@pytest.fixture(scope="module")
def first(recipe, tmp_path_factory):
    """Return the folder of a run: its artifact is trained for some seconds."""
    run = tmp_path_factory.mktemp("first")
    prepared = prepare(recipe, run)
    _export(prepared, train(prepared, recipe, checkpoints=run / "checkpoints"), run / "artifact")
    (run / "recipe.toml").touch()
    return run


def loss_of(classifier, splits):
    logits = classifier.logits(classifier.encode(splits.train["text"][:]).token_ids)
    return float(torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(splits.train["label"])))


def test_the_first_step_starts_from_the_tuned_weights(recipe, first, tmp_path):
    again = change(recipe, {"base": str(first), "batch_size": "48", "epochs": "1", "learning_rate": "1e-9"})
    recorded = Recorded()
    prepared = prepare(again, tmp_path, report=recorded)
    tuned = Classifier.load(first / "artifact", engine="torch")
    assert torch.equal(prepared.base_head, tuned.model.score.weight)
    start = loss_of(tuned, prepared.splits)
    train(prepared, again, checkpoints=tmp_path / "checkpoints", report=recorded)
    fresh, anew = Recorded(), change(again, {"base": recipe.base})
    train(prepare(anew, tmp_path), anew, checkpoints=tmp_path / "fresh", report=fresh)
    assert abs(recorded.losses[0] - start) < (fresh.losses[0] - start) / 4  # but for GPT-2's dropout
    [note] = [note for note in recorded.notes if "classifier" in note]
    assert "its head is kept too" in note and "may be among these test rows" in note


def test_what_comes_out_is_a_plain_artifact_whose_base_is_the_first_one(recipe, first, tmp_path):
    again = change(recipe, {"base": str(first), "epochs": "1"})
    prepared = prepare(again, tmp_path)
    _export(prepared, train(prepared, again, checkpoints=tmp_path / "checkpoints"), tmp_path / "artifact")
    texts = prepared.splits.test["text"][:20]
    second = Classifier.load(tmp_path / "artifact", engine="torch")
    one = Classifier.load(first / "artifact", engine="torch")
    assert second.encode(texts).token_ids == one.encode(texts).token_ids
    record = {
        "base": {"name": first.name, "wanted": str(first)},
        "base_prompt": {"prefix": "Tweet:", "suffix": "\nSentiment:"},
        "labels": list(prepared.splits.labels),
        "recipe": again.model_dump(),
    }
    write_provenance(tmp_path / "artifact", record)
    base = load_base_classifier(tmp_path / "artifact")
    for mine, other in zip(base.predict(texts), one.predict(texts), strict=True):
        assert mine.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_other_labels_start_from_their_words(recipe, first, tmp_path):
    file = tmp_path / "two.csv"
    rows = [
        f"{'love' if at % 2 else 'hate'} it {at} times,{'good' if at % 2 else 'bad'}" for at in range(120)
    ]
    file.write_text("text,label\n" + "\n".join(rows))
    recorded = Recorded()
    again = change(recipe, {"base": str(first), "dataset": str(file), "n_train": "0", "n_validation": "0"})
    prepared = prepare(again, tmp_path, report=recorded)
    assert prepared.base_head.shape == (2, 32) and prepared.splits.labels == ("bad", "good")
    model = prepared.untouched
    with torch.no_grad():
        model.score.weight.copy_(prepared.base_head)
    found = torch_classifier(model, prepared.tokenizer, name_or_path="test").predict(["love it", "hate it"])
    assert len(found) == 2
    assert any(
        "its head, for negative, neutral, positive, is replaced by the label words" in n
        for n in recorded.notes
    )
