"""The doctor reads what is wrong off a run's records, with the numbers, and proposes a recipe that trains."""

import json
import math
import shutil
from dataclasses import replace

import pytest

from inference.common.intervals import Interval
from inference.selective import CoveragePoint
from tests.support import REPOSITORY
from tests.support.cards import evaluation as made
from training.cli import main as cli
from training.doctor.diagnose import Diagnosis, Records, changed, changes_of, command, examine, records_of
from training.evaluate.scores import BAG_OF_WORDS, MAJORITY, TUNED, Duplicates
from training.recipes import Recipe, load_recipe
from training.runs.run import Run, create_run

YESTERDAY = REPOSITORY / "tests" / "fixtures" / "2026-11" / "run"
LABELS = ("negative", "neutral", "positive")
RECIPE = Recipe(learning_rate=0.002, epochs=4)
WELL = [1.1, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.4, 0.4]
ROWS = {"train": 300, "validation": 150, "test": 300}


def evaluations(*losses):
    return [
        {"epoch": at + 1.0, "loss": loss, "accuracy": 0.8, "macro_f1": 0.8} for at, loss in enumerate(losses)
    ]


def records(*, losses=WELL, checks=None, recipe=RECIPE, balance=(100, 100, 100), rows=ROWS, **more):
    data = {
        "class_balance": {"train": dict(zip(LABELS, balance, strict=True))},
        "rows": {split: {"read": 0, "kept": n, "used": n} for split, n in rows.items()},
    }
    checks = evaluations(0.8, 0.6, 0.5, 0.45) if checks is None else checks
    return Records(recipe=recipe, losses=losses, checks=checks, data=data | more.pop("more", {}), **more)


def scored(matrix, *, surest=0.95, bag=0.8, **changes):
    """Return an evaluation by its confusion matrix."""
    n = sum(map(sum, matrix))
    accuracy = sum(matrix[i][i] for i in range(3)) / n
    whole = made(LABELS)

    def system(name, value):
        one = whole.system(name) or replace(whole.tuned, name=name)
        return replace(one, scores=replace(one.scores, accuracy=Interval(value, value - 0.05, value + 0.05)))

    tuned = system(TUNED, accuracy)
    tuned = replace(
        tuned, scores=replace(tuned.scores, confusion_matrix=matrix, macro_f1=Interval(*[accuracy] * 3))
    )
    majority = max(map(sum, matrix)) / n
    sure = Interval(surest, surest - 0.05, surest + 0.04)
    return replace(
        whole,
        n=n,
        systems=(system(MAJORITY, majority), system(BAG_OF_WORDS, bag), tuned),
        coverage=(CoveragePoint(0.9, Interval(*[0.35] * 3), sure),),
        **changes,
    )


GOOD = ((90, 5, 5), (5, 90, 5), (5, 5, 90))
RISEN = evaluations(0.8, 0.6, 0.7, 0.9)
FLAT, HIGH = [1.1, 1.09] * 10, [1.1, 1.0, 1.2, 4.0, 3.0, 2.5, 2.0, 1.5, 1.3, 1.2, 1.2, 1.2]
SICK = {
    "over-fitting": (records(losses=[*WELL[:8], 0.1, 0.1], checks=RISEN), {"epochs": 2.0, "patience": 2}),
    "under-fitting": (
        records(losses=[1.1, 1.0, 0.95, 0.9, 0.9, 0.85, 0.8, 0.75, 0.7, 0.7], checks=evaluations(0.9, 0.65)),
        {"epochs": 8.0},
    ),
    "learning rate too high": (records(losses=HIGH, checks=evaluations(2.0, 1.3)), {"learning_rate": 0.0002}),
    "learning rate too low": (records(losses=FLAT, checks=evaluations(1.1, 1.09)), {"learning_rate": 0.02}),
    "untrained head": (
        records(
            losses=FLAT, checks=evaluations(1.1, 1.09), recipe=RECIPE.model_copy(update={"head": "random"})
        ),
        {"head": "words", "learning_rate": 0.02},
    ),
    "collapsed head": (
        records(evaluation=scored(((100, 0, 0), (99, 1, 0), (98, 2, 0)))),
        {"head": "words", "learning_rate": 0.0004},
    ),
    "class never predicted": (
        records(evaluation=scored(((90, 10, 0), (10, 90, 0), (3, 3, 0)))),
        {"class_weights": "balanced"},
    ),
    "label noise": (records(evaluation=scored(GOOD, surest=0.6, bag=0.4)), {"label_smoothing": 0.1}),
    "leak": (
        records(evaluation=scored(GOOD, twins=Duplicates(removed=0, learnt=9, cosine=0.9, n=291))),
        {"leak_gate": "near"},
    ),
    "few validation rows": (records(rows={**ROWS, "validation": 40}), {}),
    "texts cut": (records(truncated={"train": 30}, config={"n_positions": 200}), {"max_length": 200}),
}


def test_a_healthy_run_is_left_alone():
    assert examine(records(evaluation=scored(GOOD))) == []


@pytest.mark.parametrize("fault", SICK)
def test_a_fault_is_found_with_its_numbers_and_a_recipe_that_is_one(fault):
    sick, changes = SICK[fault]
    found = examine(sick)
    assert fault in [one.fault for one in found]
    assert changes_of(found) == changes
    assert all(any(map(str.isdigit, one.sentence)) for one in found)
    assert all(getattr(changed(sick.recipe, found), name) == value for name, value in changes.items())


def test_rare_classes_that_suffer_are_found_by_the_gap_between_accuracy_and_macro_f1():
    evaluation = scored(((190, 5, 5), (20, 10, 0), (10, 0, 2)))
    tuned = evaluation.tuned
    tuned = replace(tuned, scores=replace(tuned.scores, macro_f1=Interval(0.6, 0.5, 0.7)))
    evaluation = replace(evaluation, systems=(*evaluation.systems[:2], tuned))
    [found] = examine(records(evaluation=evaluation, balance=(250, 30, 20)))
    assert (found.fault, found.changes) == ("imbalance", {"class_weights": "balanced"})
    assert "250" in found.sentence and "20" in found.sentence


def test_a_loss_that_is_no_number_is_a_learning_rate_too_high():
    [found] = examine(records(losses=[*WELL, math.nan], checks=evaluations(0.8, math.nan)))
    assert found.fault == "learning rate too high"


@pytest.mark.parametrize(
    ("losses", "found"), [([1.1, 1.0, 1.2, 4.0, 3.0, 2.5, *WELL], True), ([*WELL, 2.5, *WELL], False)]
)
def test_a_loss_that_rises_for_many_texts_is_a_fault_though_it_ends_low_and_one_bad_batch_is_none(
    losses, found
):
    assert [one.fault for one in examine(records(losses=losses))] == ["learning rate too high"] * found


def test_answers_by_chance_are_a_collapsed_head_only_where_something_was_learnt_from():
    chance = scored(((40, 30, 30), (40, 30, 30), (40, 30, 30)))
    tuned = chance.tuned
    scores = replace(tuned.scores, macro_recall=Interval(*[1 / 3] * 3))
    chance = replace(chance, systems=(*chance.systems[:2], replace(tuned, scores=scores)))
    assert "collapsed head" in [one.fault for one in examine(records(evaluation=chance))]
    untaught = records(losses=FLAT, checks=evaluations(1.1, 1.09), evaluation=chance)
    assert [one.fault for one in examine(untaught)] == ["learning rate too low"]


def test_what_label_smoothing_adds_to_the_loss_is_no_fault():
    smooth = Recipe(label_smoothing=0.2, epochs=4)
    losses = [loss + records(recipe=smooth).floor for loss in WELL]
    assert examine(records(losses=losses, recipe=smooth)) == []


def test_where_a_bag_of_words_finds_nothing_either_the_labels_are_blamed_and_not_the_learning_rate():
    nothing = scored(((40, 30, 30), (30, 40, 30), (30, 30, 40)), surest=0.45, bag=0.38)
    found = examine(records(losses=FLAT, checks=evaluations(1.1, 1.09), evaluation=nothing))
    assert [one.fault for one in found] == ["label noise"]
    short, _ = SICK["under-fitting"]
    assert [one.fault for one in examine(replace(short, evaluation=nothing))] == ["label noise"]


def test_of_a_run_at_work_only_the_curves_are_diagnosed():
    at_work = records(losses=FLAT, checks=evaluations(1.1, 1.09), finished=False)
    assert examine(at_work) == []
    assert [one.fault for one in examine(replace(at_work, losses=HIGH))] == ["learning rate too high"]
    assert examine(replace(at_work, losses=HIGH[:3])) == []


def test_the_graver_diagnosis_decides_where_two_ask_for_one_setting():
    found = [Diagnosis("a", "1", {"epochs": 1.0}), Diagnosis("b", "2", {"epochs": 9.0, "patience": 2})]
    assert changes_of(found) == {"epochs": 1.0, "patience": 2}
    again = command(YESTERDAY / "recipe.toml", found)
    assert again.endswith("recipe.toml --set epochs=1.0 --set patience=2")
    assert command(YESTERDAY, []) == ""


@pytest.fixture
def yesterday(tmp_path):
    """Return a copy of a run of November 2026."""
    return Run(shutil.copytree(YESTERDAY, tmp_path / "yesterday"))


def edit(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_run_of_yesterday_is_examined(yesterday):
    found = records_of(yesterday)
    assert len(found.losses) == 75 and len(found.checks) == 3 and found.config and found.finished
    assert examine(yesterday) == []


def test_a_prompt_that_is_gone_and_another_pad_token_are_found(yesterday):
    edit(yesterday.artifact / "tokenizer.json", post_processor=None)
    edit(yesterday.artifact / "config.json", pad_token_id=7)
    assert [one.fault for one in examine(yesterday)] == ["pad token", "prompt gone"]
    edit(yesterday.artifact / "config.json", pad_token_id=None)
    assert "config.json names none" in examine(yesterday)[0].sentence


def test_the_events_of_the_seed_that_was_kept_count_and_those_of_a_resume_once(yesterday):
    events = yesterday.path / "events.jsonl"
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    other = [{**line, "step": line["step"] + 75, "seed": 43} for line in lines if line["kind"] == "step"]
    mine = [{**line, "seed": 42} if "step" in line else line for line in lines]
    events.write_text("".join(json.dumps(line) + "\n" for line in [*mine, *mine, *other[:9]]))
    edit(yesterday.artifact / "provenance.json", trained_by_seed=42)
    assert len(records_of(yesterday).losses) == 75
    edit(yesterday.artifact / "provenance.json", trained_by_seed=43)
    assert len(records_of(yesterday).losses) == 9


def test_the_command_tells_all_and_its_recipe_is_ready_to_run(yesterday, capsys):
    events = yesterday.path / "events.jsonl"
    said = [json.loads(line) for line in events.read_text().splitlines()]
    next(one for one in said if one["kind"] == "data")["rows"]["validation"]["used"] = 30
    events.write_text("".join(json.dumps(line) + "\n" for line in said))
    assert cli.main(["doctor", str(yesterday.path)]) == 0
    output = capsys.readouterr().out
    assert "too few validation rows to choose by: 30" in output and "--set n_validation=0" in output
    assert "0 of 100 texts are answered otherwise in a batch" in output
    assert cli.main(["doctor", str(yesterday.path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["diagnoses"][0]["changes"] == {"n_validation": 0}
    assert [one["name"] for one in record["behaviour"]] == [
        "batch",
        "upper case",
        "user names",
        "emoji",
        "negation",
    ]


def test_without_a_model_or_validation_rows_one_sentence_says_why_nothing_was_asked(yesterday, capsys):
    (yesterday.path / "validation.jsonl").unlink()
    assert cli.main(["doctor", str(yesterday.path)]) == 0
    assert "There is no text to look at" in capsys.readouterr().out
    shutil.rmtree(yesterday.artifact)
    (yesterday.path / "status.json").write_text('{"state": "failed"}')
    assert cli.main(["doctor", str(yesterday.path), "--json"]) == 0
    assert "has no model yet" in json.loads(capsys.readouterr().out)["behaviour_left_out"]


def test_a_run_that_has_not_begun_can_not_be_examined(capsys):
    run = create_run(load_recipe("smoke"))
    assert cli.main(["doctor", run.id]) == 1
    assert "no training step of it is recorded" in capsys.readouterr().err
