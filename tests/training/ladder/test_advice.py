"""Advice rests on what the ladder shows, says "can't tell yet" where it shows nothing, and counts costs."""

import json
from dataclasses import replace

import numpy as np
import pytest

from inference.baselines.index import VOTE_SHARE
from inference.common.errors import DataError
from inference.common.intervals import wilson
from inference.common.store import write_json
from tests.training.ladder.test_results import TRUTH, answers, result
from training.cli.main import main
from training.ladder.advice import advise
from training.ladder.freshness import Freshness, Learnt, measured_freshness, save_freshness
from training.ladder.results import Ladder, pairs_of
from training.recipes import load_recipe
from training.runs.run import LADDER, create_run, create_run_of


def made(*, tuned=0.9, near=0.7, both=0.9, training=6.0, tuned_ms=10.0, near_ms=40.0):
    """Return a ladder of four ways; each is wrong on the first rows."""
    known = {
        "zero-shot": (0.5, 20.0, 0, 0.0),
        "nearest": (near, near_ms, 100, 0.0),
        "lora": (tuned, tuned_ms, 100, training),
        "both": (both, tuned_ms + near_ms, 100, training),
    }
    steps = [
        result(name, accuracy, ms=ms, labels=labels, minutes=minutes)
        for name, (accuracy, ms, labels, minutes) in known.items()
    ]
    wrong = {name: answers(wrong=range(round(400 * (1 - known[name][0])))) for name in known}
    pairs = pairs_of(list(known), TRUTH, wrong, seed=1)
    return Ladder(
        labels=("a", "b"), n=400, n_validation=50, steps=tuple(steps), pairs=pairs, price=0.04, cores=2
    )


def test_what_is_shown_to_be_better_is_recommended_for_sure_unless_another_way_is_as_good():
    found = advise(made(both=0.7), labels=100, posts_a_day=1000)
    assert (found.way, found.step.name, found.sure) == ("fine-tune", "lora", True)
    assert sum(sentence.startswith("Not ") for sentence in found.sentences) == 3
    assert any("shown to be better than retrieval with 100 labels" in said for said in found.sentences)
    tie = advise(made(), labels=100, posts_a_day=1000)
    assert (tie.way, tie.sure) == ("fine-tune", False), "the cheaper of two that are as good"
    assert any(said.startswith("Can't tell yet whether both (both, 90.0") for said in tie.sentences)


def test_few_labels_few_posts_and_a_changing_subject_change_the_advice():
    assert advise(made(), labels=100, posts_a_day=0).way == "fine-tune"
    close = made(near=0.89, both=0.9)
    busy = advise(close, labels=100, posts_a_day=10_000_000, changes_a_month=0)
    assert busy.way == "fine-tune", "a tweet costs a quarter"
    changing = advise(close, labels=100, posts_a_day=10, changes_a_month=1000)
    assert changing.way == "retrieve", "an index is only extended"
    posts = next(said for said in changing.sentences if "posts a day on" in said)
    training = 6 / 60 * 2 * 0.04 * 1001
    saved = (40e-6 - 10e-6) * 30 / 1000
    assert f"from {training / saved:,.0f} posts a day on" in posts
    assert np.isclose(changing.usd_a_month, 40e-6 * 10 * 30 / 1000)
    with pytest.raises(DataError, match=r"has 1 way\(s\) with at most 5 labels"):
        advise(made(), labels=5, posts_a_day=10)


def test_what_costs_nothing_is_called_no_cheaper():
    free = replace(made(), price=0.0, steps=tuple(replace(one, usd_a_thousand=0.0) for one in made().steps))
    found = advise(free, labels=100, posts_a_day=1000)
    assert found.usd_a_month == 0
    assert "nearest costs as much as lora at any number of posts." in found.sentences
    dear = advise(made(near_ms=10.0), labels=100, posts_a_day=1000)
    assert "nearest costs less than lora at any number of posts." in dear.sentences, "it trains nothing"


def learnt(how, right, *, ordinary=140, labels=8):
    share = None if how == "training" else VOTE_SHARE
    return Learnt(labels, how, share, wilson(right, 200), wilson(ordinary, 200))


def fresh(*rows, data="x"):
    return Freshness(wilson(30, 200), wilson(140, 200), 200, rows, run="demo", data=data)


def test_a_model_that_takes_up_new_words_from_its_index_needs_no_training_where_the_subject_changes():
    close = made(near=0.89)

    def asked(found):
        return advise(close, labels=100, posts_a_day=10, changes_a_month=1000, freshness=found)

    unknown, takes_up = asked(None), asked(fresh(learnt("index", 170), learnt("index", 190, labels=32)))
    assert (
        unknown.way == "retrieve" and "`python -m training freshness RUN` does that" in unknown.sentences[-1]
    )
    assert "each change of the subject (1000 a month) counts as a training." in unknown.sentences[-1]
    assert takes_up.way == "retrieve" and takes_up.freshness.taken_up.labels == 8, "10 posts a day are few"
    text = " ".join(takes_up.sentences)
    assert "Of 200 texts with a new word demo has 15.0 (10.7 to 20.6) % right, and 85.0 " in text
    assert "with 8 labelled ones in its index. So a change of the subject (1000 a month) takes labels" in text
    cheap = made(near=0.89, training=0.6)
    busy = {"labels": 100, "posts_a_day": 10_000, "changes_a_month": 1000}
    assert advise(cheap, **busy).way == "retrieve", "a thousand trainings"
    assert advise(cheap, **busy, freshness=takes_up.freshness).way == "fine-tune", "one training"
    for poor in (learnt("index", 35), learnt("index", 170, ordinary=90)):  # no gain shown; a loss elsewhere
        assert advise(cheap, **busy, freshness=fresh(poor)).way == "retrieve"
        assert "an index is not shown to mend that. So each change" in " ".join(asked(fresh(poor)).sentences)
    trained = asked(fresh(learnt("index", 170), learnt("training", 180, labels=32))).sentences
    assert "Training needs 32 labels to do as well as the index." in trained


def test_the_command_takes_the_newest_finished_ladder(capsys):
    assert main(["advise"]) == 1
    assert "There is no finished ladder yet" in capsys.readouterr().err
    run = create_run_of(LADDER, {}, name="x")
    write_json(run.path / "ladder.json", made().to_json())
    assert main(["advise", run.id, "--json"]) == 0, "a named one is read whatever its state"
    assert json.loads(capsys.readouterr().out)["way"] == "fine-tune"
    write_json(run.path / "status.json", {"state": "finished"})
    assert main(["advise", "--posts", "5"]) == 0
    output = capsys.readouterr().out
    assert (
        "Fine-tune: lora is right on 90.0" in output
        and "is not measured (`python -m training fresh" in output
    )
    rows = {"data": "tweets.csv"}
    write_json(run.path / "ladder.json", {**made().to_json(), "rows": rows})
    other, mine = (create_run(load_recipe("smoke")) for _ in range(2))
    save_freshness(fresh(learnt("index", 170), data="tweets.csv"), mine)
    save_freshness(fresh(learnt("index", 190), data="others.csv"), other)
    assert main(["advise", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["freshness"]["rows"][0]["fresh"]["value"] == 0.85
    assert measured_freshness("nothing.csv") is None
    assert main(["advise", "--changes", "nan"]) == 1
    capsys.readouterr()
    write_json(run.path / "ladder.json", {"labels": 3})
    assert main(["advise"]) == 1
    assert f"The ladder {run.id} has no ladder.json that can be used." in capsys.readouterr().err
