"""JSON objects, whatever holds them, and the columns and labels that are within."""

import gzip
import json

import datasets
import pytest

from inference.common.errors import DataError
from inference.tables import objects
from inference.tables.columns import one_label, pick_column
from inference.tables.formats import FORMATS, WRITTEN, open_table, open_texts, open_writer
from inference.tables.rows import ENDINGS
from tests.support.scored_files import converted, read_rows

TEXTS = [f"text {i}" for i in range(9)]
ROWS = [{"id": i, "text": text} for i, text in enumerate(TEXTS)]


def texts_of(path, content: bytes, **given) -> list[str | None]:
    path.write_bytes(content)
    return [text for chunk in open_texts(path, **given).chunks() for text in chunk.texts]


ARRAYS = [json.dumps(ROWS), json.dumps(ROWS, indent=2), f"a.b = {json.dumps(ROWS)};"]


@pytest.mark.parametrize("size", [7, 100, 10_000])
@pytest.mark.parametrize("content", ARRAYS)
def test_an_array_is_read_a_block_at_a_time(content, size, tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "HEAD_BYTES", size)
    at, reads = 0, 0

    def read(n: int) -> str:
        nonlocal at, reads
        at, reads = at + n, reads + 1
        return content[at - n : at]

    found = objects._values(tmp_path / "a.json", read)
    first = next(found)
    assert first.row == ROWS[0] and reads < 8
    lines = [first, *found]
    assert [line.row for line in lines] == ROWS and not any(line.problem for line in lines)
    assert all("\n" not in line.raw and json.loads(line.raw) == line.row for line in lines)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b'[{"text": "a"}, {"text": "b"', "not sound JSON (line 1: "),
        (b'[\n {"text": "a"},\n {"text": b}\n]', "not sound JSON (line 3: Expecting value"),
        (b'[{"text": "a"},\n', "not sound JSON (line 2: it ends within an array)"),
        (b"[" + b"[" * 100_000, "not sound JSON (line 1: it is nested too deeply)"),
        (b"[]", "holds no JSON object with a key"),
        (b'"text"', "holds no JSON object with a key"),
        (b"\x89PNG", "is a binary file"),
    ],
)
def test_a_broken_array_is_refused_with_its_place(content, found, tmp_path):
    with pytest.raises(DataError) as caught:
        texts_of(tmp_path / "a.json", content)
    assert found in str(caught.value) and str(caught.value).startswith("a.json")


def test_a_broken_line_spoils_itself_alone(tmp_path):
    lines = ['{"text": "a"}', '{"text": "b"', "[]", '[{"text": "c"}, 7]', '{"data": [{"text": "d"}]}']
    for name in ("a.jsonl", "a.ndjson", "a.json", "a.json.gz"):
        content = "\n".join(lines).encode()
        found = texts_of(tmp_path / name, gzip.compress(content) if name.endswith("gz") else content)
        assert found == ["a", None, None, "c", None, "d"]


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b""])
def test_a_mark_of_another_encoding_before_utf_8_is_passed_over(mark, tmp_path):
    lines = '{"text": "café"}\n{"text": "b"}'.encode()
    assert texts_of(tmp_path / "a.jsonl", mark + lines) == ["café", "b"]
    assert texts_of(tmp_path / "a.jsonl.gz", gzip.compress(mark + lines)) == ["café", "b"]
    assert texts_of(tmp_path / "a.csv", mark + "text,n\ncafé,1".encode()) == ["café"]


def test_texts_within_rows_are_found_by_their_path_or_named(tmp_path):
    row = {"user": {"name": "x"}, "post": {"record": {"text": "a", "title": "t"}, "list": [{"text": "no"}]}}
    path = tmp_path / "a.jsonl"
    assert texts_of(path, json.dumps(row).encode()) == ["a"]
    assert texts_of(path, json.dumps(row).encode(), text_column="user.name") == ["x"]
    assert open_table(path).pick("text") == "post.record.text"
    (scored,) = read_rows(converted(path, tmp_path / "out.csv"))
    assert (scored["post.record.text"], scored["label"]) == ("a", "neutral")
    written = converted(path, tmp_path / "out.jsonl").read_text()
    assert written.startswith(json.dumps(row)[:-1] + ', "label": "neutral"')
    with pytest.raises(DataError, match=r"no column 'post\.text'"):
        open_texts(path, text_column="post.text")


def test_lists_are_kept_as_they_are(tmp_path):
    row = {"text": "a", "tags": [["x", None], ["y"]], "deep": {"tags": [["x"], []]}}
    (tmp_path / "a.json").write_text(json.dumps([row, {"text": "b", "tags": []}]))
    first, second = read_rows(converted(tmp_path / "a.json", tmp_path / "out.jsonl"))
    assert {key: first[key] for key in row} == row and second["tags"] == []
    (first, _) = read_rows(converted(tmp_path / "a.json", tmp_path / "out.csv"))
    assert first["tags"] == '[["x", null], ["y"]]'


def test_a_column_is_found_by_name_then_path_then_last_word():
    found = {
        ("data.text", "Text"): "Text",
        ("a.b.text", "a.full_text"): "a.full_text",
        ("UserName", "TweetAt", "OriginalTweet"): "OriginalTweet",
        ("id", "clean_text"): "clean_text",
    }
    assert {names: pick_column(names, "text", where="f") for names in found} == found
    assert pick_column(("a", "b"), "text", given="2", where="f") == "b"
    assert pick_column(("2", "b"), "text", given="2", where="f") == "2"
    for names in (("clean_text", "raw_text"), ("texture", "context")):
        with pytest.raises(DataError, match="has no text column"):
            pick_column(names, "text", where="f")


def test_labels_in_lists():
    assert [
        one_label(value) for value in (["a"], ("a", "a"), [], "['a']", '["a"]', "[7]", {"choices": ["a"]})
    ] == [*("a", "a", None, "a", "a", 7, "a")]
    for plain in ("[a", "[a]", "a, b", "{}", 3, None, {"a": 1}, [["x"]], "[" * 9_000 + "]"):
        assert one_label(plain) == plain


def test_endings_are_those_of_the_formats(tmp_path):
    assert tuple(FORMATS) == ENDINGS
    (tmp_path / "a.txt").write_text("hello\n")
    table = open_texts(tmp_path / "a.txt")
    for suffix in FORMATS:
        if suffix not in WRITTEN:
            with pytest.raises(DataError, match=rf"can't be written \({suffix}\); use \.csv, \.tsv, \.jsonl"):
                open_writer(tmp_path / f"out{suffix}", table, {})


def test_a_saved_data_set_is_a_table(tmp_path):
    whole = datasets.Dataset.from_dict({"text": [f"t{i}" for i in range(5_000)], "label": [1] * 5_000})
    whole.save_to_disk(tmp_path / "saved", num_shards=2)
    out = converted(tmp_path / "saved", tmp_path / "out.parquet")
    rows = read_rows(out)
    assert [row["text"] for row in rows] == whole["text"][:] and rows[0]["tweettune_label"] == "neutral"
    (tmp_path / "saved" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(DataError, match=r"lacks data files \(data-00001-of-00002\.arrow\)"):
        open_texts(tmp_path / "saved")
    (tmp_path / "saved" / "state.json").write_text("{")
    with pytest.raises(DataError, match="is not a sound saved data set"):
        open_texts(tmp_path / "saved")


def test_parts_of_a_saved_data_set_with_other_columns(tmp_path):
    datasets.Dataset.from_dict({"text": ["a", "b"]}).save_to_disk(tmp_path / "saved", num_shards=2)
    datasets.Dataset.from_dict({"tweet": ["a"]}).save_to_disk(tmp_path / "other")
    part = tmp_path / "saved" / "data-00001-of-00002.arrow"
    part.write_bytes((tmp_path / "other" / "data-00000-of-00001.arrow").read_bytes())
    with pytest.raises(DataError, match=rf"{part.name} is not a sound Arrow file \(it lacks"):
        converted(tmp_path / "saved", tmp_path / "out.csv")
