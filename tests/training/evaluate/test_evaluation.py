"""Scores are those of the serving code, and sharing the trunk's work changes none of them."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from inference.artifact import read_record
from inference.classifier import Classifier
from inference.common.errors import ArtifactError, DataError
from tests.support import WORDS, tweets
from training.data.load import load_splits
from training.evaluate.evaluate import evaluate
from training.evaluate.scoring import evaluate_artifact
from training.model.bases import Base, resolve_base
from training.model.classifier import load_base_classifier, load_language_model, word_rows

LABELS = tuple(WORDS)
ROWS = tweets(120, seed=11)
TEXTS, REFERENCES = [text for text, _ in ROWS], [LABELS.index(label) for _, label in ROWS]


def both(trained):
    """Return the fine-tuned classifier and its base, freshly loaded."""
    folder = trained.base
    base = Base(folder.name, folder, "local", "the folder was given")
    return Classifier.load(trained.artifact), load_base_classifier(trained.artifact, base=base)


def probabilities(classifier):
    return np.array([prediction.probabilities for prediction in classifier.predict(TEXTS)])


def without_sums(scores):
    """Return what does not depend on the last digits of a probability."""
    left_out = ("expected_calibration_error", "calibration", "name")
    return {key: value for key, value in scores.items() if key not in left_out}


def test_sharing_the_trunk_changes_no_score(trained):
    tuned, base = both(trained)
    shared = evaluate(tuned, base, TEXTS, REFERENCES, split="test")
    assert shared.shared_layers == 2
    # The same weights, but for one that no text uses: now no layer can be shared.
    tuned, base = both(trained)
    with torch.no_grad():
        base.model.get_input_embeddings().weight[-1] += 1
    assert not any(tuned.model.config.vocab_size - 1 in ids for ids in tuned.encode(TEXTS).token_ids)
    apart = evaluate(tuned, base, TEXTS, REFERENCES, split="test")
    assert apart.shared_layers == 0
    assert without_sums(apart.scores["base"]) == without_sums(shared.scores["base"])
    assert apart.scores["comparison"] == shared.scores["comparison"]
    assert apart.scores["confusion_matrix"] == shared.scores["confusion_matrix"]
    for one, other in zip(shared.disagreements, apart.disagreements, strict=True):
        assert one["text"] == other["text"]
        for side in ("base", "tuned"):
            assert one[side]["label"] == other[side]["label"]
            assert one[side]["probabilities"] == pytest.approx(other[side]["probabilities"], abs=1e-4)


def test_the_models_answer_after_an_evaluation_as_they_did_before(trained):
    tuned, base = both(trained)
    before = [probabilities(tuned), probabilities(base)]
    evaluate(tuned, base, TEXTS, REFERENCES, split="test")
    assert np.abs(before[0] - probabilities(tuned)).max() < 1e-6
    assert np.abs(before[1] - probabilities(base)).max() < 1e-6
    assert np.abs(before[0] - before[1]).max() > 0.1


def test_no_layer_is_shared_when_all_weights_were_trained(trained):
    tuned, base = both(trained)
    with torch.no_grad():
        for parameter in tuned.model.parameters():
            parameter.mul_(1.01)
    assert evaluate(tuned, base, TEXTS, REFERENCES, split="test").shared_layers == 0


def test_the_scores_are_scikit_learns_on_the_classifiers_own_answers(trained):
    tuned, base = both(trained)
    for side, found in (("tuned", probabilities(tuned)), ("base", probabilities(base))):
        tuned, base = both(trained)
        scores = evaluate(tuned, base, TEXTS, REFERENCES, split="validation").scores
        scores = scores if side == "tuned" else scores["base"]
        predicted = found.argmax(1)
        assert scores["n"] == 120
        assert scores["accuracy"]["value"] == pytest.approx(accuracy_score(REFERENCES, predicted))
        assert scores["macro_f1"]["value"] == pytest.approx(f1_score(REFERENCES, predicted, average="macro"))
        recall = recall_score(REFERENCES, predicted, average="macro")
        assert scores["macro_recall"]["value"] == pytest.approx(recall)
        assert scores["confusion_matrix"] == confusion_matrix(REFERENCES, predicted).tolist()
        for key in ("accuracy", "macro_f1", "macro_recall", "expected_calibration_error"):
            assert scores[key]["low"] <= scores[key]["value"] <= scores[key]["high"], key


def test_the_comparison_counts_the_rows_that_only_one_gets_right(trained):
    tuned, base = both(trained)
    mine, theirs = (probabilities(side).argmax(1) == REFERENCES for side in (tuned, base))
    result = evaluate(tuned, base, TEXTS, REFERENCES, split="test")
    comparison = result.scores["comparison"]
    assert comparison["only_tuned_right"] == int((mine & ~theirs).sum())
    assert comparison["only_base_right"] == int((theirs & ~mine).sum())
    assert comparison["accuracy_difference"]["value"] == pytest.approx(mine.mean() - theirs.mean())
    assert {row["text"] for row in result.disagreements} >= {
        text for text, m, t in zip(TEXTS, mine, theirs, strict=True) if m != t
    }


def test_the_base_answers_as_the_language_model_does_but_for_calibration(trained):
    _, base = both(trained)
    lm = load_language_model(resolve_base(str(trained.base)))
    rows = word_rows(lm, LABELS)
    offsets = []
    for ids in base.encode(TEXTS).token_ids:
        with torch.no_grad():
            hidden = lm.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1]
            offsets.append(base.model(input_ids=torch.tensor([ids])).logits[0] - rows @ hidden)
    offsets = torch.stack(offsets)
    spread = offsets - offsets.mean(0)
    assert spread.abs().max() < 0.35 * (rows @ hidden).std(), (
        "calibration is one offset for each label, near enough"
    )
    shares = probabilities(base).mean(0)
    assert np.abs(shares - 1 / 3).max() < 0.1, "on average no label is preferred"


def test_without_a_base_only_the_model_is_scored(trained):
    tuned, _ = both(trained)
    told = []
    result = evaluate(tuned, None, TEXTS, REFERENCES, split="test", progress=lambda *done: told.append(done))
    assert told[-1] == (120, 120)
    assert "base" not in result.scores and "comparison" not in result.scores
    assert (result.disagreements, result.shared_layers) == ([], 0)


def test_texts_that_were_cut_are_counted(trained):
    tuned, _ = both(trained)
    texts = ["sunny " * 400, *TEXTS[:3]]
    assert evaluate(tuned, None, texts, [2, *REFERENCES[:3]], split="test").scores["truncated"] == 1


def test_no_rows_is_one_sentence(trained_gpt2):
    tuned = Classifier.load(trained_gpt2.artifact)
    with pytest.raises(DataError) as caught:
        evaluate(tuned, None, [], [], split="test")
    assert str(caught.value) == (
        "The test split has no rows, so there is nothing to evaluate. Give one that has."
    )


def test_the_test_split_of_an_artifact_is_the_one_it_was_scored_on(trained_gpt2):
    scores = evaluate_artifact(trained_gpt2.artifact, limit=60)
    record = trained_gpt2.run.evaluation()
    assert scores["n"] == 60
    assert scores["confusion_matrix"] == record["confusion_matrix"]
    splits = load_splits(trained_gpt2.run.recipe.data)
    assert scores["accuracy"]["value"] == pytest.approx(
        accuracy_score(
            splits.test["label"],
            [
                LABELS.index(p.label)
                for p in Classifier.load(trained_gpt2.artifact).predict(list(splits.test["text"]))
            ],
        )
    )


def test_data_with_other_labels_is_one_sentence(trained_gpt2, tmp_path):
    rows = "".join(f"{text},{'joy' if i % 2 else 'negative'}\n" for i, (text, _) in enumerate(ROWS))
    (tmp_path / "other.csv").write_text("text,label\n" + rows)
    with pytest.raises(DataError) as caught:
        evaluate_artifact(trained_gpt2.artifact, dataset=str(tmp_path / "other.csv"))
    assert str(caught.value) == (
        "The data has labels that the model does not know (joy; it knows negative, neutral, positive). "
        "Give data with the model's labels."
    )


def test_an_artifact_without_provenance_has_no_base_and_no_data(trained_gpt2, tmp_path):
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((trained_gpt2.artifact / name).read_bytes())
    assert read_record(tmp_path, "provenance.json") is None
    with pytest.raises(ArtifactError, match=r"does not say which base it came from: there is nothing to"):
        load_base_classifier(tmp_path)
    with pytest.raises(
        ArtifactError, match=r"does not say what data it was trained on\. Name some with --data"
    ):
        evaluate_artifact(tmp_path)
    assert evaluate_artifact(tmp_path, dataset=str(trained_gpt2.data))["n"] > 10
