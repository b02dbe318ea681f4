"""A student learns its teacher's answers, on texts without labels too, and never those of held-out rows."""

import argparse
import json
import shutil

import pytest
import torch
from torch.nn import functional

from inference.classifier import Classifier, softmax
from inference.common.errors import DataError, RecipeError, RunError
from tests.support import tweets, write_csv
from tests.support.tiny import tiny_recipe, trained_here
from tests.training.fit.test_trainer import make
from training.cli.main import _student, main
from training.data.load import load_splits
from training.data.unlabelled import read_unlabelled
from training.evaluate.scores import BASE, TUNED, read_evaluation
from training.fit.prepare import load_data, prepare
from training.fit.rows import taught
from training.fit.trainer import TweetTrainer, arguments, logits_of
from training.recipes import Recipe, change
from training.runs.provenance import read_record
from training.runs.run import create_run


@pytest.fixture(scope="module")
def teacher(tiny_gpt2, tmp_path_factory):
    """Return a finished run, trained in this process."""
    folder = tmp_path_factory.mktemp("teacher")
    return trained_here(tiny_recipe(tiny_gpt2, folder, epochs=2.0, learning_rate=5e-3), folder / "run")


@pytest.fixture(scope="module")
def posts(teacher, tmp_path_factory):
    """Return a file of 30 new texts, 4 duplicates, 2 held-out rows and an empty one."""
    splits = load_splits(teacher.recipe.data)
    new = [text for text, _ in tweets(30, seed=77)]
    known = [*splits.train["text"][:3], new[0]]
    held_out = [splits.test["text"][0].upper(), splits.validation["text"][0]]
    rows = [(text, "") for text in [*new, *known, *held_out, " "]]
    return write_csv(tmp_path_factory.mktemp("posts") / "posts.csv", rows, header=("text", "id"))


@pytest.fixture(scope="module")
def student(teacher, posts):
    """Return the finished run of a student of two layers."""
    given = argparse.Namespace(run=teacher.path, depth=2, unlabelled=str(posts), set=["onnx=false"])
    return trained_here(_student(given), teacher.path.parent / "student")


def test_a_student_is_a_plain_artifact_beside_its_teacher(student, teacher):
    config = read_record(student.artifact, "config.json")
    assert config["n_layer"] == 2 and read_record(teacher.artifact, "config.json")["n_layer"] == 3
    found, before = read_evaluation(student.path), read_evaluation(teacher.path)
    assert found.base.scores.accuracy == before.tuned.scores.accuracy, (
        "its base is the teacher, on the same rows"
    )
    assert found.comparison(BASE, TUNED).n == 40
    [event] = student.events("student")
    disagreeing = (student.path / "disagreements.jsonl").read_text().count("\n")
    assert event["agreed"] == pytest.approx(1 - disagreeing / 40, abs=1e-4) and event["agreed"] > 0.5
    assert event["rate"] > 0 < event["teacher_rate"]
    assert any(event["text"].startswith("Student and teacher agree on ") for event in student.events("note"))
    record = read_record(student.artifact, "provenance.json")
    assert record["sizes"]["train"] == 48 and record["data"]["unlabelled"]["used"] == 30
    assert record["recipe"]["teacher"] == "artifact" and record["recipe"]["unlabelled"] == "posts.csv"
    assert str(teacher.path) not in json.dumps(record["recipe"] | {"base": ""})


def test_the_texts_are_counted_and_held_out_rows_are_not_learnt(student, teacher, posts):
    [event] = student.events("data")
    account = event["unlabelled"]
    assert (account["read"], account["used"], account["unusable"]) == (37, 30, 1)
    assert (account["duplicates"], account["leaks"]) == (4, 2)
    assert event["sentences"][-1] == (
        "posts.csv: 30 of 37 texts are used without labels; left out: 1 broken or without a text, "
        "4 duplicates, 2 of held-out rows."
    )
    splits = load_splits(teacher.recipe.data)
    again = read_unlabelled(teacher.recipe.data, splits, str(posts))
    assert not set(again.texts) & {*splits.test["text"], *splits.train["text"]}
    write_csv(posts.with_name("other.csv"), tweets(10))
    with pytest.raises(DataError, match=r"other\.csv has changed since the run began"):
        load_data(change(student.recipe, {"unlabelled": str(posts.with_name("other.csv"))}), event)


def test_what_is_taught_are_the_teachers_probabilities(student, teacher, tmp_path):
    prepared = prepare(student.recipe, tmp_path)
    assert len(prepared.train) == len(prepared.data.learnt) == 78
    texts = prepared.data.learnt["text"][:]
    classifier = Classifier.load(teacher.artifact)
    expected = softmax(classifier.logits(classifier.encode(texts).token_ids))
    assert torch.allclose(prepared.train.targets.double(), torch.from_numpy(expected), atol=1e-5)
    assert prepared.train.labels == expected.argmax(1).tolist()
    some = prepared.take([70, 3]).train
    assert torch.equal(some[0]["targets"], prepared.train.targets[70])
    assert some.collate([some[0], some[1]])["targets"].shape == (2, 3)
    assert prepared.validation.targets is None, "validation stays what people said"


def test_the_loss_is_the_cross_entropy_with_what_is_taught(tiny_gpt2, tmp_path):
    made = make(tiny_gpt2, n_train=16)
    targets = torch.softmax(torch.randn(16, 3, generator=torch.Generator().manual_seed(1)), 1)
    rows = taught(made.train, targets)
    trainer = TweetTrainer(
        model=made.model,
        args=arguments(made.recipe, tmp_path, every=1),
        train_dataset=rows,
        eval_dataset=made.validation,
        data_collator=rows.collate,
        like_length=False,
    )
    logits = torch.from_numpy(logits_of(made.model, rows, 0))
    made.model.training = True  # and nothing inside it, so that there is no dropout
    loss = trainer.compute_loss(made.model, rows.collate([rows[row] for row in range(16)]))
    assert loss.item() == pytest.approx(functional.cross_entropy(logits, targets).item(), abs=1e-5)


def test_bad_students_are_one_sentence(teacher, home, capsys):
    for depth in ("0", "3"):
        assert main(["distil", str(teacher.path), "--depth", depth]) == 1
        assert f"--depth is {depth}. Give fewer layers than the teacher's 3" in capsys.readouterr().err
    for source, said in (("test", "The rows of the test split are held out"), ("posts", "posts")):
        assert main(["distil", str(teacher.path), "--depth", "1", "--unlabelled", source]) == 1
        assert said in capsys.readouterr().err
    assert not (home / "runs").exists(), "nothing was begun"
    with pytest.raises(RecipeError, match="unlabelled needs a teacher"):
        Recipe(unlabelled="posts.csv")
    unfinished = create_run(teacher.recipe)
    with pytest.raises(RunError, match="it has no model to learn from yet"):
        _student(argparse.Namespace(run=unfinished.path, depth=1, unlabelled="", set=[]))


def test_a_run_that_had_teachers_can_be_one(teacher, posts, tmp_path):
    had = {"teachers": 2, "unlabelled": "train", "n_unlabelled": 3, "teacher_temperature": 0.7}
    run = create_run(change(teacher.recipe, had), run_dir=tmp_path / "taught")
    shutil.copytree(teacher.artifact, run.artifact)
    shutil.copy(teacher.path / "events.jsonl", run.path)
    given = argparse.Namespace(run=run.path, depth=1, unlabelled=str(posts), set=["teacher_temperature=2"])
    found = _student(given)
    assert (found.teachers, found.teacher, found.n_unlabelled) == (0, str(run.artifact), 0)
    assert found.teacher_temperature == 2.0, "what is set counts"


def test_the_column_of_the_texts_is_the_datas_or_found_by_name(teacher, tmp_path):
    data = write_csv(tmp_path / "data.csv", tweets(200), header=("said", "label"))
    recipe = change(
        teacher.recipe, {"dataset": str(data), "text_column": "said", "teachers": 2, "unlabelled": "x"}
    )
    for header in (("said", "text"), ("tweet", "id"), ("Said", "other")):
        file = write_csv(
            tmp_path / "posts.csv", [(text, "x") for text, _ in tweets(20, seed=9)], header=header
        )
        texts = load_data(change(recipe, {"unlabelled": str(file)})).unlabelled.texts
        assert len(texts) > 10 and "x" not in texts, header
    file = write_csv(tmp_path / "posts.csv", [("a b", "x")], header=("one", "two"))
    with pytest.raises(
        DataError, match=r"posts\.csv has no text column \(found: one, two\)\. Call the column"
    ):
        load_data(change(recipe, {"unlabelled": str(file)}))


def test_a_teacher_of_other_labels_is_refused(teacher, tmp_path):
    rows = [
        (text, {"negative": "angry", "neutral": "calm", "positive": "glad"}[label])
        for text, label in tweets(90)
    ]
    data = write_csv(tmp_path / "other.csv", rows)
    recipe = change(teacher.recipe, {"dataset": str(data), "teacher": str(teacher.path), "n_train": 0})
    with pytest.raises(
        RecipeError, match="The teacher has the labels negative, neutral, positive, but the data"
    ):
        prepare(recipe, tmp_path)
