"""What people have: folders of competitions, exports of labelling tools, files without a header."""

import json

import datasets
import pytest

from tests.support import tweets, write_csv
from training.data.load import DataSpec, load_splits
from training.data.read import read_path, split_of

ROWS = tweets(60)


def load(path, **given):
    return load_splits(DataSpec(dataset=str(path), **given))


def counted(splits) -> tuple[tuple[str, ...], int, str]:
    """Return the labels, how many rows are used, and the notes."""
    rows = sum(len(part) for part in (splits.train, splits.validation, splits.test))
    return splits.labels, rows, " ".join(splits.report.notes)


# labels in lists: (name, a row of a text and its label or labels)
TOOLS = {
    "argilla.jsonl": lambda text, labels: {
        "text": text,
        "label.responses": labels or None,
        "label.responses.users": ["u"] * len(labels),
        "label.suggestion": "negative",
    },
    "argilla.json": lambda text, labels: {
        "id": "1",
        "fields": {"text": text},
        "responses": {"label": [{"value": label, "user_id": "u"} for label in labels]},
    },
    "doccano.jsonl": lambda text, labels: {"id": 1, "text": text, "label": labels},
    "prodigy.jsonl": lambda text, labels: {
        "text": text,
        "_task_hash": 1,
        "accept": labels or ["negative"],
        "answer": "accept" if labels else "ignore",
    },
    "label-studio.json": lambda text, labels: {
        "id": 1,
        "data": {"text": text},
        "annotations": [
            {"id": 1, "result": [{"type": "choices", "from_name": "s", "value": {"choices": [label]}}]}
            for label in labels
        ],
    },
    "label-studio-min.json": lambda text, labels: {
        "text": text,
        "sentiment": {"choices": labels} if len(labels) > 1 else labels[0] if labels else None,
    },
}


@pytest.mark.parametrize("name", TOOLS)
def test_a_list_of_one_label_is_it_none_is_missing_and_several_are_counted(name, tmp_path):
    """Two annotators who agree gave one label."""
    rows = [TOOLS[name](text, [label]) for text, label in ROWS]
    rows += [
        TOOLS[name]("nobody said", []),
        TOOLS[name]("two said other things", ["positive", "negative"]),
        *([TOOLS[name]("two agree", ["neutral", "neutral"])] if name != "label-studio-min.json" else []),
    ]
    content = json.dumps(rows) if name.endswith(".json") else "\n".join(map(json.dumps, rows))
    (tmp_path / name).write_text(content)
    splits = load(tmp_path / name)
    labels, used, notes = counted(splits)
    assert labels == ("negative", "neutral", "positive")
    assert used == len(rows) - 2
    assert splits.report.counts.missing_label == 2
    assert "1 row has several labels; they are dropped" in notes


def test_lists_in_cells_and_doccanos_csv(tmp_path):
    rows = [(text, f"['{label}']") for text, label in ROWS] + [("b", "['positive', 'negative']"), ("c", "[]")]
    assert counted(load(write_csv(tmp_path / "a.csv", rows)))[:2] == (("negative", "neutral", "positive"), 60)
    splits = load(write_csv(tmp_path / "b.csv", [*ROWS, ("x", "positive#neutral")]))
    assert counted(splits)[:2] == (("negative", "neutral", "positive"), 60)
    kept = load(write_csv(tmp_path / "c.csv", [(text, label[:3] + "#1") for text, label in ROWS]))
    assert kept.labels == ("neg#1", "neu#1", "pos#1")


def test_lists_of_class_ids_keep_their_names(tmp_path):
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "labels": datasets.List(datasets.ClassLabel(names=["sad", "glad"])),
        }
    )
    columns = {"text": [text for text, _ in ROWS], "labels": [[i % 2] for i in range(60)]}
    whole = datasets.Dataset.from_dict(columns, features=features)
    whole.save_to_disk(tmp_path / "one")
    assert counted(load(tmp_path / "one"))[:2] == (("sad", "glad"), 60)
    parts = datasets.DatasetDict(train=whole.select(range(50)), test=whole.select(range(50, 60)))
    parts.save_to_disk(tmp_path / "two")
    splits = load(tmp_path / "two")
    assert splits.labels == ("sad", "glad") and len(splits.test) == 10
    assert splits.report.rows["train"].read == 50
    whole.to_parquet(tmp_path / "three.parquet")
    assert load(tmp_path / "three.parquet").labels == ("sad", "glad")


def test_tweet_evals_pairs(tmp_path):
    numbers = {"negative": "0", "neutral": "1", "positive": "2"}
    (tmp_path / "mapping.txt").write_text("0\tsad\n1\tso-so\n2\tglad\n")
    for split, rows in {"train": ROWS[:40], "val": ROWS[40:50], "test": ROWS[50:]}.items():
        (tmp_path / f"{split}_text.txt").write_text("".join(f'"{text}\n' for text, _ in rows))
        (tmp_path / f"{split}_labels.txt").write_text("".join(f"{numbers[label]}\n" for _, label in rows))
    splits = load(tmp_path)
    assert set(splits.labels) == {"sad", "so-so", "glad"}
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [40, 10, 10]
    assert all(text.startswith('"') for text in splits.train["text"])
    (tmp_path / "val_labels.txt").write_text("1\n")
    with pytest.raises(Exception, match=r"val_text\.txt has 10 lines and val_labels\.txt has 1; each text"):
        load(tmp_path)


def test_a_folder_of_a_competition(tmp_path):
    write_csv(tmp_path / "train.csv", ROWS)
    (tmp_path / "test.csv").write_text("id,text\n0,so it goes\n")
    (tmp_path / "sample_submission.csv").write_text("id,label\n0,neutral\n")
    (tmp_path / "train_clean.csv").write_text("text,label\n")
    (tmp_path / "README.txt").write_text("what this is\n")
    found = read_path(tmp_path)
    assert found.tables["train"].n == 60 and found.tables["test"].names == ("id", "text")
    assert found.tables["train"].notes == (
        f"Read of the folder {tmp_path.name}: train: train.csv; test: test.csv. Not read: "
        "sample_submission.csv, train_clean.csv.",
    )


def test_a_table_alone_in_a_folder_and_names_of_many_words(tmp_path):
    (tmp_path / "a").mkdir()
    write_csv(tmp_path / "a" / "tweets.csv", ROWS)
    assert "train: tweets.csv" in " ".join(load(tmp_path / "a").report.notes)
    names = {
        "Corona_NLP_train.csv": "train",
        "twitter_validation.csv": "validation",
        "testdata.manual.2009.06.14.csv": "test",
        "training.1600000.processed.noemoticon.csv": "train",
        "train_test.csv": "train",
        "the_test_of_train.csv": None,
        "sample_submission.csv": None,
    }
    assert {name: split_of(name, anywhere=True) for name in names} == names
    assert split_of("auxiliary_train") is None, "of the Hub, whose splits have names"


def test_a_file_without_a_header(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "".join(f'"{i}","q","{label}","{text} and so on"\n' for i, (text, label) in enumerate(ROWS))
    )
    splits = load(path, text_column="4", label_column="3")
    labels, used, notes = counted(splits)
    assert (labels, used) == (("negative", "neutral", "positive"), 60)
    assert (
        "t.csv has no header; its columns are named by their places: 1 (0), 2 (q), 3 (negative), 4 (" in notes
    )
    with pytest.raises(
        Exception, match=r"no label column \(found: 1 \(0\), .* by its place with --label-column"
    ):
        load(path)


@pytest.mark.parametrize(
    "header", ["id,words,mood", "0,1,2", "id,text,label", "What did you think of our new product today?,b,c"]
)
def test_a_header_is_not_taken_for_a_row(header, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(header + "\n" + "".join(f"{i},{text},{label}\n" for i, (text, label) in enumerate(ROWS)))
    splits = load(path, text_column=header.split(",")[1], label_column="3")
    assert counted(splits)[:2] == (("negative", "neutral", "positive"), 60)
    assert "header" not in counted(splits)[2]
