"""Labels as people write them: spellings of one class, missing ones, numbers, classes that are too small."""

import json

import pytest

from inference.common.errors import DataError
from tests.support import tweets, write_csv
from training.data.classes import _natural, label_key
from training.data.load import load_labelled, load_splits
from training.recipes import DataSpec

SENTIMENT = ("negative", "neutral", "positive")


def table(path, labels):
    """Write a file whose texts are all different, with these labels."""
    rows = [{"text": f"text {i} of {path.stem}", "label": label} for i, label in enumerate(labels)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def load(path, **settings):
    return load_splits(DataSpec(dataset=str(path), **settings))


def notes(splits, word):
    return [note for note in splits.report.notes if word in note]


# Spellings


@pytest.mark.parametrize(
    "spellings",
    [
        ["good", "Good", "GOOD "],
        ["very good", "Very  Good", "verygood"],
        ["ｇｏｏｄ", "good"],
        ["good", "good\u200b", "go\u00adod"],
        ["STRASSE", "straße"],
    ],
)
def test_names_that_differ_by_case_or_spaces_alone_are_one_class(spellings, tmp_path):
    labels = [spelling for spelling in spellings for _ in range(20)] + [spellings[0]] * 5 + ["bad"] * 60
    splits = load(table(tmp_path / "t.jsonl", labels))
    assert set(splits.labels) == {"bad", spellings[0].strip()}, "it is called as most rows call it"
    (note,) = notes(splits, "differ by case or spaces alone are one class")
    assert f"({20 * (len(spellings) - 1)} rows renamed)" in note and repr(spellings[-1]) in note
    assert splits.report.counts.missing_label == 0


@pytest.mark.parametrize("other", ["good.", "good!", "goods", "not good"])
def test_what_differs_in_more_is_another_class(other, tmp_path):
    splits = load(table(tmp_path / "t.jsonl", ["good", other, "bad"] * 30))
    assert len(splits.labels) == 3 and not notes(splits, "one class")


def test_spellings_are_one_class_across_the_files_of_a_folder(tmp_path):
    table(tmp_path / "train.jsonl", ["good", "bad"] * 30)
    table(tmp_path / "test.jsonl", ["Good", "BAD"] * 10)
    assert load(tmp_path).labels == ("bad", "good")


def test_label_names_in_another_case_order_the_classes_and_name_them(tmp_path):
    path = table(tmp_path / "t.jsonl", ["positive", "negative", "Neutral", "neutral"] * 20)
    assert load(path, label_names=("Positive", "NEUTRAL", "negative")).labels == (
        "Positive",
        "NEUTRAL",
        "negative",
    )


def test_the_key_of_a_label():
    assert label_key(" Very\tGOOD ") == label_key("very good")
    assert label_key("a.") != label_key("a")


# Missing


@pytest.mark.parametrize("word", ["NA", "N/A", "na", "null", "none", "None", "NaN", "<NA>", "#N/A", " NA "])
def test_words_for_nothing_among_numbers_are_missing(word, tmp_path):
    splits = load(table(tmp_path / "t.jsonl", ["0", "1", "2", word] * 20))
    assert splits.labels == ("0", "1", "2") and splits.report.counts.missing_label == 20


@pytest.mark.parametrize(("word", "missing"), [("NA", True), ("N/A", True), ("none", False), ("None", False)])
def test_among_names_none_is_a_class_and_rs_na_is_not(word, missing, tmp_path):
    splits = load(table(tmp_path / "t.jsonl", ["favor", "against", word] * 20))
    assert (word in splits.labels) is not missing
    assert splits.report.counts.missing_label == 20 * missing


# Numbers and stars


@pytest.mark.parametrize(
    ("labels", "order", "hint"),
    [
        ([0, 1], ("0", "1"), "label_names, such as negative,positive."),
        (["-1", "0", "1"], ("-1", "0", "1"), "label_names, such as negative,neutral,positive."),
        ([1, 2, 3, 4, 5], ("1", "2", "3", "4", "5"), "such as terrible,bad,fair,good,great."),
        (
            ["5 stars", "1 star", "3 stars", "2 stars", "4 stars"],
            ("1 star", "2 stars", "3 stars", "4 stars", "5 stars"),
            "such as terrible,bad,fair,good,great.",
        ),
        (["10 stars", "2 stars"], ("2 stars", "10 stars"), "called 2 stars, 10 stars"),
        (["LABEL_0", "LABEL_1"], ("LABEL_0", "LABEL_1"), "label_names"),
        (["0", "4"], ("0", "4"), "called 0, 4"),
    ],
)
def test_numbers_and_stars_get_a_hint_and_can_be_named(labels, order, hint, tmp_path):
    path = table(tmp_path / "t.jsonl", labels * 30)
    splits = load(path)
    assert splits.labels == order
    assert hint in notes(splits, "says nothing to the base")[0]
    names = tuple(f"{word}ly" for word in "abcdefghij"[: len(order)])
    named = load(path, label_names=names)
    assert named.labels == names and not notes(named, "says nothing")
    assert list(named.test["label"]) == list(splits.test["label"])


@pytest.mark.parametrize("labels", [SENTIMENT, ("new", "news"), ("G7", "G20 talks"), ("yes", "no")])
def test_words_get_no_hint(labels, tmp_path):
    assert not notes(load(table(tmp_path / "t.jsonl", list(labels) * 30)), "says nothing")


def test_names_with_numbers_sort_by_them(tmp_path):
    labels = ["topic 10", "topic 9", "topic 1", "a"]
    assert load(table(tmp_path / "t.jsonl", labels * 20)).labels == ("a", "topic 1", "topic 9", "topic 10")


def test_names_of_equal_numbers_have_one_order_and_no_number_is_too_long():
    """A resumed run is another process: an order by the hashes of a set would swap the classes."""
    names = ["a" + "9" * 5_000, "a1", "a01", "a001"]
    assert sorted(names, key=_natural) == sorted(reversed(names), key=_natural) == names[:0:-1] + names[:1]


def test_large_whole_numbers_stay_what_they_are(tmp_path):
    ids = [2**53, 2**53 + 1, 10**400]
    assert load(table(tmp_path / "t.jsonl", ids * 20)).labels == tuple(map(str, ids))


# Too small


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("given", [(), SENTIMENT])
def test_a_class_too_small_to_be_split_is_left_out_counted_and_named(n, given, tmp_path):
    rows = [*tweets(90), *((f"typo {i}", "postive") for i in range(n))]
    splits = load(write_csv(tmp_path / "t.csv", rows), label_names=given)
    assert splits.labels == SENTIMENT and splits.report.counts.small_class == n
    assert (
        f"train are left out, with their rows: postive ({n})." in notes(splits, "fewer than 3 different")[0]
    )
    assert sum(rows.kept for rows in splits.report.rows.values()) == 90


@pytest.mark.parametrize(
    ("typo", "given"), [("7", ()), ("7", ("no", "yes")), ("o", ()), ("o", ("no", "yes"))]
)
def test_one_mistyped_number_stops_nothing(typo, given, tmp_path):
    splits = load(table(tmp_path / "t.jsonl", [*["0", "1"] * 40, typo]), label_names=given)
    assert splits.labels == (given or ("0", "1")) and splits.report.counts.small_class == 1
    assert bool(notes(splits, "says nothing to the base")) is not bool(given)


def test_a_class_of_which_no_row_is_usable_is_left_out(tmp_path):
    rows = [*tweets(90), ("  ", "rare"), ("  ", "rare"), ("  ", "rare"), ("", "rare")]
    splits = load(write_csv(tmp_path / "t.csv", rows))
    assert splits.labels == SENTIMENT and notes(splits, "left out, with their rows: rare (0)")


def test_a_class_of_three_rows_is_in_every_split(tmp_path):
    splits = load(table(tmp_path / "t.jsonl", ["a", "b"] * 40 + ["rare"] * 3))
    assert all(part["rare"] == 1 for part in splits.report.class_balance.values())


def test_a_mistyped_label_of_the_test_file_stops_nothing(tmp_path):
    table(tmp_path / "train.jsonl", ["a", "b"] * 30)
    table(tmp_path / "test.jsonl", [*["a", "b"] * 10, "aa"])
    splits = load(tmp_path)
    assert splits.labels == ("a", "b") and len(splits.test) == 20
    assert notes(splits, "left out") == [
        "Classes with fewer than 2 different texts in train are left out, with their rows: aa (1)."
    ]


def test_a_class_that_the_leak_gate_empties_is_left_out(tmp_path):
    rows = [*tweets(60), ("only here", "rare")]
    for split, start in (("train", 0), ("dev", 60), ("test", 80)):
        write_csv(tmp_path / f"{split}.csv", [*tweets(100)[start : start + 20 + 40 * (not start)], rows[-1]])
    splits = load(tmp_path)
    assert "rare" not in splits.labels and splits.report.counts.small_class == 1
    assert notes(splits, "duplicates of held-out ones are left out, with their rows: rare (1)")


# Held-out files without labels


@pytest.mark.parametrize("hidden", ["column", "empty", "-1", "?"])
def test_a_test_file_without_labels_is_replaced_by_rows_of_train(hidden, tmp_path):
    write_csv(tmp_path / "train.csv", [(text, "01"[i % 2]) for i, (text, _) in enumerate(tweets(90))])
    texts = [text for text, _ in tweets(20, seed=9)]
    if hidden == "column":
        (tmp_path / "test.csv").write_text("id,text\n" + "".join(f"{i},{t}\n" for i, t in enumerate(texts)))
    else:
        write_csv(tmp_path / "test.csv", [(text, hidden.replace("empty", "")) for text in texts])
    splits = load(tmp_path)
    assert splits.labels == ("0", "1") and len(splits.test) > 10 and not set(splits.test["text"]) & set(texts)
    assert notes(splits, "no label that train has") == [
        f"The test split of {tmp_path.name} has no label that train has, so its 20 rows are not used."
    ]
    assert notes(splits, "The source has no test split: ")


# To score, not to learn


def scored(path, labels=SENTIMENT, **settings):
    return load_labelled(DataSpec(dataset=str(path)), labels, **settings)


def test_a_file_is_scored_whole(tmp_path):
    found = scored(table(tmp_path / "t.jsonl", ["positive"] * 7))
    assert (len(found.texts), found.labels, found.whole, found.notes) == (7, [2] * 7, True, ())
    twice = write_csv(tmp_path / "t.csv", [("the same", "neutral")] * 4)
    assert len(scored(twice).texts) == 4


def test_labels_match_whatever_their_case_or_by_a_map(tmp_path):
    path = table(tmp_path / "t.jsonl", ["Positive", "NEGATIVE ", " neu tral", "positive"])
    assert scored(path).labels == [2, 0, 1, 2]
    numbers = table(tmp_path / "n.jsonl", [0, 4, 2, 4])
    assert scored(numbers, label_map={"0": "Negative", "2": "neutral", "4": "positive"}).labels == [
        0,
        2,
        1,
        2,
    ]
    stars = table(tmp_path / "s.jsonl", ["1 star", "5 Stars"])
    assert scored(stars, label_map={"1 STAR": "negative", "5 stars": "positive"}).labels == [0, 2]


def test_what_can_not_be_matched_or_read_is_counted_and_named(tmp_path):
    path = table(tmp_path / "t.jsonl", ["positive", "joy", "joy", "anger", None])
    found = scored(path)
    assert found.labels == [2]
    assert found.notes == (
        "1 row had no label and is dropped.",
        "3 rows are not scored, by labels that the model lacks: joy (2), anger (1); name them with "
        "--label-map, such as --label-map anger=negative.",
    )


def test_a_file_of_which_no_row_can_be_scored_is_one_sentence(tmp_path):
    with pytest.raises(DataError) as caught:
        scored(table(tmp_path / "t.jsonl", [0, 1, 1]))
    assert str(caught.value) == (
        "No row of t.jsonl can be scored: its labels are 1 (2), 0 (1), the model's are negative, neutral, "
        "positive; name them with --label-map, such as --label-map 0=negative."
    )
    with pytest.raises(
        DataError, match="names no label of the model; give one of negative, neutral, positive"
    ):
        scored(table(tmp_path / "t.jsonl", [0, 1, 1]), label_map={"0": "bad"})
    with pytest.raises(DataError, match=r"--label-map 2=neutral names no label of the data; it has 0, 1\."):
        scored(table(tmp_path / "t.jsonl", [0, 1, 1]), label_map={"0": "negative", "2": "neutral"})


def test_a_split_is_named_where_there_are_several(tmp_path):
    table(tmp_path / "train.jsonl", ["positive"] * 5)
    table(tmp_path / "test.jsonl", ["neutral"] * 3)
    assert (scored(tmp_path).labels, scored(tmp_path).whole) == ([1] * 3, False)
    assert len(scored(tmp_path, split="train").texts) == 5
    with pytest.raises(
        DataError, match=r"has no validation split \(found: train, test\); name one with --split"
    ):
        scored(tmp_path, split="validation")
