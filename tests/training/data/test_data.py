"""Loading data: every kind of file and label, splits that never change, counts of all that is dropped."""

import hashlib
import json
import subprocess
import sys
from collections import Counter

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inference.common.errors import DataError
from tests.support import REPOSITORY, tweets, write_csv
from training.data.load import DataSpec, LabelledText, check_unchanged, load_splits, spec_of, unlearnt_texts
from training.data.report import DataReport
from training.data.splits import duplicate_key

# of train, validation and test, by the rules of today and of November 2026
EMBEDDED_DIGESTS = {
    2: ["680e5f512543", "bc05fc12aa63", "454b636c2033"],
    1: ["4f3288673135", "7c57bbd38e0d", "b3b465c5f423"],
}
SENTIMENT = ("negative", "neutral", "positive")


def load(path, **settings):
    return load_splits(DataSpec(dataset=str(path), **settings))


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def labelled(splits):
    """Return {text: label name} over all splits."""
    parts = (splits.train, splits.validation, splits.test)
    return {
        text: splits.labels[i] for part in parts for text, i in zip(part["text"], part["label"], strict=True)
    }


def digest(dataset):
    joined = "\n".join(f"{i}\t{text}" for text, i in zip(dataset["text"], dataset["label"], strict=True))
    return hashlib.sha256(joined.encode()).hexdigest()[:12]


@pytest.fixture(scope="module")
def embedded():
    return load_splits(DataSpec(dataset="embedded"))


def test_the_embedded_tweets(embedded):
    report = embedded.report
    assert embedded.labels == SENTIMENT
    assert report.rows["train"].read == 38_158
    assert 3_800 < report.rows["test"].kept <= 3_815
    assert 1_500 < report.counts.mended < 2_000 and 4_000 < report.counts.still_damaged < 5_000
    assert report.source.kind == "embedded" and report.source.licence == "MIT"
    assert len(report.source.sha256) == 64 and report.source.bytes == 4_530_967


@pytest.mark.parametrize("rules", EMBEDDED_DIGESTS)
def test_the_embedded_splits_are_the_same_for_ever(embedded, rules):
    found = embedded if rules == 2 else load_splits(DataSpec(dataset="embedded", rules=rules))
    assert [digest(part) for part in (found.train, found.validation, found.test)] == EMBEDDED_DIGESTS[rules]


def test_no_duplicate_is_left_across_the_embedded_splits(embedded):
    splits = embedded
    keys = [set(map(duplicate_key, part["text"])) for part in (splits.train, splits.validation, splits.test)]
    assert not keys[0] & keys[1] and not keys[0] & keys[2] and not keys[1] & keys[2]
    assert not any(splits.report.duplicates_removed.values()), "equal texts are drawn together"
    assert splits.report.conflicts > 20 and splits.report.conflict_rows > 2 * 20


def test_auto_takes_the_embedded_tweets_when_there_is_no_hub_and_says_why():
    source = load_splits(DataSpec(dataset="auto", n_train=20)).report.source
    assert (source.kind, source.reason) == ("embedded", "because the Hub is switched off by HF_HUB_OFFLINE")


def test_features_are_text_and_class_label(tmp_path):
    splits = load(write_csv(tmp_path / "t.csv", tweets(90)))
    for part in (splits.train, splits.validation, splits.test):
        assert part.features == datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=list(SENTIMENT))}
        )


def test_csv_tsv_jsonl_and_parquet_of_the_same_rows_give_the_same_splits(tmp_path):
    rows = [(f'{text}, "so"', label) for text, label in tweets(120)]
    csv_path = write_csv(tmp_path / "t.csv", rows)
    tsv = tmp_path / "t.tsv"
    tsv.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows), encoding="utf-8")
    jsonl = write_jsonl(tmp_path / "t.jsonl", [{"text": text, "label": label} for text, label in rows])
    parquet = tmp_path / "t.parquet"
    pq.write_table(pa.table({"text": [t for t, _ in rows], "label": [label for _, label in rows]}), parquet)
    loaded = [load(path) for path in (csv_path, tsv, jsonl, parquet)]
    assert len({(digest(s.train), digest(s.validation), digest(s.test)) for s in loaded}) == 1
    assert labelled(loaded[0]) == dict(rows)


def test_semicolons_bom_quotes_and_line_breaks_in_a_csv(tmp_path):
    path = tmp_path / "t.csv"
    rows = "".join(f'"line {i}\nand ""more""; here";{label}\r\n' for i, (_, label) in enumerate(tweets(60)))
    path.write_bytes(b"\xef\xbb\xbf" + f"Tweet;Sentiment\r\n{rows}".encode())
    assert 'line 0\nand "more"; here' in labelled(load(path))


def test_of_two_columns_of_one_name_the_first_counts(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text,label,text\n" + "".join(f"{text},{label},other\n" for text, label in tweets(60)))
    assert labelled(load(path)) == dict(tweets(60))


def test_a_utf_16_file(tmp_path):
    path = tmp_path / "t.csv"
    rows = "".join(f"{text} é,{label}\n" for text, label in tweets(60))
    path.write_bytes(f"text,label\n{rows}".encode("utf-16"))
    assert all(text.endswith(" é") for text in labelled(load(path)))


def test_a_folder_with_train_validation_and_test_files(tmp_path):
    rows = tweets(90)
    write_csv(tmp_path / "train.csv", rows[:60])
    write_jsonl(tmp_path / "dev.jsonl", [{"text": t, "label": label} for t, label in rows[60:75]])
    write_csv(tmp_path / "test.csv", rows[75:])
    (tmp_path / "README.md").write_text("about")
    splits = load(tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [60, 15, 15]
    assert list(splits.test["text"]) == [text for text, _ in rows[75:]]
    assert splits.report.source.kind == "folder" and not splits.report.notes


def test_a_parquet_file_whose_texts_are_not_utf_8(tmp_path):
    texts = pa.array([f"{text} café".encode("cp1252") for text, _ in tweets(60)])
    texts = pa.StringArray.from_buffers(len(texts), *texts.buffers()[1:])
    table = pa.table({"text": texts, "label": [label for _, label in tweets(60)]})
    pq.write_table(table, tmp_path / "t.parquet")
    splits = load(tmp_path / "t.parquet")
    assert all(text.endswith("café") for text in labelled(splits))
    assert splits.report.counts.mended == 60


def test_a_folder_in_the_hubs_layout_with_shards_and_class_labels(tmp_path):
    rows = tweets(90)
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["good", "bad"])}
    )
    (tmp_path / "data").mkdir()
    for i, part in enumerate((rows[:45], rows[45:])):
        shard = {"text": [t for t, _ in part], "label": [j % 2 for j in range(len(part))]}
        shard = datasets.Dataset.from_dict(shard, features=features)
        pq.write_table(shard.data.table, tmp_path / "data" / f"train-{i:05}-of-00002.parquet")
    splits = load(tmp_path)
    assert splits.labels == ("good", "bad"), "a ClassLabel keeps its order"
    assert splits.report.rows["train"].read == 90
    assert labelled(splits)[rows[1][0]] == "bad"


def numbered(tmp_path, **extra):
    rows = [
        {"text": text, "label": SENTIMENT.index(label), **{k: f(label) for k, f in extra.items()}}
        for text, label in tweets(90)
    ]
    return write_jsonl(tmp_path / "t.jsonl", rows)


@pytest.mark.parametrize(
    ("extra", "settings", "names"),
    [
        ({}, {}, ("0", "1", "2")),
        ({}, {"label_names": ("bad", "so-so", "good")}, ("bad", "so-so", "good")),
        ({"label_text": str.upper}, {}, ("NEGATIVE", "NEUTRAL", "POSITIVE")),
        ({"label_name": str.title}, {"label_names": ("x", "y", "z")}, ("x", "y", "z")),
        ({"label_text": lambda label: "same"}, {}, ("0", "1", "2")),
    ],
)
def test_integer_labels_take_names_by_hand_or_from_a_sibling(tmp_path, extra, settings, names):
    splits = load(numbered(tmp_path, **extra), **settings)
    assert splits.labels == names
    assert labelled(splits) == {text: names[SENTIMENT.index(label)] for text, label in tweets(90)}


def test_numbers_in_a_csv_are_integers_and_sort_as_such(tmp_path):
    rows = [(text, str([-1, 2, 10][i % 3])) for i, (text, _) in enumerate(tweets(90))]
    assert load(write_csv(tmp_path / "t.csv", rows)).labels == ("-1", "2", "10")


def test_booleans(tmp_path):
    path = write_jsonl(
        tmp_path / "t.jsonl", [{"text": t, "label": i % 2 == 0} for i, (t, _) in enumerate(tweets(60))]
    )
    assert load(path).labels == ("False", "True")
    assert load(path, label_names=("no", "yes")).labels == ("no", "yes")


def test_string_labels_sort_and_label_names_can_reorder_them(tmp_path):
    path = write_csv(tmp_path / "t.csv", tweets(90))
    assert load(path).labels == SENTIMENT
    assert load(path, label_names=("positive", "neutral", "negative")).labels == (
        "positive",
        "neutral",
        "negative",
    )


def test_class_labels_are_matched_by_name_and_unlabelled_rows_are_dropped(tmp_path):
    def write(name, names, ids, start):
        features = datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
        )
        texts = [f"{name} text {i}" for i in range(start, start + len(ids))]
        table = datasets.Dataset.from_dict({"text": texts, "label": ids}, features=features).data.table
        pq.write_table(table, tmp_path / f"{name}.parquet")

    write("train", ["b", "a", "unused"], [0, 1] * 40, 0)
    write("test", ["a", "b"], [0, 1, -1], 0)
    splits = load(tmp_path)
    assert splits.labels == ("b", "a")
    assert [splits.labels[i] for i in splits.test["label"]] == ["a", "b"]
    assert splits.report.counts.missing_label == 1
    assert "Classes without a row are left out: unused." in splits.report.notes


def test_columns_can_be_given(tmp_path):
    path = tmp_path / "t.jsonl"
    write_jsonl(
        path, [{"text": "decoy", "Body Text": t, "mood": label, "label": 1} for t, label in tweets(60)]
    )
    splits = load(path, text_column="body_text", label_column="mood")
    assert labelled(splits) == dict(tweets(60))


def test_all_that_is_dropped_or_mended_is_counted(tmp_path):
    path = tmp_path / "t.jsonl"
    rows = [{"text": t, "label": label} for t, label in tweets(90)]
    rows += [
        {"text": "  ", "label": "neutral"},
        {"text": None, "label": "neutral"},
        {"text": 7, "label": "neutral"},
    ]
    rows += [
        {"text": "no label", "label": None},
        {"text": "nan label", "label": float("nan")},
        {"label": "neutral"},
    ]
    rows += [{"text": "itâ€™s &amp; nul\0", "label": "neutral"}, {"text": "lone \ud83d", "label": "positive"}]
    write_jsonl(path, rows)
    path.write_text(path.read_text() + "{broken\n[1, 2]\n\n")
    report = load(path).report
    assert vars(report.counts) == {
        "empty": 1,
        "non_text": 3,
        "missing_label": 2,
        "small_class": 0,
        "broken_lines": 2,
        "mended": 1,
        "still_damaged": 1,
    }
    assert sum(rows.kept for rows in report.rows.values()) == 92
    for sentence in (
        "1 row had an empty text and is dropped.",
        "3 rows had no text and are dropped.",
        "2 rows had no label and are dropped.",
        "2 lines were broken and are skipped.",
        "1 text had a broken encoding or HTML entities and is mended.",
    ):
        assert sentence in report.sentences()


def test_odd_texts_are_kept(tmp_path):
    odd = ["😀😀", "مرحبا", "NaN", "null", "x" * 100_000, "nul\0nul"]
    rows = tweets(90) + [(text, "neutral") for text in odd]
    kept = labelled(load(write_csv(tmp_path / "t.csv", rows)))
    assert {"😀😀", "مرحبا", "NaN", "null", "x" * 100_000, "nul nul"} <= set(kept)


def test_held_out_rows_do_not_depend_on_the_subset_and_seeds_count(tmp_path):
    path = write_csv(tmp_path / "t.csv", tweets(300))
    whole, part = load(path), load(path, n_train=30, n_test=10)
    assert set(part.test["text"]) < set(whole.test["text"])
    assert list(part.validation["text"]) == list(whole.validation["text"])
    assert list(part.train["text"]) == list(whole.train.shuffle(seed=42).select(range(30))["text"])
    assert set(load(path, seed=7).test["text"]) != set(whole.test["text"])
    assert list(load(path).train["text"]) == list(whole.train["text"])


def test_stratified_subsets_keep_the_shares(tmp_path):
    rows = [(text, "rare" if i % 20 == 0 else "common") for i, (text, _) in enumerate(tweets(400))]
    splits = load(write_csv(tmp_path / "t.csv", rows), n_train=40, stratified=True)
    assert Counter(splits.train["label"]) == {0: 38, 1: 2}
    assert splits.report.class_balance["train"] == {"common": 38, "rare": 2}


def test_duplicates_leave_train_and_are_reported(tmp_path):
    rows = tweets(60)
    write_csv(tmp_path / "train.csv", [*rows, ("Hello @a", "neutral"), ("HELLO  @b http://x.y", "neutral")])
    write_csv(
        tmp_path / "test.csv",
        [("hello @c", "neutral"), ("fine", "positive"), ("hello @d http://t.co", "neutral")],
    )
    write_csv(tmp_path / "dev.csv", [("so so", "neutral")])
    splits = load(tmp_path)
    assert splits.report.duplicates_removed == {"train/test": 2, "train/validation": 0, "validation/test": 0}
    assert "2 rows with an exact duplicate in test are removed from train." in splits.report.sentences()
    assert len(splits.test) == 3


def test_asking_for_more_rows_than_there_are_is_noted(tmp_path):
    report = load(write_csv(tmp_path / "t.csv", tweets(90)), n_train=500).report
    assert "500 train rows were asked for, but only 58 are there; all are used." in report.sentences()


def test_the_report_is_json(embedded):
    report = embedded.report.to_json()
    assert json.loads(json.dumps(report)) == report
    assert DataReport.from_json(report) == embedded.report
    assert not {"kind", "time"} & set(report), "these are the event's own keys"


def test_the_report_of_an_older_run_is_read():
    path = REPOSITORY / "tests" / "fixtures" / "2026-11" / "run" / "artifact" / "provenance.json"
    record = json.loads(path.read_text(encoding="utf-8"))["data"]
    report = DataReport.from_json(record)
    again = report.to_json()
    record["counts"]["small_class"] = 0
    assert {key: value for key, value in again.items() if key in record} == {
        key: value for key, value in record.items() if key in again
    }
    assert (report.rules, report.digests, report.conflicts) == (1, {}, 0)
    assert again["rows"]["train"]["used"] > 0


def test_replay_gets_the_test_rows(tmp_path):
    spec = DataSpec(dataset=str(write_csv(tmp_path / "t.csv", tweets(90))))
    splits = load_splits(spec)
    split, held_out = unlearnt_texts(spec)
    assert split == "test", "all of train is learnt"
    assert held_out[0] == LabelledText(splits.test[0]["text"], splits.labels[splits.test[0]["label"]])
    assert len(held_out) == len(splits.test)


def test_the_data_modules_import_no_model_library():
    heavy = "{'torch', 'transformers', 'peft', 'gradio'}"
    code = f"import sys, training.data.preview; print(*{heavy} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.split() == []


# Equal texts


def duplicated_rows(count=60):
    """Return rows of which every text stands there three times, and every sixth with two labels."""
    return [
        (f"{text}{' ' * copy}", "neutral" if i % 6 == copy == 0 else label)
        for copy in range(3)
        for i, (text, label) in enumerate(tweets(count))
    ]


def test_equal_texts_are_drawn_into_one_split_and_none_is_lost(tmp_path):
    splits = load(write_csv(tmp_path / "t.csv", duplicated_rows()))
    keys = [set(map(duplicate_key, part["text"])) for part in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, keys)) == len(set.union(*keys)) == 60
    assert sum(rows.kept for rows in splits.report.rows.values()) == 180
    assert not any(splits.report.duplicates_removed.values())
    assert all(set(part["label"]) == {0, 1, 2} for part in (splits.validation, splits.test))


def test_texts_with_different_labels_are_counted_and_shown_and_stay_out_of_records(tmp_path):
    report = load(write_csv(tmp_path / "t.csv", duplicated_rows())).report
    expected = sum(i % 6 == 0 and label != "neutral" for i, (_, label) in enumerate(tweets(60)))
    assert (report.conflicts, report.conflict_rows) == (expected, 3 * expected)
    shown = report.shown_conflicts[0]
    assert shown.text.strip() == tweets(1)[0][0] and shown.labels == ("neutral", "negative")
    sentence = (
        f"{expected} texts come with different labels ({3 * expected} rows): no label is changed, and each "
        "text is in one split only."
    )
    assert sentence in report.sentences()
    assert any(shown.text.strip() in line for line in report.sentences(texts=True))
    assert shown.text not in json.dumps(report.to_json())


def test_texts_with_different_labels_are_counted_across_the_files_of_a_folder(tmp_path):
    write_csv(tmp_path / "train.csv", [*tweets(60), ("same thing", "positive")])
    write_csv(tmp_path / "test.csv", [*tweets(9, seed=5), ("Same Thing", "negative")])
    report = load(tmp_path).report
    assert (report.conflicts, report.conflict_rows, report.duplicates_removed["train/test"]) == (1, 2, 1)


def test_a_class_of_one_text_can_not_be_in_every_split(tmp_path):
    rows = [*tweets(90), *[("always the same", "spam")] * 30]
    report = load(write_csv(tmp_path / "t.csv", rows)).report
    assert "spam" not in report.labels and report.counts.small_class == 30


# A record and its data


def test_a_record_of_before_is_drawn_by_its_own_rules(tmp_path):
    path = write_csv(
        tmp_path / "t.csv", [*duplicated_rows(), *((text, "Neutral") for text, _ in tweets(9, seed=3))]
    )
    old = load(path, rules=1)
    assert old.labels == ("Neutral", *SENTIMENT) and sum(old.report.duplicates_removed.values()) > 10
    record = {"recipe": {"dataset": str(path)}, "data": old.report.to_json()}
    assert spec_of(record) == DataSpec(dataset=str(path), rules=1)
    del record["data"]["rules"], record["data"]["digests"]
    again = load_splits(spec_of(record))
    assert list(again.test["text"]) == list(old.test["text"])
    check_unchanged(record["data"], again.report, todo="")
    assert spec_of({"recipe": {}, "data": load(path).report.to_json()}).rules == 2
    assert spec_of({"recipe": {}, "data": {"rules": "x"}}) is None


@pytest.mark.parametrize("rules", [1, 2])
def test_data_that_has_changed_is_refused(rules, tmp_path):
    path = write_csv(tmp_path / "t.csv", tweets(90))
    record = load(path, rules=rules).report.to_json()
    if rules == 1:
        del record["rules"], record["digests"]
    check_unchanged(record, load(path, rules=rules).report, todo="")
    check_unchanged({}, load(path).report, todo="")
    rows = tweets(90)
    write_csv(path, [*rows[:-1], (rows[-1][0], "neutral")])
    now = load(path, rules=rules).report
    with pytest.raises(DataError) as caught:
        check_unchanged(record, now, todo="Put it back.")
    was, is_now = record["source"]["sha256"][:12], now.source.sha256[:12]
    assert str(caught.value) == (
        f"t.csv is not the data of this training any more: 90 rows with the hash {was} then, 90 with "
        f"{is_now} now. Put it back."
    )


def test_a_file_written_anew_with_the_same_rows_is_the_same_data(tmp_path):
    path = write_csv(tmp_path / "t.csv", tweets(90))
    record = load(path).report.to_json()
    path.write_text(path.read_text().replace("\r\n", "\n") + "\n")
    check_unchanged(record, load(path).report, todo="")


def test_the_same_file_that_is_read_otherwise_is_refused(tmp_path):
    path = write_csv(tmp_path / "t.csv", tweets(90))
    with pytest.raises(DataError, match="the file is the same, but its rows are read otherwise"):
        check_unchanged(load(path).report.to_json(), load(path, seed=1).report, todo="")
    with pytest.raises(DataError, match="drawn by a newer version"):
        load(path, rules=99)
    with pytest.raises(DataError, match="record of this training's data can't be read"):
        check_unchanged({"source": {"name": 1}, "rows": [2]}, load(path).report, todo="")
