"""Many tweets at once: reading, answering, writing."""

import csv
import dataclasses
import gzip
import json
from pathlib import Path

import pytest

from inference.classifier import Prediction
from inference.common.errors import PredictionError
from inference.tables.rows import ENDINGS
from tests.ui.test_ui_render import EVIL, LABELS, Checker
from ui.compare import many
from ui.compare.lineup import Contender


def fixed(key, label, labels=LABELS):
    """Return a contender that gives every text one label, but the odd ones."""
    shares = tuple(0.8 if each == label else 0.1 for each in labels)

    def answer(texts):
        return [Prediction("neutral" if "odd" in one else label, shares, False) for one in texts]

    return Contender(key, f"the {key}", "how", key, labels, answer)


TWO = [fixed("base", "negative"), fixed("tuned", "positive")]


def test_texts_come_from_the_field_and_from_a_file_and_empty_rows_are_counted(tmp_path):
    file = tmp_path / "posts.csv.gz"
    with gzip.open(file, "wt") as out:
        out.write('id,text\n1,"so, happy"\n2,meh\n3,\n')
    assert many.texts_of(" one \n\n two", str(file)) == many.Given(["one", "two", "so, happy", "meh"], 4, 1)
    assert set(many._UPLOADS) == {*ENDINGS, ".gz"}


def test_no_more_than_fifty_thousand_are_kept_and_all_are_counted(tmp_path):
    file = tmp_path / "posts.txt"
    file.write_text("a tweet\n" * 50_010)
    given = many.texts_of("one\ntwo", str(file))
    assert len(given.texts) == many.MOST == 50_000 and given.n == 50_012


def test_all_are_answered_counted_and_written_as_they_come(home):
    texts = [f"tweet {n}" for n in range(69)] + [f"odd {EVIL}"]
    counts = [(tally.answered, tally.differ) for tally in many.answer_all(TWO, texts, many.new_stem())]
    assert counts == [(32, 32), (64, 64), (70, 69)]
    *_, tally = many.answer_all(TWO, texts, many.new_stem())
    given = many.Given(texts, 50_700, 3)
    drawn = many.draw(tally, given, only=False)
    Checker(drawn)
    assert "disagree on 69; 70 shown" in drawn and "the first 50,000 were answered" in drawn
    assert "3 rows of the file have no text" in drawn and "Stopped" not in drawn
    assert "odd" not in many.draw(tally, given, only=True)
    table, lines = tally.files
    with open(table, encoding="utf-8-sig", newline="") as file:
        read = list(csv.DictReader(file))
    assert len(read) == 70 and read[0] == {
        "text": "tweet 0",
        "base": "negative",
        "base_probability": "0.8",
        "fine_tuned": "positive",
        "fine_tuned_probability": "0.8",
    }
    with open(lines) as file:
        assert [json.loads(line)["text"] for line in file] == texts


def test_unsure_answers_are_marked_counted_and_have_a_column(home):
    unsure = dataclasses.replace(TWO[1], sure_from=0.9)
    *_, tally = many.answer_all([TWO[0], unsure], ["a", "b"], many.new_stem())
    drawn = many.draw(tally, many.Given([], 2), only=False)
    assert tally.unsure == [0, 2] and "the tuned: 2 answers are not sure (for 90\u00a0% right)" in drawn
    with open(tally.files[1]) as file:
        assert [json.loads(line).get("fine_tuned_sure") for line in file] == [False, False]
    *_, sure = many.answer_all([dataclasses.replace(unsure, sure_from=0.8)], ["a"], many.new_stem())
    assert sure.unsure == [0] and "not sure" not in many.draw(sure, many.Given([], 1), only=False)


def test_it_can_be_stopped_at_any_moment_and_keeps_what_is_there_in_bounded_memory(home):
    asked = many.answer_all(TWO, ["a tweet"] * 5_000, many.new_stem())
    tally = next(tally for tally in asked if tally.answered >= 320)
    asked.close()
    assert len(tally.first) == len(tally.first_differing) == 100
    drawn = many.draw(tally, many.Given([], 5_000), only=False)
    assert "Stopped after 320 of 5,000" in drawn
    with open(tally.files[1]) as file:
        assert len(file.readlines()) == 320
    bar = many.progress_bar(tally, 10.0)
    assert "320 of 5,000" in bar and "2\u00a0min 26\u00a0s left" in bar and 'aria-valuenow="6.4"' in bar


def test_of_three_it_is_said_how_often_each_two_agree(home):
    third = fixed("few-shot-4", "positive")
    *_, tally = many.answer_all([*TWO, third], ["a", "b", "odd", "d"], many.new_stem())
    assert tally.agree == {(0, 1): 1, (0, 2): 1, (1, 2): 4}
    drawn = many.draw(tally, many.Given([], 4), only=False)
    Checker(drawn)
    assert "On what share they say the same" in drawn and drawn.count("25\u00a0%") == 4
    assert "few-shot-4" in Path(tally.files[0]).read_text(encoding="utf-8-sig")
    *_, two = many.answer_all(TWO, ["a"], many.new_stem())
    assert "On what share" not in many.draw(two, many.Given([], 1), only=False)


def test_without_a_text_a_sentence_says_what_to_do(home):
    with pytest.raises(PredictionError, match="one a line"):
        next(many.answer_all(TWO, [], many.new_stem()))


def test_other_labels_are_said_above_the_answers(home):
    other = fixed("owner/emotions", "joy", labels=("anger", "joy"))
    some = fixed("two", "positive", labels=("negative", "positive"))
    for contenders, sentence in (
        (
            [TWO[0], other],
            "They have no label in common (the base: negative, neutral, positive; the owner/em",
        ),
        ([TWO[0], some], "only these can be compared: negative, positive"),
    ):
        *_, tally = many.answer_all(contenders, ["a"], many.new_stem())
        assert sentence in many.draw(tally, many.Given([], 1), only=False)
    *_, same = many.answer_all(TWO, ["a"], many.new_stem())
    assert "labels (" not in many.draw(same, many.Given([], 1), only=False)


def test_models_of_different_labels_are_compared_on_the_labels_that_both_know(home):
    some = fixed("two", "positive", labels=("negative", "Positive"))
    other = dataclasses.replace(
        fixed("owner/emotions", "joy", labels=("anger", "joy")),
        predict=lambda texts: [Prediction("joy", (0.2, 0.8), False)] * len(texts),
    )
    base = fixed("base", "positive")

    def asked(*contenders):
        *_, tally = many.answer_all(contenders, ["a", "b", "odd", "d"], many.new_stem())
        return tally, many.draw(tally, many.Given([], 4), only=False)

    def answer(texts):
        return [Prediction("negative" if "b" in one else "Positive", (0.5, 0.5), False) for one in texts]

    some = dataclasses.replace(some, predict=answer)
    tally, drawn = asked(base, some)
    assert (tally.answered, tally.comparable, tally.differ) == (4, 3, 1), "neutral is no label of the second"
    assert (
        "disagree on 1" in drawn and "On 3 of 4 tweets two or more gave labels that they both know" in drawn
    )
    tally, drawn = asked(base, some, other)
    Checker(drawn)
    assert (tally.compared, tally.agree) == ({(0, 1): 3}, {(0, 1): 2})
    assert drawn.count(">67\u00a0%<") == 2 and drawn.count(">–<") == 4, (
        "a dash where there is nothing to compare"
    )
    tally, drawn = asked(base, other)
    assert (tally.comparable, tally.differ) == (0, 0) and "On 0 of 4 tweets" in drawn
    assert "they both know" not in asked(base, fixed("tuned", "neutral"))[1]


def test_halves_of_characters_are_written_whole(home):
    given = many.texts_of("half \ud83d\nso \ud83d\ude00", None)
    assert given.texts == ["half \ufffd", "so 😀"]
    *_, tally = many.answer_all(TWO, given.texts, many.new_stem())
    assert tally.answered == 2
