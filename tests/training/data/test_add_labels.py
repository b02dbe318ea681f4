"""A person's labels join the training split, and no duplicate of a held-out row does."""

import dataclasses
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.common.errors import DataError
from inference.common.store import append_event
from inference.live.review import Disagreement, LabelStore
from tests.support import command, tweets, write_csv
from training.data.add_labels import LabelsReport, add_labels
from training.data.load import DataSpec, load_splits
from training.data.splits import duplicate_key
from training.recipes import change, load_recipe
from training.runs.run import create_run

pytestmark = pytest.mark.usefixtures("warm_starts")


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return DataSpec(dataset=str(write_csv(tmp_path_factory.mktemp("data") / "tweets.csv", tweets(360))))


def write(path, rows):
    path.write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in rows), encoding="utf-8")
    return path


def named(splits, split):
    data = getattr(splits, split)
    return [(text, splits.labels[i]) for text, i in zip(data["text"], data["label"], strict=True)]


def other(label):
    return "positive" if label != "positive" else "negative"


def test_new_rows_come_after_those_of_train_and_the_rest_is_untouched(spec, tmp_path):
    new = [("a brand new thing, brilliant", "positive"), ("nothing to see here", "neutral")]
    before, after = load_splits(spec), add_labels(spec, write(tmp_path / "mine.jsonl", new))
    assert named(after.splits, "train") == named(before, "train") + new
    for split in ("validation", "test"):
        assert named(after.splits, split) == named(before, split)
    assert after.splits.train.features == before.train.features
    report, old = after.splits.report, before.report
    assert report.rows["train"].used == old.rows["train"].used + 2
    assert report.class_balance["train"]["neutral"] == old.class_balance["train"]["neutral"] + 1
    assert after.report.sentences() == [
        "2 of the 2 labelled texts of mine.jsonl are added to train (1 neutral, 1 positive)."
    ]
    assert after.report.sentences()[0] in report.sentences()


def test_labels_of_the_file_match_whatever_their_case(spec, tmp_path):
    mine = write(tmp_path / "mine.jsonl", [("a brand new thing", " Positive"), ("another one", "NEUTRAL")])
    assert add_labels(spec, mine).report.by_label == {"negative": 0, "neutral": 1, "positive": 1}


def test_labels_of_the_file_are_read_as_those_of_the_data(tmp_path):
    """As pandas writes whole numbers beside missing ones, and as Excel saves words with accents."""
    numbers = write_csv(tmp_path / "n.csv", [(text, str(i % 2)) for i, (text, _) in enumerate(tweets(90))])
    mine = tmp_path / "mine.csv"
    mine.write_text("text,label\nfirst,1.0\nsecond,0.0\nthird,nan\nfourth,NA\n", encoding="utf-8")
    report = add_labels(DataSpec(dataset=str(numbers)), mine).report
    assert (report.by_label, report.unusable) == ({"0": 1, "1": 1}, 2)
    lines = ["text,label", *(f"{text},{('café', 'thé')[i % 2]}" for i, (text, _) in enumerate(tweets(90)))]
    words = tmp_path / "w.csv"
    words.write_bytes("\n".join(lines).encode("cp1252"))
    mine.write_bytes("text,label\nfirst,café\nsecond,Thé\n".encode("cp1252"))
    assert add_labels(DataSpec(dataset=str(words)), mine).report.by_label == {"café": 1, "thé": 1}


def test_every_row_that_is_left_out_is_counted_and_shown(spec, tmp_path):
    splits = load_splits(spec)
    train, test, validation = (named(splits, split) for split in ("train", "test", "validation"))
    rows = [
        ("wholly new", "negative"),
        ("Wholly  NEW", "negative"),  # a duplicate of the row above
        (train[0][0].upper(), train[0][1]),  # a duplicate of a training row
        (train[1][0], other(train[1][1])),  # a conflict with a training row
        ("disputed", "neutral"),
        ("Disputed", "positive"),  # a conflict in the file
        test[0],
        (test[1][0].upper(), other(test[1][1])),
        validation[0],  # leaks, whatever their label
        ("", "neutral"),
        ("no label", None),
    ]
    found = add_labels(spec, write(tmp_path / "mine.jsonl", rows))
    report = found.report
    assert (report.read, report.added, report.duplicates) == (11, 1, 2)
    assert (report.conflicts, report.leaks, report.unusable) == (3, 3, 2)
    assert named(found.splits, "train") == [*train, ("wholly new", "negative")]
    assert report.shown_duplicates == ("Wholly  NEW", rows[2][0])
    with_train, in_file = report.shown_conflicts
    assert (with_train.labels, with_train.with_train) == ((train[1][1], other(train[1][1])), True)
    assert (in_file.text, in_file.labels, in_file.with_train) == ("disputed", ("neutral", "positive"), False)
    assert report.sentences()[1:] == [
        "Left out: 2 (duplicates of a training row, or of each other).",
        "Left out: 3 (labels that contradict a training row, or each other).",
        "Left out: 3 (duplicates of a row of validation or test, where they would leak).",
        "Left out: 2 (rows that are broken, or without a text or a label).",
    ]
    assert "wholly" not in json.dumps(report.to_json()).lower()
    assert LabelsReport.from_json(report.to_json()).sentences() == report.sentences()
    assert json.dumps(report.to_json(texts=True)).lower().count("wholly") == 1


def test_a_held_out_row_that_the_recipe_does_not_use_is_no_training_row_either(spec, tmp_path):
    """Replay shows rows of the whole test split; a run that measures on ten must not learn the rest."""
    whole = named(load_splits(spec), "test")
    small = dataclasses.replace(spec, n_test=10, n_validation=10)
    found = add_labels(small, write(tmp_path / "mine.jsonl", [*whole, ("quite new", "neutral")]))
    assert (found.report.leaks, found.report.added) == (len(whole), 1)
    assert len(found.splits.test) == 10


def test_added_rows_come_on_top_of_n_train(spec, tmp_path):
    small = dataclasses.replace(spec, n_train=30)
    path = write(tmp_path / "mine.jsonl", [("quite new", "neutral")])
    assert named(add_labels(small, path).splits, "train") == [
        *named(load_splits(small), "train"),
        ("quite new", "neutral"),
    ]


def test_one_class_alone_may_be_added(spec, tmp_path):
    path = write(tmp_path / "mine.jsonl", [(f"so good {word}", "positive") for word in "abc"])
    assert add_labels(spec, path).report.by_label == {"negative": 0, "neutral": 0, "positive": 3}


def test_a_label_that_the_data_lacks_is_refused(spec, tmp_path):
    path = write(tmp_path / "mine.jsonl", [("hello", "joyful")])
    expected = (
        r"mine.jsonl has the label 'joyful', which the data lacks \(it has negative, neutral, positive\)"
    )
    with pytest.raises(DataError, match=expected):
        add_labels(spec, path)
    with pytest.raises(DataError, match="There is no file"):
        add_labels(spec, tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="has no label column"):
        add_labels(spec, _only_texts(tmp_path / "texts.jsonl"))


def _only_texts(path):
    path.write_text('{"text": "hello"}\n', encoding="utf-8")
    return path


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_counts_sum_up_and_no_duplicate_gets_in(spec, tmp_path, data):
    splits = load_splits(spec)
    texts = [text for split in ("train", "validation", "test") for text, _ in named(splits, split)[:6]]
    texts += ["new one", "New one", "new two @a", "new two @b", " "]
    rows = data.draw(st.lists(st.tuples(st.sampled_from(texts), st.sampled_from(splits.labels)), min_size=1))
    found = add_labels(spec, write(tmp_path / "mine.jsonl", rows))
    r = found.report
    assert r.read == len(rows) == r.added + r.duplicates + r.conflicts + r.leaks + r.unusable
    assert (
        len(found.splits.train) == len(splits.train) + r.added == len(splits.train) + sum(r.by_label.values())
    )
    keys = [duplicate_key(text) for text, _ in named(found.splits, "train")[len(splits.train) :]]
    assert len(set(keys)) == len(keys)
    for split in ("train", "validation", "test"):
        assert not set(keys) & {duplicate_key(text) for text, _ in named(splits, split)}


# The command line


def test_train_adds_the_labels_of_a_duel(tmp_path, tiny_gpt2, tiny_tweets):
    """From the duel's store to a trained model: what is added, what is not, and what the records say."""
    store = LabelStore(tmp_path / "labels.sqlite", labels=("negative", "neutral", "positive"))
    held_out = named(load_splits(DataSpec(dataset=str(tiny_tweets))), "test")[0]
    given = [*(row for row in tweets(400, seed=11)[-12:]), held_out]
    for number, (text, label) in enumerate(given):
        store.add([Disagreement(str(number), text, "a", "negative", "b", "positive")])
        store.label(store.take().id, label)
    private = tmp_path / "private"
    private.mkdir()
    store.export(private / "mine.jsonl", key=duplicate_key)
    store.close()
    run, changes = tmp_path / "run", [f"more_data={private / 'mine.jsonl'}", "epochs=1", "n_train=60"]
    done = command(
        "training",
        "train",
        "smoke",
        "--base",
        tiny_gpt2,
        "--dataset",
        tiny_tweets,
        "--run-dir",
        run,
        *(word for pair in changes for word in ("--set", pair)),
    )
    assert done.returncode == 0, done.stderr
    assert "12 of the 13 labelled texts of mine.jsonl are added to train" in done.stderr
    assert "Left out: 1 (duplicates of a row of validation or test, where they would leak)." in done.stderr
    record = json.loads((run / "artifact" / "provenance.json").read_text(encoding="utf-8"))
    assert record["sizes"]["train"] == 72
    assert {key: record["data"]["more_data"][key] for key in ("name", "added", "leaks")} == {
        "name": "mine.jsonl",
        "added": 12,
        "leaks": 1,
    }
    assert record["recipe"]["more_data"] == "mine.jsonl"
    for path in (run / "artifact").glob("*.[jm][sd]*"):  # no record to be shared names the folder, or a text
        content = path.read_text(encoding="utf-8")
        assert str(private) not in content and given[0][0] not in content


def test_data_shows_duplicates_and_conflicts_before_anything_is_trained(tmp_path, tiny_tweets):
    splits = load_splits(DataSpec(dataset=str(tiny_tweets)))
    (text, label), (second, its_label) = named(splits, "train")[:2]
    rows = [
        ("\u202ered alert", "neutral"),
        ("\u202eRED alert", "positive"),
        (text, other(label)),
        (second, its_label),
    ]
    arguments = ("data", tiny_tweets, "--more-data", write(tmp_path / "mine.jsonl", rows))
    shown = command("training", *arguments)
    assert shown.returncode == 0, shown.stderr
    assert "0 of the 4 labelled texts of mine.jsonl are added to train." in shown.stdout
    for words in ("contradicts train", "contradicts itself", "is there already", "red alert"):
        assert words in shown.stdout
    assert "\u202e" not in shown.stdout
    record = json.loads(command("training", *arguments, "--json").stdout)["more_data"]
    assert (record["added"], record["duplicates"], record["conflicts"]) == (0, 1, 3)
    assert record["shown_conflicts"][0]["labels"] == [label, other(label)]


def test_a_run_is_not_resumed_with_other_labels(tmp_path, tiny_gpt2, tiny_tweets):
    mine = write(tmp_path / "mine.jsonl", [("a brand new thing", "positive")])
    run = create_run(
        change(
            load_recipe("smoke"),
            {"base": str(tiny_gpt2), "dataset": str(tiny_tweets), "more_data": str(mine)},
        ),
        run_dir=tmp_path / "run",
    )
    now = add_labels(run.recipe.data, mine).report
    before = dataclasses.replace(now, sha256="of another file", read=7)
    append_event(run.path / "events.jsonl", "data", sentences=[], more_data=before.to_json())
    done = command("training", "train", "smoke", "--run-dir", run.path, "--reuse")
    assert done.returncode == 1
    assert done.stderr.endswith(
        "mine.jsonl has changed since the run began (7 rows then, 1 now). Start a new run.\n"
    )


def test_a_row_that_says_what_it_was_corrects_the_label_of_training_rows_alone(spec, tmp_path):
    before = load_splits(spec)
    (text, label), (kept, same) = named(before, "train")[:2]
    held_out, its = named(before, "test")[0]
    rows = [
        {"text": f"  {text.upper()}", "label": other(label), "was": label},
        {"text": kept, "label": same, "was": same},
        {"text": held_out, "label": other(its), "was": its},
        {"text": "of rows that are not used", "label": "neutral", "was": "positive"},
        {"text": named(before, "train")[5][0], "label": other(named(before, "train")[5][1])},
    ]
    mine = tmp_path / "mine.jsonl"
    mine.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = add_labels(spec, mine)
    r = found.report
    assert (r.corrected, r.duplicates, r.leaks, r.added, r.conflicts, r.read) == (1, 1, 1, 1, 1, 5)
    assert "1 of them correct the label of a training row." in r.sentences()
    after = named(found.splits, "train")
    assert after[0] == (text, other(label)) and after[1:-1] == named(before, "train")[1:]
    assert named(found.splits, "test") == named(before, "test")
    balance = found.splits.report.class_balance["train"]
    assert balance == {name: sum(each == name for _, each in after) for name in balance}
    assert LabelsReport.from_json(r.to_json()).corrected == 1


def test_corrections_that_contradict_each_other_change_nothing(spec, tmp_path):
    before = load_splits(spec)
    text, label = named(before, "train")[0]
    rows = [{"text": text, "label": name, "was": label} for name in before.labels if name != label]
    mine = tmp_path / "mine.jsonl"
    mine.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = add_labels(spec, mine)
    assert (found.report.corrected, found.report.conflicts) == (0, 2)
    assert named(found.splits, "train") == named(before, "train")
