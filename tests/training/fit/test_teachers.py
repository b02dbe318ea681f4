"""Teachers learn the labels and answer texts without; a student learns both; no teacher is trained twice."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.common.errors import DataError, RecipeError, RunError
from tests.support import tweets, write_csv
from tests.support.tiny import tiny_recipe, trained_here
from training.data.load import load_splits
from training.data.unlabelled import read_unlabelled
from training.fit import teachers
from training.fit.phases import LABELS_TAKEN, phases
from training.fit.prepare import load_data, prepare
from training.fit.rows import sharpened
from training.fit.run import train_run
from training.fit.teachers import aligned, answers_of_teachers
from training.recipes import DataSpec, change, load_recipe
from training.runs.log import RunLog
from training.runs.process import Cancelled
from training.runs.provenance import read_record
from training.runs.run import create_run, with_whole_paths
from training.studies.forecast_order import ForecastOrder


@pytest.fixture(scope="module")
def recipe(tiny_gpt2, tmp_path_factory):
    """Return a recipe of two teachers, 48 labels and 60 of the texts that are left over."""
    settings = {"teachers": 2, "teacher_epochs": 2.0, "teacher_temperature": 0.7, "n_unlabelled": 60}
    settings |= {"unlabelled": "train", "state_noise": 0.5, "epochs": 1.0, "learning_rate": 5e-3}
    return tiny_recipe(tiny_gpt2, tmp_path_factory.mktemp("data"), **settings)


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    """Return the finished run, trained in this process and never disturbed."""
    return trained_here(recipe, tmp_path_factory.mktemp("run") / "run")


class Once:
    """Asks to stop when a training begins for the given time."""

    gently = False

    def __init__(self, monkeypatch, call):
        self.trained, self._call = [], call
        train = teachers.train

        def counted(*given, seed, **options):
            self.trained.append(seed)
            return train(*given, seed=seed, **options)

        monkeypatch.setattr(teachers, "train", counted)

    @property
    def asked(self):
        return len(self.trained) == self._call


def test_a_run_tells_its_teachers_its_texts_and_its_temperature(run, recipe):
    record = read_record(run.artifact, "provenance.json")
    summary = record["teachers"]
    assert (summary["texts"], summary["temperature"]) == (60, 0.7)
    assert set(summary["validation_macro_f1"]) == {"43", "44"} and record["trained_by_seed"] == 42
    assert sum(summary["answered"].values()) == 60 and 0 <= summary["agreed"] <= 1
    assert record["data"]["unlabelled"]["used"] == 60 and record["sizes"]["train"] == 48
    [event] = run.events("teachers")
    assert event["answered"] == summary["answered"]
    [said] = [event["text"] for event in run.events("note") if "teachers (validation" in event["text"]]
    assert "answer 60 texts without labels" in said and "each labelled text 2 times" in said
    phases_seen = list(dict.fromkeys(event["phase"] for event in run.events("progress")))
    assert phases_seen == ["prepare", "cache", "teach", "train", "export", "evaluate"]
    progress = [event for event in run.events("progress") if event["phase"] == "teach"]
    assert progress[-1]["done"] == progress[-1]["total"] and progress[0]["time_left_s"] > 0
    assert [event["total_steps"] for event in run.events("validation")] == [20], "60 texts, 48 labels twice"
    assert not list(run.path.glob("trunk-*")) and not (run.path / "checkpoints").exists()


def test_a_stopped_run_trains_no_finished_teacher_again_and_ends_with_the_same_weights(
    run, recipe, tmp_path, monkeypatch
):
    other = create_run(recipe, run_dir=tmp_path / "run")
    stop = Once(monkeypatch, call=2)
    with pytest.raises(Cancelled):
        train_run(other, RunLog(other.path), stop)
    assert stop.trained == [43, 44], "it was stopped in the middle of the second"
    train_run(other, RunLog(other.path), stop)
    assert stop.trained == [43, 44, 44]
    one, same = (path.artifact / "model.safetensors" for path in (run, other))
    assert one.read_bytes() == same.read_bytes()


def test_what_is_taught_are_the_labels_twice_and_the_aligned_and_sharpened_mean(recipe, tmp_path):
    prepared = prepare(recipe, tmp_path)
    assert len(prepared.train) == 48 and len(prepared.learnt) == 108
    answers = answers_of_teachers(prepared, folder=tmp_path / "c")
    student = answers.taught_to(prepared)
    assert len(student.train) == LABELS_TAKEN * 48 + 60 and len(prepared.train) == 48
    assert student.train.labels[:48] == student.train.labels[48:96] == list(prepared.splits.train["label"])
    assert torch.equal(student.train.targets[5], torch.eye(3)[prepared.train.labels[5]])
    files = sorted((tmp_path / "c").glob("teacher-*.npz"))
    mean = sum(torch.from_numpy(np.load(file)["answers"]) for file in files) / 2
    expected = sharpened(aligned(mean, prepared.train.labels), 0.7)
    assert torch.allclose(student.train.targets[96:], expected, atol=1e-6)
    assert torch.equal(student.train.state(96 + 7), prepared.learnt.state(48 + 7))
    with pytest.raises(RecipeError, match="teachers is 0, but 2 was prepared"):
        prepared.check(change(recipe, {"teachers": 0, "unlabelled": "", "n_unlabelled": 0}))


def test_alignment_draws_the_mean_to_the_shares_of_the_labels_and_a_low_temperature_sharpens():
    answers = torch.tensor([[0.6, 0.3, 0.1], [0.5, 0.1, 0.4], [0.7, 0.2, 0.1]])
    found = aligned(answers, [0, 1, 1, 1, 2, 2])
    assert torch.allclose(found.sum(1), torch.ones(3))
    assert found.mean(0)[0] < answers.mean(0)[0] and found.mean(0)[1] > answers.mean(0)[1]
    assert torch.allclose(aligned(torch.full((4, 2), 0.5), [0, 1]), torch.full((4, 2), 0.5))
    assert (aligned(answers, [1, 1, 2])[:, 0] > 0).all(), "a label that no row has is not ruled out"
    sharp = sharpened(answers, 0.5)
    assert torch.allclose(sharp[0], answers[0] ** 2 / (answers[0] ** 2).sum())
    assert torch.allclose(sharpened(answers, 1.0), answers)
    assert torch.isfinite(sharpened(torch.tensor([[1.0, 0.0]]), 0.1)).all()


def test_the_rows_left_over_are_those_that_the_recipe_does_not_take(recipe):
    splits, whole = load_splits(recipe.data), load_splits(recipe.data.whole())
    found = read_unlabelled(recipe.data, splits, "train")
    held_out = {*whole.validation["text"], *whole.test["text"]}
    assert not set(found.texts) & {*splits.train["text"], *held_out}
    assert set(found.texts) | set(splits.train["text"]) == set(whole.train["text"])
    assert found.read == len(whole.train) - 48 == len(found.texts) + found.duplicates
    drawn = read_unlabelled(recipe.data, splits, "train", most=60)
    assert len(drawn.texts) == 60 and drawn.not_drawn == len(found.texts) - 60
    assert drawn.sentence.endswith(f"0 of held-out rows, {drawn.not_drawn} that were not drawn.")
    assert drawn == read_unlabelled(recipe.data, splits, "train", most=60)
    [own] = [text for text in load_data(recipe).to_json()["sentences"] if "without labels" in text]
    assert own == drawn.sentence and own.startswith("t.csv, rows of train left over: 60 of ")
    file = Path(recipe.dataset).with_name("torn.csv")
    file.write_text("text,label\nwholly new,x\none,two,three\nquite new,x\n")
    assert read_unlabelled(recipe.data, splits, str(file)).sentence.startswith(
        "torn.csv: 2 of 3 texts are used without labels; left out: 1 broken or without a text, 0 duplicates"
    )
    for split in ("validation", "test"):
        with pytest.raises(DataError, match=f"The rows of the {split} split are held out, so nothing may"):
            read_unlabelled(recipe.data, splits, split)


def test_texts_of_a_file_are_drawn_too_and_the_data_s_own_file_gives_what_has_no_label(recipe, tmp_path):
    rows = tweets(120, seed=9)
    file = write_csv(
        tmp_path / "half.csv", [(text, label * (at < 90)) for at, (text, label) in enumerate(rows)]
    )
    own = change(recipe, {"dataset": str(file), "unlabelled": str(file), "n_train": 0, "n_unlabelled": 0})
    data = load_data(own)
    texts = set(data.unlabelled.texts)
    assert texts and texts <= {text for text, _ in rows[90:]}
    assert not texts & {*data.splits.test["text"], *data.splits.validation["text"]}
    assert len(load_data(change(own, {"n_unlabelled": 5})).unlabelled.texts) == 5


def test_what_can_not_be_taught_is_one_sentence(recipe):
    with pytest.raises(
        DataError, match=r"0 of 0 texts .* Give other texts with unlabelled, or a smaller n_t"
    ):
        load_data(change(recipe, {"n_train": 0}))
    with pytest.raises(RecipeError, match="teachers need texts without labels"):
        change(recipe, {"unlabelled": ""})
    with pytest.raises(RecipeError, match="both teacher and teachers"):
        change(recipe, {"teacher": "runs/demo"})
    with pytest.raises(RecipeError, match="Take the recipe unlabelled, set teachers to 2"):
        change(load_recipe("quick"), {"unlabelled": "posts.csv"})
    with pytest.raises(RunError, match="A forecast follows training on labels alone"):
        ForecastOrder(recipe=recipe.model_dump())


def test_the_split_is_no_file_of_this_name(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train").mkdir()
    assert with_whole_paths(recipe).unlabelled == "train"
    assert with_whole_paths(change(recipe, {"unlabelled": "./train"})).unlabelled == str(tmp_path / "train")


def test_the_plan_counts_teachers_and_texts(recipe, tmp_path):
    prepared = prepare(recipe, tmp_path)
    sizes, plan = prepared.sizes, prepared.plan
    assert list(plan) == ["cache", "teach", "train", "export", "evaluate"]
    assert (sizes.train_rows, sizes.unlabelled_rows) == (108, 60)
    more = phases(prepared.pace, change(recipe, {"teachers": 4}), sizes)
    assert more["teach"] == pytest.approx(2 * plan["teach"]) and more["train"] == plan["train"]
    alone = change(recipe, {"teachers": 0, "unlabelled": "", "epochs": 2.0})
    unit = phases(prepared.pace, alone, sizes)["train"] / 2
    assert plan["train"] > unit, "each labelled text is learnt twice"


def test_the_built_in_recipe_learns_from_rows_of_its_own_data():
    found = load_recipe("unlabelled")
    assert found.data == DataSpec(n_train=1000, n_validation=500, n_test=1000)
    assert (found.teachers, found.teacher_temperature, found.unlabelled) == (2, 0.7, "train")
    assert json.dumps(found.model_dump())
