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
    assert run.evaluation()["n"] == 60
    assert run.disagreements()


def test_a_store_of_labels_is_read(tmp_path):
    shutil.copy(BEFORE / "labels.sqlite", tmp_path)
    store = LabelStore(tmp_path / "labels.sqlite", labels=("negative", "neutral", "positive"))
    counts = store.counts()
    assert (counts.waiting, counts.labelled, counts.skipped) == (1, 1, 1)
    store.close()
