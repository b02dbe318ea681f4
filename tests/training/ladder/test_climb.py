"""Every rung is measured on the same locked rows; a ladder that was stopped goes on with its next step."""

import csv
import io
import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest

from inference.common.errors import BaseError, DataError, RunError
from inference.common.store import write_json
from tests.support import tweets, write_csv
from tests.training.ladder.conftest import LABELS
from training.cli.main import main
from training.data.load import load_splits
from training.fit.prepare import Silent
from training.ladder import climb as climbing
from training.ladder import rungs
from training.ladder.climb import best_temperature, climb, scaled
from training.ladder.order import RUNGS
from training.ladder.results import Ladder
from training.ladder.rungs import Materials
from training.runs.log import RunLog
from training.runs.process import Cancelled, resume
from training.runs.run import LADDER, create_run_of, find_run, list_runs


def rows(ladder):
    return {step.name: step for step in ladder.steps}


def test_every_rung_is_there_on_the_same_rows(finished, order):
    _, ladder = finished
    assert not ladder.left_out, ladder.left_out
    expected = [step.name for step in order.steps(labels=order.labels, classes=3)]
    assert [step.name for step in ladder.steps] == expected
    assert {step.rung for step in ladder.steps} == set(RUNGS)
    assert {step.n for step in ladder.steps} == {48} == {ladder.n}
    assert {pair.comparison.n for pair in ladder.pairs} == {48}
    assert len(ladder.pairs) == len(expected) * (len(expected) - 1) // 2
    found = rows(ladder)
    assert (found["zero-shot"].labels_used, found["few-shot-1"].labels_used) == (0, 3)
    assert found["lora-24"].labels_used == found["nearest-24"].labels_used == LABELS
    for step in ladder.steps:
        assert step.selective and step.selective.wanted == 0.9
        assert step.ms_a_tweet > 0 and step.peak_memory_mb and step.temperature > 0
        assert step.usd_a_thousand == pytest.approx(
            step.ms_a_tweet / 1000 / 3600 * ladder.cores * order.price * 1000
        )
    assert found["both-24"].minutes_to_prepare >= found["lora-24"].minutes_to_prepare, (
        "it needs that training"
    )
    many = found["few-shot-16"]
    assert many.dropped > 0, "24 examples don't fit into the tiny base's context"
    assert many.labels_used + many.dropped == LABELS, "nor are there 48"


def test_each_step_says_whose_weights_answered(finished):
    _, ladder = finished
    found, base = rows(ladder), ladder.base["sha256"]
    of_the_base = {name for name, step in found.items() if step.weights_sha256 == base}
    assert of_the_base == {
        name for name in found if name.startswith(("zero-shot", "few-shot", "retrieval", "nearest"))
    }
    others = [found[f"{name}-24"].weights_sha256 for name in ("lora", "full", "head", "both")]
    assert len({*others, base}) == 5


def test_results_are_json_csv_and_two_pictures_and_nothing_else_is_left(finished):
    run, ladder = finished
    record = json.loads((run.path / "ladder.json").read_text())
    assert record["headline"] == ladder.headline
    lines = list(csv.DictReader(io.StringIO((run.path / "ladder.csv").read_text())))
    assert [line["name"] for line in lines] == [step.name for step in ladder.steps]
    assert float(lines[0]["accuracy"]) == ladder.steps[0].scores.accuracy.value
    for name in ("intervals.png", "cost.png"):
        assert (run.path / name).read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in run.path.iterdir()} == {
        *("run.json", "status.json", "events.jsonl", "steps", "ladder.json", "ladder.csv"),
        *("intervals.png", "cost.png", "rungs"),
    }
    shares = [event["progress"] for event in run.events("progress")]
    assert shares[-1] == pytest.approx(1.0, abs=0.01)
    assert any(event["time_left_s"] for event in run.events("progress"))


def test_balanced_rows_are_as_many_of_each_class_and_another_seed_draws_others(order, tmp_path):
    skewed = tweets(240, seed=3)
    rare = skewed[0][1]
    kept = [row for place, row in enumerate(skewed) if row[1] != rare or place % 4 == 0]
    data = write_csv(tmp_path / "skewed.csv", kept)
    few = {"dataset": str(data), "labels": (12,), "balanced": True}
    drawn = []
    for seed in (1, 2):
        mine = replace(order, **few, seed=seed)
        texts, labels = Materials(mine, tmp_path, load_splits(mine.recipe.data), Silent()).train(12)
        assert np.bincount(labels).tolist() == [4, 4, 4]
        drawn.append(set(texts))
    assert drawn[0] != drawn[1]


def test_a_stopped_ladder_goes_on_with_its_next_step(finished, order, monkeypatch):
    few = {"rungs": ("majority", "zero-shot", "head"), "labels": (12, LABELS)}
    run = create_run_of(LADDER, {**asdict(order), **few}, name="stopped")
    built, measure = [], climbing._measure

    def stopping(materials, step, folder, log, **more):
        built.append(step.name)
        if built.count("head-12") == 1 == len([name for name in built if name.startswith("head")]):
            raise Cancelled
        measure(materials, step, folder, log, **more)

    monkeypatch.setattr(climbing, "_measure", stopping)
    with pytest.raises(Cancelled):
        climb(run, RunLog(run.path))
    assert Ladder.read(run.path) is None
    climb(run, RunLog(run.path))
    assert built == ["majority-12", "majority-24", "zero-shot", "head-12", "head-12", "head-24"]
    mine, whole = rows(Ladder.read(run.path)), rows(finished[1])
    assert len(mine.keys() & whole.keys()) == 3
    for name, step in ((name, mine[name]) for name in mine.keys() & whole.keys()):
        assert step.scores == whole[name].scores, f"{name} is the same to the digit from one seed"


def test_no_rung_is_calibrated_by_the_test_rows_and_one_seed_gives_one_answer(order, tmp_path):
    splits = load_splits(order.recipe.data)
    other = replace(splits, test=splits.test.map(lambda row: {"text": f"zorgle {row['text'][::-1]}"}))
    few = ("zero-shot-contextual", "zero-shot-batch", "few-shot-1", "retrieval-words", "nearest")
    found = []
    for place, part in enumerate((splits, other)):
        (tmp_path / str(place) / "steps").mkdir(parents=True)
        materials = Materials(order, tmp_path / str(place), part, Silent())
        answers = {}
        for step in replace(order, rungs=few).steps(labels=(LABELS,), classes=3):
            predictor = rungs.BUILDERS[step.rung](materials, step).predictor
            answers[step.rung] = [one.probabilities for one in predictor.predict(splits.test["text"][:4])]
        found.append(answers)
        materials.forget()
    assert set(found[0]) == set(few) and found[0] == found[1], "the same to the digit"


def test_a_ladder_whose_data_has_changed_is_not_resumed(order, tmp_path):
    data = write_csv(tmp_path / "mine.csv", tweets(240, seed=3))
    run = create_run_of(LADDER, {**asdict(order), "dataset": str(data), "rungs": ["majority"]}, name="x")
    climb(run, RunLog(run.path))
    write_csv(data, tweets(240, seed=4))
    with pytest.raises(DataError, match="The data has changed since this ladder began"):
        climb(run, RunLog(run.path))


def test_a_ladder_whose_base_has_changed_is_not_resumed(order):
    run = create_run_of(LADDER, {**asdict(order), "rungs": ["majority", "zero-shot"]}, name="other")
    (run.path / "steps").mkdir()
    write_json(run.path / "steps" / "base.json", {"name": "another", "sha256": "0" * 64})
    with pytest.raises(RunError, match="is not the one that this ladder began with"):
        climb(run, RunLog(run.path))
    assert Ladder.read(run.path) is None


def test_a_base_that_is_not_there_is_refused_before_anything_is_measured(order, tmp_path, capsys):
    gone = str(tmp_path / "gone")
    run = create_run_of(
        LADDER, {**asdict(order), "base": gone, "rungs": ["majority", "zero-shot"]}, name="lost"
    )
    with pytest.raises(BaseError, match="gone does not exist"):
        climb(run, RunLog(run.path))
    assert Ladder.read(run.path) is None and not list((run.path / "steps").glob("majority*"))
    before = len(list_runs(kind=None))
    assert main(["ladder", "--base", gone, "--dataset", order.dataset]) == 1
    assert "gone does not exist" in capsys.readouterr().err
    assert len(list_runs(kind=None)) == before, "no run is made"


def test_weights_that_can_not_be_loaded_end_it_at_once(order, tiny_gpt2, tmp_path):
    torn = shutil.copytree(tiny_gpt2, tmp_path / "torn")
    (torn / "model.safetensors").write_bytes(b"torn")
    few = {"base": str(torn), "rungs": ["majority", "zero-shot", "head"]}
    run = create_run_of(LADDER, {**asdict(order), **few}, name="torn")
    with pytest.raises(BaseError, match="torn"):
        climb(run, RunLog(run.path))


def test_a_rung_that_fails_is_left_out_and_said(order, monkeypatch):
    def broken(materials, step):
        raise DataError("It can't learn from this.")

    monkeypatch.setitem(rungs.BUILDERS, "head", broken)
    run = create_run_of(LADDER, {**asdict(order), "rungs": ["majority", "head"]}, name="broken")
    climb(run, RunLog(run.path))
    ladder = Ladder.read(run.path)
    assert ladder.left_out == {"head-24": "It can't learn from this."}
    assert [step.rung for step in ladder.steps] == ["majority"]


def test_a_row_a_class_no_price_and_fewer_labels_than_classes_still_make_a_ladder(order, capsys):
    few = {"rungs": ["majority", "bag-of-words", "few-shot-1", "head"], "labels": [2], "limit": 1}
    run = create_run_of(LADDER, {**asdict(order), **few, "price": 0.0, "cost": "money"}, name="one")
    climb(run, RunLog(run.path))
    ladder = Ladder.read(run.path)
    assert not ladder.left_out and ladder.n == ladder.n_validation == 3, "one of each class"
    assert [step.labels_used for step in ladder.steps] == [3, 3, 3, 3]
    notes = [event["text"] for event in run.events("note")]
    assert "2 labels were asked for, but there are 3 classes; one of each is used." in notes
    assert {pair.smallest_difference for pair in ladder.pairs} == {None}
    assert all(np.isfinite(one.scores.accuracy.value) and one.usd_a_thousand == 0 for one in ladder.steps)
    assert "too few rows" in ladder.headline
    assert main(["advise", run.id]) == 0
    assert "costs $0.00 a month" in capsys.readouterr().out


def test_scaling_by_the_best_temperature_softens_what_is_too_sure():
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, size=2000)
    right = random.random(2000) < 0.6
    said = np.where(right, truth, (truth + 1) % 3)
    sure = np.full((2000, 3), 0.005)
    sure[np.arange(2000), said] = 0.99
    temperature = best_temperature(sure, truth.tolist())
    after = scaled(sure, temperature)
    assert temperature > 2 and after.max() == pytest.approx(0.6, abs=0.05)
    assert (after.argmax(1) == sure.argmax(1)).all() and after.sum(1) == pytest.approx(np.ones(2000))
    assert best_temperature(after, truth.tolist()) == pytest.approx(1, abs=0.02)


@pytest.mark.usefixtures("warm_starts")
def test_the_command_prints_one_object_and_is_listed_and_resumable(order, capsys):
    arguments = ["--base", order.base, "--dataset", order.dataset, "--rungs", "majority,zero-shot"]
    assert main(["ladder", *arguments, "--labels", "24", "--limit", "40", "--json"]) == 0
    said = capsys.readouterr()
    record = json.loads(said.out)
    assert [step["name"] for step in record["steps"]] == ["majority-24", "zero-shot"]
    run = find_run(record["run"], kind=LADDER)
    assert (run.status().state, run.can_resume) == ("finished", True)
    assert list_runs() == [] and [one.id for one in list_runs(kind=None)] == [run.id]
    with pytest.raises(RunError, match="is finished: only a"):
        resume(run)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rungs", ""], "A ladder needs a rung"),
        (["--rungs", "zeroshot"], "There is no rung 'zeroshot'. Take some of: majority"),
        (["--labels", "96,some"], "--labels takes whole numbers with commas, as 96,300,1000, and 'some'"),
        (["--labels", "1"], "A ladder needs a rung, and two training labels or more"),
        (["--precision", "90"], "--precision is 90. Give a share above 0 and up to 1, as 0.9."),
        (["--price", "nan"], "--price is nan. Give dollars, 0 or more."),
    ],
)
def test_what_makes_no_ladder_is_said_before_anything_starts(words, said, capsys, home):
    assert main(["ladder", *words]) == 1
    assert said in capsys.readouterr().err
    assert not list_runs(kind=None)


def test_its_help_names_every_rung(capsys):
    with pytest.raises(SystemExit):
        main(["ladder", "--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in RUNGS)
    assert "lora" in shown and "the recipe quick, not lora" in shown, "rung and recipe of one name differ"


def test_rungs_are_added_to_a_finished_ladder_without_measuring_again(order, monkeypatch, capsys):
    first = create_run_of(LADDER, {**asdict(order), "rungs": ["majority"]}, name="first")
    climb(first, RunLog(first.path))
    monkeypatch.setattr("training.runs.process.start", lambda run: climb(run, RunLog(run.path)))
    monkeypatch.setattr("training.cli.studies.watch", lambda run, given: 0)
    measured, measure = [], climbing._measure

    def noting(materials, step, *rest, **more):
        measured.append(step.name)
        measure(materials, step, *rest, **more)

    monkeypatch.setattr(climbing, "_measure", noting)
    assert main(["ladder", "--add-to", first.id, "--rungs", "bag-of-words"]) == 0
    assert measured == [f"bag-of-words-{LABELS}"]
    more = next(run for run in list_runs(kind=LADDER) if run.id != first.id)
    before, after = Ladder.read(first.path), Ladder.read(more.path)
    assert [step.rung for step in after.steps] == ["majority", "bag-of-words"]
    assert after.steps[0] == before.steps[0] and after.rows == before.rows and len(after.pairs) == 1
    assert main(["ladder", "--add-to", first.id, "--rungs", "head", "--limit", "20"]) == 1
    assert "limit" in capsys.readouterr().err
