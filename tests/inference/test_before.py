"""What was made before the code was rearranged still loads: a run, its artifact and a store of labels."""

import json
import shutil
from pathlib import Path

import pytest

from inference import Classifier
from inference.live.review import LabelStore
from tests.support import REPOSITORY
from training.runs.run import find_run

BEFORE = REPOSITORY / "tests" / "fixtures" / "2026-11"
"""Made by the code of November 2026 (eb2a354): tiny-gpt2, 200 made-up tweets, three epochs, exported."""


@pytest.fixture
def run_folder(tmp_path) -> Path:
    return Path(shutil.copytree(BEFORE / "run", tmp_path / "run"))


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_an_artifact_answers_as_it_did(engine):
    expected = json.loads((BEFORE / "predictions.json").read_text(encoding="utf-8"))
    found = Classifier.load(BEFORE / "run" / "artifact", engine=engine).predict(expected["texts"])
    for prediction, probabilities in zip(found, expected["probabilities"][engine], strict=True):
        assert prediction.probabilities == pytest.approx(probabilities, abs=1e-4)


def test_a_run_is_found_with_its_scores(run_folder):
    run = find_run(run_folder)
    assert run.status().state == "finished" and run.recipe.name == "smoke"
    evaluation = run.evaluation()
    assert (evaluation.n, evaluation.split, evaluation.labels[0]) == (60, "test", "negative")
    accuracies = {system.name: round(system.scores.accuracy.value, 3) for system in evaluation.systems}
    assert accuracies == {"bag of words": 1.0, "base": 0.8, "fine-tuned": 0.767}
    assert evaluation.base.about == "tiny-gpt2" and len(evaluation.base.scores.calibration) == 8
    assert evaluation.system("bag of words").seconds == 0.1
    assert evaluation.comparison("base", "fine-tuned").only_first_right == 4
    assert evaluation.comparison("bag of words", "fine-tuned").sentence.startswith("Fine-tuning is worse: 0")
    [first, *_] = run.disagreements()
    assert first.base.label != first.tuned.label


def test_a_store_of_labels_is_read(tmp_path):
    shutil.copy(BEFORE / "labels.sqlite", tmp_path)
    store = LabelStore(tmp_path / "labels.sqlite", labels=("negative", "neutral", "positive"))
    counts = store.counts()
    assert (counts.waiting, counts.labelled, counts.skipped) == (1, 1, 1)
    store.close()
