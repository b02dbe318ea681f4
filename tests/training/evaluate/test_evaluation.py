"""Scores are those of the serving code, and sharing the trunk's work changes none of them."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from inference.artifact import read_record
from inference.baselines.bag_of_words import Majority
from inference.classifier import Classifier
from inference.common.errors import ArtifactError, DataError
from tests.support import WORDS, tweets, write_csv
from training.data.load import load_splits
from training.evaluate.evaluate import evaluate, evaluate_artifact
from training.evaluate.scores import ALL_ROWS, BASE, SINGLE_SCORES, TUNED, Evaluation
from training.model.bases import Base, resolve_base
from training.model.classifier import load_base_classifier, load_language_model, word_rows
from training.recipes import change, save_recipe

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


def without_sums(system):
    """Return what does not depend on the last digits of a probability."""
    return replace(system.scores, expected_calibration_error=None, calibration=())


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
    one, other = apart.evaluation, shared.evaluation
    assert without_sums(one.base) == without_sums(other.base)
    assert one.comparisons == other.comparisons
    assert one.tuned.scores.confusion_matrix == other.tuned.scores.confusion_matrix
    for one, other in zip(shared.disagreements, apart.disagreements, strict=True):
        assert one.text == other.text
        for mine, theirs in ((one.base, other.base), (one.tuned, other.tuned)):
            assert mine.label == theirs.label
            assert mine.probabilities == pytest.approx(theirs.probabilities, abs=1e-4)


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
        evaluation = evaluate(tuned, base, TEXTS, REFERENCES, split="validation").evaluation
        assert (evaluation.n, evaluation.split) == (120, "validation")
        scores = getattr(evaluation, side).scores
        predicted = found.argmax(1)
        assert scores.accuracy.value == pytest.approx(accuracy_score(REFERENCES, predicted))
        assert scores.macro_f1.value == pytest.approx(f1_score(REFERENCES, predicted, average="macro"))
        recall = recall_score(REFERENCES, predicted, average="macro")
        assert scores.macro_recall.value == pytest.approx(recall)
        assert np.array_equal(scores.confusion_matrix, confusion_matrix(REFERENCES, predicted))
        for name in SINGLE_SCORES:
            score = getattr(scores, name)
            assert score.low <= score.value <= score.high, name


def test_the_comparison_counts_the_rows_that_only_one_gets_right(trained):
    tuned, base = both(trained)
    mine, theirs = (probabilities(side).argmax(1) == REFERENCES for side in (tuned, base))
    result = evaluate(tuned, base, TEXTS, REFERENCES, split="test")
    comparison = result.evaluation.comparison(BASE, TUNED)
    assert comparison.only_second_right == int((mine & ~theirs).sum())
    assert comparison.only_first_right == int((theirs & ~mine).sum())
    assert comparison.accuracy_difference.value == pytest.approx(mine.mean() - theirs.mean())
    assert {row.text for row in result.disagreements} >= {
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
    reported = []
    result = evaluate(
        tuned, None, TEXTS, REFERENCES, split="test", progress=lambda *done: reported.append(done)
    )
    assert reported[-1] == (120, 120)
    assert [system.name for system in result.evaluation.systems] == [TUNED]
    assert (result.evaluation.comparisons, result.disagreements, result.shared_layers) == ((), (), 0)


def test_baselines_are_systems_like_the_others(trained):
    tuned, base = both(trained)
    majority = Majority.fit([0, 0, 1], names=LABELS)
    found = evaluate(
        tuned, base, TEXTS, REFERENCES, split="test", baselines={"majority": majority}, left_out={"x": "y"}
    ).evaluation
    assert [system.name for system in found.systems] == ["majority", BASE, TUNED]
    plain = found.system("majority")
    assert plain.scores.accuracy.value == REFERENCES.count(0) / 120
    assert plain.about == f"always {LABELS[0]}, the most frequent label in training"
    comparison = found.comparison("majority", TUNED)
    assert comparison.only_second_right - comparison.only_first_right == round(
        120 * (found.tuned.scores.accuracy.value - plain.scores.accuracy.value)
    )
    assert found.left_out == {"x": "y"}


def test_texts_that_were_cut_are_counted(trained):
    tuned, _ = both(trained)
    texts = ["sunny " * 400, *TEXTS[:3]]
    assert evaluate(tuned, None, texts, [2, *REFERENCES[:3]], split="test").evaluation.truncated == 1


def test_no_rows_is_one_sentence(trained_gpt2):
    tuned = Classifier.load(trained_gpt2.artifact)
    with pytest.raises(DataError) as caught:
        evaluate(tuned, None, [], [], split="test")
    assert str(caught.value) == (
        "The test split has no rows, so there is nothing to evaluate. Give one that has."
    )


def test_the_test_split_of_an_artifact_is_the_one_it_was_scored_on(trained_gpt2):
    found, first = evaluate_artifact(trained_gpt2.artifact, limit=60), trained_gpt2.run.evaluation()
    assert found.n == 60
    assert found.tuned.scores.confusion_matrix == first.tuned.scores.confusion_matrix
    assert found.rows == first.rows and len(found.rows.sha256) == 64
    splits = load_splits(trained_gpt2.run.recipe.data)
    assert found.tuned.scores.accuracy.value == pytest.approx(
        accuracy_score(
            splits.test["label"],
            [
                LABELS.index(p.label)
                for p in Classifier.load(trained_gpt2.artifact).predict(list(splits.test["text"]))
            ],
        )
    )


def test_a_file_is_scored_whole_and_what_is_not_scored_is_said(trained_gpt2, tmp_path):
    rows = [(text, "joy" if i % 4 == 3 else label.title()) for i, (text, label) in enumerate(ROWS)]
    path = write_csv(tmp_path / "other.csv", [*rows, *rows[:4]])
    found = evaluate_artifact(trained_gpt2.artifact, dataset=str(path), split="validation")
    assert (found.split, found.n, found.labels, found.absent) == (ALL_ROWS, 93, LABELS, ())
    assert found.rows.notes[0] == (
        "31 rows are not scored, by labels that the model lacks: joy (31); name them with --label-map, "
        "such as --label-map joy=negative."
    )
    assert found.sentences() == list(found.rows.notes)
    named = evaluate_artifact(trained_gpt2.artifact, dataset=str(path), label_map={"Joy": "positive"})
    assert named.n == 124 and named.rows.notes == ()
    assert evaluate_artifact(trained_gpt2.artifact, dataset=str(path), limit=10).n == 10


def test_a_file_of_one_class_says_what_its_averages_are_over(trained_gpt2, tmp_path):
    path = write_csv(tmp_path / "one.csv", [row for row in ROWS if row[1] == "positive"])
    found = evaluate_artifact(trained_gpt2.artifact, dataset=str(path))
    assert (found.n, found.absent) == (40, ("negative", "neutral"))
    assert found.tuned.scores.macro_recall.value == found.tuned.scores.accuracy.value
    assert found.sentences() == [
        "No row is labelled negative or neutral: macro recall is the mean over the other labels, and macro "
        "F1 counts such a label, as 0, only where it was predicted."
    ]
    assert Evaluation.from_json(found.to_json()) == found


def test_rows_that_were_trained_on_are_counted(trained_gpt2, tmp_path):
    train = load_splits(trained_gpt2.run.recipe.data).train
    rows = [(text.upper(), LABELS[label]) for text, label in zip(train["text"], train["label"], strict=True)]
    path = write_csv(tmp_path / "seen.csv", [*rows[:7], ("wholly new and great", "positive")])
    found = evaluate_artifact(trained_gpt2.artifact, dataset=str(path))
    assert found.rows.notes == ("7 of the 8 texts are among those that the model was trained on.",)


def test_the_models_own_data_is_split_as_it_was(trained_gpt2, tmp_path):
    copy = tmp_path / "copy.csv"
    copy.write_bytes(trained_gpt2.data.read_bytes())
    found = evaluate_artifact(trained_gpt2.artifact, dataset=str(copy))
    first = evaluate_artifact(trained_gpt2.artifact)
    assert found.tuned.scores.confusion_matrix == first.tuned.scores.confusion_matrix
    assert found.rows.notes == (
        "The model was trained on copy.csv, so the test split is scored, as it was drawn then.",
    )


def test_a_pipe_is_refused_and_not_waited_for(trained_gpt2, tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match="is neither a file nor a folder"):
        evaluate_artifact(trained_gpt2.artifact, dataset=str(tmp_path / "pipe.csv"))


def test_data_that_has_changed_is_refused_unless_it_is_given(trained_gpt2, tmp_path):
    shutil.copytree(trained_gpt2.artifact, tmp_path / "artifact")
    data = tmp_path / "tweets.csv"
    data.write_bytes(trained_gpt2.data.read_bytes())
    save_recipe(change(trained_gpt2.run.recipe, {"dataset": str(data)}), tmp_path / "recipe.toml")
    assert evaluate_artifact(tmp_path / "artifact").n == evaluate_artifact(trained_gpt2.artifact).n
    data.write_text(data.read_text() + "one more,neutral\n")
    with pytest.raises(DataError) as caught:
        evaluate_artifact(tmp_path / "artifact")
    assert str(caught.value).startswith(
        "tweets.csv is not the data of this training any more: 360 rows with the hash "
    )
    assert str(caught.value).endswith(
        " now. Put it back to score its locked test split, or score other rows with --dataset."
    )
    found = evaluate_artifact(tmp_path / "artifact", dataset=str(data))
    assert found.n == 361 and found.rows.notes == (
        "Whether the model was trained on some of them can't be told: its data is not here any more.",
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
    assert evaluate_artifact(tmp_path, dataset=str(trained_gpt2.data)).n > 10
