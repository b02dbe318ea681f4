"""A word that only the index has heard of: what it brings, what it costs, and what training needs."""

import json
import shutil
from pathlib import Path

import pytest

from inference.baselines.bag_of_words import BagOfWords
from inference.common.errors import DataError
from inference.common.paths import runs_dir
from inference.common.store import read_jsonl, write_json
from tests.support import tweets
from training.cli import terminal
from training.cli.main import main
from training.data.load import load_splits
from training.ladder.freshness import WORDS, freshness, measured_freshness
from training.runs import process
from training.runs.run import find_run

LABELS = ("negative", "neutral", "positive")
ROWS = tweets(240, seed=3)
TRAIN, ORDINARY = ROWS[:180], ROWS[180:]
THINGS = ("train", "desk", "bus", "list")
NEUTRAL = [f"the {thing} at {hour} o'clock" for thing in THINGS for hour in range(30)]


def fit(rows):
    texts, names = zip(*rows, strict=True)
    return BagOfWords.fit(list(texts), [LABELS.index(name) for name in names], names=LABELS)


def measured(**changes):
    def teach(texts, names):
        return fit([*TRAIN, *zip(texts, names, strict=True)])

    known, ordinary = (tuple(map(list, zip(*rows, strict=True))) for rows in (TRAIN, ORDINARY))
    options = {"counts": (2, 16), "asked": 60, "shares": (0.0, 0.8), "teach": teach, **changes}
    return freshness(fit(TRAIN), known=known, neutral=NEUTRAL, ordinary=ordinary, **options)


def test_the_index_knows_a_new_word_at_once_and_the_cost_is_reported():
    found = measured()
    assert found.before.value < 0.6 and found.asked == 60
    assert [(row.labels, row.how, row.share) for row in found.rows] == [
        (2, "index", 0.0),
        (2, "index", 0.8),
        (2, "training", None),
        (16, "index", 0.0),
        (16, "index", 0.8),
        (16, "training", None),
    ]
    unheard, few, _, _, more, trained = found.rows
    assert unheard.fresh == found.before and unheard.ordinary == found.ordinary_before
    assert more.fresh.value > found.before.value + 0.3 and more.fresh.value >= few.fresh.value
    assert found.needed(0.8) == (16 if trained.fresh.value >= more.fresh.value else None)
    sentences = found.sentences(0.8)
    assert sentences[0].startswith("Of 60 texts with a new word") and len(sentences) == 6
    assert "16 labelled texts in the index" in sentences[3] and "Training" in sentences[-1]
    assert measured() == found, "the same again"


def test_without_training_and_without_enough_texts():
    found = measured(teach=None)
    assert {row.how for row in found.rows} == {"index"} and found.needed() is None
    assert not any("Training" in line for line in found.sentences(0.8))
    with pytest.raises(DataError, match=r"1,016 neutral texts are needed, and 120 were given"):
        measured(asked=1000)
    assert not any(word in text for word in WORDS for text, _ in ROWS)


def test_a_runs_own_model_is_measured_and_what_was_trained_for_it_is_taken_again(
    trained_gpt2, home, capsys, monkeypatch
):
    shutil.copytree(trained_gpt2.run.path, runs_dir() / "mine")
    assert main(["freshness", "mine", "--labels", "500"]) == 1
    assert "540 texts of a label between negative and positive are needed" in capsys.readouterr().err
    assert main(["freshness", "mine", "--labels", "x"]) == 1
    capsys.readouterr()
    monkeypatch.setattr("training.ladder.freshness.LEAST_ASKED", 20)  # the data has 27
    assert main(["freshness", "mine", "--labels", "2"]) == 0
    output = capsys.readouterr().out
    found = measured_freshness(load_splits(find_run("mine").recipe.data).report.source.name)
    assert found.run == "mine" and [row.how for row in found.rows] == ["index"]
    assert output.splitlines() == found.sentences() and "With 2 labelled texts in the index" in output
    started = []
    monkeypatch.setattr(process, "start", started.append)

    def finish(run, *, quiet):
        shutil.copytree(trained_gpt2.artifact, run.artifact)
        write_json(run.path / "status.json", {"state": "finished"})

    monkeypatch.setattr(terminal, "follow_to_the_end", finish)
    for _ in range(2):
        assert main(["freshness", "mine", "--labels", "2", "--train", "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
    assert len(started) == 1 and [row["how"] for row in shown["rows"]] == ["index", "training"]
    [lesson] = [started[0].recipe.more_data]
    assert len(list(read_jsonl(Path(lesson)))) == 2 and WORDS[0] in Path(lesson).read_text()
    assert main(["freshness", started[0].id, "--train"]) == 1
    assert "has more_data already" in capsys.readouterr().err
