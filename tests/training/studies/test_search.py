"""A search tries settings on one trunk, chooses on validation alone, and goes on where it was killed."""

import json
from dataclasses import asdict

import numpy as np
import optuna
import pytest

from inference.common.errors import DataError, RecipeError, RunError
from inference.common.store import write_json
from tests.support.tiny import tiny_recipe
from training.cli.main import main
from training.fit.prepare import SHARED
from training.recipes import change, load_recipe
from training.runs.log import RunLog
from training.runs.process import Cancelled
from training.runs.run import TUNE, create_run_of
from training.studies import search as searching
from training.studies.order import FIXED, Search, SearchOrder, read_space, usual_space
from training.studies.search import optimism, search

pytestmark = pytest.mark.slow
SPACE = ["learning_rate=1e-4..1e-2", "lora_r=4,8"]


@pytest.fixture(scope="module")
def recipe(tiny_gpt2, tmp_path_factory):
    folder, settings = tmp_path_factory.mktemp("data"), {"epochs": 1.0, "evals_per_epoch": 2}
    return tiny_recipe(tiny_gpt2, folder, seed=9, n_train=16, n_test=8, learning_rate=3e-3, **settings)


def order_of(recipe, *, trials, space=SPACE):
    return SearchOrder(recipe=recipe.model_dump(), trials=trials, space=read_space(space, recipe))


@pytest.fixture(scope="module")
def killed_once(recipe, tmp_path_factory):
    """Return the run of a search that was killed in its third trial and resumed, and what it trained."""
    trained, once = searching._trained, []

    def dying(prepared, mine, place, report, **options):
        once.append({"r": mine.lora_r, "rate": mine.learning_rate, "of": report._total, **options})
        if len(once) == 3:
            raise Cancelled
        return trained(prepared, mine, place, report, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWEETTUNE_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setattr(searching, "_trained", dying)
        run = order_of(recipe, trials=3).create(name="tiny")
        with pytest.raises(Cancelled):
            search(run, RunLog(run.path))
        assert Search.read(run.path) is None
        search(run, RunLog(run.path))
    return run, once


def test_a_killed_trial_is_reported_as_failed_and_drawn_again(killed_once):
    run, once = killed_once
    assert (once[2]["r"], once[2]["rate"]) == (once[3]["r"], once[3]["rate"])
    assert len({(each["r"], each["rate"]) for each in once[:4]}) == 3
    assert [each["of"] for each in once] == [3, 3, 3, 1, *[6] * 6], "the time left is that of what is left"
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{run.path / 'study.sqlite'}")
    states = [trial.state.name for trial in study.trials]
    assert sorted(states) == ["COMPLETE", "COMPLETE", "COMPLETE", "FAIL"], "none of them is left RUNNING"
    assert len(Search.read(run.path).trials) == 3


def test_the_first_trial_is_the_recipe_and_the_best_have_three_seeds(killed_once, recipe):
    run, once = killed_once
    found = Search.read(run.path)
    assert found.trials[0].params == {"learning_rate": 3e-3, "lora_r": 8}
    assert [each.get("seed") for each in once[4:]] == [43, 44] * 3
    assert [len(one.by_seed) for one in found.trials] == [3, 3, 3]
    assert found.winner.mean == max(one.mean for one in found.trials)
    best = load_recipe(run.path / "best.toml")
    assert best == change(
        recipe, {**found.winner.params, "name": "tiny-tuned", "description": best.description}
    )


def test_all_that_a_search_says_is_written(killed_once):
    run, _ = killed_once
    record = json.loads((run.path / "search.json").read_text())
    assert record["optimism"] is not None and "optimistic by about" in record["sentences"][-1]
    assert (run.path / "search.png").read_bytes().startswith(b"\x89PNG")
    assert (run.path / "trials.csv").read_text().count("\n") == 4
    assert not list(run.path.glob("trunk-*")) and not (run.path / "repeat").exists()
    assert [path.name for path in run.path.glob("evaluation*")] == [], "the test split is never read"


def test_settings_that_can_not_be_trained_are_reported_and_when_none_can_nothing_is_written(recipe, home):
    bad = order_of(recipe, trials=2, space=["state_noise=0.5,1.0"])
    run = create_run_of(
        TUNE, {**asdict(bad), "recipe": {**recipe.model_dump(), "trunk_layers": "0"}}, name="x"
    )
    with pytest.raises(DataError, match=r"Every trial failed\. state_noise needs a cached trunk"):
        search(run, RunLog(run.path))
    assert len([e for e in run.events("note") if "failed: state_noise" in e["text"]]) == 2


def test_the_best_of_many_equals_is_optimistic_and_a_better_one_is_hardly():
    random = np.random.default_rng(0)
    equals = random.random((20, 500)) < 0.7
    luck = equals.mean(1).max() - 0.7
    assert optimism(equals, seed=1) == pytest.approx(luck, abs=0.015)
    better = np.vstack([random.random((1, 500)) < 0.95, equals])
    assert optimism(better, seed=1) < 0.005
    assert optimism(equals[:1], seed=1) is None


def test_the_usual_space_holds_the_recipe_itself():
    for name in ("quick", "unlabelled", "lora", "full", "tutorial", "smoke"):
        recipe = load_recipe(name)
        space = usual_space(recipe)
        assert all(one.holds(getattr(recipe, one.name)) for one in space)
        assert ("lora_r" in {one.name for one in space}) is (recipe.method == "lora")
        for one in space:  # its ends can be trained
            for value in one.choices or (one.low, one.high):
                change(recipe, {one.name: value})


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (["learning_rate"], "--space learning_rate has no values. Write NAME=LOW..HIGH or NAME=A,B,C."),
        (["learning_rte=1..2"], "There is no setting 'learning_rte'. Did you mean learning_rate?"),
        (["n_train=10..20"], "n_train can't be searched: all trials share rows, base and trunk."),
        (["learning_rate=1..x"], "learning_rate is 'x'. Give a number"),
        (["learning_rate=0.1..2"], "learning_rate is 2"),
        (["learning_rate=0.2..0.1"], "goes from 0.2 down to 0.1. Write the lower one first."),
        (["method=full..lora"], "method has no values between two. Write method=A,B,C."),
        (["lora_r=4,four"], "lora_r is 'four'. Give a whole number"),
        (["lora_r=4,8", "learning_rate=1e-4"], "has one value alone, which is no search. Give more"),
        (["lora_r=4,8", "lora_r=16,32"], "--space names lora_r twice. Give all its values in one."),
    ],
)
def test_a_bad_space_is_one_sentence(space, sentence):
    with pytest.raises(RecipeError) as caught:
        read_space(space, load_recipe("quick"))
    assert sentence in str(caught.value)


def test_what_shapes_the_preparation_is_not_searched():
    assert {*SHARED} <= {*FIXED}, "each of its trials would fail"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--trials", "0"], "--trials is 0. Give a number of trials, 1 or more"),
        (["--space", ""], "The search space is empty"),
        (["--space", "lora_r=8"], "or fix it with --set lora_r=8."),
    ],
)
def test_bad_orders_start_nothing(arguments, sentence, home, capsys):
    assert main(["tune", "quick", *arguments]) == 1
    assert sentence in capsys.readouterr().err
    assert not (home / "runs").exists()


def test_an_order_that_can_not_be_read_is_one_sentence(home):
    run = create_run_of(TUNE, {}, name="x")
    write_json(run.path / "run.json", {"kind": TUNE, "trials": "many"})
    with pytest.raises(RunError, match=r"run\.json, can't be used"):
        search(run, RunLog(run.path))
